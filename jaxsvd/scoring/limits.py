"""How much the engine does at a time, by the device it runs on."""

import os
from dataclasses import dataclass

import jax

_MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """What one pass may take.

    Attributes:
        batch_tokens: tokens of a batch.
        stream_bytes: of the residual stream kept between the layers of a sweep; questions
            beyond it wait for a pass of their own.
        workers: batches in flight. On a CPU two do more than one, since no operation uses all
            cores from start to end; on an accelerator the host prepares one meanwhile.
    """

    batch_tokens: int
    stream_bytes: int
    workers: int = 2

    @classmethod
    def of_device(cls) -> "Limits":
        """The limits of JAX's default device.

        On a CPU a batch's activations should stay in its caches; an accelerator needs batches
        large enough to keep it busy, and gives an eighth of its memory to the stream.
        """
        device = jax.devices()[0]
        if device.platform == "cpu":
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
            return cls(512 * max(1, min(8, cores // 2)), 256 * _MIB, min(cores, 2))
        memory = (device.memory_stats() or {}).get("bytes_limit", 16 * 1024 * _MIB)
        return cls(16_384, memory // 8)
