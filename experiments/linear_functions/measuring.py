"""What is measured of a trained transformer: its curves, and its layers truncated."""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from experiments.common.records import Record
from experiments.linear_functions.prompts import BASELINES, RegressionPrompts, baseline_errors, draw
from experiments.linear_functions.trained import TrainedModel
from experiments.linear_functions.training import evaluation_key
from jaxsvd import svd
from jaxsvd.edits.edit import Edit
from jaxsvd.models.matrices import matrices
from jaxsvd.results.statistics import Z95

MODULES = ("mlp", "attn")


def curve(errors: Float[np.ndarray, "B P"]) -> Record:
    """Mean and standard error over prompts, by number of examples."""
    values = np.asarray(errors, float)
    return {
        "examples": list(range(values.shape[1])),
        "error": values.mean(axis=0).tolist(),
        "standard_error": _standard_error(values).tolist(),
    }


def paired(base: Float[np.ndarray, " B"], other: Float[np.ndarray, " B"]) -> Record:
    """The other's mean less the base's on the same prompts.

    With its standard error, 95 % interval, and two-sided p-value by the normal approximation,
    good for the hundreds of prompts and more that are asked here; 1 where nothing differs.
    """
    differences = np.asarray(other, float) - np.asarray(base, float)
    mean, error = float(differences.mean()), float(_standard_error(differences[:, None])[0])
    score = abs(mean) / error if error else 0.0
    return {
        "base": float(np.mean(base, dtype=float)),
        "truncated": float(np.mean(other, dtype=float)),
        "difference": mean,
        "standard_error": error,
        "interval": [mean - Z95 * error, mean + Z95 * error],
        "p_value": math.erfc(score / math.sqrt(2)),
    }


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number (Holm, 1979): below a level, significant at it."""
    order = np.argsort(p_values, kind="stable")
    adjusted, largest = [1.0] * len(p_values), 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - place) * float(p_values[index])))
        adjusted[int(index)] = largest
    return adjusted


class Measurement:
    """Fresh prompts, and what a trained transformer and the baselines make of them."""

    def __init__(self, trained: TrainedModel, seed: int, prompts: int) -> None:
        """``prompts`` for what is searched, and as many others for what was chosen."""
        self.trained, self.count = trained, prompts
        self._keys = jax.random.split(evaluation_key(seed))

    def _draw(self, key: jax.Array) -> RegressionPrompts:
        return draw(key, self.count, self.trained.size.points, self.trained.size.d)

    @cached_property
    def prompts(self) -> RegressionPrompts:
        """Those of all curves and cells."""
        return self._draw(self._keys[0])

    @cached_property
    def base(self) -> Float[np.ndarray, "B P"]:
        """Errors of the untouched model."""
        return self.trained.errors(self.prompts)

    def baselines(self) -> Record:
        """Curves of the estimators that need no training."""
        return {name: curve(baseline_errors(name, self.prompts)) for name in BASELINES}

    def cells(self, layer: int, module: str, rates: Sequence[float]) -> list[Record]:
        """A module of a layer at every rate: curves, and paired differences to the base.

        ``last`` is the difference at the last point, ``mean`` that of the average over all points.
        """
        factors = self.trained.factors(layer, module)
        cells = []
        for rate in rates:
            base = self.base
            if rate:
                base = self.trained.edited(Edit(layer, module, rate), factors).errors(self.prompts)
            cells.append(
                {
                    "layer": layer,
                    "module": module,
                    "rate": rate,
                    "rank": self._rank(layer, module, rate) if rate else None,
                    **curve(base),
                    "last": paired(self.base[:, -1], base[:, -1]),
                    "mean": paired(self.base.mean(axis=1), base.mean(axis=1)),
                }
            )
        return cells

    def _rank(self, layer: int, module: str, rate: float) -> int:
        names = matrices(self.trained.size.config, module)
        return min(svd.rank_at(rate, self.trained.matrix(layer, name).shape) for name in names)

    def confirm(self, cell: Mapping[str, Any]) -> Record:
        """A chosen cell at the last point, on prompts that had no part in choosing it."""
        prompts = self._draw(self._keys[1])
        variant = self.trained.edited(Edit(cell["layer"], cell["module"], cell["rate"]))
        errors = (model.errors(prompts)[:, -1] for model in (self.trained, variant))
        chosen = {name: cell[name] for name in ("layer", "module", "rate", "rank")}
        return chosen | paired(*errors)


def chosen(cells: Sequence[Record]) -> Record:
    """The truncated cell of the least error at the last point."""
    return min((cell for cell in cells if cell["rate"]), key=lambda cell: cell["error"][-1])


def corrected(cells: Sequence[Record]) -> list[Record]:
    """The cells with ``adjusted``, p-values corrected for all cells and both measures at once."""
    tested = [
        (i, name) for i, cell in enumerate(cells) if cell["rate"] for name in ("last", "mean")
    ]
    adjusted = holm([cells[i][name]["p_value"] for i, name in tested])
    copies = [dict(cell) for cell in cells]
    for (i, name), value in zip(tested, adjusted, strict=True):
        copies[i][name] = copies[i][name] | {"adjusted": value}
    return copies


def verdict(cells: Sequence[Record], measure: str) -> dict[str, list[Record]]:
    """Truncated cells that are better and worse than the untouched model at 5 %, corrected."""
    by_sign: dict[str, list[Record]] = {"better": [], "worse": [], "neither": []}
    for cell in cells:
        if not cell["rate"]:
            continue
        tested = cell[measure]
        side = "better" if tested["difference"] < 0 else "worse"
        by_sign[side if tested["adjusted"] < 0.05 else "neither"].append(cell)
    return by_sign


def _standard_error(values: Float[np.ndarray, "B P"]) -> Float[np.ndarray, " P"]:
    return values.std(axis=0, ddof=1) / math.sqrt(len(values))
