"""The command line: parse, run the command, turn errors into a line and an exit status.

Built on the standard library's argparse. Every mistake must be one line, which framed, multi-line
messages of richer libraries are not, and nothing is imported before it is needed.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxsvd.cli.command import Command
from jaxsvd.cli.compare import COMPARE
from jaxsvd.cli.condition import CONDITION
from jaxsvd.cli.evaluate import EVALUATE
from jaxsvd.cli.experiment import EXPERIMENT
from jaxsvd.cli.explain import EXPLAIN
from jaxsvd.cli.lm_eval import LM_EVAL
from jaxsvd.cli.models import MODELS
from jaxsvd.cli.options import Parser
from jaxsvd.cli.perplexity import PERPLEXITY
from jaxsvd.cli.prune import PRUNE
from jaxsvd.cli.report import REPORT
from jaxsvd.cli.search import SEARCH
from jaxsvd.cli.suite import SUITE
from jaxsvd.cli.sweep import SWEEP
from jaxsvd.cli.tasks import TASKS
from jaxsvd.runs.files import full_disk
from jaxsvd.runtime import interruption
from jaxsvd.runtime.errors import UserError, path_error
from jaxsvd.runtime.paths import shortened

EXIT_USER_ERROR, EXIT_INTERRUPTED = 2, 130

COMMANDS: tuple[Command[Any], ...] = (
    SEARCH,
    EXPLAIN,
    SWEEP,
    EVALUATE,
    PERPLEXITY,
    CONDITION,
    PRUNE,
    REPORT,
    COMPARE,
    LM_EVAL,
    SUITE,
    TASKS,
    MODELS,
    EXPERIMENT,
)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; what it parses names its :class:`Command` as ``called``."""
    from jaxsvd import __version__

    parser = Parser(
        prog="jaxsvd",
        description="Does truncating a language model's weights by SVD make it better at "
        "in-context learning?",
    )
    parser.add_argument("--version", action="version", version=f"jaxsvd {__version__}")
    parsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        own = parsers.add_parser(
            command.name,
            help=command.help,
            description=command.help[0].upper() + command.help[1:] + ".",
            parents=[make() for make in command.shared],
        )
        own.set_defaults(called=command)
        command.add_options(own)
    return parser


@contextlib.contextmanager
def _joined(arguments: argparse.Namespace) -> Iterator[None]:
    """Join the other processes of the run, if any; all but the first print nothing."""
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
    arguments = argparse.Namespace()
    try:
        if sys.stdout is None:  # closed by the shell, as in `jaxsvd search >&-`
            raise UserError("standard output is closed; redirect it to a file or to /dev/null")
        try:
            parsed = build_parser().parse_args(argv)
            command: Command[Any] = parsed.called
            arguments = command.arguments(**vars(parsed))
            with interruption.handler(), _joined(arguments):
                command.run(arguments)
        finally:
            sys.stdout.flush()  # a full disk or a closed pipe is noticed here, not at exit
    except UserError as error:
        return _failed(str(error))
    except OSError as error:
        _discard_output()
        if isinstance(error, BrokenPipeError):
            return _failed(f"standard output was closed before all was printed{_kept(arguments)}")
        try:
            return _failed(str(full_disk(error)))
        except OSError:
            return _failed(str(path_error(error)))
    except KeyboardInterrupt:
        print(f"jaxsvd: interrupted{_kept(arguments)}", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


def _failed(message: str) -> int:
    print(f"jaxsvd: error: {message}", file=sys.stderr)
    return EXIT_USER_ERROR


def _kept(arguments: argparse.Namespace) -> str:
    """Where a run stands that has been begun, and how it goes on; nothing for other commands."""
    out: Path | None = getattr(arguments, "out", None)
    if out is None or not hasattr(arguments, "resume"):
        return ""
    from jaxsvd.runs.directory import REQUEST, RESULT

    path = shortened(out)
    if (out / RESULT).is_file():
        return f"; the run is complete: {path}"
    if (out / REQUEST).is_file():
        return f"; to continue, repeat the command with --resume --out {path}"
    return "; nothing was written yet"


def _discard_output() -> None:
    """Drop what is still buffered for standard output: it cannot be written."""
    with contextlib.suppress(OSError, ValueError), open(os.devnull, "w") as devnull:
        os.dup2(devnull.fileno(), sys.stdout.fileno())
