"""The data of a run's page: everything that its script shows."""

from collections.abc import Iterator, Sequence
from typing import Any

from jaxsvd.page import plain
from jaxsvd.page.flips import flips_record
from jaxsvd.page.repeat import repeat
from jaxsvd.results import schema
from jaxsvd.results.points import Point, chance_of, paired, points_of
from jaxsvd.results.predictions import read_outcomes
from jaxsvd.results.read import FinishedRun
from jaxsvd.results.summary import answer, subject
from jaxsvd.runs.directory import PREDICTIONS, RESULT, Record
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.progress import Progress

_HEADING = ("command", "model", "task", "svd", "notices", "answer")
_SURROUNDINGS = ("versions", "git", "device", "started", "seconds")
_SHOWN = frozenset((*_HEADING, *_SURROUNDINGS))
_DRAWN = frozenset(("layer", "module", "layer_choice", "validation", "best_rate", "test"))


def content(run: FinishedRun, progress: Progress) -> Record:
    """What the page of a run says.

    Args:
        run: of any command.
        progress: where to show the reading of large files.

    Raises:
        UserError: a file of the run is damaged; the flaw is named.
    """
    result, notes = run.result, []
    command = result["command"]
    expected = schema.RESULTS.get(command) if isinstance(command, str) else None
    if expected and (found := schema.flaw(result, expected)):
        raise UserError(f"{run.path / RESULT}: damaged: {found}")
    points, flips = points_of(result), None
    if points and run.predictions:
        outcomes = read_outcomes(run.predictions, progress)
        points, contradicted = paired(points, outcomes)
        if contradicted:
            notes.append(
                f"{PREDICTIONS} does not add up to {RESULT} at {contradicted:,} of "
                f"{len(points):,} points; these are not compared example by example."
            )
        flips = flips_record(outcomes, run.prompts, _labels(result), progress)
    line, caveats = repeat(run)
    return {
        "subject": subject(result),
        "answer": answer(result, points),
        "notices": [*map(str, _list(result.get("notices"))), *notes],
        "facts": [list(fact) for fact in _facts(result)],
        "curves": _curves(result, points),
        "flips": flips,
        "conditions": _conditions(result),
        "tables": plain.tables(result, _left_out(result, points)),
        "repeat": {"command": line, "notes": caveats},
        "versions": [list(pair) for pair in _versions(result)],
    }


def _labels(result: Record) -> list[str]:
    task = result.get("task")
    return [str(label) for label in _list(task.get("labels"))] if isinstance(task, dict) else []


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _left_out(result: Record, points: Sequence[Point]) -> frozenset[str]:
    command = result["command"]
    if command == "search":
        return _SHOWN | _DRAWN
    if command == "condition":
        return _SHOWN | {"module", "condition_numbers"}
    return _SHOWN | ({"cells"} if points else frozenset())


def _curves(result: Record, points: Sequence[Point]) -> Record | None:
    if len({point.rate for point in points}) < 2:
        return None
    chosen = result.get("best_rate") if result["command"] == "search" else None
    return {
        "points": [point.record() for point in points],
        "chance": chance_of(result),
        "chosen": chosen,
        "heat_map": result["command"] != "search",
    }


def _facts(result: Record) -> Iterator[tuple[str, str]]:
    """Names and values, of what the run has."""
    model, task = result.get("model"), result.get("task")
    if isinstance(model, dict) and not schema.flaw(model, schema.MODEL):
        revision = f" at {model['revision']}" if model.get("revision") else ""
        yield (
            "Model",
            f"{model['source']}{revision}: {model['family']}, {model['layers']} layers, "
            f"{model['parameters']:,} parameters, {model['dtype']}",
        )
    if isinstance(task, dict) and "name" in task:
        parts = [task.get("protocol") and f"{task['protocol']} protocol", task.get("source")]
        where = ", ".join(str(t) for t in parts if t and t != task["name"])
        yield "Task", f"{task['name']}" + (f" ({where})" if where else "")
        yield "Draw", _draw(task)
        if task.get("scoring"):
            yield "Score", str(task["scoring"])
    if "layer" in result and "module" in result:
        choice = result.get("layer_choice")
        rule = choice.get("rule") if isinstance(choice, dict) else None
        yield (
            "Truncated",
            f"{result['module']} of layer {result['layer']}" + (f" ({rule})" if rule else ""),
        )
    if result.get("svd"):
        yield "SVD", str(result["svd"])


def _draw(task: Record) -> str:
    counts = {"shots": "shots", "validation_size": "validation questions"}
    counts |= {"test_size": "test questions"}
    parts = [
        f"{task[name]:,} {what}"
        if isinstance(task[name], int)
        else f"{plain.as_text(task[name])} {what}"
        for name, what in counts.items()
        if task.get(name) is not None and (task[name] or name == "shots")
    ]
    parts += [
        f"{n} {plain.as_text(task[n])}" for n in ("seed", "labels") if task.get(n) is not None
    ]
    return "; ".join(parts)


def _conditions(result: Record) -> Record | None:
    """Condition numbers by layer and matrix; those of a search with the layers that competed."""
    choice = result.get("layer_choice")
    numbers = result.get("condition_numbers")
    if isinstance(choice, dict) and isinstance(choice.get("condition_numbers"), list):
        numbers = [
            {"layer": row["layer"], "matrix": name, "condition_number": value}
            for row in choice["condition_numbers"]
            for name, value in row["matrices"].items()
        ]
    if schema.flaw({"condition_numbers": numbers}, _NUMBERS):
        return None
    values = {(n["layer"], n["matrix"]): n["condition_number"] for n in numbers or []}
    layers = sorted({layer for layer, _ in values})
    matrices = list(dict.fromkeys(matrix for _, matrix in values))
    return {
        "layers": layers,
        "matrices": matrices,
        "values": [[values.get((layer, matrix)) for matrix in matrices] for layer in layers],
        "top": _list(choice.get("top")) if isinstance(choice, dict) else [],
        "chosen": choice.get("layer") if isinstance(choice, dict) else None,
    }


_NUMBERS = {"condition_numbers": schema.CONDITION["condition_numbers"]}


def _versions(result: Record) -> Iterator[tuple[str, str]]:
    versions, device = result.get("versions"), result.get("device")
    if isinstance(versions, dict):
        yield from ((str(name), str(version)) for name, version in versions.items())
    if result.get("git"):
        yield "commit", str(result["git"])
    if isinstance(device, dict):
        count, kind = device.get("count"), device.get("kind")
        yield "device", f"{count} \N{MULTIPLICATION SIGN} {kind} ({device.get('platform')})"
    if result.get("started"):
        yield "started", str(result["started"])
    seconds = result.get("seconds")
    if isinstance(seconds, dict):
        parts = (
            f"{name} {value:.3g}" for name, value in seconds.items() if isinstance(value, float)
        )
        yield "seconds", ", ".join(parts)
