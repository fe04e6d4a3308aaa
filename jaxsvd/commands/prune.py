"""A model with one module of one layer truncated, to be used and written like any other."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jax
from flax import nnx

from jaxsvd import svd
from jaxsvd.checkpoints import factored
from jaxsvd.checkpoints.load import fill, parameter_shapes, save_decoder
from jaxsvd.checkpoints.save import full_disk_told
from jaxsvd.devices import sharding
from jaxsvd.edits.truncation import seed_key
from jaxsvd.model import Model
from jaxsvd.models import FAMILIES
from jaxsvd.models.matrices import layer_index, matrices, part
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.progress import SILENT, Progress


@dataclass(frozen=True, kw_only=True)
class Pruned(Model):
    """A truncated model; its decoder shares all other weights with the model it was made of.

    Attributes:
        layer: counted from 0.
        module: see :mod:`jaxsvd.models.matrices`.
        rate: clipping rate.
        ranks: what each matrix keeps, by its name; none at rate 0.
        factors: the truncated matrices as products, by their paths in the decoder.
    """

    layer: int
    module: str
    rate: float
    ranks: Mapping[str, int]
    factors: Mapping[str, factored.Pair]

    def save(self, directory: str | Path, *, factored: bool = False) -> None:
        """Write the model in Hugging Face layout, with its tokenizer.

        Args:
            directory: a new one.
            factored: keep the truncated matrices as two factors
                (:mod:`jaxsvd.checkpoints.factored`): smaller wherever
                rank (rows + columns) < rows columns. Only jaxsvd reads it.

        Raises:
            UserError: the directory exists already or cannot be written, or there are no factors
                because nothing was truncated.
        """
        path = Path(directory)
        if factored and not self.factors:
            raise UserError("a clipping rate of 0 truncates nothing: there are no factors to keep")
        with full_disk_told(path):
            save_decoder(
                self.decoder,
                FAMILIES[self.config.family],
                self.hf_config,
                path,
                copy_from=self.directory,
                factors=self.factors if factored else {},
            )

    def stored_parameters(self, *, factored: bool = False) -> int:
        """How many numbers :meth:`save` writes."""
        if not factored:
            return self.parameters
        shapes = parameter_shapes(self.config)
        dense = sum(shapes[path][0] * shapes[path][1] for path in self.factors)
        kept = sum(pair.left.size + pair.right.size for pair in self.factors.values())
        return self.parameters - dense + kept


def prune(
    model: Model,
    *,
    layer: int,
    module: str = "mlp",
    rate: float,
    method: svd.Method = "exact",
    seed: int = 0,
    progress: Progress = SILENT,
) -> Pruned:
    """Truncate a module of a layer.

    Args:
        model: any.
        layer: an index; negative ones count from the end.
        module: what is truncated, see :mod:`jaxsvd.models.matrices`.
        rate: clipping rate in [0, 1); at 0 the weights are untouched.
        method: exact SVD, or randomized as in the reference scripts.
        seed: of the latter. At one of the paper's rates (:data:`jaxsvd.svd.RATES`) the matrices
            are those that a search of all of them with this seed tests.
        progress: where to show it.

    Raises:
        UserError: an unknown module, no such layer, or a rate outside [0, 1).
    """
    index, names = layer_index(model.config, layer), matrices(model.config, module)
    rate = svd.check_rate(rate)
    state = nnx.to_flat_state(nnx.state(model.decoder))
    arrays = {".".join(map(str, path)): leaf.get_value() for path, leaf in state}
    mesh = model.mesh
    factors: dict[str, factored.Pair] = {}
    ranks: dict[str, int] = {}
    with progress.bar("factoring", len(names), "matrices") as advance:
        for m, name in enumerate(names if rate else ()):
            path = f"blocks.{index}.{part(name)}.{name}.weight"
            matrix = arrays[path] if mesh is None else sharding.gathered(arrays[path])
            ranks[name] = svd.rank_at(rate, matrix.shape)
            found = _factors(matrix, ranks[name], method, seed, m, rate)
            cut = svd.reconstruct(found, ranks[name]).astype(matrix.dtype)
            pair = (found.left[:, : ranks[name]], found.right[: ranks[name]])
            arrays[path] = (
                cut if mesh is None else sharding.place(cut, mesh, sharding.spec_of(path))
            )
            factors[path] = factored.Pair(*(half.astype(matrix.dtype) for half in pair))
            advance(1)
    dtype = model.decoder.embedding[...].dtype
    known = {f.name: getattr(model, f.name) for f in dataclasses.fields(Model)}
    known["decoder"] = fill(model.config, arrays, dtype)
    if rate:  # no run of this model is to be taken for one of the untouched
        known["source"] = f"{model.source}, {module} of layer {index} at rate {rate:g}"
    return Pruned(**known, layer=index, module=module, rate=rate, ranks=ranks, factors=factors)


def _factors(
    matrix: jax.Array, rank: int, method: svd.Method, seed: int, number: int, rate: float
) -> svd.Factors:
    """As :func:`jaxsvd.edits.truncation.truncations` factors the module's matrix of this number."""
    if method == "exact":
        return svd.factor(matrix)
    position = svd.RATES.index(rate) if rate in svd.RATES else 0
    key = jax.random.fold_in(jax.random.fold_in(seed_key(seed), number), position)
    return svd.randomized_factors(matrix, rank, key)


def summary(pruned: Pruned, out: Path, *, factored: bool) -> list[str]:
    """What was cut, where it is and how much smaller it became, in lines for people."""
    ranks = sorted(set(pruned.ranks.values()))
    kept = "untouched" if not ranks else "rank " + ", ".join(map(str, ranks))
    stored = pruned.stored_parameters(factored=factored)
    lines = [
        f"pruned  layer {pruned.layer}, {pruned.module}, rate {pruned.rate:g}: {kept}"
        + (f" ({', '.join(pruned.ranks)})" if ranks else ""),
        f"stored  {stored:,} numbers in {pruned.dtype}",
    ]
    if factored:
        share = stored / pruned.parameters - 1
        word = "fewer" if share < 0 else "more"
        lines[-1] += f", {abs(share):.2%} {word} than the {pruned.parameters:,} of whole matrices"
    return [*lines, f"model   {out}"]
