"""What the study keeps: small enough to ship, enough for every table and figure."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from experiments.study.estimates import Estimate
from jaxsvd.results.fields import COUNT, INTERVAL, NUMBER, RATE, SHARE, TEXT, WHOLE, Fields

READINGS = ("raw", "batch_calibrated", "fitted_prior", "auc")
"""How an answer is read off the scores, see :mod:`jaxsvd.results.calibration`."""


@dataclass(frozen=True)
class GridCell:
    """Validation accuracy of one cell in one draw.

    Attributes:
        task, shots, seed: the draw.
        edit: as it is written; the empty text is the untouched model.
        layer, module, rate: of the edit; None, None and 0 of the untouched model.
        examples: how many.
        accuracy: of the answers as they are.
        batch_calibrated: accuracy after batch calibration.
        auc: area under the ROC curve of the raw scores; None of choices without labels.
    """

    task: str
    shots: int
    seed: int
    edit: str
    layer: int | None
    module: str | None
    rate: float
    examples: int
    accuracy: float
    batch_calibrated: float
    auc: float | None

    @classmethod
    def from_json(cls, fields: Fields) -> "GridCell":
        """As ``dataclasses.asdict`` writes it."""
        return cls(
            task=fields.read("task", TEXT),
            shots=fields.read("shots", COUNT),
            seed=fields.read("seed", WHOLE),
            edit=fields.read("edit", TEXT),
            layer=fields.maybe("layer", COUNT),
            module=fields.maybe("module", TEXT),
            rate=fields.read("rate", RATE),
            examples=fields.read("examples", COUNT),
            accuracy=fields.read("accuracy", SHARE),
            batch_calibrated=fields.read("batch_calibrated", SHARE),
            auc=fields.maybe("auc", SHARE),
        )


@dataclass(frozen=True)
class Level:
    """A quantity of the untouched and of the edited model, mean over draws."""

    untouched: float
    edited: float

    @classmethod
    def from_json(cls, fields: Fields) -> "Level":
        """As ``dataclasses.asdict`` writes it."""
        return cls(fields.read("untouched", NUMBER), fields.read("edited", NUMBER))


@dataclass(frozen=True)
class TestCell:
    """One edit on the test set of a task, over all draws.

    Attributes:
        task, shots: of the draws.
        seeds: of the draws, in order.
        edit: as it is written.
        layer, module, rate: of the edit.
        method: what takes a matrix's place, see :class:`jaxsvd.Edit`.
        chosen_for: the task whose validation chose the rate.
        examples: of each draw.
        majority: accuracy of always answering the commonest label, mean over draws.
        commonest: the share of the label that the model says most, mean over draws.
        levels: by reading, see :data:`READINGS`.
        changes: by reading.
    """

    __test__ = False  # not a test, whatever its name begins with

    task: str
    shots: int
    seeds: tuple[int, ...]
    edit: str
    layer: int
    module: str
    rate: float
    method: str
    chosen_for: str
    examples: tuple[int, ...]
    majority: float
    commonest: Level
    levels: dict[str, Level]
    changes: dict[str, Estimate]

    @classmethod
    def from_json(cls, fields: Fields) -> "TestCell":
        """As ``dataclasses.asdict`` writes it."""
        levels, changes = fields.nested("levels"), fields.nested("changes")
        return cls(
            task=fields.read("task", TEXT),
            shots=fields.read("shots", COUNT),
            seeds=_numbers(fields, "seeds"),
            edit=fields.read("edit", TEXT),
            layer=fields.read("layer", COUNT),
            module=fields.read("module", TEXT),
            rate=fields.read("rate", RATE),
            method=fields.read("method", TEXT),
            chosen_for=fields.read("chosen_for", TEXT),
            examples=_numbers(fields, "examples"),
            majority=fields.read("majority", SHARE),
            commonest=Level.from_json(fields.nested("commonest")),
            levels={name: Level.from_json(levels.nested(name)) for name in READINGS},
            changes={name: estimate_from_json(changes.nested(name)) for name in READINGS},
        )


def estimate_from_json(fields: Fields) -> Estimate:
    """As ``dataclasses.asdict`` writes it."""
    draws = [value for value, _ in fields.items("draws")]
    return Estimate(
        mean=fields.read("mean", NUMBER),
        interval=fields.read("interval", INTERVAL),
        low=fields.read("low", NUMBER),
        crossed=fields.maybe("crossed", INTERVAL),
        p_value=fields.read("p_value", SHARE),
        t_interval=fields.maybe("t_interval", INTERVAL),
        sd=fields.maybe("sd", NUMBER),
        draws=tuple(float(value) for value in draws if isinstance(value, int | float)),
    )


def _numbers(fields: Fields, name: str) -> tuple[int, ...]:
    return tuple(value for value, _ in fields.items(name) if isinstance(value, int))


@dataclass(frozen=True)
class TextCell:
    """Perplexity of a plain text under one edit.

    Attributes:
        text: the file's name.
        edit: as it is written.
        tokens: how many are predicted.
        untouched, edited: perplexity.
        difference: of the mean negative log-likelihood of a token, in nats.
        interval: 95 %, of the difference.
    """

    text: str
    edit: str
    tokens: int
    untouched: float
    edited: float
    difference: float
    interval: tuple[float, float]

    @classmethod
    def from_json(cls, fields: Fields) -> "TextCell":
        """As ``dataclasses.asdict`` writes it."""
        return cls(
            text=fields.read("text", TEXT),
            edit=fields.read("edit", TEXT),
            tokens=fields.read("tokens", COUNT),
            untouched=fields.read("untouched", NUMBER),
            edited=fields.read("edited", NUMBER),
            difference=fields.read("difference", NUMBER),
            interval=fields.read("interval", INTERVAL),
        )


@dataclass(frozen=True)
class PredictedCell:
    """What a gradient predicts of one validation cell, and what became of it.

    Attributes:
        task, seed: of the draw.
        edit: as it is written.
        predicted: change of the mean negative log-likelihood of the right candidate, to first
            order, on the examples of the gradient.
        loss: its change on all validation examples, measured.
        accuracy: change of accuracy on them.
    """

    task: str
    seed: int
    edit: str
    predicted: float
    loss: float
    accuracy: float

    @classmethod
    def from_json(cls, fields: Fields) -> "PredictedCell":
        """As ``dataclasses.asdict`` writes it."""
        return cls(
            task=fields.read("task", TEXT),
            seed=fields.read("seed", WHOLE),
            edit=fields.read("edit", TEXT),
            predicted=fields.read("predicted", NUMBER),
            loss=fields.read("loss", NUMBER),
            accuracy=fields.read("accuracy", NUMBER),
        )


@dataclass(frozen=True)
class StudyRecord:
    """All that is known of one model.

    Attributes:
        model: the file's name.
        layers: of the model.
        condition_layers: the layer that Algorithm 1 chooses, by module.
        grid: validation cells.
        tests: test cells.
        texts: plain texts.
        predicted: validation cells whose loss a gradient predicted.
    """

    model: str
    layers: int
    condition_layers: dict[str, int]
    grid: tuple[GridCell, ...]
    tests: tuple[TestCell, ...]
    texts: tuple[TextCell, ...] = ()
    predicted: tuple[PredictedCell, ...] = ()

    def to_json(self) -> dict[str, object]:
        """For a file: plain objects, numbers to six digits."""
        return _rounded(dataclasses.asdict(self))  # type: ignore[return-value]

    @classmethod
    def from_json(cls, value: object) -> "StudyRecord":
        """As written.

        Raises:
            Damaged: a field is missing or cannot be.
        """
        fields = Fields.of(value)
        chosen = fields.nested("condition_layers")
        return cls(
            model=fields.read("model", TEXT),
            layers=fields.read("layers", COUNT),
            condition_layers={name: chosen.read(name, COUNT) for name in chosen.values},
            grid=tuple(map(GridCell.from_json, fields.objects("grid", empty=True))),
            tests=tuple(map(TestCell.from_json, fields.objects("tests", empty=True))),
            texts=tuple(map(TextCell.from_json, _cells(fields, "texts"))),
            predicted=tuple(map(PredictedCell.from_json, _cells(fields, "predicted"))),
        )

    def own_tests(self) -> Sequence[TestCell]:
        """Truncations tested on the task that chose their rate."""
        return [t for t in self.tests if t.task == t.chosen_for and t.method == "exact"]

    def is_algorithm1(self, cell: TestCell) -> bool:
        """Whether the cell's layer is the one that Algorithm 1 chooses for its module."""
        return self.condition_layers.get(cell.module) == cell.layer


def _cells(fields: Fields, name: str) -> Sequence[Fields]:
    """Of a list that records of earlier versions do not have."""
    return list(fields.objects(name, empty=True)) if fields.has(name) else []


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, list | tuple) else value
