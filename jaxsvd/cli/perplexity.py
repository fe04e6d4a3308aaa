"""``jaxsvd perplexity``: how well a model predicts plain text, as it is and edited."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from jaxsvd.cli import options
from jaxsvd.cli.arguments import DeviceArguments, ModelArguments, load_model
from jaxsvd.cli.command import Command
from jaxsvd.cli.console import output, progress

if TYPE_CHECKING:
    from rich.table import Table

    from jaxsvd.results.perplexity import Perplexity


class PerplexityArguments(ModelArguments, DeviceArguments):
    """What the options give."""

    data: Path
    edit: str | None
    window: int | None
    field: str
    margin: float


def add_options(parser: argparse.ArgumentParser) -> None:
    """The text, and what is edited."""
    group = parser.add_argument_group("text")
    group.add_argument(
        "--data", type=Path, required=True, metavar="FILE", help="a .txt, .jsonl or .parquet file"
    )
    group.add_argument(
        "--field", default="text", metavar="NAME", help="that holds the text (default: %(default)s)"
    )
    group.add_argument(
        "--window",
        type=options.size,
        metavar="N",
        help="tokens of a window (default: 512, or the model's context if that is shorter)",
    )
    group.add_argument(
        "--margin",
        type=float,
        default=0.01,
        metavar="X",
        help="a rise of the mean negative log-likelihood, in nats a token, that would not matter "
        "(default: %(default)s)",
    )
    options.edit_option(parser.add_argument_group("edit"))


def run(arguments: PerplexityArguments) -> None:
    """Score the text and print a table."""
    from jaxsvd.commands.perplexity import perplexity
    from jaxsvd.edits.edit import parse_edits

    edits = None if arguments.edit is None else parse_edits(arguments.edit)
    model = load_model(arguments, mesh=arguments.mesh)
    results = perplexity(
        model,
        arguments.data,
        edit=edits,
        window=arguments.window,
        field=arguments.field,
        progress=progress(),
    )
    console = output()
    console.print(perplexity_table(results, arguments.margin))


def perplexity_table(results: "tuple[Perplexity, ...]", margin: float) -> "Table":
    """A row for each kind of windows."""
    from rich.table import Table

    edited = results[0].edited is not None
    columns = ["windows", "tokens", "perplexity"]
    if edited:
        columns += ["edited", "nats a token", "95 % interval", f"rises by less than {margin:g}"]
    table = Table(*columns)
    for r in results:
        row = [f"{r.windows} ({r.window}/{r.stride})", f"{r.tokens:,}", f"{r.untouched:.4f}"]
        if r.edited is not None and r.interval is not None:
            low, high = r.interval
            row += [f"{r.edited:.4f}", f"{r.difference:+.5f}", f"[{low:+.5f}, {high:+.5f}]"]
            row.append("yes" if r.no_worse(margin) else "not shown")
        table.add_row(*row)
    table.caption = "windows: tokens of each / from one to the next"
    return table


PERPLEXITY = Command(
    "perplexity",
    "perplexity on plain text, of the model as it is and with --edit",
    PerplexityArguments,
    add_options,
    run,
    shared=(options.model_options, options.device_options),
)
