"""The edits that a search tries: every layer, module, rate and method within its bounds."""

from collections.abc import Sequence
from typing import Literal

import jax.numpy as jnp
import numpy as np

from jaxsvd import svd
from jaxsvd.edits.edit import Edit, Edits, Method
from jaxsvd.engine.variants import Place
from jaxsvd.model import Model
from jaxsvd.models.matrices import matrices
from jaxsvd.runtime.errors import UserError
from theory.first_order import gavish_donoho_rank, marchenko_pastur_rank

NamedRank = Literal["mp", "gd"]
"""Ranks that a matrix's own spectrum gives: ``mp``, the singular values above the largest that
noise alone would have (Marchenko and Pastur); ``gd``, those above the threshold that loses least
to noise (Gavish and Donoho, 2014). The noise's size is that which the median speaks for."""

NAMED_RANKS: tuple[NamedRank, ...] = ("mp", "gd")

Rate = float | str
"""How far a candidate is cut: by a clipping rate, or to the rank of a rule, a :data:`NamedRank`."""


def candidates(
    model: Model,
    layers: Sequence[int],
    modules: Sequence[str],
    rates: Sequence[Rate],
    *,
    methods: Sequence[Method] = ("exact",),
    seed: int = 0,
) -> tuple[Edits, ...]:
    """The untouched model, then every edit by layer, module, method and rate, each once.

    The rank of a rule is one of each matrix, so such a candidate edits every matrix of the module
    by itself; a matrix that the rule keeps whole is left alone.

    Args:
        model: whose matrices they are.
        layers: counted from 0.
        modules: see :mod:`jaxsvd.models.matrices`.
        rates: clipping rates in [0, 1), or names of rules.
        methods: what takes a matrix's place; ``dropped`` has no rates, so it is one candidate of
            each layer and module.
        seed: of the methods that draw random numbers.

    Raises:
        UserError: an unknown module, or a rate that is none.
    """
    listed: dict[Edits, None] = {(): None}
    for layer in layers:
        for module in modules:
            for method in methods:
                if method == "dropped":
                    listed[(Edit(layer, module, method=method),)] = None
                    continue
                for rate in rates:
                    if isinstance(rate, str):
                        listed[_ruled(model, layer, module, rate, method, seed)] = None
                    elif svd.check_rate(rate):
                        listed[(Edit(layer, module, rate, method=method, seed=seed),)] = None
    return tuple(listed)


def _ruled(model: Model, layer: int, module: str, rule: str, method: Method, seed: int) -> Edits:
    edits = []
    for name in matrices(model.config, module):
        rank, full = ruled_rank(model, (layer, name), rule)
        if rank < full:
            edits.append(Edit(layer, name, rank=rank, method=method, seed=seed))
    return tuple(edits)


def ruled_rank(model: Model, place: Place, rule: str) -> tuple[int, int]:
    """The rank that a rule gives a matrix, at least 1, and the full one.

    Raises:
        UserError: an unknown rule.
    """
    if rule not in NAMED_RANKS:
        raise UserError(f"rate {rule!r} should be a number in [0, 1), or mp or gd")
    matrix = np.asarray(jnp.asarray(model.engine.matrix(*place), jnp.float32), np.float64)
    rank_of = marchenko_pastur_rank if rule == "mp" else gavish_donoho_rank
    rank = rank_of(np.linalg.svd(matrix, compute_uv=False), matrix.shape)
    return max(rank, 1), min(matrix.shape)
