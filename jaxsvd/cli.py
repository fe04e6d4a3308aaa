"""The command line: parses, calls, prints.

Built on the standard library's argparse: every mistake must be one line, which framed, multi-line
messages of richer libraries are not, and nothing is imported before it is needed.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jaxsvd import interruption, options
from jaxsvd.errors import UserError

EXIT_USER_ERROR, EXIT_INTERRUPTED = 2, 130


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    from jaxsvd import __version__

    parser = options.Parser(
        prog="jaxsvd",
        description="Does truncating a language model's weights by SVD make it better at "
        "in-context learning?",
    )
    parser.add_argument("--version", action="version", version=f"jaxsvd {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    model, task, draw, run = (
        options.model_options(),
        options.task_options(),
        options.draw_options(),
        options.run_options(),
    )

    def add(
        name: str, call: Callable[[argparse.Namespace], None], help: str, *parents: Any
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help, description=help, parents=parents)
        command.set_defaults(call=call)
        return command

    search = add(
        "search", _search, "choose a layer, try the clipping rates, report", model, task, draw, run
    )
    group = search.add_argument_group("truncation")
    group.add_argument("--module", default="mlp", help="matrix or group of matrices (mlp)")
    group.add_argument("--layer", type=options.layer, default="auto", help="auto, or an index")
    group.add_argument(
        "--rates", type=options.rates, nargs="+", metavar="X", help="clipping rates in [0, 1)"
    )
    group.add_argument(
        "--top-layers", type=options.size, metavar="K", help="layers that compete under auto (3)"
    )
    group.add_argument("--svd", choices=("exact", "randomized"), default="exact")

    sweep = add(
        "sweep", _sweep, "all layers, modules, rates, shots, seeds, on validation", model, task, run
    )
    group = sweep.add_argument_group("grid (several values are separated by spaces or commas)")
    for name, kind, metavar, text in (
        ("--layers", options.layers, "N", "all, or indices; negative ones count from the end"),
        ("--modules", options.names, "M", "matrices or groups of matrices (mlp attn)"),
        ("--rates", options.rates, "X", "clipping rates in [0, 1)"),
        ("--shots", options.sizes, "N", "demonstrations in all"),
        ("--seeds", options.sizes, "N", "of the draws (0)"),
    ):
        group.add_argument(name, type=kind, nargs="+", metavar=metavar, help=text)
    group.add_argument("--svd", choices=("exact", "randomized"), default="exact")

    add("evaluate", _evaluate, "plain in-context accuracy on the test set", model, task, draw, run)
    condition = add("condition", _condition, "condition numbers by layer and matrix", model)
    condition.add_argument("--module", default="all", help="matrix or group of matrices (all)")
    condition.add_argument("--out", metavar="RUN", help="a new run directory for result.json")
    page = add("report", _report, "one self-contained HTML page of a run")
    page.add_argument("run", metavar="RUN", help="a finished run directory")
    page.add_argument("--out", metavar="FILE", help="the page (RUN/report.html)")
    add("tasks", _tasks, "the tasks, a line each")
    add("models", _models, "the model families, a line each")
    return parser


def _load(arguments: argparse.Namespace) -> Any:
    from jaxsvd.compilation import use_persistent_cache
    from jaxsvd.model import load
    from jaxsvd.progress import TerminalProgress

    use_persistent_cache()
    return load(
        arguments.model,
        revision=arguments.revision,
        dtype=arguments.dtype,
        progress=TerminalProgress(),
    )


def _task_arguments(arguments: argparse.Namespace) -> dict[str, Any]:
    from jaxsvd.progress import TerminalProgress
    from jaxsvd.runs import default_path

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
        "progress": TerminalProgress(),
    }


def _draw_arguments(arguments: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(arguments, name) for name in ("shots", "seed", "test_size")}


def _search(arguments: argparse.Namespace) -> None:
    from jaxsvd import comparison, pictures, svd, tables
    from jaxsvd.commands.search import check_rates, search
    from jaxsvd.conditioning import TOP_LAYERS
    from jaxsvd.runs import refuse_existing

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
    for line in comparison.published_lines(model.config, result):
        tables.say(console, line)
    _say_where(
        console, result.out, "search.png", lambda path: pictures.search_picture(result.record, path)
    )


def _say_where(console: Any, out: Path | None, name: str, draw: Callable[[Path], Path]) -> None:
    """Where the run and its picture are."""
    from jaxsvd import pictures, tables

    assert out is not None
    tables.say(console, f"run     {out}")
    found = draw(out / name) if pictures.available() else "none: install jaxsvd[figures] for one"
    tables.say(console, f"picture {found}")


def _sweep(arguments: argparse.Namespace) -> None:
    from jaxsvd import pictures, svd, tables
    from jaxsvd.commands.search import check_rates
    from jaxsvd.commands.sweep import MODULES, sweep
    from jaxsvd.runs import refuse_existing

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


def _evaluate(arguments: argparse.Namespace) -> None:
    from jaxsvd import tables
    from jaxsvd.commands.evaluate import evaluate
    from jaxsvd.runs import refuse_existing

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


def _condition(arguments: argparse.Namespace) -> None:
    from jaxsvd import tables
    from jaxsvd.commands.condition import condition
    from jaxsvd.progress import TerminalProgress
    from jaxsvd.runs import refuse_existing

    refuse_existing(arguments.out, resume=False)
    numbers = condition(
        _load(arguments), arguments.module, out=arguments.out, progress=TerminalProgress()
    )
    console = _console()
    console.print(tables.condition_table(numbers))
    if arguments.out:
        tables.say(console, f"run {arguments.out}")


def _report(arguments: argparse.Namespace) -> None:
    from jaxsvd.commands.report import report
    from jaxsvd.progress import TerminalProgress

    print(report(arguments.run, out=arguments.out, progress=TerminalProgress()))


def _tasks(arguments: argparse.Namespace) -> None:
    del arguments
    from jaxsvd.tasks import describe
    from jaxsvd.tasks.bundled import SUMMARY

    for task in describe():
        sizes = f"{task.shots} shots, {_count(task.validation_size)} validation, "
        sizes += f"{_count(task.test_size)} test"
        labels = "a choice" if task.kind == "choices" else " ".join(task.labels)
        print(f"{task.name:<8} {task.description}: {labels}; {sizes}; {task.source}")
    print(f"{'bundled':<8} {SUMMARY}")


def _count(size: int | None) -> str:
    return "the rest for" if size is None else f"{size:,}"


def _models(arguments: argparse.Namespace) -> None:
    del arguments
    from jaxsvd.models import FAMILIES

    for family in FAMILIES.values():
        print(f"{family.name:<8} {family.description}; for example {family.example}")


def _console() -> Any:
    from rich.console import Console

    # In a file or a pipe lines are as long as they need to be.
    return Console() if sys.stdout.isatty() else Console(width=200)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status (0, 2 for a user's mistake, 130 for Ctrl-C)."""
    try:
        arguments = build_parser().parse_args(argv)
        with interruption.heeded():
            arguments.call(arguments)
    except UserError as error:
        print(f"jaxsvd: error: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        print(
            "jaxsvd: interrupted; the same command with --resume and its --out goes on",
            file=sys.stderr,
        )
        return EXIT_INTERRUPTED
    return 0
