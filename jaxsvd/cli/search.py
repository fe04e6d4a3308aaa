"""``jaxsvd search``: Algorithm 1 of the paper."""

import argparse
from typing import Literal

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
from jaxsvd.cli.console import output, print_picture, print_run


class SearchArguments(ModelArguments, TaskArguments, DrawArguments, RunArguments, DeviceArguments):
    """What the options give."""

    module: str
    layer: int | Literal["auto"]
    rates: list[list[float]] | None
    top_layers: int
    svd: Literal["exact", "randomized"]
    score: Literal["accuracy", "calibrated", "nll", "auc"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """What is truncated, and how far."""
    group = parser.add_argument_group("truncation")
    options.module_option(group, "mlp", "matrix, or group of matrices, to truncate")
    group.add_argument(
        "--layer",
        type=options.layer,
        default="auto",
        metavar="N",
        help="an index, where negative ones count from the end, or auto: the deepest of the "
        "--top-layers with the largest condition numbers (default: %(default)s)",
    )
    group.add_argument(
        "--rates",
        type=options.rates,
        nargs="+",
        metavar="X",
        help=f"clipping rates in [0, 1), separated by spaces or commas (default: {options.RATES})",
    )
    group.add_argument(
        "--top-layers",
        type=options.size,
        default=options.TOP_LAYERS,
        metavar="K",
        help="how many layers --layer auto considers (default: %(default)s)",
    )
    options.svd_option(group)
    group.add_argument(
        "--score",
        choices=("accuracy", "calibrated", "nll", "auc"),
        default="accuracy",
        help="what the rate is chosen by on validation: accuracy, as in the paper; calibrated: "
        "accuracy after batch calibration; nll: likelihood of the right label; auc: area under "
        "the ROC curve (default: %(default)s)",
    )


def run(arguments: SearchArguments) -> None:
    """Choose the layer, try the rates, test the best; print and draw the result."""
    from jaxsvd import svd
    from jaxsvd.cli import pictures, published, tables
    from jaxsvd.commands.search import check_rates, search

    task = task_of(arguments.task, arguments.model)
    rates = check_rates(options.joined(arguments.rates) or svd.RATES)
    run_options = open_run(arguments, task)
    model = load_model(arguments, mesh=arguments.mesh)
    result = search(
        model,
        task,
        module=arguments.module,
        layer=arguments.layer,
        rates=rates,
        top_layers=arguments.top_layers,
        method=arguments.svd,
        seeds=options.joined(arguments.seeds),
        score=arguments.score,
        data=arguments.data,
        shots=arguments.shots,
        seed=arguments.seed,
        validation_size=arguments.validation_size,
        test_size=arguments.test_size,
        protocol=arguments.protocol,
        skip_long=arguments.skip_long,
        allow_zero_shot=arguments.allow_zero_shot,
        **run_options,
    )
    console = output()
    tables.print_search(result, console)
    for line in published.published_lines(model.config, result):
        tables.say(console, line)
    print_run(console, result.out)
    print_picture(
        console,
        run_options["out"] / "search.png",
        lambda path: pictures.search_picture(result, path),
    )


SEARCH = Command(
    "search",
    "Algorithm 1: choose a layer, try clipping rates on validation, report the best on test",
    SearchArguments,
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
