"""The matrices that edits put in the place of a model's, for a plain model and for the engine."""

import functools
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxsvd import svd
from jaxsvd.devices import distributed, sharding
from jaxsvd.edits import calibrated, controls
from jaxsvd.edits.edit import CONTROLS, LOW_RANK, Edit, Edits, matrix_edits
from jaxsvd.engine.engine import Engine
from jaxsvd.engine.input_statistics import InputStatistics, Moments
from jaxsvd.engine.variants import Place, Replacement, Variants
from jaxsvd.models.lowrank import LowRank, widths
from jaxsvd.models.matrices import matrices, part
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.progress import SILENT, Progress


def parameter_path(layer: int, name: str) -> str:
    """Where a matrix stands in a decoder."""
    return f"blocks.{layer}.{part(name)}.{name}.weight"


def edit_key(edit: Edit, rank: int) -> PRNGKeyArray:
    """The key of an edit's random numbers: of its seed, layer, matrix and rank, of nothing else.

    So a matrix edited alone is the one that was edited among others.

    Args:
        edit: of a single matrix, its layer counted from 0.
        rank: that it keeps.
    """
    key = jax.random.key(jnp.uint32(edit.seed % 2**32))
    for number in (edit.layer, zlib.crc32(edit.module.encode()), rank):
        key = jax.random.fold_in(key, np.uint32(number))
    return key


def edited_matrix(
    weight: Float[Array, "rows columns"],
    edit: Edit,
    key: PRNGKeyArray | None = None,
    *,
    factors: svd.SvdFactors | None = None,
    decomposed: controls.Decomposed | None = None,
    statistics: InputStatistics | None = None,
) -> Float[Array, "rows columns"]:
    """What takes the place of a matrix: another one of its shape and dtype.

    Args:
        weight: the matrix.
        edit: of this matrix.
        key: of its random numbers; :func:`edit_key` if left out.
        factors: exact ones of the matrix, if they are known; only exact truncation takes them.
        decomposed: likewise, for controls.
        statistics: of its inputs, for methods that are calibrated.

    Raises:
        UserError: more of the matrix than there is, or no statistics where they are needed.
    """
    if not edit.touches:
        return weight
    if edit.method == "dropped":
        return jnp.zeros_like(weight)
    rank = edit.rank_of(weight.shape)
    match edit.method:
        case "exact" | "randomized" | "activation-scaled" | "whitened":
            if factors is None or edit.method != "exact":
                factors = truncated_factors(weight, edit, key, statistics=statistics)
            return svd.reconstruct(factors, rank).astype(weight.dtype)
        case "magnitude":
            return largest_entries(weight, parameters_kept(rank, weight.shape))
    of = decomposed or decomposed_matrix(weight)
    key = edit_key(edit, rank) if key is None else key
    match edit.method:
        case "noise":
            control = controls.with_noise(of, rank, key)
        case "spectrum-noise":
            control = controls.with_spectrum_noise(of, rank, key)
        case "random-directions":
            control = controls.in_random_directions(of, rank, key)
        case "removed-part":
            control = controls.removed_part(of, rank)
        case "magnitude-norm":
            control = controls.without_small_entries(of, rank)
    return jnp.asarray(control, jnp.float32).astype(weight.dtype)


def decomposed_matrix(weight: Float[Array, "rows columns"]) -> controls.Decomposed:
    """A matrix as its controls take it."""
    return controls.Decomposed.of(np.asarray(weight.astype(jnp.float32)))


def truncated_factors(
    weight: Float[Array, "rows columns"],
    edit: Edit,
    key: PRNGKeyArray | None = None,
    *,
    statistics: InputStatistics | None = None,
) -> svd.SvdFactors:
    """Factors whose first columns and rows are a matrix truncated; see :func:`edited_matrix`.

    But for randomized ones they are those of any rank.
    """
    match edit.method:
        case "exact":
            return svd.factor(weight)
        case "activation-scaled":
            return calibrated.activation_scaled_factors(weight, _inputs(edit, statistics))
        case "whitened":
            return calibrated.whitened_factors(weight, _inputs(edit, statistics))
    rank = edit.rank_of(weight.shape)
    return svd.randomized_factors(weight, rank, edit_key(edit, rank) if key is None else key)


