"""Arguments checked before anything is computed: each mistake is one ``ValueError``.

The message names the argument, what it must be and what it was.
"""

import jax
import numpy as np
from jax.core import Tracer
from jaxtyping import Num


def require(holds: bool, argument: str, requirement: str, found: object) -> None:
    """Raise ``ValueError`` unless ``holds``."""
    if not holds:
        raise ValueError(f"{argument} must be {requirement}, got {found}")


def require_finite(argument: str, value: Num[jax.Array | np.ndarray, "..."]) -> None:
    """Refuse NaN and infinities; what is being traced cannot be looked at and passes."""
    if isinstance(value, Tracer):
        return
    require(bool(np.isfinite(np.asarray(value)).all()), argument, "finite", "NaN or infinity")
