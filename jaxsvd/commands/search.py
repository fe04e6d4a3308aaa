"""Algorithm 1 of the paper: choose a layer, try the clipping rates, report on the test set."""

import contextlib
import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, SupportsIndex, Unpack

import numpy as np

from jaxsvd import svd
from jaxsvd.commands.search_candidates import (
    PROPOSALS,
    Choice,
    Select,
    Selection,
    by_rate,
    candidates_record,
    check_rates_or_rules,
    check_select,
    described,
    layer_indices,
    optimism,
)
from jaxsvd.commands.search_candidates import choose as choose_among
from jaxsvd.commands.search_draws import (
    Lines,
    explanation_of,
    rate_scores,
    search_draw,
    selection_of,
    tested_over_draws,
)
from jaxsvd.commands.search_validation import Validation
from jaxsvd.devices import distributed
from jaxsvd.edits.edit import Edit, Edits
from jaxsvd.edits.replacement import all_replacements, smallest_rank
from jaxsvd.encoded_task import (
    DrawOptions,
    EncodedTask,
    distinct,
    encode_draws,
    example_numbers,
    save_prompts_of,
    task_of_draws,
)
from jaxsvd.model import Model
from jaxsvd.models.matrices import layer_index, matrices, whole
from jaxsvd.results.search import LayerChoice, RateScore, SearchResult
from jaxsvd.results.selection_bias import first_best
from jaxsvd.results.selection_score import Score, check_score
from jaxsvd.runtime.background import background
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.progress import SILENT, Progress
from jaxsvd.score import (
    Stopwatch,
    edit_record,
    label_counts,
    measured,
    model_record,
    request_record,
    score_split,
    write_predictions,
)
from jaxsvd.selection.candidates import Rate, candidates
from jaxsvd.selection.condition import TOP_LAYERS, choose_layer
from jaxsvd.selection.greedy import MARGIN, MOST_EDITS
from jaxsvd.selection.race import DELTA, EPSILON
from jaxsvd.tasks.base import Task


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
    task: Task = "bundled",
    *,
    module: str = "mlp",
    layer: SupportsIndex | Literal["auto"] | LayerChoice = "auto",
    rates: Sequence[Rate] = svd.RATES,
    top_layers: int = TOP_LAYERS,
    method: svd.Method = "exact",
    seeds: Sequence[int] | None = None,
    score: Score = "accuracy",
    select: Select = "condition",
    layers: Sequence[int] | Literal["all"] = "all",
    modules: Sequence[str] | None = None,
    epsilon: float = EPSILON,
    delta: float = DELTA,
    margin: float = MARGIN,
    most_edits: int = MOST_EDITS,
    proposals: int = PROPOSALS,
    out: str | Path | None = None,
    resume: bool = False,
    save_prompts: bool = False,
    progress: Progress = SILENT,
    **draw: Unpack[DrawOptions],
) -> SearchResult:
    """Find the truncation that is best on validation, and test it.

    Algorithm 1, the default, tries clipping rates of one module of one layer. With another
    ``select`` the candidates are all ``layers`` x ``modules`` x ``rates``.

    Args:
        model: see :func:`jaxsvd.load`.
        task: a name, the path of a task file, or examples: see :func:`jaxsvd.tasks.prepare`.
        module: what is truncated, see :mod:`jaxsvd.models.matrices`.
        layer: ``"auto"`` (by condition number) or an index; negative ones count from the end;
            or a choice made before (:func:`jaxsvd.selection.condition.choose_layer`), for many
            searches of one model.
        rates: candidates in [0, 1); rate 0 joins them where it is missing. Or names of rules, see
            :data:`jaxsvd.selection.candidates.NamedRank`.
        top_layers: how many layers compete for ``"auto"``.
        method: exact SVD, or randomized as in the reference scripts.
        seeds: of several draws of demonstrations and examples: one truncation is chosen for all,
            on the mean of their scores; intervals are over draws and examples.
        score: what is chosen by, see :data:`jaxsvd.results.selection_score.Score`.
        select: how, see :data:`jaxsvd.commands.search_candidates.Select`.
        layers: that candidates are of; a ``layer`` that is given is the only one.
        modules: that candidates are of; ``module`` if left out.
        epsilon, delta: of a race: with probability 1 - delta no candidate is better than its
            winner by more than epsilon.
        margin, most_edits: of greedy search: what an addition has to bring, and how many there
            may be.
        proposals: candidates that a gradient proposes.
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
    check_select(select)
    amounts = check_rates_or_rules(rates)
    rates, notices = _with_zero(tuple(rate for rate in amounts if not isinstance(rate, str)))
    by_condition = select == "condition" and len(amounts) == len(rates) - bool(notices)
    for name in modules or (module,):
        matrices(model.config, name)
    layer = layer if isinstance(layer, str | LayerChoice) else whole(layer)
    given = _given(model, layer)
    if top_layers < 1:
        raise UserError(f"top layers = {top_layers} should be at least 1")
    distributed.refuse_existing(out, resume=resume)
    for notice in notices if by_condition else ():
        progress.notice(notice)

    def choose(counting: Progress) -> LayerChoice:
        if given is not None or select != "condition":
            return given or LayerChoice(0)
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
            if not by_condition:
                options |= {"rates": amounts, "select": select, "layers": layers}
                options |= {"modules": modules, "epsilon": epsilon, "delta": delta}
                options |= {"margin": margin, "most_edits": most_edits, "proposals": proposals}
            request = request_record("search", model, *tasks, **options, top_layers=top_layers)
            run = held.enter_context(
                distributed.opened(out, request, resume=resume, progress=progress)
            )
            if run and save_prompts:
                save_prompts_of(run, tasks)
            with watch.on("condition"):
                choice = choosing.result(progress)
        engine, seed = model.engine, tasks[0].prepared.seed
        found = Validation(model, tasks, score, run, progress)
        picked: tuple[Choice, Selection] | None = None
        if by_condition:
            edits = {
                rate: (Edit(choice.layer, module, rate, method=method, seed=seed),)
                for rate in rates
            }
            with watch.on("factor"):
                found.made = all_replacements(engine, edits.values(), progress=progress)
        else:
            one = select == "condition" or given is not None
            selection = Selection(
                select="all" if select == "condition" else select,
                layers=(choice.layer,) if one else layer_indices(model, layers),
                modules=tuple(distinct("modules", modules or (module,))),
                rates=amounts,
                epsilon=epsilon,
                delta=delta,
                margin=margin,
                most_edits=most_edits,
                proposals=proposals,
            )
            among = candidates(
                model,
                selection.layers,
                selection.modules,
                selection.rates,
                method=method,
                seed=seed,
            )
            with watch.on("select"):
                chosen = choose_among(found, among, selection, score)
                edits = by_rate(found, chosen)
            picked = chosen, selection
            module, choice = described(choice, chosen, edits, selection, module)
        with watch.on("score"):
            found.add(list(edits.values()))
        record = candidates_record(found, *picked) if picked else None
        validation = [{rate: lines[e] for rate, e in edits.items()} for lines in found.lines]
        ranks = {rate: _smallest_rank(model, e) for rate, e in edits.items()}
        known, new = (example_numbers(tasks, split) for split in ("validation", "test"))
        scores = rate_scores(validation, known, ranks, score)
        alone = [
            rate_scores([lines], [numbers], ranks, score)
            for lines, numbers in zip(validation, known, strict=True)
        ]
        best = best_of(scores)

        def tested_lines(encoded_task: EncodedTask, at: Sequence[float]) -> Lines:
            lines = score_split(
                engine,
                encoded_task,
                "test",
                [edits[rate] for rate in at],
                made=found.made,
                run=run,
                progress=progress,
            )
            return dict(zip(at, lines, strict=True))

        with watch.on("score"):
            test = [
                tested_lines(encoded_task, sorted({0.0, best.rate, best_of(own).rate}))
                for encoded_task, own in zip(tasks, alone, strict=True)
            ]
        measures = list(zip(validation, test, strict=True))
        at_both = sorted({0.0, best.rate})
        tested = tested_over_draws(test, new, best.rate)
        counted = [[line for lines in test for line in lines[rate]] for rate in at_both]
        result = SearchResult(
            model=model_record(model),
            task=task_of_draws(tasks),
            notices=(
                *(notices if by_condition else ()),
                *dict.fromkeys(n for e in tasks for n in e.notices),
            ),
            layer=choice.layer,
            module=module,
            choice=choice,
            method=method,
            validation=scores,
            best_rate=best.rate,
            base=tested.base,
            pruned=tested.pruned,
            paired=tested.paired,
            candidates=record,
            edits=tuple(edit_record(engine, e) for e in edits[best.rate] if e.touches),
            score=score,
            selection=selection_of(validation, known, score)
            if record is None
            else optimism(found, known),
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
            if record is None:
                ordered = (lines for both in measures for split in both for lines in split.values())
            else:  # of every candidate, and of the test
                ordered = (lines for split in (*found.lines, *test) for lines in split.values())
            write_predictions(run, ordered)
            run.finish(result.to_json())
    return result


def _smallest_rank(model: Model, edits: Edits) -> int | None:
    """The smallest rank that edits leave of their matrices; None where nothing is cut."""
    ranks = [smallest_rank(model.engine, edit) for edit in edits]
    return min((rank for rank in ranks if rank is not None), default=None)


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
    return LayerChoice(layer_index(model.config, layer))
