"""``jaxsvd models``: the model families, or what one model is and needs."""

import argparse

from jaxsvd.cli import options
from jaxsvd.cli.command import Command
from jaxsvd.cli.console import output


class ModelsArguments(argparse.Namespace):
    """What the options give."""

    model: str | None
    revision: str | None
    memory: bool
    mesh: str
    device_memory: str | None
    module: str


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which model, on which devices."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        nargs="?",
        help="a directory, or a hub id (default: list the families; with --memory, the bundled "
        "model)",
    )
    parser.add_argument("--revision", help="branch, tag or commit of a hub id (default: main)")
    group = parser.add_argument_group("memory")
    group.add_argument(
        "--memory",
        action="store_true",
        help="print the memory that a search needs, from config.json alone",
    )
    group.add_argument(
        "--mesh",
        default="data=1",
        metavar="AXES",
        help="devices to plan for, such as data=4,model=2 (default: %(default)s, one device)",
    )
    group.add_argument(
        "--device-memory",
        metavar="GB",
        help="memory of the accelerator to plan for (default: this machine's devices)",
    )
    options.module_option(group, "mlp", "what will be truncated")


def run(arguments: ModelsArguments) -> None:
    """Print the families, or describe a model."""
    from jaxsvd.commands import models
    from jaxsvd.devices import sharding

    if arguments.model is None and not arguments.memory:
        for line in models.families():
            print(line)
        return
    axes, given = sharding.axes_of(arguments.mesh), arguments.device_memory
    device_bytes = None if given is None else models.device_bytes(given)
    config = models.config_of(arguments.model, arguments.revision)
    plan = models.plan(config, axes, device_bytes=device_bytes, module=arguments.module)
    print(models.described(config))
    if arguments.memory:
        output().print(models.memory_table(plan))


MODELS = Command(
    "models",
    "the model families, a line each, or what a model is and needs",
    ModelsArguments,
    add_options,
    run,
)
