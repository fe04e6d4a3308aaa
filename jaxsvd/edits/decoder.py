"""A decoder with some of its matrices edited; it shares all other weights with the one it was."""

from collections.abc import Iterable

import jax
from flax import nnx
from jax.sharding import Mesh

from jaxsvd import svd
from jaxsvd.checkpoints.factored import Pair
from jaxsvd.checkpoints.load import fill
from jaxsvd.devices import sharding
from jaxsvd.edits.edit import TRUNCATIONS, Edit
from jaxsvd.edits.replacement import edited_matrix, parameter_path, truncated_factors
from jaxsvd.models.decoder import Decoder
from jaxsvd.runtime.progress import SILENT, Progress


def edited_decoder(
    decoder: Decoder,
    edits: Iterable[Edit],
    mesh: Mesh | None = None,
    *,
    progress: Progress = SILENT,
) -> tuple[Decoder, dict[str, Pair | None]]:
    """Edit matrices of a decoder.

    Args:
        decoder: stays as it is.
        edits: of single matrices (:func:`~jaxsvd.edits.edit.matrix_edits`).
        mesh: the devices that share the weights; None for one.
        progress: where to show it.

    Returns:
        The edited decoder; and, by the path of each edited matrix, its two factors, or None where
        it is not of low rank.
    """
    edits = tuple(edits)
    state = nnx.to_flat_state(nnx.state(decoder))
    arrays = {".".join(map(str, path)): leaf.get_value() for path, leaf in state}
    pairs: dict[str, Pair | None] = {}
    with progress.bar("factoring", len(edits), "matrices") as advance:
        for edit in edits:
            path = parameter_path(edit.layer, edit.module)
            weight = arrays[path] if mesh is None else sharding.gathered(arrays[path])
            edited, pairs[path] = _edited(weight, edit)
            if mesh is not None:
                edited = sharding.place(edited, mesh, sharding.spec_of(path))
            arrays[path] = edited
            advance(1)
    return fill(decoder.config, arrays, decoder.dtype), pairs


def _edited(weight: jax.Array, edit: Edit) -> tuple[jax.Array, Pair | None]:
    """A matrix and its factors, as :mod:`jaxsvd.edits.replacement` makes them for the engine."""
    if edit.method not in TRUNCATIONS:
        return edited_matrix(weight, edit), None
    rank, factors = edit.rank_of(weight.shape), truncated_factors(weight, edit)
    halves = (factors.left[:, :rank], factors.right[:rank])
    pair = Pair(*(half.astype(weight.dtype) for half in halves))
    return svd.reconstruct(factors, rank).astype(weight.dtype), pair
