"""A ridge: extra isotropic noise, which makes a singular covariance invertible."""

from typing import Literal

import numpy as np
from jaxtyping import Array, Float

from theory.checks import require

Ridge = tuple[Literal["absolute", "relative"], float] | None
"""Extra isotropic noise of variance lam in each direction: lam itself, or as a share of tr C."""


def check_ridge(ridge: Ridge) -> None:
    """Refuse what is no ridge, and a level that is negative or not finite.

    Raises:
        ValueError: saying so.
    """
    if ridge is None:
        return
    pair = isinstance(ridge, tuple | list) and len(ridge) == 2
    wanted = 'None, ("absolute", lam) or ("relative", share)'
    require(pair, "ridge", wanted, repr(ridge))
    kind, level = ridge
    require(kind in ("absolute", "relative"), "ridge", wanted, repr(ridge))
    number = isinstance(level, int | float | np.number) and not isinstance(level, bool)
    require(number and bool(np.isfinite(level)), "ridge", f"finite and at least 0, {wanted}", level)
    require(level >= 0, "ridge", "finite and at least 0", level)


def ridge_level(
    ridge: Ridge, trace: Float[Array | np.ndarray, "..."]
) -> Float[Array | np.ndarray, "..."]:
    """lam, for each tr C.

    Raises:
        ValueError: what is no ridge, or one that is negative or not finite.
    """
    check_ridge(ridge)
    kind, level = ridge or ("absolute", 0.0)
    return level * trace if kind == "relative" else 0 * trace + level
