"""Tables and figures of the study on real language models, from its records alone."""

import json
from collections.abc import Sequence
from pathlib import Path

from experiments.common import style
from experiments.study import drawing, interaction
from experiments.study.answer import markdown
from experiments.study.answers import answers
from experiments.study.records import StudyRecord
from jaxsvd.results.fields import Damaged
from jaxsvd.runtime.errors import UserError

RECORDS = Path(__file__).parents[1] / "docs" / "study"
"""Where the published records are; they are not part of an installed package."""


def read(folders: Sequence[Path]) -> dict[str, StudyRecord]:
    """The records in some folders, by their file's name without its ending.

    Raises:
        UserError: there are none, or one is damaged.
    """
    records = {}
    for path in sorted(path for folder in folders for path in folder.glob("*.json")):
        try:
            records[path.stem] = StudyRecord.from_json(json.loads(path.read_text("utf-8")))
        except (OSError, ValueError, Damaged) as error:
            raise UserError(f"{path}: not a record of the study ({error})") from None
    if not records:
        raise UserError(
            f"no records of the study in {', '.join(map(str, folders))}; "
            "python -m experiments.study.record makes one of a run of python -m experiments.study"
        )
    return records


def pages(records: dict[str, StudyRecord]) -> dict[str, str]:
    """File name -> a page of answers for each model."""
    return {
        f"{name}.md": markdown(record.model, list(answers(record)))
        for name, record in records.items()
    }


def pictures(records: dict[str, StudyRecord]) -> dict[str, bytes]:
    """File name -> picture."""
    with style.look():
        figures = {"plane.png": drawing.plane(list(records.values()))}
        for name, record in records.items():
            figures[f"{name}-rates.png"] = drawing.rates(record)
            for kind in (drawing.shots, drawing.others, drawing.controls, interaction.prior):
                if (figure := kind(record)) is not None:
                    figures[f"{name}-{kind.__name__}.png"] = figure
        return {name: style.rendered(figure, "png") for name, figure in figures.items()}
