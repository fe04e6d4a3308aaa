"""How much the engine does at a time, by the device it runs on."""

import dataclasses
import os
from dataclasses import dataclass

import jax
from jax.sharding import Mesh

from jaxsvd.devices import distributed
from jaxsvd.devices.sharding import ONE, Axes, axes_in
from jaxsvd.models.config import DecoderConfig

_MIB = 2**20
PACKED = 128
"""Tokens of a packed row, about, where the memory of a batch is estimated."""

_FEWEST = 256  # tokens of a batch, however little memory there is


@dataclass(frozen=True)
class Limits:
    """What one pass may take.

    Attributes:
        batch_tokens: tokens of a batch.
        stream_bytes: of the residual stream kept between the layers of a sweep; questions
            beyond it wait for a pass of their own.
        workers: batches in flight; 0 does everything in the calling thread. On a CPU two do more
            than one, since no operation uses all cores from start to end; on an accelerator the
            host prepares one meanwhile.
        batch_bytes: of what a layer computes for the batches in flight, on each device; None for
            whatever they take.
    """

    batch_tokens: int
    stream_bytes: int
    workers: int = 2
    batch_bytes: int | None = None

    @classmethod
    def of_device(cls, mesh: Mesh | None = None) -> "Limits":
        """The limits of JAX's default device, or of the devices of a mesh together."""
        return cls.of_mesh(axes_in(mesh))

    @classmethod
    def of_mesh(cls, axes: Axes) -> "Limits":
        """As :meth:`of_device`, for devices like the default one.

        On a CPU a batch's activations should stay in its caches. Every process of several gets
        the limits of the first: they must all do the same.
        """
        device = jax.local_devices()[0]
        if device.platform == "cpu":
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
            limits = cls(512 * max(1, min(8, cores // 2)), 256 * _MIB, min(cores, 2))
        else:
            memory = (device.memory_stats() or {}).get("bytes_limit", 16 * 1024 * _MIB)
            limits = cls.of_accelerator(memory, axes)
        return cls(*distributed.value_of_first(dataclasses.astuple(limits)))

    @classmethod
    def of_accelerator(cls, memory: int, axes: Axes = ONE) -> "Limits":
        """The limits of accelerators with so many bytes each.

        They need batches large enough to be busy, and give an eighth of their memory to the
        stream and a quarter to what is computed.
        """
        return cls(16_384 * axes.data, memory // 8 * axes.data, batch_bytes=memory // 4)

    def fitted(self, config: DecoderConfig, seen: int, axes: Axes = ONE) -> "Limits":
        """Smaller batches where these would take too much memory.

        Args:
            config: of the model.
            seen: positions that a token attends to, at most.
            axes: of the mesh.
        """
        tokens = self.batch_tokens // axes.data
        if self.batch_bytes is None:
            return self
        in_flight = max(1, self.workers)
        while tokens > _FEWEST and (
            in_flight * layer_bytes(config, tokens, seen, axes.model) > self.batch_bytes
        ):
            tokens //= 2
        return dataclasses.replace(self, batch_tokens=tokens * axes.data)


def layer_bytes(config: DecoderConfig, tokens: int, seen: int, model: int = 1) -> int:
    """About what a layer computes for so many tokens, on each of ``model`` devices.

    In float32: the stream and its like, then the larger of the MLP's features and the scores of
    attention with their exponentials.
    """
    heads = config.heads // model if config.heads % model == 0 else config.heads
    mlp = (3 if config.gated else 2) * config.mlp_width // model
    return 4 * tokens * (8 * config.width + max(mlp, 2 * heads * seen))
