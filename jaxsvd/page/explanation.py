"""What a change of accuracy is made of, and what the models say, for a run's page."""

from collections.abc import Iterator, Sequence
from typing import TypedDict

from jaxsvd.results.evaluation import Evaluation
from jaxsvd.results.explanation import READING_NAMES, Change, Explanation
from jaxsvd.results.label_counts import LabelCounts
from jaxsvd.results.origins import Origins, Shift
from jaxsvd.results.read import AnyResult
from jaxsvd.results.search import SearchResult
from jaxsvd.results.search_summary import explanation_lines
from jaxsvd.results.statistics import Accuracy


class PageColumn(TypedDict):
    """Of a table of the page."""

    name: str
    number: bool


class PageTable(TypedDict):
    """A table of the page, with a sentence under it; the note is empty where there is none."""

    title: str
    columns: list[PageColumn]
    rows: list[list[str]]
    note: str


class PlotLine(TypedDict):
    """A line of the picture: accuracy as the model answers, and with a fitted label prior."""

    name: str
    kind: str
    values: list[float]


def _table(title: str, columns: Sequence[str], rows: list[list[str]], note: str = "") -> PageTable:
    # The first column names its row.
    named = [PageColumn(name=name, number=i > 0) for i, name in enumerate(columns)]
    return PageTable(title=title, columns=named, rows=rows, note=note)


def shown_fields(result: AnyResult) -> frozenset[str]:
    """Fields of result.json that :func:`answers_data` and :func:`explanation_data` show."""
    fields: set[str] = set()
    if isinstance(result, SearchResult | Evaluation):
        if result.label_counts is not None:
            fields |= {"label_counts", "majority", "balanced_accuracy"}
        if isinstance(result, SearchResult):
            fields |= {"explanation"} if result.explanation is not None else set()
            fields |= {"draws"} if result.several else set()
    return frozenset(fields)


def answers_data(result: AnyResult) -> PageTable | None:
    """How often each label is right and said, with what a constant answer would score."""
    if not isinstance(result, SearchResult | Evaluation) or result.label_counts is None:
        return None
    counts = result.label_counts
    columns = ["", *counts.gold, "accuracy", "balanced accuracy"]
    rows = [
        ["right", *map(_count, counts.gold.values()), "", ""],
        *([name, *said] for name, said in _models(result, counts)),
    ]
    labels = len(counts.gold)
    note = (
        f"Always answering {counts.commonest!r} would score {counts.majority:.4f}, with a balanced "
        f"accuracy of {1 / max(1, sum(count > 0 for count in counts.gold.values())):.4f}. Balanced "
        "accuracy is the mean over the labels of the share of their questions answered right."
    )
    return _table("What the models say", columns, rows, note if labels else "")


def _models(
    result: SearchResult | Evaluation, counts: LabelCounts
) -> Iterator[tuple[str, list[str]]]:
    def row(said: Sequence[int], accuracy: Accuracy, balanced: float) -> list[str]:
        return [*map(_count, said), f"{accuracy.value:.4f}", f"{balanced:.4f}"]

    first = result.base if isinstance(result, SearchResult) else result.accuracy
    edited = isinstance(result, Evaluation) and bool(result.edits)
    name = "edited" if edited else "untouched"
    yield name, row(list(counts.untouched.values()), first, counts.balanced_untouched)
    truncated, balanced = counts.truncated, counts.balanced_truncated
    if isinstance(result, SearchResult) and truncated is not None and balanced is not None:
        yield "truncated", row(list(truncated.values()), result.pruned, balanced)


def explanation_data(result: AnyResult) -> dict[str, object] | None:
    """Sentences, tables and the lines of the picture; None where nothing was explained."""
    if not isinstance(result, SearchResult) or result.explanation is None:
        return None
    explanation = result.explanation
    return {
        "verdict": explanation.verdict,
        "text": [line for line in explanation_lines(result) if line.startswith(_SENTENCES)],
        "lines": list(_lines(explanation)),
        "majority": None if result.label_counts is None else result.label_counts.majority,
        "tables": [*_tables(explanation), *([_draws(result)] if result.several else [])],
    }


_SENTENCES = ("share of", "calibration alone", "what changed")
"""Beginnings of the lines that are no row of a table."""


def _lines(explanation: Explanation) -> Iterator[PlotLine]:
    raw, fitted = explanation.raw, explanation.fitted_prior
    yield PlotLine(name="untouched", kind="untouched", values=[raw.untouched, fitted.untouched])
    yield PlotLine(name="truncated", kind="truncated", values=[raw.truncated, fitted.truncated])
    for control in explanation.controls:
        if control.calibrated is not None:
            values = [control.accuracy, control.calibrated]
            yield PlotLine(name=control.kind, kind="control", values=values)


