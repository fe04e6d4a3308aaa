"""``jaxsvd prune``: write a truncated model."""

import argparse
from pathlib import Path
from typing import Literal

from jaxsvd.cli import options
from jaxsvd.cli.arguments import ModelArguments, load_model
from jaxsvd.cli.command import Command
from jaxsvd.cli.console import output, progress


class PruneArguments(ModelArguments):
    """What the options give."""

    layer: int
    module: str
    rate: float
    svd: Literal["exact", "randomized"]
    seed: int
    out: Path
    factored: bool


def add_options(parser: argparse.ArgumentParser) -> None:
    """What is truncated, and where the model goes."""
    group = parser.add_argument_group("truncation")
    group.add_argument(
        "--layer",
        type=options.index,
        metavar="N",
        required=True,
        help="an index; negative ones count from the end (required)",
    )
    options.module_option(group, "mlp", "matrix, or group of matrices, to truncate")
    group.add_argument(
        "--rate",
        type=options.rate,
        metavar="X",
        required=True,
        help="clipping rate in [0, 1): the share of the rank that is removed (required)",
    )
    options.svd_option(group)
    group.add_argument(
        "--seed",
        type=options.size,
        default=0,
        metavar="N",
        help="of the randomized SVD (default: %(default)s)",
    )
    group = parser.add_argument_group("output")
    group.add_argument(
        "--out", type=Path, metavar="DIR", required=True, help="a new model directory (required)"
    )
    group.add_argument(
        "--factored",
        action="store_true",
        help="store each truncated matrix as two factors: smaller, but only jaxsvd reads it "
        "(default: whole matrices)",
    )


def run(arguments: PruneArguments) -> None:
    """Truncate, write the model, and print what was kept."""
    from jaxsvd import svd
    from jaxsvd.checkpoints.save import refuse_existing
    from jaxsvd.cli import tables
    from jaxsvd.commands.prune import prune, summary

    rate = svd.check_rate(arguments.rate)
    refuse_existing(arguments.out)
    pruned = prune(
        load_model(arguments),
        layer=arguments.layer,
        module=arguments.module,
        rate=rate,
        method=arguments.svd,
        seed=arguments.seed,
        progress=progress(),
    )
    pruned.save(arguments.out, factored=arguments.factored)
    console = output()
    for line in summary(pruned, arguments.out, factored=arguments.factored):
        tables.say(console, line)


PRUNE = Command(
    "prune",
    "write the truncated model in Hugging Face layout",
    PruneArguments,
    add_options,
    run,
    shared=(options.model_options,),
)
