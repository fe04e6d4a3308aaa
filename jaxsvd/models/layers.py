"""What blocks are made of: products, norms and the MLP.

Matrices keep the orientation of Hugging Face checkpoints, ``[out, in]``. Norms, sums and
activations are float32 whatever the dtype of the weights; only the operands of matrix products are
rounded to it. The letters of array names are explained in :mod:`jaxsvd.models.config`.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Float32

from jaxsvd.models.config import Activation, DecoderConfig

ACTIVATIONS: dict[Activation, Callable[[Array], Array]] = {
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_new": lambda x: jax.nn.gelu(x, approximate=True),
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
}


def precision_of(dtype: DTypeLike) -> jax.lax.Precision:
    """Float32 means float32: accelerators would silently multiply it in TF32 or bfloat16."""
    highest = jnp.dtype(dtype) == jnp.float32
    return jax.lax.Precision.HIGHEST if highest else jax.lax.Precision.DEFAULT


def multiply(
    equation: str, x: Float[Array, "..."], y: Float[Array, "..."], *, rounded: bool = False
) -> Float32[Array, "..."]:
    """An einsum of operands in the dtype of the second, accumulated and returned in float32.

    Args:
        equation: of the einsum.
        x: rounded to the dtype of ``y``.
        y: the weights.
        rounded: to the dtype of ``y`` what each device has accumulated, before several devices
            add theirs up: in bfloat16 they exchange half as much.
    """
    return jnp.einsum(
        equation,
        x.astype(y.dtype),
        y,
        precision=precision_of(y.dtype),
        preferred_element_type=y.dtype if rounded else jnp.float32,
    ).astype(jnp.float32)


def soft_cap(x: Float[Array, "..."], cap: float | None) -> Float[Array, "..."]:
    """``cap tanh(x / cap)``: all of x between -cap and cap (Gemma 2)."""
    return x if cap is None else cap * jnp.tanh(x / cap)


class Linear(nnx.Module):
    """``x W^T + b`` with ``W`` stored ``[out, in]`` as in Hugging Face checkpoints."""

    def __init__(self, n_in: int, n_out: int, *, bias: bool, dtype: DTypeLike, rngs: nnx.Rngs):
        """Normal weights of standard deviation 0.02, zero bias.

        ``summed`` is set where devices hold different columns and add up their products.
        """
        self.summed = False
        self.weight = nnx.Param(
            0.02 * jax.random.normal(rngs.params(), (n_out, n_in), jnp.float32).astype(dtype)
        )
        self.bias = nnx.Param(jnp.zeros((n_out,), dtype)) if bias else None

    def __call__(self, x: Float32[Array, "*batch in"]) -> Float32[Array, "*batch out"]:
        y = multiply("...i,oi->...o", x, self.weight[...], rounded=self.summed)
        return y if self.bias is None else y + self.bias[...].astype(jnp.float32)


def projection(
    config: DecoderConfig, dtype: DTypeLike, rngs: nnx.Rngs, name: str, n_in: int, n_out: int
) -> Linear:
    """The matrix of a name in :mod:`jaxsvd.models.matrices`, with a bias if the config says so."""
    return Linear(n_in, n_out, bias=name in config.biased, dtype=dtype, rngs=rngs)


class Norm(nnx.Module):
    """Layer norm, or RMS norm (no mean, no bias), computed in float32."""

    def __init__(self, config: DecoderConfig, *, dtype: DTypeLike, width: int | None = None):
        """Identity scale.

        Args:
            config: which norm.
            dtype: of the weights.
            width: of what is normalised; D if left out.
        """
        width = config.width if width is None else width
        self.centred = config.norm == "layer"
        self.epsilon = config.norm_epsilon
        self.offset = config.norm_offset
        self.weight = nnx.Param(jnp.full((width,), 0 if self.offset else 1, dtype))
        self.bias = nnx.Param(jnp.zeros((width,), dtype)) if self.centred else None

    def __call__(self, x: Float32[Array, "*batch width"]) -> Float32[Array, "*batch width"]:
        y = x - x.mean(axis=-1, keepdims=True) if self.centred else x
        y = y * jax.lax.rsqrt(jnp.mean(jnp.square(y), axis=-1, keepdims=True) + self.epsilon)
        scale = self.weight[...].astype(jnp.float32)
        y = y * (1 + scale if self.offset else scale)
        if self.bias is not None:
            y = y + self.bias[...].astype(jnp.float32)
        return y


class MLP(nnx.Module):
    """``fc_out(act(fc_in(x)))``, or gated: ``fc_out(act(fc_in(x)) * fc_up(x))``."""

    def __init__(self, config: DecoderConfig, *, dtype: DTypeLike, rngs: nnx.Rngs):
        """See :class:`~jaxsvd.models.config.DecoderConfig` for the shapes."""
        linear = functools.partial(projection, config, dtype, rngs)
        self.config = config
        self.fc_in = linear("fc_in", config.width, config.mlp_width)
        self.fc_up = linear("fc_up", config.width, config.mlp_width) if config.gated else None
        self.fc_out = linear("fc_out", config.mlp_width, config.width)

    def __call__(self, x_BTD: Float[Array, "*batch D"]) -> Float[Array, "*batch D"]:
        return self.fc_out(self.hidden(x_BTD))

    def hidden(self, x_BTD: Float[Array, "*batch D"]) -> Float[Array, "*batch F"]:
        """What ``fc_out`` reads."""
        y_BTF = ACTIVATIONS[self.config.activation](self.fc_in(x_BTD))
        return y_BTF if self.fc_up is None else y_BTF * self.fc_up(x_BTD)
