"""``jaxsvd evaluate``: in-context accuracy of the model as it is."""

import argparse

from jaxsvd.cli import options
from jaxsvd.cli.arguments import (
    DeviceArguments,
    DrawArguments,
    ModelArguments,
    RunArguments,
    TaskArguments,
    load_model,
    open_run,
    task_of,
)
from jaxsvd.cli.command import Command
from jaxsvd.cli.console import output, print_run


class EvaluateArguments(
    ModelArguments, TaskArguments, DrawArguments, RunArguments, DeviceArguments
):
    """What the options give."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """No options of its own."""


def run(arguments: EvaluateArguments) -> None:
    """Score the test set and print the accuracy."""
    from jaxsvd.cli import tables
    from jaxsvd.commands.evaluate import evaluate

    task = task_of(arguments.task, arguments.model)
    run_options = open_run(arguments, task)
    result = evaluate(
        load_model(arguments, mesh=arguments.mesh),
        task,
        data=arguments.data,
        shots=arguments.shots,
        seed=arguments.seed,
        validation_size=arguments.validation_size,
        test_size=arguments.test_size,
        protocol=arguments.protocol,
        skip_long=arguments.skip_long,
        **run_options,
    )
    console = output()
    for line in tables.heading(result.record):
        tables.say(console, line)
    counts, value, interval = tables.accuracy_cells(result.accuracy)
    tables.say(console, f"test   {counts} correct, accuracy {value}, 95 % interval {interval}")
    print_run(console, result.out)


EVALUATE = Command(
    "evaluate",
    "in-context accuracy on the test set, nothing truncated",
    EvaluateArguments,
    add_options,
    run,
    shared=(
        options.model_options,
        options.task_options,
        options.draw_options,
        options.run_options,
        options.device_options,
    ),
)
