"""``jaxsvd sweep``: every combination of layers, modules, rates, shots and seeds."""

import argparse
from typing import Literal

from jaxsvd.cli import options
from jaxsvd.cli.arguments import (
    DeviceArguments,
    ModelArguments,
    RunArguments,
    TaskArguments,
    load_model,
    open_run,
    task_of,
)
from jaxsvd.cli.command import Command
from jaxsvd.cli.console import output, print_picture, print_run
from jaxsvd.runtime.errors import UserError


class SweepArguments(ModelArguments, TaskArguments, RunArguments, DeviceArguments):
    """What the options give."""

    layers: list[list[int | Literal["all"]]] | None
    modules: list[list[str]] | None
    rates: list[list[float]] | None
    shots: list[list[int]] | None
    seeds: list[list[int]] | None
    svd: Literal["exact", "randomized"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """How matrices are truncated."""
    options.svd_option(parser.add_argument_group("truncation"))


def _layers(arguments: SweepArguments) -> list[int] | Literal["all"]:
    """Indices, or ``"all"``.

    Raises:
        UserError: both.
    """
    given = options.joined(arguments.layers) or ["all"]
    indices = [layer for layer in given if layer != "all"]
    if not indices:
        return "all"
    if len(indices) < len(given):
        raise UserError("--layers should be all, or indices, not both")
    return indices


def run(arguments: SweepArguments) -> None:
    """Score every combination on validation; print and draw the result."""
    from jaxsvd import svd
    from jaxsvd.cli import sweep_picture, tables
    from jaxsvd.commands.search import check_rates
    from jaxsvd.commands.sweep import MODULES, sweep

    task = task_of(arguments.task, arguments.model)
    rates = check_rates(options.joined(arguments.rates) or svd.RATES)
    layers = _layers(arguments)
    run_options = open_run(arguments, task)
    result = sweep(
        load_model(arguments, mesh=arguments.mesh),
        task,
        layers=layers,
        modules=options.joined(arguments.modules) or MODULES,
        rates=rates,
        shots=options.joined(arguments.shots),
        seeds=options.joined(arguments.seeds) or (0,),
        method=arguments.svd,
        data=arguments.data,
        validation_size=arguments.validation_size,
        protocol=arguments.protocol,
        paper_sizes=arguments.paper_sizes,
        skip_long=arguments.skip_long,
        allow_zero_shot=arguments.allow_zero_shot,
        **run_options,
    )
    console = output()
    tables.print_sweep(result, console)
    print_run(console, result.out)
    print_picture(
        console,
        run_options["out"] / "sweep.png",
        lambda path: sweep_picture.sweep_picture(result, path),
    )


SWEEP = Command(
    "sweep",
    "accuracy on validation of every combination of layers, modules, rates, shots and seeds",
    SweepArguments,
    add_options,
    run,
    shared=(
        options.model_options,
        options.task_options,
        options.grid_options,
        options.run_options,
        options.device_options,
    ),
)