def _tables(explanation: Explanation) -> Iterator[PageTable]:
    columns = ("", "untouched", "truncated", "change", "95 % interval", "p")
    rows = [[READING_NAMES.get(name, name), *_cells(c)] for name, c in explanation.accuracy.items()]
    if explanation.auc is not None:
        rows.append(["area under the ROC curve", *_cells(explanation.auc)])
    yield _table("Test accuracy, read in several ways", columns, rows)
    if explanation.controls:
        rows = [
            [
                c.kind,
                str(c.draws),
                f"{c.accuracy:.4f}",
                _maybe_signed(c.difference),
                _interval(c.interval),
                _maybe(c.calibrated),
                _maybe_signed(c.calibrated_difference),
                _interval(c.calibrated_interval),
            ]
            for c in explanation.controls
        ]
        change = ("change", "95 % interval")
        columns = ("", "seeds", "as it is", *change, "fitted prior", *change)
        note = (
            "Other changes of the same weights, by as much as the truncation. Intervals are over "
            "seeds (draws, of a search of several) and examples."
        )
        yield _table("Controls", columns, rows, note)
    if explanation.spread:
        rows = [
            [
                name,
                str(len(s.changes)),
                _signed(s.mean),
                _interval(s.interval),
                _signed(min(s.changes)),
                _signed(max(s.changes)),
                f"{s.sd:.4f}",
                f"{s.examples_sd:.4f}",
            ]
            for name, s in explanation.spread.items()
        ]
        columns = ("over", "number", "mean change", "95 % interval", "from", "to", "sd")
        yield _table("Luck of the demonstrations", (*columns, "sd of examples alone"), rows)
    if explanation.also or explanation.texts:
        yield _side_effects(explanation)
    if explanation.origins is not None:
        yield from _origins(explanation.origins)


def _origins(origins: Origins) -> Iterator[PageTable]:
    first, second = origins.labels
    rows = [[part.name, *_shift(part.shift)] for part in origins.parts]
    columns = ("through", "prior", "95 % interval", "discrimination", "sd")
    note = (
        f"Change of the logit of {second!r} less that of {first!r} on {origins.examples} test "
        "examples. The prior is the mean change; discrimination is the mean change where the "
        "second label is right, less that where the first is."
    )
    rows.append(["all", *_shift(origins.total)])
    yield _table("Where it comes from", columns, rows, note)
    if origins.directions:
        rows = [
            [
                f"{d.matrix} {d.number}",
                _signed(d.shift.prior),
                _maybe_signed(d.shift.discrimination),
                "" if d.in_demonstrations is None else f"{d.in_demonstrations:.0%}",
                " ".join(d.words),
                d.demonstration or "",
            ]
            for d in origins.directions
        ]
        columns = ("direction", "prior", "discrimination", "in demonstrations", "words")
        note = (
            f"Direct effects to first order: of these, and {origins.first_order:+.4f} of all "
            f"{origins.removed} removed ones together; in truth {origins.direct.prior:+.4f}."
        )
        yield _table("Removed directions", (*columns, "demonstration"), rows, note)


def _shift(shift: Shift) -> list[str]:
    return [
        _signed(shift.prior),
        _interval(shift.interval),
        _maybe_signed(shift.discrimination),
        f"{shift.sd:.4f}",
    ]


def _side_effects(explanation: Explanation) -> PageTable:
    rows = [
        [
            e.task,
            f"{e.examples:,}",
            *_cells(e.change),
            _shown(e.significant),
            f"{_shown(e.equivalent)} ({e.margin:g})",
        ]
        for e in explanation.also
    ]
    rows += [
        [
            f"{name}, perplexity",
            f"{p.tokens:,}",
            f"{p.untouched:.4f}",
            _maybe(p.edited),
            _maybe_signed(p.difference),
            _interval(p.interval),
            _p(p.p_value),
            _shown(p.significant),
            f"{_shown(p.equivalent)} ({_margin(p.margin)})",
        ]
        for name, p in explanation.texts.items()
    ]
    columns = ("", "n", "untouched", "truncated", "change", "95 % interval", "p")
    columns += ("any change", "none of the margin or more")
    note = (
        "The same edit elsewhere. Of a text the change is in nats a token. Holm's correction at "
        "5 % is over all rows; the last column is two one-sided tests at 5 %."
    )
    return _table("What else changed", columns, rows, note)


def _draws(result: SearchResult) -> PageTable:
    rows = []
    for draw in result.draws:
        tested = draw.chosen
        rows.append(
            [
                str(draw.seed),
                f"{draw.best_rate:g}",
                f"{tested.base.value:.4f}",
                f"{tested.pruned.value:.4f}",
                _signed(tested.paired.difference),
                _interval(tested.paired.interval),
            ]
        )
    columns = ("seed", "its own best rate", "untouched", f"at rate {result.best_rate:g}")
    return _table("By draw of demonstrations", (*columns, "change", "95 % interval"), rows)


def _cells(change: Change) -> list[str]:
    return [
        f"{change.untouched:.4f}",
        f"{change.truncated:.4f}",
        _signed(change.difference),
        _interval(change.interval),
        _p(change.p_value),
    ]


def _count(value: int) -> str:
    return f"{value:,}"


def _signed(value: float) -> str:
    return f"{value:+.4f}"


def _maybe(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _maybe_signed(value: float | None) -> str:
    return "" if value is None else _signed(value)


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _margin(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _interval(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"{interval[0]:+.4f} to {interval[1]:+.4f}"


def _shown(value: bool | None) -> str:
    return {None: "", True: "shown", False: "not shown"}[value]
