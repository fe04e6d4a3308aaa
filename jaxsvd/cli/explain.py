"""``jaxsvd explain``: is a search's gain real?"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from jaxsvd.cli import options
from jaxsvd.cli.command import Command
from jaxsvd.cli.console import output, progress
from jaxsvd.results.explanation import READING_NAMES
from jaxsvd.runtime.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

    from jaxsvd.model import Model
    from jaxsvd.results.explanation import Explanation


class ExplainArguments(argparse.Namespace):
    """What the options give."""

    run: Path
    model: str | None
    draws: int
    orders: int
    control_seeds: int
    examples: int
    also: list[str]
    text: list[Path]
    margin: float


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which run, and how much is scored."""
    parser.add_argument("run", type=Path, metavar="RUN", help="directory of a finished search")
    parser.add_argument(
        "--model", metavar="MODEL", help="the model, where it is no longer where the run says"
    )
    group = parser.add_argument_group("passes")
    for name, default, text in (
        ("draws", 8, "draws of demonstrations (1: none but the search's own)"),
        ("orders", 8, "orders of the search's demonstrations (1: none but its own)"),
        ("control-seeds", 5, "seeds of each control that draws random numbers (0: no controls)"),
        ("examples", 400, "test examples of each draw and order, at most"),
    ):
        group.add_argument(
            f"--{name}",
            type=options.size,
            default=default,
            metavar="N",
            help=f"{text} (default: {default})",
        )
    group = parser.add_argument_group("what else broke")
    group.add_argument(
        "--also",
        nargs="+",
        default=[],
        metavar="TASK",
        help="other tasks for the same edit: a name or a task file; TASK=DIR for local data",
    )
    group.add_argument(
        "--text", nargs="+", type=Path, default=[], metavar="FILE", help="plain text for perplexity"
    )
    group.add_argument(
        "--margin",
        type=float,
        default=0.01,
        metavar="X",
        help="a change of accuracy, or of nats a token, that would not matter "
        "(default: %(default)s)",
    )


def run(arguments: ExplainArguments) -> None:
    """Explain, print tables and draw the picture."""
    from jaxsvd.cli import explanation_picture, pictures
    from jaxsvd.commands.explain import Passes, explain

    result = explain(
        arguments.run,
        load=_loader(arguments.model),
        passes=Passes(
            arguments.draws, arguments.orders, arguments.control_seeds, arguments.examples
        ),
        also=dict(_task(text) for text in arguments.also),
        texts=arguments.text,
        margin=arguments.margin,
        progress=progress(),
    )
    console, explanation = output(), result.explanation
    assert explanation is not None
    console.print(reading_table(explanation))
    for table in more_tables(explanation):
        console.print(table)
    for line in closing_lines(explanation):
        console.print(line, markup=False, highlight=False)
    if pictures.available():
        path = explanation_picture.explanation_picture(result, arguments.run / "explanation.png")
        console.print(f"picture {path}", markup=False, highlight=False)


def _loader(model: str | None):
    def load(source: str, revision: str | None, dtype: str) -> "Model":
        from jaxsvd.devices.compilation import use_persistent_cache
        from jaxsvd.model import load

        use_persistent_cache()
        bundled = source == "bundled"
        named = model if model is not None else None if bundled else source
        return load(named, revision=revision, dtype=dtype, progress=progress())

    return load


def _task(text: str) -> tuple[str, str | None]:
    """``TASK`` or ``TASK=DIR``."""
    name, _, folder = text.partition("=")
    if not name:
        raise UserError(f"--also {text!r} should be TASK or TASK=DIR")
    return name, folder or None


def reading_table(explanation: "Explanation") -> "Table":
    """Untouched and truncated under every reading of the scores."""
    from rich.table import Table

    table = Table(
        "answers read", "untouched", "truncated", "change", "95 % interval", "exact p",
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
            "",
        )
    return table


def more_tables(explanation: "Explanation") -> "Iterator[Table]":
    """Controls, luck, other tasks and texts, where they were scored."""
    from rich.table import Table

    if explanation.controls:
        table = Table(
            "weights", "seeds", "as it is", "sd", "fitted prior", "sd",
            title="controls: other changes of the same weights, test accuracy",
        )  # fmt: skip
        for name, which in (("untouched", "untouched"), ("truncated", "truncated")):
            raw, fitted = explanation.raw, explanation.fitted_prior
            table.add_row(
                name, "", f"{getattr(raw, which):.4f}", "", f"{getattr(fitted, which):.4f}", ""
            )
        for c in explanation.controls:
            sds = ["" if sd is None else f"{sd:.4f}" for sd in (c.sd, c.calibrated_sd)]
            calibrated = "" if c.calibrated is None else f"{c.calibrated:.4f}"
            table.add_row(c.kind, str(c.draws), f"{c.accuracy:.4f}", sds[0], calibrated, sds[1])
        yield table
    if explanation.spread:
        table = Table(
            "over", "number", "mean change", "from", "to", "sd", "sd of examples alone",
            title="luck: the raw change over demonstrations",
        )  # fmt: skip
        for name, s in explanation.spread.items():
            table.add_row(
                name,
                str(len(s.changes)),
                f"{s.mean:+.4f}",
                f"{min(s.changes):+.4f}",
                f"{max(s.changes):+.4f}",
                f"{s.sd:.4f}",
                f"{s.examples_sd:.4f}",
            )
        yield table
    if explanation.also or explanation.texts:
        yield side_effects_table(explanation)


def side_effects_table(explanation: "Explanation") -> "Table":
    """The same edit on other tasks and on plain text, in one table."""
    from rich.table import Table

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


def closing_lines(explanation: "Explanation") -> list[str]:
    """What it comes to."""
    lines = []
    if explanation.share_explained is not None:
        low, high = explanation.share_explained.interval
        lines.append(
            "share of the raw change that the label prior explains: "
            f"{explanation.share_explained.value:.2f} [{low:.2f}, {high:.2f}]"
        )
    lines.append(f"what changed, on the search's own draw: {explanation.verdict}")
    return lines


EXPLAIN = Command(
    "explain",
    "is a search's gain real? calibration, controls, luck, and what else broke",
    ExplainArguments,
    add_options,
    run,
)
