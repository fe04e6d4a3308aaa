"""Is a gain real? What a search's change of accuracy is made of, where that takes further passes.

Content-free queries calibrate a model by what it says to nothing; controls change the same weights
by as much in other ways; other draws and orders of the demonstrations tell how much is luck; other
tasks and plain text, what the same edit costs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from jaxsvd import tasks
from jaxsvd.commands.perplexity import perplexity
from jaxsvd.edits.edit import CONTROLS, RANDOM, Edit, Edits, Method, format_edits
from jaxsvd.edits.replacement import all_replacements
from jaxsvd.encoded_task import EncodedTask, encode_task
from jaxsvd.model import Model
from jaxsvd.results import calibration
from jaxsvd.results.calibration import accuracy_change, context_calibrated, with_prior
from jaxsvd.results.explanation import CONTEXTUAL, DOMAIN, Change, Control, Explanation, SideEffect
from jaxsvd.results.fields import COUNT, TEXT, Fields
from jaxsvd.results.perplexity import Perplexity
from jaxsvd.results.points import holm
from jaxsvd.results.read import FinishedRun, read_run
from jaxsvd.results.search import SearchResult
from jaxsvd.results.spread import Spread, over_draws, over_orders
from jaxsvd.results.statistics import paired_difference, paired_interval
from jaxsvd.runs.directory import RESULT, pretty, write_whole
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.progress import SILENT, Progress
from jaxsvd.score import Cell, score_split
from jaxsvd.tasks.base import Prepared
from jaxsvd.tasks.clean import content_free

CONTENT_FREE = ("N/A", "[MASK]", "")
"""Zhao et al. (2021), section 5."""

DOMAIN_TEXTS = 20
"""Random texts of domain-context calibration (Fei et al., 2023, section 4)."""

Z90 = 1.6448536269514722

Table = Float[np.ndarray, "examples labels"]
Scored = tuple[list[Table], Int[np.ndarray, " examples"]]
"""Scores of every variant, and the right answers."""


@dataclass(frozen=True)
class Passes:
    """How much is scored.

    Attributes:
        draws: of demonstrations, the search's own among them; below 2 none.
        orders: of the search's demonstrations, its own among them; below 2 none.
        control_seeds: of each control that draws random numbers; 0 for no controls.
        examples: at most so many test examples of each draw and order.
    """

    draws: int = 8
    orders: int = 8
    control_seeds: int = 5
    examples: int = 400


@dataclass(frozen=True)
class Searched:
    """A finished search, and its model and questions once more.

    Attributes:
        run: the run directory.
        result: what it measured.
        model: loaded again.
        encoded_task: both splits.
        draw: the arguments of :func:`jaxsvd.encoded_task.encode_task` but for the splits.
        edit: the truncation that it chose.
    """

    run: FinishedRun
    result: SearchResult
    model: Model
    encoded_task: EncodedTask
    draw: Mapping[str, object]
    edit: Edit


def explain(
    run: str | Path,
    *,
    load: Callable[[str, str | None, str], Model],
    passes: Passes = Passes(),
    also: Mapping[str, str | None] | None = None,
    texts: Sequence[str | Path] = (),
    margin: float = 0.01,
    progress: Progress = SILENT,
) -> SearchResult:
    """Explain a search, and write the explanation into its result.json.

    Args:
        run: directory of a finished search that truncated something.
        load: loads the model, from its source, revision and dtype.
        passes: how much is scored.
        also: other tasks that the same edit is tried on: name or task file -> folder of its data
            (None for the hub).
        texts: files of plain text, for perplexity.
        margin: a change of accuracy (of the mean negative log-likelihood of a token, for text)
            that would not matter.
        progress: where to show it.

    Returns:
        The search with its explanation.

    Raises:
        UserError: no such run, one of another command, one that truncated nothing, or whose model
            or data have changed.
    """
    searched = _searched(run, load, progress)
    explanation = _explained(searched, passes, progress)
    spread = dict(_spread(searched, passes, progress))
    perplexities = {
        Path(path).name: perplexity(searched.model, path, edit=searched.edit, progress=progress)[0]
        for path in texts
    }
    effects, perplexities = corrected(
        _side_effects(searched, also or {}, margin, progress), perplexities, margin
    )
    explanation = replace(explanation, spread=spread, also=effects, texts=perplexities)
    result = replace(searched.result, explanation=explanation)
    fields = {**searched.run.fields, "explanation": explanation.to_json()}
    write_whole(searched.run.path / RESULT, pretty(fields))
    return result


def _searched(
    path: str | Path, load: Callable[[str, str | None, str], Model], progress: Progress
) -> Searched:
    run = read_run(path)
    result = run.result
    if not isinstance(result, SearchResult):
        raise UserError(f"{path}: not a run of search; explain takes one")
    if result.best_rate == 0:
        raise UserError(
            f"{path}: the search chose rate 0: nothing is truncated, nothing to explain"
        )
    request = Fields(run.request)
    asked = request.nested("asked")
    model = load(result.model.source, result.model.revision, result.model.dtype)
    shots, seed = result.task.draw
    draw: dict[str, object] = {
        "task": asked.read("task", TEXT),
        "data": asked.maybe("data", TEXT),
        "validation_size": asked.maybe("validation_size", COUNT),
        "test_size": asked.maybe("test_size", COUNT),
        "skip_long": bool(asked.values.get("skip_long")),
        "allow_zero_shot": bool(asked.values.get("allow_zero_shot", True)),
        "shots": shots,
        "protocol": result.task.protocol or "clean",
        "seed": seed,
    }
    encoded_task = _encode(model, draw, ("validation", "test"), progress)
    if encoded_task.fingerprint() != run.request.get("questions"):
        raise UserError(f"{path}: the task's data or the tokenizer have changed since the search")
    method: Method = "randomized" if result.method == "randomized" else "exact"
    edit = Edit(result.layer, result.module, result.best_rate, method=method, seed=seed or 0)
    return Searched(run, result, model, encoded_task, draw, edit)


def _encode(
    model: Model, draw: Mapping[str, object], splits: Sequence[str], progress: Progress
) -> EncodedTask:
    options = {name: value for name, value in draw.items() if name != "task"}
    return encode_task(model, str(draw["task"]), splits, progress=progress, **options)  # type: ignore[arg-type]


def _scores(
    model: Model,
    encoded_task: EncodedTask,
    split: str,
    edited: Sequence[Edits],
    progress: Progress,
) -> Scored:
    """Scores of a split under every one of some edits.

    Raises:
        UserError: questions differ in their number of candidates.
    """
    cells = [Cell(None, None, None, format_edits(edits)) for edits in edited]
    made = all_replacements(model.engine, edited, progress=progress)
    lines = score_split(
        model.engine,
        encoded_task,
        split,
        edited,
        made=made,
        cells=cells,
        run=None,
        progress=progress,
    )
    tables = [calibration.score_table(of_variant) for of_variant in lines]
    known = [table for table in tables if table is not None]
    if len(known) != len(tables):
        raise UserError("scores that are not finite, or questions of unequal numbers of candidates")
    return [table for table, _ in known], known[0][1]


def _explained(searched: Searched, passes: Passes, progress: Progress) -> Explanation:
    """What the search knows already, contextual calibration, and controls."""
    edit, task, model = searched.edit, searched.encoded_task, searched.model
    controls = [
        replace(edit, method=method, seed=seed)
        for method in CONTROLS
        for seed in range(passes.control_seeds if method in RANDOM else passes.control_seeds and 1)
    ]
    edited: list[Edits] = [(), (edit,), *((control,) for control in controls)]
    validation, validation_gold = _scores(model, task, "validation", edited, progress)
    test, gold = _scores(model, task, "test", edited, progress)
    explanation = calibration.explain(
        (validation[0], validation[1]), validation_gold, (test[0], test[1]), gold
    )
    accuracy = dict(explanation.accuracy)
    for name, texts in _content_free_texts(task.prepared):
        accuracy[name] = _context_change(searched, texts, test, gold, progress)
    found = []
    for method in CONTROLS if passes.control_seeds else ():
        own = [i for i, control in enumerate(controls, 2) if control.method == method]
        raw = [float((test[i].argmax(axis=1) == gold).mean()) for i in own]
        fitted = [
            float(
                (with_prior(test[i], validation[i], validation_gold).argmax(axis=1) == gold).mean()
            )
            for i in own
        ]
        found.append(
            Control(
                method, len(own), float(np.mean(raw)), _sd(raw), float(np.mean(fitted)), _sd(fitted)
            )
        )
    return replace(explanation, accuracy=accuracy, controls=tuple(found))


def _sd(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _content_free_texts(prepared: Prepared) -> Iterator[tuple[str, Sequence[str]]]:
    """What stands in the query's fields, by reading; nothing for choices and tasks without one."""
    if prepared.template is None or prepared.rule != "label":
        return
    yield CONTEXTUAL, CONTENT_FREE
    queries = [question.query.split() for question in prepared.validation]
    words = [word for query in queries for word in query]
    length = max(1, round(np.mean([len(query) for query in queries])))
    rng = np.random.default_rng(prepared.seed)
    yield DOMAIN, [" ".join(rng.choice(words, length)) for _ in range(DOMAIN_TEXTS)]


