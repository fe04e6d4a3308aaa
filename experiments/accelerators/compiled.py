"""The engine's programs, compiled for accelerators that are not there.

A compiler needs no device: the TPU's is in the package ``libtpu`` (extra ``aot``). What it makes
says how many bytes and operations a program takes, what devices exchange, and how many cycles the
compiler expects. The arguments are those that the engine passes, as shapes alone.
"""

import dataclasses
import functools
import importlib.util
import os
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.experimental import topologies
from jax.experimental.compilation_cache import compilation_cache
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding
from jax.typing import DTypeLike

from jaxsvd.devices.sharding import DATA, MODEL, ONE, WHOLE, Axes, low_rank_specs, spec_of
from jaxsvd.engine import kernels
from jaxsvd.engine.kernels import Weights
from jaxsvd.models.attention import KeyValues, Prefix
from jaxsvd.models.config import DecoderConfig
from jaxsvd.models.decoder import Decoder
from jaxsvd.models.lowrank import LowRank, widths
from jaxsvd.models.matrices import matrices, part

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")


def compiler_at_hand() -> bool:
    """Whether programs can be compiled for TPUs here."""
    return importlib.util.find_spec("libtpu") is not None


@functools.cache
def chips(topology: str) -> tuple[Any, ...]:
    """Devices of a TPU slice that is described, not there: ``v5e:2x2``, ``v5p:2x2x1``.

    From then on this process keeps no compiled programs on disk.
    """
    os.environ["TPU_SKIP_MDS_QUERY"] = "1"  # do not ask a cloud what this machine is
    os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"  # no device is opened
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    # Programs of chips that are not there are written to a cache but cannot be read from it.
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()
    described = topologies.get_topology_desc(platform="tpu", topology_name=topology)
    return tuple(described.devices)


@dataclasses.dataclass(frozen=True)
class Placing:
    """Where arrays would live: one chip, or a mesh of some."""

    device: Any
    mesh: Mesh | None = None

    @classmethod
    def of(cls, topology: str, axes: Axes = ONE) -> "Placing":
        """The first chips of a slice."""
        devices = chips(topology)[: axes.devices]
        if axes == ONE:
            return cls(devices[0])
        mesh = Mesh(np.array(devices).reshape(axes), (DATA, MODEL))
        return cls(devices[0], mesh)

    def array(self, shape: tuple[int, ...], dtype: DTypeLike, spec: PartitionSpec = WHOLE) -> Any:
        """A ``ShapeDtypeStruct`` in the place of an array: all that a compiler needs."""
        sharding: Sharding
        if self.mesh is None:
            sharding = SingleDeviceSharding(self.device)
        else:
            sharding = NamedSharding(self.mesh, spec)
        return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What is compiled: a batch of packed rows over a prefix."""

    rows: int
    tokens: int
    reads: int
    prefix: int
    labels: int = 2


class Parts(NamedTuple):
    """Abstract weights of a decoder: of its blocks, its embedding and its head."""

    blocks: tuple[Weights, ...]
    embedding: Weights
    head: Weights


def abstract_weights(config: DecoderConfig, dtype: DTypeLike, placing: Placing) -> Parts:
    """Shapes of all weights, cut as :mod:`jaxsvd.devices.sharding` cuts them."""
    decoder = nnx.eval_shape(lambda: Decoder(config, dtype=dtype, rngs=nnx.Rngs(0)))

    def of(module: nnx.Module, prefix: str) -> Weights:
        def shape(path: Any, x: Any) -> jax.ShapeDtypeStruct:
            words = [prefix, *(str(key.key) for key in path)]
            return placing.array(x.shape, x.dtype, spec_of(".".join(words)))

        return jax.tree_util.tree_map_with_path(shape, nnx.to_pure_dict(nnx.state(module)))

    blocks = tuple(of(block, f"blocks.{i}") for i, block in enumerate(decoder.blocks))
    return Parts(blocks, of(decoder.embedding, "embedding"), of(decoder.head, "head"))


def truncated(config: DecoderConfig, weights: Weights, module: str, placing: Placing) -> Weights:
    """A block with matrices of low rank, as :func:`jaxsvd.engine.variants.block_with` makes it."""
    weights = {half: dict(value) for half, value in weights.items()}
    for name in matrices(config, module):
        half = weights[part(name)]
        full = half[name]["weight"]
        rows, columns = full.shape
        width = max(widths(rows, columns), default=1)
        left, right = low_rank_specs(name)
        low = LowRank(
            full,
            placing.array((rows, width), full.dtype, left),
            placing.array((width, columns), full.dtype, right),
            placing.array((), jnp.int32),
        )
        half[name] = half[name] | low._asdict()
    return weights


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled program and what its compiler says of it."""

    name: str
    executable: Any

    @functools.cached_property
    def text(self) -> str:
        """In XLA's language, as scheduled."""
        return self.executable.as_text()

    @property
    def collectives(self) -> list[tuple[str, str]]:
        """What devices exchange: each operation's kind and the types of what it gives."""
        kinds = "|".join(COLLECTIVES)
        matches = re.findall(rf"= (\(?[a-z]\w*\[[^=]*?) ({kinds})(?:-start)?\(", self.text)
        return [(kind, " ".join(re.findall(r"[a-z]+\d*(?=\[)", types))) for types, kind in matches]

    def has(self, operation: str) -> bool:
        """Whether an operation of XLA's is in it, ``while`` for one."""
        return re.search(rf"[\])}}] {operation}\(", self.text) is not None

    @property
    def temporary_bytes(self) -> int:
        """Of a device's memory, beside arguments and results."""
        return self.executable.memory_analysis().temp_size_in_bytes

    @property
    def estimated_cycles(self) -> int:
        """The compiler's, of the operations in the order in which they run; no branches counted."""
        entry = self.text[self.text.index("\nENTRY ") :]
        return sum(map(int, re.findall(r'"estimated_cycles":"(\d+)"', entry)))

    @property
    def cost(self) -> Mapping[str, float]:
        """The compiler's: ``flops``, ``bytes accessed``, ``optimal_seconds``."""
        return self.executable.cost_analysis()


