"""``jaxsvd experiment NAME ...``: the same as ``python -m experiments.NAME ...``."""

import argparse
import importlib
import sys

from jaxsvd.cli.command import Command


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


def run(arguments: ExperimentArguments) -> None:
    """Run an experiment, which ends the process with its own exit status, or list them all."""
    # By name: experiments stand above the library, which does without them.
    registry = importlib.import_module("experiments.common.registry")

    if arguments.name is None:
        print(*registry.names(), sep="\n")
        return
    sys.exit(registry.run(arguments.name, arguments.words))


EXPERIMENT = Command(
    "experiment",
    "run an experiment of the paper, as python -m experiments.NAME does",
    ExperimentArguments,
    add_options,
    run,
)
