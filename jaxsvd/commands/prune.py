"""A model with one module of one layer truncated, to be used and written like any other."""

from pathlib import Path

from jaxsvd import svd
from jaxsvd.edits.edit import Edit
from jaxsvd.model import Model
from jaxsvd.runtime.progress import SILENT, Progress
from jaxsvd.score import edit_records


def prune(
    model: Model,
    *,
    layer: int,
    module: str = "mlp",
    rate: float,
    method: svd.Method = "exact",
    seed: int = 0,
    progress: Progress = SILENT,
) -> Model:
    """Truncate a module of a layer; see :meth:`jaxsvd.model.Model.edited` for several edits.

    Args:
        model: any.
        layer: an index; negative ones count from the end.
        module: what is truncated, see :mod:`jaxsvd.models.matrices`.
        rate: clipping rate in [0, 1); at 0 the weights are untouched.
        method: exact SVD, or randomized as in the reference scripts.
        seed: of the latter: the matrices are those that a search with this seed tests.
        progress: where to show it.

    Raises:
        UserError: an unknown module, no such layer, or a rate outside [0, 1).
    """
    edit = Edit(layer, module, rate, method=method, seed=seed)
    return model.edited([edit], progress=progress)


def summary(pruned: Model, out: Path, *, factored: bool) -> list[str]:
    """What was cut, where it is and how much smaller it became, in lines for people."""
    lines = []
    for edit in edit_records(pruned):
        kept = ", ".join(map(str, sorted(set(edit.ranks.values()))))
        rate = "" if edit.rate is None else f", rate {edit.rate:g}"
        lines.append(
            f"pruned  layer {edit.layer}, {edit.module}{rate}: "
            + (f"rank {kept} ({', '.join(edit.ranks)})" if edit.ranks else "untouched")
        )
    stored = pruned.stored_parameters(factored=factored)
    line = f"stored  {stored:,} numbers in {pruned.dtype}"
    if factored:
        share = stored / pruned.parameters - 1
        word = "fewer" if share < 0 else "more"
        line += f", {abs(share):.2%} {word} than the {pruned.parameters:,} of whole matrices"
    return [*lines, line, f"model   {out}"]
