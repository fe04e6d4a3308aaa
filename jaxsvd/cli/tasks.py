"""``jaxsvd tasks``: the built-in tasks."""

import argparse

from jaxsvd.cli.command import Command


def add_options(parser: argparse.ArgumentParser) -> None:
    """No options of its own."""


def run(arguments: argparse.Namespace) -> None:
    """Print a line for each task."""
    del arguments
    from jaxsvd.commands.tasks import described

    for line in described():
        print(line)


TASKS = Command("tasks", "the tasks, a line each", argparse.Namespace, add_options, run)
