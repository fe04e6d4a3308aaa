"""``jaxsvd condition``: condition numbers of a model's matrices."""

import argparse
from pathlib import Path

from jaxsvd.cli import options
from jaxsvd.cli.arguments import DeviceArguments, ModelArguments, load_model
from jaxsvd.cli.command import Command
from jaxsvd.cli.console import output, print_run, progress


class ConditionArguments(ModelArguments, DeviceArguments):
    """What the options give."""

    module: str
    out: Path | None


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which matrices, and where the result goes."""
    options.module_option(parser.add_argument_group("matrices"), "all", "which matrices")
    parser.add_argument_group("run").add_argument(
        "--out",
        type=Path,
        metavar="RUN",
        help="a new run directory (default: none, the table is only printed)",
    )


def run(arguments: ConditionArguments) -> None:
    """Compute the condition numbers and print them as a table."""
    from jaxsvd.cli import tables
    from jaxsvd.commands.condition import condition
    from jaxsvd.devices.distributed import refuse_existing

    refuse_existing(arguments.out, resume=False)
    model = load_model(arguments, mesh=arguments.mesh)
    numbers = condition(model, arguments.module, out=arguments.out, progress=progress())
    console = output()
    console.print(tables.condition_table(numbers))
    print_run(console, arguments.out)


CONDITION = Command(
    "condition",
    "condition numbers (2-norm) by layer and matrix",
    ConditionArguments,
    add_options,
    run,
    shared=(options.model_options, options.device_options),
)