def _context_change(
    searched: Searched,
    texts: Sequence[str],
    test: Sequence[Table],
    gold: Int[np.ndarray, " examples"],
    progress: Progress,
) -> Change:
    prepared = searched.encoded_task.prepared
    questions = content_free(prepared, texts)
    own = EncodedTask.of(
        searched.model, replace(prepared, validation=(), test=questions), allow_zero_shot=True
    )
    nothing, _ = _scores(searched.model, own, "test", [(), (searched.edit,)], progress)
    before, after = (
        context_calibrated(scores, empty) for scores, empty in zip(test[:2], nothing, strict=True)
    )
    return accuracy_change(before, after, gold)


def _spread(searched: Searched, passes: Passes, progress: Progress) -> Iterator[tuple[str, Spread]]:
    """The raw change over draws of demonstrations, and over orders of the search's own."""
    result, model = searched.result, searched.model
    size = min(passes.examples, len(searched.encoded_task.prepared.test))
    edited: list[Edits] = [(), (searched.edit,)]
    own_seeds = searched.draw["protocol"] == "clean"
    if passes.draws > 1 and own_seeds and result.task.shots:
        seed = int(searched.encoded_task.prepared.seed)
        turned = []
        for number in range(passes.draws):
            draw = {**searched.draw, "seed": seed + number, "test_size": size}
            task = _encode(model, draw, ("test",), progress)
            turned.append(_turned(_scores(model, task, "test", edited, progress)))
        yield "draws", over_draws(turned)
    prepared = searched.encoded_task.prepared
    shown = len(prepared.test[0].demonstrations)
    if passes.orders > 1 and shown > 1:
        rng = np.random.default_rng(prepared.seed)
        turned = []
        for number in range(passes.orders):
            order = rng.permutation(shown) if number else np.arange(shown)
            questions = tuple(
                replace(q, demonstrations=tuple(q.demonstrations[i] for i in order))
                for q in prepared.test[:size]
            )
            task = EncodedTask.of(
                model,
                replace(prepared, validation=(), test=questions),
                skip_long=bool(searched.draw["skip_long"]),
                allow_zero_shot=bool(searched.draw["allow_zero_shot"]),
            )
            turned.append(_turned(_scores(model, task, "test", edited, progress)))
        yield "orders", over_orders(turned)


