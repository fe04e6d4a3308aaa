"""What each command of the command line does with its arguments: calls, prints, draws.

Nothing is imported before it is needed: a mistake is told at once.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxsvd.cli import options
from jaxsvd.runtime.errors import UserError


def _load(arguments: argparse.Namespace) -> Any:
    from jaxsvd.devices.compilation import use_persistent_cache
    from jaxsvd.model import load

    use_persistent_cache()
    return load(
        arguments.model,
        revision=arguments.revision,
        dtype=arguments.dtype,
        mesh=getattr(arguments, "mesh", "auto"),
        progress=_progress(),
    )


def _progress() -> Any:
    """Of several processes the first one's alone."""
    from jaxsvd.devices import distributed
    from jaxsvd.runtime.progress import SILENT, TerminalProgress

    return TerminalProgress() if distributed.is_first() else SILENT


def _task_arguments(arguments: argparse.Namespace) -> dict[str, Any]:
    from jaxsvd.runs.directory import default_path

    if arguments.resume and arguments.out is None:
        raise UserError("--resume needs --out, the run directory to go on in")
    return {
        "data": arguments.data,
        "validation_size": arguments.validation_size,
        "protocol": arguments.protocol,
        "skip_long": arguments.skip_long,
        "out": arguments.out or default_path(arguments.command, Path(arguments.task).stem),
        "resume": arguments.resume,
        "save_prompts": arguments.save_prompts,
        "progress": _progress(),
    }


def _draw_arguments(arguments: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(arguments, name) for name in ("shots", "seed", "test_size")}


def search_command(arguments: argparse.Namespace) -> None:
    """Choose, search, print and draw."""
    from jaxsvd import svd
    from jaxsvd.cli import pictures, published, tables
    from jaxsvd.commands.search import check_rates, search
    from jaxsvd.devices.distributed import refuse_existing
    from jaxsvd.edits.condition import TOP_LAYERS

    rates = check_rates(options.joined(arguments.rates) or svd.RATES)
    refuse_existing(arguments.out, resume=arguments.resume)
    model = _load(arguments)
    result = search(
        model,
        arguments.task,
        module=arguments.module,
        layer=arguments.layer,
        rates=rates,
        top_layers=TOP_LAYERS if arguments.top_layers is None else arguments.top_layers,
        method=arguments.svd,
        **_draw_arguments(arguments),
        **_task_arguments(arguments),
    )
    console = _console()
    tables.print_search(result, console)
    for line in published.published_lines(model.config, result):
        tables.say(console, line)
    _say_where(
        console, result.out, "search.png", lambda path: pictures.search_picture(result.record, path)
    )


def _say_where(console: Any, out: Path | None, name: str, draw: Callable[[Path], Path]) -> None:
    """Where the run and its picture are."""
    from jaxsvd.cli import pictures, tables
    from jaxsvd.devices import distributed

    if not distributed.is_first():
        return
    assert out is not None
    tables.say(console, f"run     {out}")
    found = draw(out / name) if pictures.available() else "none: install jaxsvd[figures] for one"
    tables.say(console, f"picture {found}")


def sweep_command(arguments: argparse.Namespace) -> None:
    """Sweep, print and draw."""
    from jaxsvd import svd
    from jaxsvd.cli import pictures, tables
    from jaxsvd.commands.search import check_rates
    from jaxsvd.commands.sweep import MODULES, sweep
    from jaxsvd.devices.distributed import refuse_existing

    rates = check_rates(options.joined(arguments.rates) or svd.RATES)
    layers = options.joined(arguments.layers) or ["all"]
    if "all" in layers and layers != ["all"]:
        raise UserError("--layers should be all, or indices, not both")
    refuse_existing(arguments.out, resume=arguments.resume)
    result = sweep(
        _load(arguments),
        arguments.task,
        layers="all" if layers == ["all"] else layers,
        modules=options.joined(arguments.modules) or MODULES,
        rates=rates,
        shots=options.joined(arguments.shots),
        seeds=options.joined(arguments.seeds) or (0,),
        method=arguments.svd,
        **_task_arguments(arguments),
    )
    console = _console()
    tables.print_sweep(result, console)
    _say_where(
        console, result.out, "sweep.png", lambda path: pictures.sweep_picture(result.record, path)
    )


def evaluate_command(arguments: argparse.Namespace) -> None:
    """Evaluate and print."""
    from jaxsvd.cli import tables
    from jaxsvd.commands.evaluate import evaluate
    from jaxsvd.devices.distributed import refuse_existing

    refuse_existing(arguments.out, resume=arguments.resume)
    result = evaluate(
        _load(arguments),
        arguments.task,
        **_draw_arguments(arguments),
        **_task_arguments(arguments),
    )
    console = _console()
    for line in tables.heading(result.record):
        tables.say(console, line)
    counts, value, interval = tables.accuracy_cells(result.accuracy)
    tables.say(console, f"test   {counts} correct, accuracy {value}, 95 % interval {interval}")
    tables.say(console, f"run    {result.out}")


def condition_command(arguments: argparse.Namespace) -> None:
    """Condition numbers as a table."""
    from jaxsvd.cli import tables
    from jaxsvd.commands.condition import condition
    from jaxsvd.devices.distributed import refuse_existing

    refuse_existing(arguments.out, resume=False)
    numbers = condition(_load(arguments), arguments.module, out=arguments.out, progress=_progress())
    console = _console()
    console.print(tables.condition_table(numbers))
    if arguments.out:
        tables.say(console, f"run {arguments.out}")


def prune_command(arguments: argparse.Namespace) -> None:
    """Truncate, write, and say what was kept."""
    from jaxsvd import svd
    from jaxsvd.checkpoints.save import refuse_existing
    from jaxsvd.cli import tables
    from jaxsvd.commands.prune import prune, summary

    out = Path(arguments.out)
    rate = svd.check_rate(arguments.rate)
    refuse_existing(out)
    pruned = prune(
        _load(arguments),
        layer=arguments.layer,
        module=arguments.module,
        rate=rate,
        method=arguments.svd,
        seed=arguments.seed,
        progress=_progress(),
    )
    pruned.save(out, factored=arguments.factored)
    console = _console()
    for line in summary(pruned, out, factored=arguments.factored):
        tables.say(console, line)


def report_command(arguments: argparse.Namespace) -> None:
    """Write the page and say where."""
    from jaxsvd.commands.report import report

    print(report(arguments.run, out=arguments.out, progress=_progress()))


def tasks_command(arguments: argparse.Namespace) -> None:
    """List the tasks."""
    del arguments
    from jaxsvd.commands.tasks import described

    for line in described():
        print(line)


def models_command(arguments: argparse.Namespace) -> None:
    """List the families, or describe a model."""
    from jaxsvd.commands import models
    from jaxsvd.devices import sharding

    if arguments.model is None and not arguments.memory:
        for line in models.families():
            print(line)
        return
    axes, given = sharding.axes_of(arguments.mesh), arguments.device_memory
    device = None if given is None else models.device_bytes(given)
    config = models.config_of(arguments.model, arguments.revision)
    found = models.plan(config, axes, device_bytes=device, module=arguments.module)
    print(models.described(config))
    if arguments.memory:
        _console().print(models.memory_table(found))


def _console() -> Any:
    from rich.console import Console

    # In a file or a pipe lines are as long as they need to be.
    return Console() if sys.stdout.isatty() else Console(width=200)
