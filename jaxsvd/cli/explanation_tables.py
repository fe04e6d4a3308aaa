"""Tables of ``jaxsvd explain``."""

from collections.abc import Iterator

from rich.table import Table

from jaxsvd.results.explanation import READING_NAMES, Explanation
from jaxsvd.results.origins import Origins, Shift


def reading_table(explanation: Explanation) -> Table:
    """Untouched and truncated under every reading of the scores."""
    table = Table(
        "answers read", "untouched", "truncated", "change", "95 % interval", "p",
        title="what the change of test accuracy is made of",
    )  # fmt: skip
    for name, change in explanation.accuracy.items():
        low, high = change.interval
        table.add_row(
            READING_NAMES.get(name, name),
            f"{change.untouched:.4f}",
            f"{change.truncated:.4f}",
            f"{change.difference:+.4f}",
            f"[{low:+.4f}, {high:+.4f}]",
            "" if change.p_value is None else f"{change.p_value:.3g}",
        )
    if explanation.auc is not None:
        low, high = explanation.auc.interval
        table.add_row(
            "area under the ROC curve",
            f"{explanation.auc.untouched:.4f}",
            f"{explanation.auc.truncated:.4f}",
            f"{explanation.auc.difference:+.4f}",
            f"[{low:+.4f}, {high:+.4f}]",
            "" if explanation.auc.p_value is None else f"{explanation.auc.p_value:.3g}",
        )
    return table


def more_tables(explanation: Explanation) -> Iterator[Table]:
    """Controls, luck, other tasks and texts, where they were scored."""
    if explanation.controls:
        yield controls_table(explanation)
    if explanation.spread:
        table = Table(
            "over", "number", "mean change", "95 % interval", "from", "to", "sd",
            "sd of examples alone", title="luck: the raw change over demonstrations",
        )  # fmt: skip
        for name, s in explanation.spread.items():
            table.add_row(
                name,
                str(len(s.changes)),
                f"{s.mean:+.4f}",
                _interval(s.interval),
                f"{min(s.changes):+.4f}",
                f"{max(s.changes):+.4f}",
                f"{s.sd:.4f}",
                f"{s.examples_sd:.4f}",
            )
        yield table
    if explanation.also or explanation.texts:
        yield side_effects_table(explanation)
    if explanation.origins is not None:
        yield origins_table(explanation.origins)
        if explanation.origins.directions:
            yield directions_table(explanation.origins)


def controls_table(explanation: Explanation) -> Table:
    """Untouched, truncated and every control: raw and calibrated, with what each changes."""
    table = Table(
        "weights", "seeds", "as it is", "sd", "change", "fitted prior", "sd", "change",
        title="controls: other changes of the same weights, test accuracy",
        caption="change: against the untouched model, with its 95 % interval over seeds (draws) "
        "and examples",
    )  # fmt: skip
    raw, fitted = explanation.raw, explanation.fitted_prior
    table.add_row(
        "untouched", "", f"{raw.untouched:.4f}", "", "", f"{fitted.untouched:.4f}", "", ""
    )
    table.add_row(
        "truncated",
        "",
        f"{raw.truncated:.4f}",
        "",
        _change(raw.difference, raw.interval),
        f"{fitted.truncated:.4f}",
        "",
        _change(fitted.difference, fitted.interval),
    )
    for c in explanation.controls:
        table.add_row(
            c.kind,
            str(c.draws),
            f"{c.accuracy:.4f}",
            "" if c.sd is None else f"{c.sd:.4f}",
            _change(c.difference, c.interval),
            "" if c.calibrated is None else f"{c.calibrated:.4f}",
            "" if c.calibrated_sd is None else f"{c.calibrated_sd:.4f}",
            _change(c.calibrated_difference, c.calibrated_interval),
        )
    return table


