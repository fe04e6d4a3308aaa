"""``jaxsvd experiment NAME ...``: the same as ``python -m experiments.NAME ...``."""

import argparse
import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

from jaxsvd.cli.command import Command
from jaxsvd.runtime.errors import UserError


class ExperimentArguments(argparse.Namespace):
    """What the options give."""

    name: str | None
    words: list[str]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which experiment; everything after its name is its own."""
    parser.add_argument(
        "name", metavar="NAME", nargs="?", help="an experiment (default: list them)"
    )
    parser.add_argument(
        "words",
        metavar="...",
        nargs=argparse.REMAINDER,
        help="the experiment's options; `jaxsvd experiment NAME --help` lists them",
    )


def names() -> list[str]:
    """The experiments that are installed.

    Raises:
        UserError: none are.
    """
    found = find_spec("experiments")
    folders = list(found.submodule_search_locations or ()) if found else []
    names = [main.parent.name for folder in folders for main in Path(folder).glob("*/__main__.py")]
    if not names:
        raise UserError("the package experiments is not installed here")
    return sorted(names)


def run(arguments: ExperimentArguments) -> None:
    """Run an experiment, which ends the process with its own exit status, or list them all."""
    known = names()
    if arguments.name is None:
        print(*known, sep="\n")
        return
    if arguments.name not in known:
        raise UserError(f"unknown experiment {arguments.name!r}; known: {' '.join(known)}")
    sys.argv[1:] = arguments.words
    runpy.run_module(f"experiments.{arguments.name}", run_name="__main__", alter_sys=True)


EXPERIMENT = Command(
    "experiment",
    "run an experiment of the paper, as python -m experiments.NAME does",
    ExperimentArguments,
    add_options,
    run,
)
