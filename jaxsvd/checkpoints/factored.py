"""Checkpoints that keep truncated matrices as two factors, which take less room.

The layout is Hugging Face's with two differences, which keep other readers from taking such a
directory for a whole model:

* the tensors are in ``model.factored.safetensors``; in place of a truncated matrix ``NAME``
  ``[rows, columns]`` there are ``NAME.left`` ``[rows, rank]`` and ``NAME.right``
  ``[rank, columns]``, whose product it is;
* ``config.json`` has a field ``jaxsvd_factors`` with the rank by ``NAME``.

A tensor that holds several matrices (GPT-2's ``c_attn``) is stored in parts if one of them is
truncated; ``NAME`` is then the path of a matrix in the decoder, ``blocks.0.attn.q_proj.weight``.

``jaxsvd.load`` multiplies the factors while it reads them, in float32.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float

from jaxsvd.checkpoints.tensors import FLOATS, Tensor
from jaxsvd.runtime.errors import UserError

FIELD = "jaxsvd_factors"
PROVENANCE = "jaxsvd"
"""The field of config.json that says what a model was made of, and how."""
FILES = "model.factored"
"""The name of the files with the tensors, without the suffix."""


class Pair(NamedTuple):
    """A matrix of low rank as a product."""

    left: Float[Array, "rows rank"]
    right: Float[Array, "rank columns"]

    def transposed(self) -> "Pair":
        """The factors of the transposed matrix."""
        return Pair(self.right.T, self.left.T)

    def of(self, name: str) -> dict[str, Array]:
        """The tensors that stand for a matrix in a file."""
        return {f"{name}.left": self.left, f"{name}.right": self.right}


def without_factors(raw: Mapping[str, Any], where: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """A config.json as other programs know it, and the ranks of its factored matrices.

    Raises:
        UserError: the field is not an object of tensor name to rank.
    """
    plain = {key: value for key, value in raw.items() if key not in (FIELD, PROVENANCE)}
    ranks = raw.get(FIELD, {})
    if not isinstance(ranks, dict) or not all(
        isinstance(rank, int) and not isinstance(rank, bool) and rank > 0 for rank in ranks.values()
    ):
        raise UserError(f"{where}: {FIELD} should be an object of tensor name to rank")
    return plain, ranks


def merged(tensors: Mapping[str, Tensor], ranks: Mapping[str, int]) -> dict[str, Tensor]:
    """The tensors of a checkpoint, its factors as the matrices that they make.

    Args:
        tensors: of the files.
        ranks: of the factored matrices, by name.

    Raises:
        UserError: a factor is missing, or the two do not fit together.
    """
    whole, problems = dict(tensors), []
    for name, rank in ranks.items():
        left, right = (whole.pop(f"{name}.{side}", None) for side in ("left", "right"))
        if left is None or right is None:
            problems.append(f"missing {name}.{'left' if left is None else 'right'}")
        elif not _fit(left, right, rank):
            problems.append(
                f"{name}.left {left.dtype} {list(left.shape)} and {name}.right {right.dtype} "
                f"{list(right.shape)} should be the factors of a matrix of rank {rank}"
            )
        elif name in whole:
            problems.append(f"{name} is there whole and as factors")
        else:
            shape = (left.shape[0], right.shape[1])
            product = partial(_product, left, right)
            whole[name] = Tensor(shape, "F32", product, file=left.file, stored=left.dtype)
    if problems:
        raise UserError("; ".join(problems))
    return whole


def _fit(left: Tensor, right: Tensor, rank: int) -> bool:
    two = len(left.shape) == len(right.shape) == 2
    floats = {left.dtype, right.dtype} <= {*FLOATS}
    return two and floats and left.shape[1] == rank == right.shape[0]


def _product(left: Tensor, right: Tensor) -> np.ndarray:
    with np.errstate(all="ignore"):  # what is not finite is reported by name
        return left.read().astype(np.float32) @ right.read().astype(np.float32)
