"""Which precision a computation of this package runs in.

The identities and bounds are checked to 1e-12, so float64 is the default; JAX switches it on by a
global flag, which an import must not touch. :func:`by_input` scopes the switch to one call.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

P = ParamSpec("P")
R = TypeVar("R")


@contextlib.contextmanager
def double() -> Iterator[None]:
    """Float64 for the JAX computations inside."""
    with jax.enable_x64(True):
        yield


def by_input(function: Callable[P, R]) -> Callable[P, R]:
    """Run ``function`` in the precision of its arguments.

    JAX arrays (and what a trace holds) are computed with as they are, under the caller's own
    setting: so float32 arrays on an accelerator stay there. NumPy arrays and plain numbers are
    computed with in float64, and float64 results come back as NumPy arrays, because JAX cannot
    compute with them once the switch is off again. Random keys count as neither.
    """

    @functools.wraps(function)
    def scoped(*args: P.args, **kwargs: P.kwargs) -> R:
        leaves = jax.tree.leaves((args, kwargs))
        if jax.config.read("jax_enable_x64") or any(map(_is_data, leaves)):
            return function(*args, **kwargs)
        with double():
            return jax.tree.map(_to_host, function(*args, **kwargs))

    return scoped


def _is_data(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _to_host(leaf: Any) -> Any:
    return np.asarray(leaf) if _is_data(leaf) else leaf
