"""The transformer of Garg et al. (2022), made of the project's own layers.

Garg et al. train GPT-2: x and y by turns as tokens, a linear map in, learned positions, layers
that normalise first and have biases everywhere, a norm and a linear map to one number out. With
:class:`jaxsvd.models.decoder.Block` configured by :class:`Size` that is what this is, except:
no dropout (theirs is 0 too); queries, keys and values are three matrices instead of one, so that
each can be truncated by itself; the last y, which nothing reads, is no token; and with
``positions="rotary"`` positions turn queries and keys instead of being added.
"""

import functools
import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from experiments.linear_functions.sizes import Size
from jaxsvd.models.attention import Places
from jaxsvd.models.decoder import Block
from jaxsvd.models.layers import Linear, Norm

Parameters = nnx.State


class Regressor(nnx.Module):
    """Points to predictions; ``blocks`` are the layers."""

    def __init__(self, size: Size, *, rngs: nnx.Rngs):
        """Normal weights: see :attr:`Size.initial`; biases 0."""
        config = size.config
        self.config = config
        self.read_in = Linear(size.d, size.width, bias=True, dtype=jnp.float32, rngs=rngs)
        self.positions = (
            nnx.Param(0.02 * jax.random.normal(rngs.params(), (config.context, size.width)))
            if size.positions == "learned"
            else None
        )
        self.blocks = nnx.List(
            [Block(config, dtype=jnp.float32, rngs=rngs) for _ in range(size.layers)]
        )
        self.norm = Norm(config, dtype=jnp.float32)
        self.read_out = Linear(size.width, 1, bias=True, dtype=jnp.float32, rngs=rngs)
        _scale(self, size)

    def embed(self, x: Float[Array, "B P d"], y: Float[Array, "B P"]) -> Float[Array, "B T D"]:
        """Tokens x1 y1 x2 y2 ... xP, y in the first of d numbers: T = 2 P - 1."""
        padded = jnp.pad(y[..., None], ((0, 0), (0, 0), (0, x.shape[-1] - 1)))
        tokens_BTd = jnp.stack([x, padded], axis=2).reshape(len(x), -1, x.shape[-1])[:, :-1]
        stream_BTD = self.read_in(tokens_BTd)
        if self.positions is not None:
            stream_BTD = stream_BTD + self.positions[: stream_BTD.shape[1]]
        return stream_BTD

    def streams(
        self, x: Float[Array, "B P d"], y: Float[Array, "B P"]
    ) -> list[Float[Array, "B T D"]]:
        """The residual stream before every layer and after the last."""
        streams = [self.embed(x, y)]
        places = Places.in_order(self.config, *streams[0].shape[:2])
        for block in self.blocks:
            streams.append(block(streams[-1], places)[0])
        return streams

    def read(self, stream_BPD: Float[Array, "B P D"]) -> Float[Array, "B P"]:
        """Predictions from the stream after the last layer at the tokens that are an x."""
        return self.read_out(self.norm(stream_BPD))[..., 0]

    def __call__(self, x: Float[Array, "B P d"], y: Float[Array, "B P"]) -> Float[Array, "B P"]:
        """Predictions of <w, x_i> from x_1, y_1, ..., x_{i-1}, y_{i-1}, x_i; y_P is not read."""
        stream_BTD = self.embed(x, y)
        places = Places.in_order(self.config, *stream_BTD.shape[:2])
        *before, last = self.blocks
        for block in before:
            stream_BTD, _ = block(stream_BTD, places)
        # Beyond keys and values the last layer is needed at the tokens that are an x only.
        own, at_x = last.states(stream_BTD, places), stream_BTD[:, ::2]
        every_x = jax.tree.map(lambda a: a[:, ::2], places)
        attended = last.attend(at_x, every_x, own, places)
        return self.read(last.feed(at_x, attended))


def _scale(model: Regressor, size: Size) -> None:
    """Project's layers start at 0.02; what adds to the stream starts smaller, as in GPT-2."""
    layers = size.initial / 0.02
    for block in model.blocks:
        attn, mlp = block.attn, block.mlp
        for linear in (attn.q_proj, attn.k_proj, attn.v_proj, mlp.fc_in):
            linear.weight.set_value(layers * linear.weight[...])
        for linear in (attn.out_proj, mlp.fc_out):
            linear.weight.set_value(layers / math.sqrt(2 * size.layers) * linear.weight[...])
    for linear, entering in ((model.read_in, size.d), (model.read_out, size.width)):
        linear.weight.set_value(linear.weight[...] / (0.02 * math.sqrt(3 * entering)))


def split(size: Size, key: Array) -> tuple[nnx.GraphDef, Parameters]:
    """A new model's structure and weights."""
    return nnx.split(Regressor(size, rngs=nnx.Rngs(params=key)))


@functools.cache
def structure(size: Size) -> nnx.GraphDef:
    """A model's structure without its weights."""
    return nnx.split(nnx.eval_shape(lambda: Regressor(size, rngs=nnx.Rngs(0))))[0]
