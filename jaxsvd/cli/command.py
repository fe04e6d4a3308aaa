"""A command of the command line, as data."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from jaxsvd.cli.options import Parser

Arguments = TypeVar("Arguments", bound=argparse.Namespace)


@dataclass(frozen=True)
class Command(Generic[Arguments]):
    """One command.

    Attributes:
        name: what users type after ``jaxsvd``.
        help: a line for ``jaxsvd --help``, also the first of the command's own help.
        arguments: the types of what its options give.
        add_options: adds the command's own options to its parser.
        run: does the work and prints. Heavy packages are imported here, so that ``--help`` and
            mistyped options need none of them.
        shared: make the parsers of options that it shares with other commands
            (:mod:`jaxsvd.cli.options`).
    """

    name: str
    help: str
    arguments: type[Arguments]
    add_options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[Arguments], None]
    shared: Sequence[Callable[[], Parser]] = ()
