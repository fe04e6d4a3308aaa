"""What a bound returns."""

import math
from dataclasses import dataclass
from typing import Literal

Status = Literal["finite", "inf", "regularised", "diverged"]


@dataclass(frozen=True)
class Bound:
    """A bound on population risk minus empirical risk.

    Attributes:
        value: the bound, in units of the loss.
        terms: of each layer, in nats: twice the mutual information that the layer may add. The
            value is sqrt(R^2 / N sum of terms). For terminal noise the one term of the readout.
        status: ``regularised`` where a ridge was needed to make it finite; ``inf`` where C is
            singular; ``diverged`` where the trajectory left the floating-point range, so that
            nothing is known of its later layers.
        algorithm: the algorithm that it bounds, which is not always the one that is run.
        standard_error: of the value, over replicates; NaN with fewer than two.
        note: what to know besides.
    """

    value: float
    terms: tuple[float, ...]
    status: Status
    algorithm: str
    standard_error: float = math.nan
    note: str = ""
