"""Condition numbers of a whole model (Fig. 3 of the paper)."""

import datetime
from pathlib import Path

from jaxsvd import runs
from jaxsvd.conditioning import condition_numbers
from jaxsvd.evaluation import Stopwatch, model_record
from jaxsvd.model import Model
from jaxsvd.progress import SILENT, Progress


def condition(
    model: Model,
    module: str = "all",
    *,
    out: str | Path | None = None,
    progress: Progress = SILENT,
) -> dict[tuple[int, str], float]:
    """Condition numbers by layer and matrix, written to a run directory if one is given.

    Args:
        model: any.
        module: which matrices.
        out: a new run directory; None writes nothing.
        progress: where to show it.

    Raises:
        UserError: an unknown module, or a run directory that exists.
    """
    watch, started = Stopwatch(), datetime.datetime.now(datetime.UTC)
    runs.refuse_existing(out, resume=False)
    with watch.on("condition"):
        numbers = condition_numbers(model, module, progress=progress)
    if out is not None:
        request = {"command": "condition", "model": model_record(model), "module": module}
        runs.Run.open(out, request).finish(
            {
                "command": "condition",
                "model": model_record(model),
                "task": None,
                "module": module,
                "condition_numbers": [
                    {"layer": layer, "matrix": name, "condition_number": value}
                    for (layer, name), value in numbers.items()
                ],
                "started": started.isoformat(timespec="seconds"),
                "seconds": {"load": model.load_seconds} | watch.record(),
            }
            | runs.surroundings()
        )
    return numbers
