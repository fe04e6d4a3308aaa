"""``jaxsvd tasks``: the built-in tasks; ``jaxsvd tasks check FILE``: a task file looked over."""

import argparse
from typing import Literal

from jaxsvd.cli.command import Command


class TasksArguments(argparse.Namespace):
    """What the options give."""

    action: Literal["check"] | None
    file: str | None
    model: str | None
    data: str | None


def add_options(parser: argparse.ArgumentParser) -> None:
    """What is to be checked."""
    parser.add_argument(
        "action",
        nargs="?",
        choices=("check",),
        metavar="check",
        help="check a task file: its template, labels and data, and show a prompt (default: list "
        "the tasks)",
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help="your task file, or a task's name")
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="show how many tokens its tokenizer gives each label (default: no model)",
    )
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="the folder with the data files (default: that of the task file; of a named task the "
        "hub)",
    )


def run(arguments: TasksArguments) -> None:
    """Print a line for each task, or what a task file makes."""
    from jaxsvd.commands import tasks
    from jaxsvd.runtime.errors import UserError

    if arguments.action is None:
        lines = tasks.described()
    elif arguments.file is None:
        raise UserError("tasks check needs a task file: jaxsvd tasks check FILE [MODEL]")
    else:
        lines = tasks.checked(arguments.file, arguments.model, data=arguments.data)
    for line in lines:
        print(line)


TASKS = Command(
    "tasks", "the tasks, a line each; or check a task file", TasksArguments, add_options, run
)
"""The tasks, or one looked over."""
