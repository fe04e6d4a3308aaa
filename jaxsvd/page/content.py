"""The data of a run's page: everything that its script shows."""

from collections.abc import Iterator, Sequence

from jaxsvd.page import plain
from jaxsvd.page.explanation import answers_data, explanation_data, shown_fields
from jaxsvd.page.flips import flips_data
from jaxsvd.page.repeat import repeat
from jaxsvd.results.conditions import ConditionResult
from jaxsvd.results.evaluation import Evaluation
from jaxsvd.results.header import TaskHeader
from jaxsvd.results.other import OtherResult
from jaxsvd.results.points import Point, make_curves, paired
from jaxsvd.results.predictions import read_outcomes
from jaxsvd.results.read import AnyResult, FinishedRun
from jaxsvd.results.records import Measured
from jaxsvd.results.search import SearchResult
from jaxsvd.results.summary import answer, chance_of, subject
from jaxsvd.runs.directory import PREDICTIONS, RESULT, JsonObject
from jaxsvd.runtime.progress import Progress

_HEADING = ("command", "model", "task", "svd", "notices", "answer")
_SURROUNDINGS = ("versions", "git", "device", "started", "seconds")
_SHOWN = frozenset((*_HEADING, *_SURROUNDINGS))
_DRAWN = frozenset(("layer", "module", "layer_choice", "validation", "best_rate", "test"))


def content(run: FinishedRun, progress: Progress) -> dict[str, object]:
    """What the page of a run says.

    Args:
        run: of any command.
        progress: where to show the reading of large files.

    Raises:
        UserError: a file of the run is damaged; the flaw is named.
    """
    result, notes = run.result, []
    points, flips = points_of(result), None
    if points and run.predictions:
        outcomes = read_outcomes(run.predictions, progress)
        points, contradicted = paired(points, outcomes)
        if contradicted:
            notes.append(
                f"{PREDICTIONS} does not add up to {RESULT} at {contradicted:,} of "
                f"{len(points):,} points; these are not compared example by example."
            )
        flips = flips_data(outcomes, run.prompts, _labels(result), progress)
    line, caveats = repeat(run)
    return {
        "subject": subject(result),
        "answer": answer(result, points),
        "notices": [*_notices(result), *notes],
        "facts": [list(fact) for fact in _facts(run)],
        "curves": _curves(result, points),
        "explanation": explanation_data(result),
        "answers": answers_data(result),
        "flips": flips,
        "conditions": _conditions(result),
        "tables": plain.tables(run.fields, _left_out(result, points)),
        "repeat": {"command": line, "notes": caveats},
        "versions": [list(pair) for pair in _versions(result.measured)],
    }


def points_of(result: AnyResult) -> Sequence[Point]:
    """The points of a result's curves; none where cells differ in more than a curve shows."""
    points = () if isinstance(result, Evaluation | ConditionResult) else result.points
    return points if make_curves(points) else ()


def _labels(result: AnyResult) -> Sequence[str]:
    return (result.task.labels or ()) if isinstance(result, TaskHeader) else ()


def _notices(result: AnyResult) -> Sequence[str]:
    return () if isinstance(result, ConditionResult) else result.notices


def _left_out(result: AnyResult, points: Sequence[Point]) -> frozenset[str]:
    if isinstance(result, SearchResult):
        return _SHOWN | _DRAWN | shown_fields(result)
    if isinstance(result, Evaluation):
        return _SHOWN | shown_fields(result)
    if isinstance(result, ConditionResult):
        return _SHOWN | {"module", "condition_numbers"}
    return _SHOWN | ({"cells"} if points else frozenset())


def _curves(result: AnyResult, points: Sequence[Point]) -> dict[str, object] | None:
    if len({point.rate for point in points}) < 2:
        return None
    search = result if isinstance(result, SearchResult) else None
    return {
        "points": [_point(point) for point in points],
        "chance": chance_of(result),
        "chosen": None if search is None else search.best_rate,
        "heat_map": search is None,
    }


def _point(point: Point) -> dict[str, object]:
    names = ("split", "module", "layer", "rate", "rank", "shots", "seed", "beyond_noise")
    change = None if point.change is None else vars(point.change)
    at = {name: getattr(point, name) for name in names}
    return at | point.accuracy.to_json() | {"change": change}


def _facts(run: FinishedRun) -> Iterator[tuple[str, str]]:
    """Names and values, of what the run has."""
    result = run.result
    if (model := result.model) is not None:
        revision = f" at {model.revision}" if model.revision else ""
        yield (
            "Model",
            f"{model.source}{revision}: {model.family}, {model.layers} layers, "
            f"{model.parameters:,} parameters, {model.dtype}",
        )
    task = run.fields.get("task")  # of other results it need not be whole
    if isinstance(task, dict) and "name" in task:
        parts = [task.get("protocol") and f"{task['protocol']} protocol", task.get("source")]
        where = ", ".join(str(t) for t in parts if t and t != task["name"])
        yield "Task", f"{task['name']}" + (f" ({where})" if where else "")
        yield "Draw", _draw(task)
        if task.get("scoring"):
            yield "Score", str(task["scoring"])
    if isinstance(result, SearchResult):
        rule = f" ({result.choice.rule})"
        yield "Truncated", f"{result.module} of layer {result.layer}{rule}"
    if run.fields.get("svd"):
        yield "SVD", str(run.fields["svd"])


def _draw(task: JsonObject) -> str:
    counts = {"shots": "shots", "validation_size": "validation questions"}
    counts |= {"test_size": "test questions"}
    parts = []
    for name, what in counts.items():
        value = task.get(name)
        if value is not None and (value or name == "shots"):
            shown = f"{value:,}" if isinstance(value, int) else plain.as_text(value)
            parts.append(f"{shown} {what}")
    parts += [
        f"{n} {plain.as_text(task[n])}" for n in ("seed", "labels") if task.get(n) is not None
    ]
    return "; ".join(parts)


def _conditions(result: AnyResult) -> dict[str, object] | None:
    """Condition numbers by layer and matrix; those of a search with the layers that competed."""
    top, chosen = [], None
    if isinstance(result, SearchResult):
        choice = result.choice
        top, chosen = list(choice.top), choice.layer
        values = {(i, name): v for i, row in enumerate(choice.numbers) for name, v in row.items()}
    elif isinstance(result, ConditionResult):
        values = dict(result.numbers)
    else:
        values = result.numbers if isinstance(result, OtherResult) else {}
    if not values:
        return None
    layers = sorted({layer for layer, _ in values})
    matrices = list(dict.fromkeys(matrix for _, matrix in values))
    return {
        "layers": layers,
        "matrices": matrices,
        "values": [[values.get((layer, matrix)) for matrix in matrices] for layer in layers],
        "top": top,
        "chosen": chosen,
    }


def _versions(measured: Measured) -> Iterator[tuple[str, str]]:
    yield from (measured.versions or {}).items()
    if measured.git:
        yield "commit", measured.git
    if (device := measured.device) is not None:
        yield (
            "device",
            f"{device.count} \N{MULTIPLICATION SIGN} {device.kind} ({device.platform})",
        )
    if measured.started:
        yield "started", measured.started
    if measured.seconds is not None:
        parts = (f"{name} {value:.3g}" for name, value in measured.seconds.items())
        yield "seconds", ", ".join(parts)
