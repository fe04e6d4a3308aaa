"""A model with some matrices truncated, to be used and written like any other."""

from dataclasses import dataclass
from pathlib import Path

from jaxsvd import svd
from jaxsvd.checkpoints import fingerprint
from jaxsvd.edits.card import Format
from jaxsvd.edits.edit import Edit, Edits, Method
from jaxsvd.model import Model
from jaxsvd.results.fields import TEXT, Fields
from jaxsvd.results.read import read_run
from jaxsvd.results.records import read_edits
from jaxsvd.results.search import SearchResult
from jaxsvd.results.search_summary import search_answer
from jaxsvd.runtime.errors import UserError
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


@dataclass(frozen=True)
class SearchedEdits:
    """The edits that a search chose, to be written.

    Attributes:
        run: the run directory.
        edits: that it chose.
        source, revision: of its model.
        contents: fingerprint of the model's files; None where the run has none.
        measured: its numbers in Markdown, for the model card.
    """

    run: Path
    edits: Edits
    source: str
    revision: str | None
    contents: str | None
    measured: str

    def check(self, model: Model) -> None:
        """Refuse another model than the one that was searched.

        Raises:
            UserError: the files differ.
        """
        if self.contents not in (None, fingerprint.of_model(model.directory)):
            raise UserError(
                f"{model.source} is not the model that {self.run} searched ({self.source}), or its "
                "files have changed since"
            )


def edits_of_search(run: str | Path) -> SearchedEdits:
    """The edits that a search chose.

    Args:
        run: directory of a finished search that truncated something.

    Raises:
        UserError: no such run, one of another command, or one that truncated nothing.
    """
    read = read_run(run)
    result = read.result
    if not isinstance(result, SearchResult):
        raise UserError(f"{run}: not a run of search; its edits are what is pruned")
    method: Method = "randomized" if result.method == "randomized" else "exact"
    seed = result.task.draw[1] or 0
    written = read_edits(Fields(read.fields))
    edits = tuple(
        Edit(e.layer, e.module, e.rate, method=method, seed=seed)
        for e in written
        if e.rate is not None
    )
    edits = edits or (
        Edit(result.layer, result.module, result.best_rate, method=method, seed=seed),
    )
    if not any(edit.touches for edit in edits):
        raise UserError(f"{run}: the search chose rate 0: there is nothing to prune")
    request = Fields(read.request)
    contents = request.nested("model").maybe("contents", TEXT) if request.has("model") else None
    model = result.model
    return SearchedEdits(
        Path(run), edits, model.source, model.revision, contents, measured_by(result)
    )


def measured_by(result: SearchResult) -> str:
    """What a search measured, in Markdown."""
    task = result.task
    shots = "" if task.shots is None else f", {task.shots} shots"
    rows = [
        ("test, untouched", "0", result.base),
        ("test, truncated", f"{result.best_rate:g}", result.pruned),
        *(("validation", f"{score.rate:g}", score.accuracy) for score in result.validation),
    ]
    return "\n".join(
        [
            search_answer(result),
            "",
            f"Task: {task.name}{shots}, in context.",
            "",
            "| split | clipping rate | right | of | accuracy |",
            "|---|---|---|---|---|",
            *(
                f"| {split} | {rate} | {counts.correct} | {counts.total} | {counts.value:.4f} |"
                for split, rate, counts in rows
            ),
        ]
    )


def summary(pruned: Model, out: Path, format: Format) -> list[str]:
    """What was cut, where it is and how much smaller it became, in lines for people."""
    lines = []
    for edit in edit_records(pruned):
        kept = ", ".join(map(str, sorted(set(edit.ranks.values()))))
        rate = "" if edit.rate is None else f", rate {edit.rate:g}"
        lines.append(
            f"pruned  layer {edit.layer}, {edit.module}{rate}: "
            + (f"rank {kept} ({', '.join(edit.ranks)})" if edit.ranks else "untouched")
        )
    return [*lines, _stored(pruned, out, format), f"model   {out}"]


def _stored(pruned: Model, out: Path, format: Format) -> str:
    size = sum(file.stat().st_size for file in out.glob("*.safetensors"))
    dtypes = ", ".join(sorted({dtype.name for dtype in pruned.written_dtypes}))
    if format == "lora":
        return f"stored  an adapter of {pruned.unedited} in {dtypes}, {size:,} bytes"
    stored = pruned.stored_parameters(format=format)
    line = f"stored  {stored:,} numbers in {dtypes}"
    if format == "factored":
        share = stored / pruned.parameters - 1
        word = "fewer" if share < 0 else "more"
        line += f", {abs(share):.2%} {word} than the {pruned.parameters:,} of whole matrices"
    return f"{line}; {size:,} bytes"
