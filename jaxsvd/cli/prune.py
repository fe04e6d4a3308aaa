"""``jaxsvd prune``: write a truncated model."""

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from jaxsvd.cli import options
from jaxsvd.cli.arguments import ModelArguments, load_model
from jaxsvd.cli.command import Command
from jaxsvd.cli.console import output, progress
from jaxsvd.runtime.errors import UserError

if TYPE_CHECKING:
    from jaxsvd.edits.edit import Edits


class PruneArguments(ModelArguments):
    """What the options give."""

    edit: str | None
    layer: int | None
    module: str
    rate: float | None
    svd: Literal["exact", "randomized"]
    seed: int
    out: Path
    format: Literal["dense", "lora", "factored"]
    factored: bool
    run: Path | None


def add_options(parser: argparse.ArgumentParser) -> None:
    """What is truncated, and where the model goes."""
    group = parser.add_argument_group("truncation")
    group.add_argument(
        "--layer",
        type=options.index,
        metavar="N",
        help="an index; negative ones count from the end (required without --edit)",
    )
    options.module_option(group, "mlp", "matrix, or group of matrices, to truncate")
    group.add_argument(
        "--rate",
        type=options.rate,
        metavar="X",
        help="clipping rate in [0, 1): the share of the rank that is removed (required without "
        "--edit)",
    )
    options.edit_option(group)
    group.add_argument(
        "--from",
        type=Path,
        dest="run",
        metavar="RUN",
        help="take model and edit of a finished search, and put its numbers on the model card "
        "(default: none)",
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
        "--format",
        choices=("dense", "lora", "factored"),
        default="dense",
        help="dense: whole matrices, for transformers, vLLM and llama.cpp; lora: what was removed, "
        "as a PEFT adapter of the source; factored: each truncated matrix as two factors, smaller, "
        "but only jaxsvd reads it (default: %(default)s)",
    )
    group.add_argument("--factored", action="store_true", help="the same as --format factored")


def run(arguments: PruneArguments) -> None:
    """Truncate, write the model, and print what was kept."""
    from jaxsvd.checkpoints.save import refuse_existing
    from jaxsvd.cli import tables
    from jaxsvd.commands.prune import edits_of_search, summary

    given = (arguments.edit, arguments.layer, arguments.rate)
    if arguments.factored and arguments.format == "lora":
        raise UserError("--factored and --format lora are two formats; give one")
    format = "factored" if arguments.factored else arguments.format
    refuse_existing(arguments.out)
    if arguments.run is None:
        searched, edits, measured = None, edits_of(arguments), ""
    elif any(value is not None for value in given):
        raise UserError("--from takes the edit of a search; leave out --edit, --layer and --rate")
    else:
        searched = edits_of_search(arguments.run)
        edits, measured = searched.edits, searched.measured
        if arguments.model is None:
            arguments.model, arguments.revision = searched.source, searched.revision
    model = load_model(arguments)
    if searched is not None:
        searched.check(model)
    pruned = model.edited(edits, progress=progress())
    pruned.save(arguments.out, format=format, measured=measured)
    console = output()
    for line in summary(pruned, arguments.out, format):
        tables.say(console, line)


def edits_of(arguments: PruneArguments) -> "Edits":
    """The edits that the options name.

    Raises:
        UserError: neither ``--edit`` nor both ``--layer`` and ``--rate``, or both kinds.
    """
    from jaxsvd.edits.edit import Edit, parse_edits

    given = arguments.layer is not None, arguments.rate is not None
    if any(given) if arguments.edit is not None else not all(given):
        raise UserError(
            "give --layer and --rate, or --edit alone (such as 26:mlp:0.95+25:attn:0.9), or --from "
            "a search"
        )
    if arguments.edit is not None:
        edits = parse_edits(arguments.edit)
    else:
        assert arguments.layer is not None
        edits = (Edit(arguments.layer, arguments.module, arguments.rate),)
    if arguments.svd == "exact":
        return edits
    return tuple(
        dataclasses.replace(edit, method=arguments.svd, seed=arguments.seed) for edit in edits
    )


PRUNE = Command(
    "prune",
    "write the truncated model in Hugging Face layout",
    PruneArguments,
    add_options,
    run,
    shared=(options.model_options,),
)