def _turned(scored: Scored) -> Int[np.ndarray, " examples"]:
    tables, gold = scored
    before, after = (table.argmax(axis=1) == gold for table in tables[:2])
    return after.astype(int) - before.astype(int)


def _size(searched: Searched, task: str) -> int | None:
    """Test examples of another task: as many as the search had, or all where these are fewer."""
    spec = tasks.SPECS.get(task)
    own = len(searched.encoded_task.prepared.test)
    return own if spec is None or spec.test_size is None else min(own, spec.test_size)


def _side_effects(
    searched: Searched, also: Mapping[str, str | None], margin: float, progress: Progress
) -> list[SideEffect]:
    """The same edit on other tasks, with the search's draw and sizes where they have so many."""
    found = []
    for name, data in also.items():
        task = encode_task(
            searched.model,
            name,
            ("test",),
            data=data,
            seed=searched.encoded_task.prepared.seed,
            test_size=_size(searched, name),
            skip_long=True,
            allow_zero_shot=True,
            progress=progress,
        )
        scored = _scores(searched.model, task, "test", [(), (searched.edit,)], progress)
        tables, gold = scored
        before, after = (table.argmax(axis=1) == gold for table in tables)
        pair = paired_difference(before, after)
        within = paired_interval(pair.gained, pair.lost, len(gold), Z90)
        equivalent = -margin < within[0] and within[1] < margin
        change = accuracy_change(tables[0], tables[1], gold)
        found.append(SideEffect(task.prepared.name, len(gold), change, False, margin, equivalent))
    return found


def corrected(
    effects: Sequence[SideEffect], texts: Mapping[str, Perplexity], margin: float
) -> tuple[tuple[SideEffect, ...], dict[str, Perplexity]]:
    """With which of them are significant at 5 %, by Holm's procedure over tasks and texts."""
    of_tasks = [effect.change.p_value for effect in effects]
    of_texts = [text.p_value for text in texts.values()]
    rejected = holm([1.0 if p is None else p for p in (*of_tasks, *of_texts)])
    pairs = zip(effects, rejected[: len(effects)], strict=True)
    by_name = zip(texts.items(), rejected[len(effects) :], strict=True)
    return (
        tuple(replace(effect, significant=significant) for effect, significant in pairs),
        {
            name: replace(text, significant=significant, margin=margin)
            for (name, text), significant in by_name
        },
    )
