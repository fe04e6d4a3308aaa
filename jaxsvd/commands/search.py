"""Algorithm 1 of the paper: choose a layer, try the clipping rates, report on the test set."""

import contextlib
import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Unpack

from jaxsvd import svd
from jaxsvd.devices import distributed
from jaxsvd.edits.edit import Edit
from jaxsvd.edits.replacement import all_replacements, smallest_rank
from jaxsvd.encoded_task import DrawOptions, encode_task
from jaxsvd.model import Model
from jaxsvd.models.matrices import layer_index, matrices
from jaxsvd.results.calibration import explain, score_table
from jaxsvd.results.explanation import Explanation
from jaxsvd.results.predictions import Prediction
from jaxsvd.results.search import LayerChoice, RateScore, SearchResult
from jaxsvd.results.statistics import Accuracy, paired_difference
from jaxsvd.runtime.background import background
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.progress import SILENT, Progress
from jaxsvd.score import (
    Stopwatch,
    label_counts,
    measured,
    model_record,
    request_record,
    right_answers,
    score_split,
    write_predictions,
)
from jaxsvd.selection.condition import TOP_LAYERS, choose_layer


def check_rates(rates: Sequence[float]) -> tuple[float, ...]:
    """Clipping rates, ascending and each once.

    Raises:
        UserError: none, or one outside [0, 1).
    """
    if not rates:
        raise UserError("no clipping rates; give at least one in [0, 1)")
    return tuple(sorted({svd.check_rate(rate) for rate in rates}))


def best_of(scores: Sequence[RateScore]) -> RateScore:
    """Step 4: strictly better than the best so far, from the smallest rate on."""
    best = scores[0]
    for score in scores[1:]:
        if score.accuracy.correct > best.accuracy.correct:
            best = score
    return best


def search(
    model: Model,
    task: str | Path = "bundled",
    *,
    module: str = "mlp",
    layer: int | Literal["auto"] | LayerChoice = "auto",
    rates: Sequence[float] = svd.RATES,
    top_layers: int = TOP_LAYERS,
    method: svd.Method = "exact",
    out: str | Path | None = None,
    resume: bool = False,
    save_prompts: bool = False,
    progress: Progress = SILENT,
    **draw: Unpack[DrawOptions],
) -> SearchResult:
    """Find the clipping rate of one layer that is best on validation, and test it.

    Args:
        model: see :func:`jaxsvd.load`.
        task: a name (see :func:`jaxsvd.tasks.prepare`) or the path of a task file.
        module: what is truncated, see :mod:`jaxsvd.models.matrices`.
        layer: ``"auto"`` (by condition number) or an index; negative ones count from the end;
            or a choice made before (:func:`jaxsvd.selection.condition.choose_layer`), for many
            searches of one model.
        rates: candidates in [0, 1).
        top_layers: how many layers compete for ``"auto"``.
        method: exact SVD, or randomized as in the reference scripts.
        out: a new run directory; None writes nothing.
        resume: go on in a run directory that was interrupted.
        save_prompts: write prompts.jsonl too.
        progress: where to show it.
        draw: ``data``, ``shots``, ``seed``, ``validation_size``, ``test_size``, ``protocol``,
            ``skip_long``: see :func:`jaxsvd.encoded_task.encode_task`.

    Raises:
        UserError: anything that the caller can mend, before anything is written.
    """
    watch, started = Stopwatch(), datetime.datetime.now(datetime.UTC)
    rates = check_rates(rates)
    matrices(model.config, module)
    given = _given(model, layer)
    if top_layers < 1:
        raise UserError(f"top layers = {top_layers} should be at least 1")
    distributed.refuse_existing(out, resume=resume)

    def choose(counting: Progress) -> LayerChoice:
        if given is not None:
            return given
        return choose_layer(model, module, top=top_layers, progress=counting)

    with contextlib.ExitStack() as held:
        with background(choose, wait=model.mesh is not None) as choosing:
            with watch.on("encode"):
                encoded_task = encode_task(
                    model, task, ("validation", "test"), progress=progress, **draw
                )
            asked = "auto" if given is None or given.numbers else layer
            options = {"module": module, "layer": asked, "rates": rates, "svd": method}
            request = request_record(
                "search", model, encoded_task, **options, top_layers=top_layers
            )
            run = held.enter_context(
                distributed.opened(out, request, resume=resume, progress=progress)
            )
            if run and save_prompts:
                encoded_task.save_prompts(run)
            with watch.on("condition"):
                choice = choosing.result(progress)
        engine, seed = model.engine, encoded_task.prepared.seed

        def edit(rate: float) -> Edit:
            return Edit(choice.layer, module, rate, method=method, seed=seed)

        candidates = [(edit(rate),) for rate in rates]
        with watch.on("factor"):
            made = all_replacements(engine, candidates, progress=progress)
        with watch.on("score"):
            lines = score_split(
                engine,
                encoded_task,
                "validation",
                candidates,
                made=made,
                run=run,
                progress=progress,
            )
        validation = tuple(
            RateScore(rate, smallest_rank(engine, edit(rate)), Accuracy.of(row))
            for rate, row in zip(rates, right_answers(lines), strict=True)
        )
        best = best_of(validation)
        with watch.on("score"):
            both = [(edit(rate),) for rate in sorted({0.0, best.rate})]
            test_lines = score_split(
                engine, encoded_task, "test", both, made=made, run=run, progress=progress
            )
        tested = right_answers(test_lines)
        base, pruned = tested[0], tested[-1]  # one and the same where rate 0 is best
        result = SearchResult(
            model=model_record(model),
            task=encoded_task.task_record(),
            notices=encoded_task.notices,
            layer=choice.layer,
            module=module,
            choice=choice,
            method=method,
            validation=validation,
            best_rate=best.rate,
            base=Accuracy.of(base),
            pruned=Accuracy.of(pruned),
            paired=paired_difference(base, pruned),
            label_counts=label_counts(encoded_task.prepared.labels, test_lines),
            explanation=_explanation(dict(zip(rates, lines, strict=True)), best.rate, test_lines),
            measured=measured(model, watch, started),
            out=run.path if run else None,
        )
        if run:
            write_predictions(run, (*lines, *test_lines))
            run.finish(result.to_json())
    return result


def _given(model: Model, layer: int | str | LayerChoice) -> LayerChoice | None:
    """The layer, where it is not to be found by condition number."""
    if layer == "auto":
        return None
    if isinstance(layer, LayerChoice):
        return layer
    return LayerChoice(layer_index(model.config, int(layer)))


def _explanation(
    validation: Mapping[float, Sequence[Prediction]],
    best_rate: float,
    tested: Sequence[Sequence[Prediction]],
) -> Explanation | None:
    """What the change on the test set is made of; None where there is none to be explained."""
    if best_rate == 0 or 0.0 not in validation:
        return None
    known = [score_table(validation[rate]) for rate in (0.0, best_rate)]
    found = [score_table(lines) for lines in tested]
    if any(table is None for table in (*known, *found)):
        return None
    (one, gold), (other, _) = [table for table in known if table]
    (before, test_gold), (after, _) = [table for table in found if table]
    return explain((one, other), gold, (before, after), test_gold)