def _interval(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"[{interval[0]:+.4f}, {interval[1]:+.4f}]"


def _change(difference: float | None, interval: tuple[float, float] | None) -> str:
    return "" if difference is None else f"{difference:+.4f} {_interval(interval)}"


def side_effects_table(explanation: Explanation) -> Table:
    """The same edit on other tasks and on plain text, in one table."""
    margins = [*(e.margin for e in explanation.also)]
    margins += [text.margin for text in explanation.texts.values() if text.margin is not None]
    within = f" within {margins[0]:g}" if margins else ""
    table = Table(
        "task or text", "n", "untouched", "truncated", "change", "95 % interval", "p", "equal",
        title="what else changed: accuracy on tasks, perplexity on texts",
        caption="* below 5 % after Holm's correction over all rows; equal: two one-sided tests at "
        f"5 %{within}; change of a text: nats a token",
    )  # fmt: skip
    for e in explanation.also:
        low, high = e.change.interval
        table.add_row(
            e.task,
            f"{e.examples:,}",
            f"{e.change.untouched:.4f}",
            f"{e.change.truncated:.4f}",
            f"{e.change.difference:+.4f}",
            f"[{low:+.4f}, {high:+.4f}]",
            f"{e.change.p_value:.3g}{' *' if e.significant else ''}",
            "yes" if e.equivalent else "not shown",
        )
    for name, text in explanation.texts.items():
        if text.edited is None or text.interval is None:
            continue
        low, high = text.interval
        table.add_row(
            name,
            f"{text.tokens:,}",
            f"{text.untouched:.4f}",
            f"{text.edited:.4f}",
            f"{text.difference:+.5f}",
            f"[{low:+.5f}, {high:+.5f}]",
            f"{text.p_value:.3g}{' *' if text.significant else ''}",
            "yes" if text.equivalent else "not shown",
        )
    return table


def closing_lines(explanation: Explanation) -> list[str]:
    """What it comes to."""
    lines = []
    if explanation.share_explained is not None:
        low, high = explanation.share_explained.interval
        lines.append(
            "share of the raw change that the label prior explains: "
            f"{explanation.share_explained.value:.2f} [{low:.2f}, {high:.2f}]"
        )
    lines.append(f"what changed, on the search's own draws: {explanation.verdict}")
    return lines


def origins_table(origins: Origins) -> Table:
    """The change of the logit difference by layer of origin."""
    first, second = origins.labels
    table = Table(
        "through", "prior", "95 % interval", "discrimination", "sd",
        title=f"where it comes from: change of the logit of {second!r} less that of {first!r}, "
        f"{origins.examples} test examples of the first draw",
        caption="prior: mean change. discrimination: mean change where the second label is right, "
        "less that where the first is. Parts are added to the stream in this order and add up.",
    )  # fmt: skip
    for part in origins.parts:
        table.add_row(part.name, *_shift(part.shift))
    table.add_row("all", *_shift(origins.total))
    return table


def directions_table(origins: Origins) -> Table:
    """The removed singular directions that move the label prior most."""
    table = Table(
        "matrix", "direction", "singular value", "prior", "discrimination", "in demonstrations",
        "responds to", "and to the demonstration",
        title="removed singular directions that move the label prior most, directly",
        caption=f"all {origins.removed} together, to first order: {origins.first_order:+.4f}; "
        f"directly in truth: {origins.direct.prior:+.4f}",
    )  # fmt: skip
    for d in origins.directions:
        apart = d.shift.discrimination
        share = d.in_demonstrations
        table.add_row(
            d.matrix,
            str(d.number),
            f"{d.singular_value:.4g}",
            f"{d.shift.prior:+.4f}",
            "" if apart is None else f"{apart:+.4f}",
            "" if share is None else f"{share:.0%}",
            " ".join(d.words),
            d.demonstration or "",
        )
    return table


def _shift(shift: Shift) -> tuple[str, str, str, str]:
    apart = "" if shift.discrimination is None else f"{shift.discrimination:+.4f}"
    return f"{shift.prior:+.4f}", _interval(shift.interval), apart, f"{shift.sd:.4f}"
