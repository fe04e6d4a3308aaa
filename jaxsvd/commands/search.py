"""Algorithm 1 of the paper: choose a layer, try the clipping rates, report on the test set."""

import contextlib
import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Unpack

import numpy as np

from jaxsvd import svd
from jaxsvd.commands.search_draws import (
    Lines,
    explanation_of,
    rate_scores,
    search_draw,
    selection_of,
    tested_over_draws,
)
from jaxsvd.devices import distributed
from jaxsvd.edits.edit import Edit
from jaxsvd.edits.replacement import all_replacements, smallest_rank
from jaxsvd.encoded_task import (
    DrawOptions,
    EncodedTask,
    encode_draws,
    example_numbers,
    save_prompts_of,
    task_of_draws,
)
from jaxsvd.model import Model
from jaxsvd.models.matrices import layer_index, matrices
from jaxsvd.results.search import LayerChoice, RateScore, SearchResult
from jaxsvd.results.selection_bias import first_best
from jaxsvd.results.selection_score import Score, check_score
from jaxsvd.runtime.background import background
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.progress import SILENT, Progress
from jaxsvd.score import (
    Stopwatch,
    label_counts,
    measured,
    model_record,
    request_record,
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
    return scores[first_best(np.array([score.value for score in scores]))]


def search(
    model: Model,
    task: str | Path = "bundled",
    *,
    module: str = "mlp",
    layer: int | Literal["auto"] | LayerChoice = "auto",
    rates: Sequence[float] = svd.RATES,
    top_layers: int = TOP_LAYERS,
    method: svd.Method = "exact",
    seeds: Sequence[int] | None = None,
    score: Score = "accuracy",
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
        rates: candidates in [0, 1); rate 0 joins them where it is missing.
        top_layers: how many layers compete for ``"auto"``.
        method: exact SVD, or randomized as in the reference scripts.
        seeds: of several draws of demonstrations and examples: one rate is chosen for all, on the
            mean of their scores; intervals are over draws and examples.
        score: what the rate is chosen by, see :data:`jaxsvd.results.selection_score.Score`.
        out: a new run directory; None writes nothing.
        resume: go on in a run directory that was interrupted.
        save_prompts: write prompts.jsonl too.
        progress: where to show it.
        draw: ``data``, ``shots``, ``seed``, ``validation_size``, ``test_size``, ``protocol``,
            ``skip_long``, ``allow_zero_shot``: see :func:`jaxsvd.encoded_task.encode_task`.

    Raises:
        UserError: anything that the caller can mend, before anything is written.
    """
    watch, started = Stopwatch(), datetime.datetime.now(datetime.UTC)
    check_score(score)
    rates, notices = _with_zero(check_rates(rates))
    matrices(model.config, module)
    given = _given(model, layer)
    if top_layers < 1:
        raise UserError(f"top layers = {top_layers} should be at least 1")
    distributed.refuse_existing(out, resume=resume)
    for notice in notices:
        progress.notice(notice)

    def choose(counting: Progress) -> LayerChoice:
        if given is not None:
            return given
        return choose_layer(model, module, top=top_layers, progress=counting)

    with contextlib.ExitStack() as held:
        with background(choose, wait=model.mesh is not None) as choosing:
            with watch.on("encode"):
                tasks = encode_draws(
                    model, task, ("validation", "test"), seeds, progress=progress, **draw
                )
            asked = "auto" if given is None or given.numbers else layer
            options = {"module": module, "layer": asked, "rates": rates, "svd": method}
            # Not named where it is the usual one: so are runs of earlier versions.
            options |= {} if score == "accuracy" else {"score": score}
            request = request_record("search", model, *tasks, **options, top_layers=top_layers)
            run = held.enter_context(
                distributed.opened(out, request, resume=resume, progress=progress)
            )
            if run and save_prompts:
                save_prompts_of(run, tasks)
            with watch.on("condition"):
                choice = choosing.result(progress)
        engine, seed = model.engine, tasks[0].prepared.seed

        def edit(rate: float) -> Edit:
            return Edit(choice.layer, module, rate, method=method, seed=seed)

        with watch.on("factor"):
            made = all_replacements(engine, [(edit(rate),) for rate in rates], progress=progress)

        def scored(encoded_task: EncodedTask, split: str, at: Sequence[float]) -> Lines:
            lines = score_split(
                engine,
                encoded_task,
                split,
                [(edit(rate),) for rate in at],
                made=made,
                run=run,
                progress=progress,
            )
            return dict(zip(at, lines, strict=True))

        with watch.on("score"):
            validation = [scored(encoded_task, "validation", rates) for encoded_task in tasks]
        ranks = {rate: smallest_rank(engine, edit(rate)) for rate in rates}
        known, new = (example_numbers(tasks, split) for split in ("validation", "test"))
        found = rate_scores(validation, known, ranks, score)
        alone = [
            rate_scores([lines], [numbers], ranks, score)
            for lines, numbers in zip(validation, known, strict=True)
        ]
        best = best_of(found)
        with watch.on("score"):
            test = [
                scored(encoded_task, "test", sorted({0.0, best.rate, best_of(own).rate}))
                for encoded_task, own in zip(tasks, alone, strict=True)
            ]
        measures = list(zip(validation, test, strict=True))
        at_both = sorted({0.0, best.rate})
        tested = tested_over_draws(test, new, best.rate)
        counted = [[line for lines in test for line in lines[rate]] for rate in at_both]
        result = SearchResult(
            model=model_record(model),
            task=task_of_draws(tasks),
            notices=(*notices, *dict.fromkeys(n for e in tasks for n in e.notices)),
            layer=choice.layer,
            module=module,
            choice=choice,
            method=method,
            validation=found,
            best_rate=best.rate,
            base=tested.base,
            pruned=tested.pruned,
            paired=tested.paired,
            score=score,
            selection=selection_of(validation, known, score),
            draws=()
            if seeds is None
            else tuple(
                search_draw(encoded_task.prepared.seed, own, best_of(own).rate, best.rate, both)
                for encoded_task, own, both in zip(tasks, alone, measures, strict=True)
            ),
            label_counts=label_counts(tasks[0].prepared.labels, counted),
            explanation=explanation_of(measures, new, best.rate),
            measured=measured(model, watch, started),
            out=run.path if run else None,
        )
        if run:
            ordered = (lines for both in measures for split in both for lines in split.values())
            write_predictions(run, ordered)
            run.finish(result.to_json())
    return result


def _with_zero(rates: tuple[float, ...]) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Rates with the untouched model among them, and what the user should know."""
    if 0.0 in rates:
        return rates, ()
    notice = "rate 0, the untouched model, joins the rates: what to compare with"
    return (0.0, *rates), (notice,)


def _given(model: Model, layer: int | str | LayerChoice) -> LayerChoice | None:
    """The layer, where it is not to be found by condition number."""
    if layer == "auto":
        return None
    if isinstance(layer, LayerChoice):
        return layer
    return LayerChoice(layer_index(model.config, int(layer)))
