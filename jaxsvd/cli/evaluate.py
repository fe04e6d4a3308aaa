"""``jaxsvd evaluate``: in-context accuracy of a model, as it is or edited."""

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
from jaxsvd.cli.console import output, print_run, progress


class EvaluateArguments(
    ModelArguments, TaskArguments, DrawArguments, RunArguments, DeviceArguments
):
    """What the options give."""

    edit: str | None


def add_options(parser: argparse.ArgumentParser) -> None:
    """What is edited before it is scored."""
    options.edit_option(parser.add_argument_group("edit"))


def run(arguments: EvaluateArguments) -> None:
    """Score the test set and print the accuracy."""
    from jaxsvd.cli import tables
    from jaxsvd.commands.evaluate import evaluate
    from jaxsvd.edits.edit import parse_edits
    from jaxsvd.results.summary import answer
    from jaxsvd.train_statistics import needs_statistics, train_statistics

    if arguments.task == "squad":
        _squad(arguments)
        return
    task = task_of(arguments.task, arguments.model)
    run_options = open_run(arguments, task)
    edits = None if arguments.edit is None else parse_edits(arguments.edit)
    model, seeds = load_model(arguments, mesh=arguments.mesh), options.joined(arguments.seeds)
    if edits is not None:
        statistics = None
        if needs_statistics(edits):
            statistics = train_statistics(
                model,
                task,
                edits,
                data=arguments.data,
                shots=arguments.shots,
                seed=max(seeds) if seeds else arguments.seed,
                validation_size=arguments.validation_size,
                test_size=arguments.test_size,
                progress=progress(),
            )
        model = model.edited(edits, statistics=statistics, progress=progress())
    result = evaluate(
        model,
        task,
        seeds=seeds,
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
    for line in tables.heading(result):
        tables.say(console, line)
    counts, value, interval = tables.accuracy_cells(result.accuracy)
    tables.say(console, f"test   {counts} correct, accuracy {value}, 95 % interval {interval}")
    for draw in result.draws if len(result.draws) > 1 else ():
        counts, value, interval = tables.accuracy_cells(draw.accuracy)
        tables.say(console, f"  seed {draw.seed}: {counts} correct, accuracy {value}, {interval}")
    if result.label_counts is not None:
        console.print()
        console.print(tables.answers_table(result.label_counts))
        console.print()
    tables.say(console, answer(result, ()))
    print_run(console, result.out)


def _squad(arguments: EvaluateArguments) -> None:
    """Answers that are written, each scored by three rules."""
    from jaxsvd.cli import tables
    from jaxsvd.commands.squad import squad
    from jaxsvd.runtime.errors import UserError

    if arguments.data is None:
        raise UserError("squad needs --data FOLDER, with SQuAD's train*.json and dev*.json")
    if arguments.out is not None or arguments.seeds is not None:
        raise UserError("squad takes neither --out nor --seeds: its answers are only printed")
    model = load_model(arguments, mesh=arguments.mesh)
    if arguments.edit is not None:
        model = model.edited(arguments.edit, progress=progress())
    result = squad(
        model,
        arguments.data,
        shots=1 if arguments.shots is None else arguments.shots,
        seed=arguments.seed or 0,
        test_size=arguments.test_size,
        progress=progress(),
    )
    console = output()
    for name, accuracy in (("exact match", result.exact), ("contains gold", result.contains)):
        counts, value, interval = tables.accuracy_cells(accuracy)
        tables.say(console, f"{name:14} {counts}, {value}, 95 % interval {interval}")
    tables.say(console, f"{'token F1':14} {result.f1:.4f}, mean over the questions")
    if result.cut:
        tables.say(console, f"{result.cut} prompts lost demonstrations to the model's context")


EVALUATE = Command(
    "evaluate",
    "in-context accuracy on the test set, of the model as it is or with --edit",
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
