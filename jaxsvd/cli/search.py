"""``jaxsvd search``: Algorithm 1 of the paper."""

import argparse
from collections.abc import Sequence
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
from jaxsvd.runtime.errors import UserError


class SearchArguments(ModelArguments, TaskArguments, DrawArguments, RunArguments, DeviceArguments):
    """What the options give."""

    module: str
    layer: int | Literal["auto"]
    rates: list[list[float | str]] | None
    top_layers: int
    select: Literal["condition", "all", "gradient", "race", "greedy"]
    layers: list[list[int | str]] | None
    modules: list[list[str]] | None
    epsilon: float
    delta: float
    margin: float
    most_edits: int
    proposals: int
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
        type=options.rates_or_rules,
        nargs="+",
        metavar="X",
        help="clipping rates in [0, 1), separated by spaces or commas; mp or gd is the rank that "
        "Marchenko and Pastur's or Gavish and Donoho's rule gives each matrix "
        f"(default: {options.RATES})",
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

    group = parser.add_argument_group("selection")
    group.add_argument(
        "--select",
        choices=("condition", "all", "gradient", "race", "greedy"),
        default="condition",
        help="condition: Algorithm 1; all: score every layer, module and rate; gradient: score the "
        "few that one backward pass proposes; race: drop those that cannot be the best; greedy: "
        "several together, one after the other (default: %(default)s)",
    )
    group.add_argument(
        "--layers",
        type=options.layers,
        nargs="+",
        metavar="N",
        help="layers of the candidates, or all (default: all; a --layer that is given)",
    )
    group.add_argument(
        "--modules",
        type=options.names,
        nargs="+",
        metavar="M",
        help="modules of the candidates (default: --module)",
    )
    group.add_argument(
        "--epsilon",
        type=float,
        default=0.02,
        metavar="E",
        help="race: the winner may be worse than the best by so much (default: %(default)s)",
    )
    group.add_argument(
        "--delta",
        type=float,
        default=0.05,
        metavar="D",
        help="race: the chance that it is worse by more (default: %(default)s)",
    )
    group.add_argument(
        "--margin",
        type=float,
        default=0.005,
        metavar="S",
        help="greedy: what an addition has to bring on validation (default: %(default)s)",
    )
    group.add_argument(
        "--most-edits",
        type=options.size,
        default=4,
        metavar="K",
        help="greedy: how many there may be (default: %(default)s)",
    )
    group.add_argument(
        "--proposals",
        type=options.size,
        default=8,
        metavar="K",
        help="gradient: candidates that are scored (default: %(default)s)",
    )


def candidate_layers(arguments: SearchArguments) -> Sequence[int] | Literal["all"]:
    """``--layers``.

    Raises:
        UserError: with Algorithm 1, which chooses one by ``--layer``; all beside indices.
    """
    named = {"--layers": arguments.layers, "--modules": arguments.modules}
    for option, value in named.items():
        if value is not None and arguments.select == "condition":
            raise UserError(
                f"{option} bounds the candidates of --select all, gradient, race or greedy; "
                "Algorithm 1 takes --layer and --module"
            )
    layers = options.joined(arguments.layers) or ["all"]
    if layers == ["all"]:
        return "all"
    if "all" in layers:
        raise UserError("--layers should be all, or indices, not both")
    return [layer for layer in layers if isinstance(layer, int)]


def run(arguments: SearchArguments) -> None:
    """Choose the layer, try the rates, test the best; print and draw the result."""
    from jaxsvd import svd
    from jaxsvd.cli import pictures, published, tables
    from jaxsvd.commands.search import search
    from jaxsvd.commands.search_candidates import check_rates_or_rules

    task = task_of(arguments.task, arguments.model)
    rates = check_rates_or_rules(options.joined(arguments.rates) or svd.RATES)
    layers = candidate_layers(arguments)
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
        select=arguments.select,
        layers=layers,
        modules=options.joined(arguments.modules),
        epsilon=arguments.epsilon,
        delta=arguments.delta,
        margin=arguments.margin,
        most_edits=arguments.most_edits,
        proposals=arguments.proposals,
        data=arguments.data,
        shots=arguments.shots,
        seed=arguments.seed,
        validation_size=arguments.validation_size,
        test_size=arguments.test_size,
        protocol=arguments.protocol,
        paper_sizes=arguments.paper_sizes,
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
