"""A float32 program of JAX carried out in float64: the reference that roundings are held against.

Two float32 computations of one number may both be right and still differ in their last digits, so
neither is a reference for the other. Here the function under test, or a plainer one that should
give the same, is traced as it stands, and every float32 in the trace becomes a float64. The
mathematics stay, the roundings become 2^29 times smaller.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core


def float64(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` with all of its float32 arithmetic done in float64.

    It takes arrays in nested containers and is traced with them as they are, so that float32
    inputs stay what they are, and gives numpy arrays. Float32 constants (frequencies, epsilons)
    keep their values.
    """
    compiled: dict[Any, Any] = {}

    def run(*args: Any) -> Any:
        key = jax.tree.structure(args), tuple(jnp.shape(leaf) for leaf in jax.tree.leaves(args))
        if key not in compiled:
            closed, shapes = jax.make_jaxpr(function, return_shape=True)(*args)
            compiled[key] = closed.in_avals, jax.tree.structure(shapes), _compiled(closed)
        avals, structure, program = compiled[key]
        leaves = [
            np.asarray(leaf, _wide_dtype(aval.dtype))
            for leaf, aval in zip(jax.tree.leaves(args), avals, strict=True)
        ]
        with jax.enable_x64(True):
            out = program(*leaves)
        return jax.tree.unflatten(structure, [np.asarray(a) for a in out])

    return run


def _compiled(closed: core.ClosedJaxpr) -> Callable[..., list[jax.Array]]:
    consts = [_wide(np.asarray(c)) for c in closed.consts]
    return jax.jit(lambda *args: _evaluate(closed.jaxpr, consts, args))


def _wide(value: Any) -> Any:
    narrow = getattr(value, "dtype", None) == jnp.float32
    return value.astype(np.float64) if narrow else value


def _wide_dtype(parameter: Any) -> Any:
    is_dtype = isinstance(parameter, np.dtype | type)
    return np.dtype(np.float64) if is_dtype and parameter == np.float32 else parameter


def _closed(jaxpr: Any) -> Callable[..., list[Any]]:
    consts = [_wide(np.asarray(c)) for c in jaxpr.consts]
    return lambda *args: _evaluate(jaxpr.jaxpr, consts, args)


def _evaluate(jaxpr: core.Jaxpr, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
    """One equation after another, each with its dtypes widened."""
    values: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
    values |= zip(jaxpr.invars, args, strict=True)

    def read(atom: Any) -> Any:
        literal = isinstance(atom, core.Literal)
        return _wide(np.asarray(atom.val, atom.aval.dtype)) if literal else values[atom]

    for equation in jaxpr.eqns:
        operands = [read(atom) for atom in equation.invars]
        out = _apply(equation.primitive, equation.params, operands)
        values |= zip(equation.outvars, out, strict=True)
    return [read(atom) for atom in jaxpr.outvars]


def _apply(primitive: core.Primitive, params: dict[str, Any], operands: list[Any]) -> list[Any]:
    match primitive.name:
        case "jit" | "pjit" | "closed_call":
            return _closed(params["jaxpr"])(*operands)
        case "custom_jvp_call":
            return _closed(params["call_jaxpr"])(*operands)
        case "cond":
            index, *rest = operands
            return jax.lax.switch(index, [_closed(b) for b in params["branches"]], *rest)
        case "scan":
            fixed, carried = params["num_consts"], params["num_carry"]
            body = partial(_closed(params["jaxpr"]), *operands[:fixed])

            def step(carry: list[Any], xs: list[Any]) -> tuple[list[Any], list[Any]]:
                out = body(*carry, *xs)
                return out[:carried], out[carried:]

            start, xs = operands[fixed:][:carried], operands[fixed + carried :]
            carry, ys = jax.lax.scan(
                step, start, xs, length=params["length"], reverse=params["reverse"]
            )
            return [*carry, *ys]
    out = primitive.bind(*operands, **{k: _wide_dtype(v) for k, v in params.items()})
    return out if primitive.multiple_results else [out]
