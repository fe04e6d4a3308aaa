"""The study on real language models that docs/study.md fixes: see there for its questions."""

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from experiments.common.scaffold import Experiment, Record, Study
from experiments.language import units as language
from experiments.study import design, drawing
from experiments.study.answers import answers
from experiments.study.records import StudyRecord
from experiments.study.summary import record_of, write_setting
from experiments.study.units import Runner
from jaxsvd.cli import options
from jaxsvd.runtime.errors import UserError
from jaxsvd.score import model_record

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def add_options(parser: argparse.ArgumentParser) -> None:
    """Its own options."""
    names = [task.name for task in design.TASKS]
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="a folder a task")
    parser.add_argument("--tasks", nargs="+", choices=names, default=names, help="all by default")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(design.SEEDS), metavar="N")


def check(options: argparse.Namespace) -> None:
    """Refuse data that are missing."""
    for name in options.tasks:
        if not (options.data / name).is_dir():
            raise UserError(f"--data {options.data} should hold a folder {name}")


def study(study: Study) -> Record:
    """All units."""
    model = language.load(study)
    layers = {m: language.chosen_layer(study, model, m).layer for m in design.MODULES}
    tasks = [task for task in design.TASKS if task.name in study.options.tasks]
    runner = Runner(
        model,
        study.path,
        study.options.data,
        layers,
        tasks,
        study.options.seeds,
        100 if study.quick else None,
        study.progress,
    )
    head = StudyRecord(Path(model.source).name, model.config.layers, layers, (), ())
    write_setting(study.path, head)
    runner.all()
    return {"model": model_record(model).to_json(), "study": record_of(study.path).to_json()}


def report(result: Record) -> Iterable[Table | str]:
    """The study's questions, answered."""
    for answer in answers(StudyRecord.from_json(result["study"])):
        table = Table(*answer.columns, title=answer.question)
        for row in answer.rows:
            table.add_row(*row)
        yield table
        yield from answer.notes


def _drawn(draw: Callable[[StudyRecord], "Figure"]) -> Callable[[Record], "Figure"]:
    return lambda result: draw(StudyRecord.from_json(result["study"]))


EXPERIMENT = Experiment(
    "study",
    "Does truncation make a real language model better at in-context learning? (docs/study.md)",
    study,
    report,
    {
        "plane.png": _drawn(lambda record: drawing.plane([record])),
        "rates.png": _drawn(drawing.rates),
    },
    add_options,
    check,
    (options.model_options(),),
)