def _inputs(edit: Edit, statistics: InputStatistics | None) -> Moments:
    """Of the matrix of an edit, its layer counted from 0."""
    place = edit.layer, edit.module
    if statistics is None or place not in statistics.moments:
        raise UserError(
            f"{edit}: {edit.method} truncation needs statistics of what the matrix reads; evaluate "
            "takes them from a task's training examples (jaxsvd.train_statistics)"
        )
    return statistics.moments[place]


def parameters_kept(rank: int, shape: tuple[int, ...]) -> int:
    """Parameters of an m x n matrix of rank r: r (m + n), never more than m n.

    Above rank m n / (m + n) the two factors would hold more numbers than the product, so the
    product is what is counted there.
    """
    rows, columns = shape
    return min(rows * columns, rank * (rows + columns))


def largest_entries(
    weight: Float[Array, "rows columns"], count: int
) -> Float[Array, "rows columns"]:
    """A matrix with all but its ``count`` entries of largest magnitude set to zero.

    Exactly so many are kept; of equals those that stand first.
    """
    values = np.asarray(weight.astype(jnp.float32)).ravel()
    kept = np.argsort(-np.abs(values), kind="stable")[:count]
    pruned = np.zeros_like(values)
    pruned[kept] = values[kept]
    return jnp.asarray(pruned.reshape(weight.shape)).astype(weight.dtype)


def low_ranks(
    weight: Float[Array, "rows columns"],
    edits: Iterable[Edit],
    statistics: InputStatistics | None = None,
) -> dict[Edit, LowRank]:
    """A matrix truncated by several edits of it, ready to be multiplied, factored once a method.

    Where a product of factors is fewer operations (:func:`~jaxsvd.models.lowrank.widths`), all
    edits of one method share the same two arrays and differ in how much of them counts; randomized
    ones, whose factors are of one rank and seed, share nothing.
    """
    width = max(widths(*weight.shape), default=0)
    known: dict[Edit | str, tuple[svd.SvdFactors, tuple[Array, Array]]] = {}

    def of(edit: Edit) -> LowRank:
        shared = edit if edit.random else edit.method
        if shared not in known:
            factors = truncated_factors(weight, edit, statistics=statistics)
            known[shared] = factors, _halves(factors, width, weight.dtype)
        factors, halves = known[shared]
        rank = edit.rank_of(weight.shape)
        dense = weight if rank <= width else svd.reconstruct(factors, rank).astype(weight.dtype)
        return LowRank(dense, *halves, jnp.asarray(rank, jnp.int32))

    return {edit: of(edit) for edit in edits}


@functools.partial(jax.jit, static_argnames=("width", "dtype"))
def _halves(
    factors: svd.SvdFactors, width: int, dtype: jnp.dtype
) -> tuple[Float[Array, "rows width"], Float[Array, "width columns"]]:
    """The first factors, padded with zeros to at least ``width`` of at least 1."""
    width = max(width, 1)
    missing = max(0, width - factors.s.shape[0])
    left = jnp.pad(factors.left, ((0, 0), (0, missing)))[:, :width]
    right = jnp.pad(factors.right, ((0, missing), (0, 0)))[:width]
    return left.astype(dtype), right.astype(dtype)


def replacements(
    engine: Engine,
    edits: Collection[Edit],
    *,
    statistics: InputStatistics | None = None,
    progress: Progress = SILENT,
) -> dict[Edit, Replacement]:
    """The matrices of some edits for the engine, each of the model's factored once for all of them.

    Args:
        engine: holds the weights.
        edits: of single matrices (:func:`~jaxsvd.edits.edit.matrix_edits`).
        statistics: of what the matrices read, for methods that are calibrated.
        progress: where to show it.

    Raises:
        UserError: an edit without the statistics that it needs.
    """
    places: dict[Place, list[Edit]] = {}
    for edit in dict.fromkeys(edits):
        places.setdefault((edit.layer, edit.module), []).append(edit)
    results: dict[Edit, Replacement] = {}
    with progress.bar("factoring", len(places), "matrices") as advance:
        for number, (place, wanted) in enumerate(places.items()):
            if engine.mesh is None:
                computed = _of_matrix(engine.matrix(*place), wanted, statistics)
                jax.block_until_ready([*computed.values()])
            else:
                computed = _on_a_mesh(engine, place, wanted, number, statistics)
            results |= computed
            advance(1)
    return results