def compiled(name: str, function: Any, *arguments: Any) -> Program:
    """A jitted function, compiled for the devices that its arguments live on."""
    return Program(name, function.lower(*arguments).compile())


def engine_programs(
    config: DecoderConfig,
    dtype: DTypeLike,
    placing: Placing,
    sizes: Sizes,
    names: Collection[str] | None = None,
) -> Iterator[Program]:
    """The programs of a search, in the order in which the engine comes to them.

    Args:
        config: of the decoder.
        dtype: of the weights.
        placing: the chips.
        sizes: of a batch.
        names: only these, without the numbers of kinds; all if left out.

    Yields:
        Embedding; for each kind of layer the prefix's, the batch's, the last and one with all its
        matrices truncated; the MLP of a branch; the three ways of reading.
    """
    chain = _Chain(config, abstract_weights(config, dtype, placing), placing, sizes)
    for name, function, arguments in chain.calls():
        if names is None or name.partition(" #")[0] in names:
            yield compiled(name, function, *arguments)


Call = tuple[str, Any, tuple[Any, ...]]


@dataclasses.dataclass(frozen=True)
class _Chain:
    """What the engine calls, with the shapes that it passes."""

    config: DecoderConfig
    parts: Parts
    placing: Placing
    sizes: Sizes

    def calls(self) -> Iterator[Call]:
        config, parts, placing, mesh = self.config, self.parts, self.placing, self.placing.mesh
        rows, tokens, reads, prefix, labels = dataclasses.astuple(self.sizes)
        ints = functools.partial(placing.array, dtype=jnp.int32)
        batch = [ints((rows, tokens))] * 4 + [ints((rows, reads))]
        yield "embed_prefix", kernels.embed_prefix, (config, parts.embedding, ints((prefix,)), mesh)
        yield "embed", kernels.embed, (config, parts.embedding, *batch, mesh)
        by_rows = PartitionSpec(DATA)
        stream = functools.partial(placing.array, dtype=jnp.float32)
        x_PD = stream((prefix, config.width))
        x_BTD = stream((rows, tokens, config.width), spec=by_rows)
        x_BRD = stream((rows, reads, config.width), spec=by_rows)
        abstract = jax.eval_shape(
            lambda *a: kernels.embed(config, *a)[1],
            parts.embedding,
            *batch,
        )
        seen_rows = jax.tree.map(lambda x: placing.array(x.shape, x.dtype, by_rows), abstract)
        heads = config.key_value_heads
        cut = mesh is not None and heads % mesh.shape[MODEL] == 0
        state = placing.array(
            (prefix, heads, config.head_width),
            parts.embedding["tokens"].dtype,
            PartitionSpec(None, MODEL) if cut else WHOLE,
        )
        prefixed = Prefix(KeyValues(state, state), placing.array((prefix,), jnp.bool_))
        for number, kind in enumerate(config.kinds):
            at = config.pattern.index(number)
            weights = parts.blocks[min(at, config.layers - 1)]
            label = f" #{number}" if len(config.kinds) > 1 else ""
            of = config, kind, weights
            seen = x_BTD, seen_rows, prefixed, mesh
            edited = truncated(config, weights, "all", placing)
            yield f"prefix_layer{label}", kernels.prefix_layer, (*of, x_PD, mesh)
            yield f"prefix_states{label}", kernels.prefix_states, (*of, x_PD, mesh)
            yield f"layer{label}", kernels.layer, (*of, *seen)
            yield f"last_layer{label}", kernels.last_layer, (*of, *seen)
            yield f"layer, truncated{label}", kernels.layer, (config, kind, edited, *seen)
        edited = truncated(config, parts.blocks[0], "mlp", placing)
        yield "feed, truncated", kernels.feed, (config, edited, x_BTD, x_BTD, mesh)
        reading = config, parts.head, parts.embedding, x_BRD
        yield "label_logits", kernels.label_logits, (*reading, ints((labels,)), mesh)
        targets = ints((rows, reads))
        yield "log_probabilities", kernels.log_probabilities, (*reading, targets, mesh)
        yield "mean_logits", kernels.mean_logits, (*reading, mesh)
