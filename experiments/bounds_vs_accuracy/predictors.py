"""The predictors of a cell that need a forward pass: norms of updates, Theorem 2 and Lemma 6.

As printed both bounds are infinite, always; what is added to the noise to make them finite is a
ridge (:data:`RIDGE`), and b is a virtual subsample that nothing in a model fixes. They are of the
linearised trajectory (:mod:`~experiments.bounds_vs_accuracy.trajectories`): predictors, and no
bounds of a softmax model.
"""

import numpy as np

from experiments.bounds_vs_accuracy.trajectories import LayerNorms, Trajectory, total
from experiments.common.records import Record
from theory.bounds import Bound, SquaredNorms, lemma6, theorem2
from theory.implicit import Factors
from theory.noise import Ridge, kappa

RIDGE = 0.01
"""Extra noise over all D^2 directions, as a share of tr C: of the cell itself (relative), or of the
untouched model's mean over layers (fixed noise)."""


def measured(trajectory: Trajectory, b: int, width: int) -> SquaredNorms:
    """A trajectory as :mod:`theory.bounds` takes it, for the full space and g = 0 alone."""
    replicates, n = trajectory[0].spectrum.shape
    none = np.zeros((replicates, len(trajectory), n, 1))
    stacked = LayerNorms(*(np.stack(columns) for columns in zip(*trajectory, strict=True)))
    return SquaredNorms(
        n=n,
        b=b,
        width=width,
        update=stacked.linear,
        frobenius=stacked.state,
        spectral=None,
        gradient=stacked.gradient,
        from_mean=None,
        from_state=None,
        slopes=np.zeros(len(trajectory)),
        spectrum=kappa(n, b) * stacked.spectrum,
        factors=Factors(none, none, none),  # of no use in the full space
        states=None,
    )


def fixed_level(base: Trajectory, b: int, width: int) -> float:
    """The absolute ridge: RIDGE of the untouched model's mean tr C, over D^2 directions."""
    return RIDGE * float(measured(base, b, width).trace.mean()) / width**2


def bounds_of(trajectory: Trajectory, b: int, width: int, level: float) -> dict[str, Bound]:
    """Theorem 2 and Lemma 6 (g = 0) as printed, with a relative ridge, and with fixed noise."""
    norms = measured(trajectory, b, width)
    settings: dict[str, Ridge] = {
        "as printed": None,
        "relative ridge": ("relative", RIDGE / width**2),
        "fixed noise": ("absolute", level),
    }
    return {
        f"{name}, {kind}": bound(norms, ridge=ridge)
        for name, bound in (("theorem 2", theorem2), ("lemma 6", lemma6))
        for kind, ridge in settings.items()
    }


def summary(trajectory: Trajectory, layer: int, b: int, width: int, level: float) -> Record:
    """The predictors of a cell: means over prompts of the logarithms of norms, and bounds."""
    values: Record = {}
    for name in ("update", "jacobian"):
        logs = np.stack([getattr(one, name) for one in trajectory])
        values[f"{name} norm"] = float(logs[layer].mean())
        values[f"{name} norms, all layers"] = float(total(logs.T).mean())
    for name, bound in bounds_of(trajectory, b, width, level).items():
        values[name] = bound.value
    return values