def _of_matrix(
    weight: Float[Array, "rows columns"],
    edits: Sequence[Edit],
    statistics: InputStatistics | None,
) -> dict[Edit, Replacement]:
    truncations = [edit for edit in edits if edit.method in LOW_RANK]
    needed = any(edit.method in CONTROLS for edit in edits)
    decomposed = decomposed_matrix(weight) if needed else None
    others = {
        edit: edited_matrix(weight, edit, decomposed=decomposed)
        for edit in edits
        if edit.method not in LOW_RANK
    }
    return {**low_ranks(weight, truncations, statistics), **others}


def _on_a_mesh(
    engine: Engine,
    place: Place,
    edits: Sequence[Edit],
    number: int,
    statistics: InputStatistics | None,
) -> dict[Edit, Replacement]:
    """Each matrix is factored on another device, and dealt again.

    Of several processes the first's factors are everybody's: their signs are arbitrary.
    """
    matrix, mesh = engine.matrix(*place), engine.mesh
    assert mesh is not None
    devices = jax.local_devices()
    whole = sharding.gathered(matrix, devices[number % len(devices)])
    computed = _of_matrix(whole, edits, statistics)
    own = {id(x): x for x in jax.tree.leaves(list(computed.values())) if x is not whole}
    agreed = dict(zip(own, distributed.arrays_of_first(list(own.values())), strict=True))
    placed = {id(whole): matrix}
    path = parameter_path(*place)
    results: dict[Edit, Replacement] = {}
    for edit, value in computed.items():
        if isinstance(value, LowRank):
            low = LowRank(*(agreed.get(id(x), x) for x in value))
            results[edit] = sharding.place_low_rank(low, place[1], mesh, placed)
        else:
            results[edit] = sharding.place(agreed[id(value)], mesh, sharding.spec_of(path))
    return results


def variants(
    engine: Engine,
    edited: Sequence[Edits],
    *,
    matrices: Mapping[Edit, Replacement] | None = None,
    statistics: InputStatistics | None = None,
) -> Variants:
    """Variants of a model for the engine to score together, one for each of some edits.

    Args:
        engine: holds the weights.
        edited: the edits of each variant; none are the model itself.
        matrices: replacements of all their edits (:func:`replacements`), where they are used more
            than once; if left out, they are computed whenever the engine asks, and belong to it.
        statistics: to compute them with, where ``matrices`` is left out; see :func:`replacements`.

    Raises:
        UserError: a layer or module that the model does not have, or a matrix edited twice.
    """
    by_variant = [matrix_edits(edits, engine.config) for edits in edited]

    def make(chosen: Sequence[int]) -> Sequence[Mapping[Place, Replacement]]:
        wanted = dict.fromkeys(edit for v in chosen for edit in by_variant[v])
        known = (
            replacements(engine, wanted, statistics=statistics) if matrices is None else matrices
        )
        return [{(e.layer, e.module): known[e] for e in by_variant[v]} for v in chosen]

    return Variants(tuple(frozenset((e.layer, e.module) for e in v) for v in by_variant), make)


def all_replacements(
    engine: Engine,
    edited: Iterable[Edits],
    *,
    statistics: InputStatistics | None = None,
    progress: Progress = SILENT,
) -> dict[Edit, Replacement]:
    """The matrices of some variants, to be scored more than once; see :func:`replacements`."""
    edits = [edit for edits in edited for edit in matrix_edits(edits, engine.config)]
    return replacements(engine, edits, statistics=statistics, progress=progress)


def matrix_shapes(engine: Engine, layer: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the matrices of a layer that can be edited, by name."""
    names = matrices(engine.config, "all")
    return {name: engine.matrix(layer, name).shape for name in names}


def smallest_rank(engine: Engine, edit: Edit) -> int | None:
    """The smallest rank that an edit leaves of its matrices; None where it truncates none."""
    edit = edit.resolved(engine.config)
    ranks = edit.ranks(engine.config, matrix_shapes(engine, edit.layer))
    return min(ranks.values(), default=None)
