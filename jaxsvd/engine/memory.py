"""How much memory a model takes, known from its config.json alone.

Weights are exact. The rest is what the engine keeps beside them, for prompts as long as the
model's context and an estimate of what XLA needs inside a layer; measured peaks should be below.
"""

import contextlib
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from jaxsvd.checkpoints.load import parameter_shapes
from jaxsvd.devices import sharding
from jaxsvd.devices.sharding import WHOLE, Axes, indivisible, spec_of
from jaxsvd.engine.limits import PACKED, Limits, layer_bytes
from jaxsvd.engine.packing import padded_length
from jaxsvd.models.config import DecoderConfig
from jaxsvd.models.lowrank import widths
from jaxsvd.models.matrices import matrices, part
from jaxsvd.runtime.errors import UserError
from jaxsvd.svd import RATES, rank_at

DTYPES = ("float32", "bfloat16")
ROOM = 0.6
"""Share of a device's memory that an automatic mesh gives to weights; the rest is for the work."""


def itemsize(dtype: str) -> int:
    """Bytes of a number."""
    return 4 if dtype == "float32" else 2


def weight_bytes(config: DecoderConfig, dtype: str, model: int = 1) -> int:
    """Bytes of the parameters on each device, cut over ``model`` of them."""
    sizes = (
        math.prod(shape) // (1 if spec_of(path) == WHOLE else model)
        for path, shape in parameter_shapes(config).items()
    )
    return itemsize(dtype) * sum(sizes)


def parameters(config: DecoderConfig) -> int:
    """How many there are; a tied unembedding counts once."""
    return sum(math.prod(shape) for shape in parameter_shapes(config).values())


@dataclass(frozen=True)
class Expected:
    """Bytes on each device while a search or a sweep runs.

    Attributes:
        weights: exact.
        factors: of the truncated layer, for all its rates at once.
        stream: residual stream kept between layers, at most.
        batch: inside a layer, for the batches in flight.
        prefix: keys and values of a shared prefix as long as the context, in all layers, for the
            untouched model and one variant, and what making them takes.
        loading: beside the weights while they are loaded: the largest tensor.
    """

    weights: int
    factors: int
    stream: int
    batch: int
    prefix: int
    loading: int

    @property
    def peak(self) -> int:
        """All together."""
        working = self.factors + self.stream + self.batch + self.prefix
        return self.weights + max(working, self.loading)


def expected(
    config: DecoderConfig, dtype: str, axes: Axes, limits: Limits, module: str = "mlp"
) -> Expected:
    """What each device of a mesh needs, by the engine's limits.

    Args:
        config: of the model.
        dtype: of the weights.
        axes: of the mesh.
        limits: of the devices together.
        module: that is truncated, at the paper's eight rates.
    """
    size, (data, model) = itemsize(dtype), axes
    prefix, tokens = padded_length(config.context), batch_tokens(config, axes, limits) // data
    in_flight = max(1, limits.workers if axes.devices == 1 else 1)
    largest = max(math.prod(shape) for shape in parameter_shapes(config).values())
    states = 2 * config.key_value_heads * config.head_width
    if config.key_value_heads % model == 0:
        states //= model
    return Expected(
        weights=weight_bytes(config, dtype, model),
        factors=_factor_bytes(config, size, module, model),
        stream=min(limits.stream_bytes // data, 64 * 3 * 4 * config.width * tokens),
        batch=in_flight * layer_bytes(config, tokens, PACKED + prefix, model),
        prefix=2 * config.layers * prefix * states * size
        + layer_bytes(config, prefix, prefix, model),
        loading=size * largest,
    )


def batch_tokens(config: DecoderConfig, axes: Axes, limits: Limits) -> int:
    """Tokens of a batch over all devices, for prompts as long as the context."""
    return limits.fitted(config, PACKED + config.context, axes).batch_tokens


def _factor_bytes(config: DecoderConfig, size: int, module: str, model: int) -> int:
    """Both halves once, a whole matrix for each rate at which a product of factors is slower."""
    total = 0
    for name in matrices(config, module):
        shape = parameter_shapes(config)[f"blocks.0.{part(name)}.{name}.weight"]
        width = max(widths(*shape), default=1)
        dense = sum(rank_at(rate, shape) > width for rate in RATES if rate)
        total += width * sum(shape) + dense * math.prod(shape) // model
    return size * total


def device_memory(device: Any = None) -> int | None:
    """Bytes of a device of this process; a CPU's are the host's. None where it is not known."""
    device = device or jax.local_devices()[0]
    if device.platform != "cpu":
        return (device.memory_stats() or {}).get("bytes_limit")
    return host_memory()


def host_memory() -> int | None:
    """Bytes of this machine, or of the container that this process may use of it."""
    known = []
    with contextlib.suppress(AttributeError, ValueError, OSError):  # not a POSIX system
        known.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # "max", or no such group
            known.append(int(Path(path).read_text()))
    return min(known, default=None)


def _needed(config: DecoderConfig, dtype: str, model: int) -> int:
    """Bytes of weights in one memory: the device's, or the host's where its devices share it."""
    together = 1
    if jax.local_devices()[0].platform == "cpu":
        together = model if jax.process_count() == 1 else min(model, jax.local_device_count())
    return together * weight_bytes(config, dtype, model)


def choose_axes(config: DecoderConfig, dtype: str) -> Axes:
    """A mesh of all devices: weights over as few as have room for them, rows over the rest."""
    count, memory = jax.device_count(), device_memory()
    models = [n for n in range(1, count + 1) if count % n == 0 and not indivisible(config, n)]
    roomy = [n for n in models if not memory or _needed(config, dtype, n) <= ROOM * memory]
    # Where even the most does not do, loading says what would.
    model = roomy[0] if roomy else models[-1]
    return Axes(count // model, model)


def check(config: DecoderConfig, dtype: str, axes: Axes, source: str) -> None:
    """Fail before loading if a mesh does not suit a model, or its weights have no room.

    Raises:
        UserError: what is too small, and what would do.
    """
    sharding.check(config, axes, jax.device_count(), jax.process_count())
    memory, needed = device_memory(), _needed(config, dtype, axes.model)
    if memory is None or needed <= memory:
        return
    device = jax.local_devices()[0]
    line = f"{source} in {dtype} needs {gigabytes(needed)} for its weights"
    line += "" if axes.model == 1 else f" on each of {axes.model} devices"
    line += f"; {device.platform} has {gigabytes(memory)}"
    ways: dict[str, str] = {}
    for model in (axes.model, *(2**n for n in range(1, 11) if 2**n > axes.model)):
        for other in (dtype, "bfloat16") if not indivisible(config, model) else ():
            size = _needed(config, other, model)
            if size <= memory and other not in ways:
                ways[other] = f"{_how(other, model)} needs {gigabytes(size)}"
    raise UserError(f"{line}; {' or '.join(ways.values()) or 'a larger machine is needed'}")


def _how(dtype: str, model: int) -> str:
    return f"--dtype {dtype}" + ("" if model == 1 else f" --mesh model={model}")


def gigabytes(size: int) -> str:
    """Bytes for people: thousands, as devices are sold."""
    return f"{size / 1e9:.1f} GB" if size >= 5e8 else f"{size / 1e6:.1f} MB"
