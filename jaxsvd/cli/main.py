"""The command line: parses, calls, prints.

Built on the standard library's argparse: every mistake must be one line, which framed, multi-line
messages of richer libraries are not, and nothing is imported before it is needed.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from jaxsvd.cli import handlers, options
from jaxsvd.runs.files import full_disk
from jaxsvd.runtime import interruption
from jaxsvd.runtime.errors import UserError

EXIT_USER_ERROR, EXIT_INTERRUPTED = 2, 130


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    from jaxsvd import __version__

    parser = options.Parser(
        prog="jaxsvd",
        description="Does truncating a language model's weights by SVD make it better at "
        "in-context learning?",
    )
    parser.add_argument("--version", action="version", version=f"jaxsvd {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    devices, model, task, draw, run = (
        options.device_options(),
        options.model_options(),
        options.task_options(),
        options.draw_options(),
        options.run_options(),
    )

    def add(
        name: str, call: Callable[[argparse.Namespace], None], help: str, *parents: Any
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help, description=help, parents=parents)
        command.set_defaults(call=call)
        return command

    search = add(
        "search",
        handlers.search_command,
        "choose a layer, try the clipping rates, report",
        *(model, task, draw, run, devices),
    )
    group = search.add_argument_group("truncation")
    group.add_argument("--module", default="mlp", help="matrix or group of matrices (mlp)")
    group.add_argument("--layer", type=options.layer, default="auto", help="auto, or an index")
    group.add_argument(
        "--rates", type=options.rates, nargs="+", metavar="X", help="clipping rates in [0, 1)"
    )
    group.add_argument(
        "--top-layers", type=options.size, metavar="K", help="layers that compete under auto (3)"
    )
    group.add_argument("--svd", choices=("exact", "randomized"), default="exact")

    sweep = add(
        "sweep",
        handlers.sweep_command,
        "all layers, modules, rates, shots, seeds, on validation",
        *(model, task, options.grid_options(), run, devices),
    )
    sweep.add_argument("--svd", choices=("exact", "randomized"), default="exact")

    text = "plain in-context accuracy on the test set"
    add("evaluate", handlers.evaluate_command, text, model, task, draw, run, devices)
    text = "condition numbers by layer and matrix"
    condition = add("condition", handlers.condition_command, text, model, devices)
    condition.add_argument("--module", default="all", help="matrix or group of matrices (all)")
    condition.add_argument("--out", metavar="RUN", help="a new run directory for result.json")
    cut = add(
        "prune", handlers.prune_command, "write the truncated model, in Hugging Face layout", model
    )
    options.add_prune_options(cut)
    page = add("report", handlers.report_command, "one self-contained HTML page of a run")
    page.add_argument("run", metavar="RUN", help="a finished run directory")
    page.add_argument("--out", metavar="FILE", help="the page (RUN/report.html)")
    add("tasks", handlers.tasks_command, "the tasks, a line each")
    models = add(
        "models", handlers.models_command, "the model families, or what a model is and needs"
    )
    options.add_memory_options(models)
    return parser


@contextlib.contextmanager
def _joined(arguments: argparse.Namespace) -> Iterator[None]:
    """Together with the other processes of the run, if any; all but the first are silent."""
    if not hasattr(arguments, "coordinator"):
        yield
        return
    from jaxsvd.devices import distributed

    distributed.initialize(arguments.coordinator, arguments.process_id, arguments.num_processes)
    if not distributed.is_first():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (until the process ends)
    with distributed.fate_shared():
        yield


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status (0, 2 for a user's mistake, 130 for Ctrl-C)."""
    try:
        arguments = build_parser().parse_args(argv)
        with interruption.heeded():
            try:
                with _joined(arguments):
                    arguments.call(arguments)
            except OSError as error:
                raise full_disk(error) from None
    except UserError as error:
        print(f"jaxsvd: error: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        print(
            "jaxsvd: interrupted; the same command with --resume and its --out goes on",
            file=sys.stderr,
        )
        return EXIT_INTERRUPTED
    return 0
