"""Cells of one layer of a language model: every module at every rate, measured and predicted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.bounds_vs_accuracy import predictors, supersamples, trajectories
from experiments.bounds_vs_accuracy.measured import measure, removed
from experiments.bounds_vs_accuracy.questions import SupersampledTask, answers
from experiments.bounds_vs_accuracy.trajectories import Trajectory
from experiments.common.records import Record
from jaxsvd import svd
from jaxsvd.edits.edit import Edit
from jaxsvd.edits.replacement import smallest_rank, variants
from jaxsvd.engine.engine import Engine
from jaxsvd.engine.prompts import Prompts
from jaxsvd.model import Model
from jaxsvd.models.matrices import matrices
from jaxsvd.selection.gradient import EXAMPLES, matrix_gradients, predicted_changes


@dataclass(frozen=True)
class Untouched:
    """The model as it is, on one draw.

    Attributes:
        answers: to every question.
        trajectory: of the chosen prompts.
        cell: measurements and predictors.
        level: the absolute ridge of the bounds with fixed noise.
    """

    answers: np.ndarray
    trajectory: Trajectory
    cell: Record
    level: float

    def record(self) -> Record:
        """As JSON."""
        return {
            "answers": self.answers,
            "trajectory": [layer._asdict() for layer in self.trajectory],
            "cell": self.cell,
            "level": self.level,
        }

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Untouched":
        """From JSON."""
        layers = (
            trajectories.LayerNorms(**{name: np.array(value) for name, value in layer.items()})
            for layer in record["trajectory"]
        )
        return cls(np.array(record["answers"]), tuple(layers), record["cell"], record["level"])


@dataclass(frozen=True)
class LanguageBench:
    """One draw of a model's task, ready for any cell.

    Attributes:
        model: any.
        engine: its.
        draw: what is asked.
        prompts: of which theory speaks.
        b: virtual subsample of the bounds.
    """

    model: Model
    engine: Engine
    draw: SupersampledTask
    prompts: list[Prompts]
    b: int

    def untouched(self) -> Untouched:
        """Measure the model as it is."""
        answered = answers(self.engine, self.draw.encoded, [()])[0]
        layers, _ = trajectories.walk(self.engine, self.prompts, self.draw.shots)
        trajectory = tuple(layers)
        width = self.engine.config.width
        level = predictors.fixed_level(trajectory, self.b, width)
        cell = {
            **measure(self.draw, answered, answered),
            "supersample": supersamples.bounds_of(self.draw.sample(answered), self.draw.seed),
            "predictors": {
                name: value
                for name, value in predictors.summary(trajectory, 0, self.b, width, level).items()
                if not name.endswith("norm")  # those are of a layer
            },
        }
        return Untouched(answered, trajectory, cell, level)

    def measured(
        self, layer: int, modules: Sequence[str], rates: Sequence[float], base: Untouched
    ) -> list[Record]:
        """Every module of a layer at every rate above 0, from one pass of the engine."""
        rates = [rate for rate in rates if rate > 0]
        edits = [Edit(layer, module, rate) for module in modules for rate in rates]
        answered = answers(self.engine, self.draw.encoded, [(edit,) for edit in edits])
        return [
            {
                "module": edit.module,
                "layer": layer,
                "rate": edit.rate,
                "rank": smallest_rank(self.engine, edit),
                **measure(self.draw, said, base.answers),
                "supersample": supersamples.bounds_of(self.draw.sample(said), self.draw.seed),
            }
            for edit, said in zip(edits, answered, strict=True)
        ]

    def predicted(
        self, layer: int, modules: Sequence[str], rates: Sequence[float], base: Untouched
    ) -> list[Record]:
        """The predictors of the same cells, in the same order."""
        rates = [rate for rate in rates if rate > 0]
        losses = iter(self._first_order(layer, modules, rates))
        _, at = trajectories.walk(self.engine, self.prompts, self.draw.shots, stop=layer + 1)
        cells = []
        for module in modules:
            spectra = Spectra.of(self.engine, layer, module)
            edited = variants(self.engine, [(Edit(layer, module, rate),) for rate in rates])
            for rate, variant in zip(rates, edited.make(range(len(rates))), strict=True):
                above, _ = trajectories.walk(
                    self.engine, self.prompts, self.draw.shots, first=layer, at=at, variant=variant
                )
                trajectory = (*base.trajectory[:layer], *above)
                cell = self._predictors(spectra, rate, layer, trajectory, base)
                cell["predicted_changes"]["first-order loss"] = next(losses)
                cells.append(cell)
        return cells

    def _first_order(
        self, layer: int, modules: Sequence[str], rates: Sequence[float]
    ) -> list[float]:
        """The change of the loss on validation questions that a gradient predicts."""
        places = [
            (layer, name) for module in modules for name in matrices(self.engine.config, module)
        ]
        gradients = matrix_gradients(
            self.model,
            self.draw.encoded,
            self.draw.positions["validation"][:EXAMPLES].tolist(),
            dict.fromkeys(places),
        )
        edits = [(Edit(layer, module, rate),) for module in modules for rate in rates]
        return predicted_changes(self.model, gradients, edits)

    def _predictors(
        self, spectra: "Spectra", rate: float, layer: int, own: Trajectory, base: Untouched
    ) -> Record:
        width = self.engine.config.width
        now, before = (
            predictors.summary(one, layer, self.b, width, base.level)
            for one in (own, base.trajectory)
        )
        return {
            "predictors": now | spectra.predictors(rate),
            "predicted_changes": changes(now, before),
        }


def changes(own: Mapping[str, float], before: Mapping[str, float]) -> Record:
    """Of each predictor against the untouched model; 0 where both are infinite."""
    return {
        name: 0.0 if value == before[name] else value - before[name] for name, value in own.items()
    }


@dataclass(frozen=True)
class Spectra:
    """Singular values of a module's matrices, and their shapes."""

    values: tuple[np.ndarray, ...]
    shapes: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, engine: Engine, layer: int, module: str) -> "Spectra":
        """Of one layer, in float64."""
        weights = [
            np.asarray(engine.matrix(layer, name), np.float64)
            for name in matrices(engine.config, module)
        ]
        values = tuple(np.linalg.svd(weight, compute_uv=False) for weight in weights)
        return cls(values, tuple((w.shape[0], w.shape[1]) for w in weights))

    def predictors(self, rate: float) -> Record:
        """What weights alone tell; ``energy removed``: the share of the squared norms.

        The condition number is that of the matrices as they were (the largest): Algorithm 1 chooses
        layers by it.
        """
        ranks = [svd.rank_at(rate, shape) for shape in self.shapes]
        lost = sum((s[rank:] ** 2).sum() for s, rank in zip(self.values, ranks, strict=True))
        return {
            "parameters removed": removed(self.shapes, ranks),
            "energy removed": float(lost / sum((s**2).sum() for s in self.values)),
            "condition number": float(max(s[0] / s[-1] for s in self.values)),
        }
