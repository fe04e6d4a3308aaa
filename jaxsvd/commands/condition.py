"""Condition numbers of a whole model (Fig. 3 of the paper)."""

import datetime
from pathlib import Path

from jaxsvd.devices import distributed
from jaxsvd.model import Model
from jaxsvd.results.conditions import ConditionResult
from jaxsvd.results.request import RunRequest
from jaxsvd.runtime.progress import SILENT, Progress
from jaxsvd.score import Stopwatch, measured, model_record
from jaxsvd.selection.condition import condition_numbers


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
    distributed.refuse_existing(out, resume=False)
    with watch.on("condition"):
        numbers = condition_numbers(model, module, progress=progress)
    if out is not None:
        result = ConditionResult(
            model=model_record(model),
            module=module,
            numbers=numbers,
            measured=measured(model, watch, started),
        )
        request = RunRequest(
            command="condition", model=model_record(model), options={"module": module}
        ).to_json()
        with distributed.opened(out, request, resume=False, progress=progress) as run:
            assert run is not None
            run.finish(result.to_json())
    return numbers
