"""What a truncation removed, as a LoRA adapter that PEFT, vLLM and llama.cpp put on the source.

``W_r = W - U S V^T``, the sum over the singular values that were cut off; so the adapter is
``B = -U S`` and ``A = V^T`` (Hu et al., 2022: ``W + (alpha / r) B A``) with ``alpha = r``. All of
its matrices have one rank, the largest that any needs, the rest filled with zeros: vLLM scales by
one alpha and r for all, llama.cpp divides by each matrix's own rank.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from scipy import linalg

from jaxsvd.checkpoints.export import cast, written_dtype
from jaxsvd.checkpoints.load import Origin
from jaxsvd.checkpoints.save import Planned, whole_directory, write_safetensors
from jaxsvd.models.layout import Layout
from jaxsvd.runtime.errors import UserError

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")

Matrix = Float32[np.ndarray, "rows columns"]


@dataclass(frozen=True)
class Target:
    """A tensor of the source that an adapter changes.

    Attributes:
        name: of the tensor, ``.weight`` and all.
        paths: of the parameters in it that were truncated.
        shape: ``[out, in]``.
        rank: of what was removed.
        transposed: whether the source stores ``[in, out]`` (GPT-2).
    """

    name: str
    paths: tuple[str, ...]
    shape: tuple[int, int]
    rank: int
    transposed: bool

    @property
    def module(self) -> str:
        """The module that holds the tensor."""
        return self.name.removesuffix(".weight")


def targets_of(layout: Layout, removed: Mapping[str, int]) -> list[Target]:
    """The tensors that are changed.

    Args:
        layout: of the source's files.
        removed: singular values cut off, by parameter path.
    """
    by_tensor: dict[str, list[str]] = {}
    for path in removed:
        by_tensor.setdefault(layout.entries[path].name, []).append(path)
    targets = []
    for name, paths in by_tensor.items():
        transposed = layout.entries[paths[0]].share.transposed
        rows, columns = layout.shapes[name][::-1] if transposed else layout.shapes[name]
        rank = min(rows, columns, sum(removed[path] for path in paths))
        targets.append(Target(name, tuple(paths), (rows, columns), rank, transposed))
    return targets


def refuse_larger(targets: list[Target]) -> int:
    """The rank of an adapter, if that holds fewer numbers than the matrices that it changes.

    Raises:
        UserError: it does not.
    """
    rank = max(target.rank for target in targets)
    adapter = sum(rank * sum(target.shape) for target in targets)
    dense = sum(target.shape[0] * target.shape[1] for target in targets)
    if adapter > dense:
        raise UserError(
            f"an adapter of rank {rank}, what was removed, would hold {adapter:,} numbers, and the "
            f"dense matrices hold {dense:,}; use the format dense or factored, or a lower rate"
        )
    return rank


def save_adapter(
    directory: Path,
    layout: Layout,
    removed: Mapping[str, int],
    *,
    before: Callable[[str], Matrix],
    after: Callable[[str], Matrix],
    origins: Mapping[str, Origin],
    own: np.dtype,
    base: str,
    revision: str | None,
    write_companions: Callable[[Path], None],
) -> None:
    """Write an adapter.

    Args:
        directory: a new one; it appears when all is written.
        layout: of the source's files.
        removed: singular values cut off, by parameter path.
        before: a parameter of the source, ``[out, in]``.
        after: the same, truncated.
        origins: how the parameters are stored; the adapter is written in their dtype.
        own: dtype of the truncated model.
        base: the source, as records name it.
        revision: of it.
        write_companions: writes further files, before the directory appears.

    Raises:
        UserError: the directory exists, or the adapter would hold more numbers than the dense
            matrices.
    """
    targets = targets_of(layout, removed)
    rank = refuse_larger(targets)
    config: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "revision": revision,
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": any(target.transposed for target in targets),
        "inference_mode": True,
        "init_lora_weights": True,
        "modules_to_save": None,
        "target_modules": [target.module for target in targets],
    }
    planned: dict[str, Planned] = {}
    for target in targets:
        dtype = written_dtype(origins.get(target.paths[0]), own)
        halves = _Halves(partial(_removed_part, layout, target, before, after), target, rank)
        rows, columns = target.shape
        stem = f"base_model.model.{target.module}"
        for side, shape, make in (
            ("lora_A", (rank, columns), halves.right),
            ("lora_B", (rows, rank), halves.left),
        ):
            name = f"{stem}.{side}.weight"
            planned[name] = Planned(shape, dtype, partial(_cast, make, dtype, name))
    with whole_directory(directory) as partial_directory:
        write_companions(partial_directory)
        text = json.dumps(config, indent=2, sort_keys=True)
        (partial_directory / ADAPTER_FILES[0]).write_text(text + "\n", "utf-8")
        write_safetensors(partial_directory / ADAPTER_FILES[1], planned)


def _cast(make: Callable[[], Matrix], dtype: np.dtype, name: str) -> np.ndarray:
    return cast(make(), dtype, name)


class _Halves:
    """Both factors of what was removed of a tensor: made once, and let go with the second."""

    def __init__(self, removed: Callable[[], Matrix], target: Target, rank: int) -> None:
        self._removed, self._target, self._rank = removed, target, rank
        self._left: Matrix | None = None

    def right(self) -> Matrix:
        """``A``: rows are right singular vectors."""
        u, s, vt = linalg.svd(self._removed(), full_matrices=False, lapack_driver="gesdd")
        kept, missing = self._target.rank, self._rank - self._target.rank
        self._left = np.pad(-u[:, :kept] * s[:kept], ((0, 0), (0, missing)))
        return np.pad(vt[:kept], ((0, missing), (0, 0)))

    def left(self) -> Matrix:
        """``B``: left singular vectors times the negative singular values."""
        assert self._left is not None, "the right one is written first"
        left, self._left = self._left, None
        return left


def _removed_part(
    layout: Layout,
    target: Target,
    before: Callable[[str], Matrix],
    after: Callable[[str], Matrix],
) -> Matrix:
    """The source's tensor less the truncated one, ``[out, in]``; zero where nothing was cut."""
    shares = {path: layout.entries[path].share for path in target.paths}
    removed = np.zeros(target.shape, np.float32)
    for path, share in shares.items():
        removed[share.rows()] = before(path) - after(path)
    return removed
