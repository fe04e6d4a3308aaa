"""Arguments checked before anything is computed: each mistake is one ``ValueError``.

The message names the argument, what it must be and what it was.
"""

import numbers
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Num, Shaped

# A type checker sees what is computed with; at run time nested lists are taken too.
if TYPE_CHECKING:
    Real = Array | np.ndarray
else:
    Real = Shaped[Array | np.ndarray, "..."] | list[Any]
    """Real numbers: an array of any floating, integer or boolean dtype, or nested lists."""


def require(holds: bool, argument: str, requirement: str, value: object) -> None:
    """Raise ``ValueError`` unless ``holds``."""
    if not holds:
        raise ValueError(f"{argument} must be {requirement}, got {value}")


def require_finite(argument: str, value: Num[jax.Array | np.ndarray, "..."]) -> None:
    """Refuse NaN and infinities; what is being traced cannot be looked at and passes."""
    if isinstance(value, Tracer):
        return
    require(bool(np.isfinite(np.asarray(value)).all()), argument, "finite", "NaN or infinity")


def require_whole(argument: str, value: object, lowest: int = 1) -> None:
    """Refuse what is no whole number from ``lowest`` on; True and 2.0 are none either."""
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool | np.bool_)
    require(whole, argument, f"a whole number of at least {lowest}", repr(value))
    require(int(value) >= lowest, argument, f"at least {lowest}", value)  # type: ignore[call-overload]


def real(**arguments: Any) -> list[Any]:
    """Arguments as arrays of one floating dtype, in the order given.

    Lists become arrays, integers and booleans floats; named tuples keep their structure, and None
    stays. NumPy arrays are taken in float64. Where JAX arrays are among the arguments their dtypes
    decide, at least float32, since the caller chose the device and its precision.

    Args:
        arguments: by the names that an error shall use.

    Raises:
        ValueError: what is not real numbers: text, complex numbers, ragged lists.
    """
    leaves, structures = [], []
    for name, value in arguments.items():
        paths, structure = jax.tree_util.tree_flatten_with_path(value, is_leaf=_is_list)
        leaves.append([_numeric(name + _suffix(path), leaf) for path, leaf in paths])
        structures.append(structure)
    every = [leaf for row in leaves for leaf in row]
    dtype = _common(every)
    return [
        jax.tree.unflatten(structure, [_cast(leaf, dtype) for leaf in row])
        for structure, row in zip(structures, leaves, strict=True)
    ]


def as_mask(argument: str, value: Any) -> Array | np.ndarray:
    """A mask as booleans, from booleans or the numbers 0 and 1.

    Raises:
        ValueError: other numbers.
    """
    mask = value if isinstance(value, jax.Array) else np.asarray(value)
    if mask.dtype == bool:
        return mask
    if not isinstance(mask, Tracer):
        binary = bool(np.isin(np.asarray(mask), (0, 1)).all())
        require(binary, argument, "booleans, or 0 and 1", "other values")
    return mask.astype(bool)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _suffix(path: tuple[Any, ...]) -> str:
    return "".join(f".{key.name}" if hasattr(key, "name") else f"{key}" for key in path)


def _numeric(name: str, leaf: Any) -> Array | np.ndarray:
    if isinstance(leaf, jax.Array):
        array = leaf
    else:
        try:
            array = np.asarray(leaf)
        except ValueError:
            raise ValueError(f"{name} must be real numbers, got lists of unequal lengths") from None
    kinds = (jnp.floating, jnp.integer, jnp.bool_)
    numeric = any(jnp.issubdtype(array.dtype, kind) for kind in kinds)
    require(numeric, name, "real numbers", array.dtype)
    return array


def _common(leaves: list[Any]) -> Any:
    on_device = [leaf.dtype for leaf in leaves if isinstance(leaf, jax.Array)]
    floating = [dtype for dtype in on_device if jnp.issubdtype(dtype, jnp.floating)]
    if not on_device:
        return np.float64
    return jnp.result_type(jnp.float32, *floating) if floating else jnp.result_type(float)


def _cast(leaf: Array | np.ndarray, dtype: Any) -> Array | np.ndarray:
    if leaf.dtype == dtype:
        return leaf
    return leaf.astype(dtype) if isinstance(leaf, jax.Array) else np.asarray(leaf).astype(dtype)
