"""Weights over several devices, and rows of a batch over several groups of them.

A mesh has two axes: ``model``, over which every matrix is cut, and ``data``, over which rows of a
batch are dealt. Everything is :mod:`jax.sharding`: arrays say where they live, XLA finds out what
has to be exchanged.

Matrices are cut as in Megatron-LM (Shoeybi et al., 2019, section 3): those that read the stream by
rows (heads, features of the MLP), those that write to it by columns, so that a half of a layer
exchanges one sum. Embedding and unembedding are cut by features: a vocabulary need not divide.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.typing import ArrayLike

from jaxsvd.models.config import DecoderConfig
from jaxsvd.models.lowrank import LowRank
from jaxsvd.runtime.errors import UserError

Tree = TypeVar("Tree")

DATA, MODEL = "data", "model"

BY_ROWS, BY_COLUMNS, WHOLE = PartitionSpec(MODEL), PartitionSpec(None, MODEL), PartitionSpec()

_RULES = (
    (r".*\.(q_proj|k_proj|v_proj|fc_in|fc_up)\.(weight|bias)", BY_ROWS),
    (r".*\.(out_proj|fc_out)\.weight", BY_COLUMNS),
    (r"embedding\.(tokens|positions)|head\.unembedding", BY_COLUMNS),
)
"""By the path of a parameter in the decoder; the others (norms, other biases) are whole."""


class Axes(NamedTuple):
    """Sizes of a mesh."""

    data: int
    model: int

    def __str__(self) -> str:
        return f"data={self.data},model={self.model}"

    @property
    def devices(self) -> int:
        """How many there are."""
        return self.data * self.model


ONE = Axes(1, 1)
"""A single device."""


def axes_of(text: str | Axes) -> Axes:
    """``data=4,model=2``; an axis left out is 1.

    Raises:
        UserError: anything else.
    """
    if isinstance(text, Axes):
        return text
    sizes: dict[str, int] = {}
    for part in text.split(","):
        name, _, size = (word.strip() for word in part.partition("="))
        if name not in (DATA, MODEL) or name in sizes or not re.fullmatch(r"[1-9]\d{0,5}", size):
            raise UserError(f"mesh {text!r} should be like data=4,model=2, or auto")
        sizes[name] = int(size)
    return Axes(sizes.get(DATA, 1), sizes.get(MODEL, 1))


def spec_of(path: str) -> PartitionSpec:
    """How a parameter of the decoder is cut, by its path (``blocks.0.attn.q_proj.weight``)."""
    return next((spec for rule, spec in _RULES if re.fullmatch(rule, path)), WHOLE)


def indivisible(config: DecoderConfig, model: int) -> list[str]:
    """What of a decoder cannot be cut into ``model`` equal parts, in words."""
    sizes = {
        "width": config.width,
        "query heads' width": config.heads * config.head_width,
        "key-value heads' width": config.key_value_heads * config.head_width,
        "MLP width": config.mlp_width,
    }
    if config.embedding_width is not None:
        sizes["embedding width"] = config.embedding_width
    return [f"{name} {size}" for name, size in sizes.items() if size % model]


def check(config: DecoderConfig, axes: Axes, devices: int, processes: int = 1) -> None:
    """Fail if a decoder cannot be put on a mesh.

    Raises:
        UserError: too few devices, devices of other hosts left out, or widths that the model
            axis does not divide.
    """
    if axes.devices > devices:
        raise UserError(f"mesh {axes} needs {axes.devices} devices; there are {devices}")
    if processes > 1 and axes.devices != devices:
        raise UserError(
            f"mesh {axes} has {axes.devices} devices; with {processes} processes it should have "
            f"all {devices}"
        )
    if uneven := indivisible(config, axes.model):
        fitting = [n for n in range(1, devices + 1) if not indivisible(config, n)]
        raise UserError(
            f"mesh {axes}: model={axes.model} does not divide {', '.join(uneven)}; "
            f"it should be one of {' '.join(map(str, fitting))}"
        )


def make_mesh(axes: Axes) -> Mesh | None:
    """The mesh of the first devices; None where that is one: arrays are just arrays then.

    Devices of one host are neighbours on the ``model`` axis, which exchanges more.
    """
    devices = jax.devices()
    if axes.devices == 1 and len(devices) == jax.local_device_count():
        return None
    chosen = np.array(devices[: axes.devices]).reshape(axes.data, axes.model)
    return Mesh(chosen, (DATA, MODEL))


def axes_in(mesh: Mesh | None) -> Axes:
    """The sizes of a mesh; of one device where there is none."""
    return ONE if mesh is None else Axes(mesh.shape[DATA], mesh.shape[MODEL])


def mesh_record(mesh: Mesh | None) -> dict[str, dict[str, int]]:
    """For result.json: the mesh, where there is one."""
    return {} if mesh is None else {"mesh": axes_in(mesh)._asdict()}


def sharding_of(path: str, mesh: Mesh) -> NamedSharding:
    """Where a parameter of the decoder lives."""
    return NamedSharding(mesh, spec_of(path))


def place(x: ArrayLike, mesh: Mesh, spec: PartitionSpec) -> jax.Array:
    """An array that every process has, on the devices of a mesh."""
    sharding = NamedSharding(mesh, spec)
    if sharding.is_fully_addressable:
        return jax.device_put(x, sharding)
    host = np.asarray(x)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


def place_parameters(arrays: Mapping[str, jax.Array], mesh: Mesh | None) -> dict[str, jax.Array]:
    """Parameters by path, each cut as its rule says; those that are already stay as they are."""
    if mesh is None:
        return dict(arrays)
    return {path: place(array, mesh, spec_of(path)) for path, array in arrays.items()}


def gathered(x: jax.Array, device: Any = None) -> jax.Array:
    """A whole array on one device, of this process; all processes must ask for the same."""
    device = device or jax.local_devices()[0]
    if x.is_fully_addressable:
        return jax.device_put(x, device)
    if x.is_fully_replicated:
        return jax.device_put(x.addressable_data(0), device)
    from jax.experimental.multihost_utils import process_allgather

    return jax.device_put(process_allgather(x, tiled=True), device)


def rows_over(mesh: Mesh | None, tree: Tree) -> Tree:
    """Inside a jitted function: arrays whose rows are dealt over ``data``, if they can be."""
    if mesh is None:
        return tree

    def deal(x: jax.Array) -> jax.Array:
        even = x.ndim > 0 and x.shape[0] % mesh.shape[DATA] == 0
        spec = PartitionSpec(DATA) if even else WHOLE
        return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, spec))

    return jax.tree.map(deal, tree)


def everywhere(mesh: Mesh | None, tree: Tree) -> Tree:
    """Inside a jitted function: arrays that all devices have whole."""
    if mesh is None:
        return tree
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, WHOLE))


def by_heads(mesh: Mesh | None, tree: Tree) -> Tree:
    """Inside a jitted function: states ``[P, K, H]`` with heads over ``model``, if they can be."""
    if mesh is None:
        return tree

    def cut(x: jax.Array) -> jax.Array:
        even = x.shape[1] % mesh.shape[MODEL] == 0
        spec = PartitionSpec(None, MODEL) if even else WHOLE
        return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, spec))

    return jax.tree.map(cut, tree)


def low_rank_specs(name: str) -> tuple[PartitionSpec, PartitionSpec]:
    """How the two factors of a matrix are cut: the side that the matrix itself is cut at."""
    by_rows = spec_of(f".{name}.weight") == BY_ROWS
    return (BY_ROWS, WHOLE) if by_rows else (WHOLE, BY_COLUMNS)


def place_low_rank(
    low: LowRank, name: str, mesh: Mesh, placed: dict[int, jax.Array] | None = None
) -> LowRank:
    """A truncated matrix on a mesh, cut as the matrix itself is.

    Args:
        low: the truncated matrix.
        name: of the matrix.
        mesh: where to.
        placed: arrays that are there already, by the ``id`` of what they were made of; grows.
    """
    placed = {} if placed is None else placed
    weight, (left, right) = spec_of(f".{name}.weight"), low_rank_specs(name)
    for x, spec in zip(low, (weight, left, right, WHOLE), strict=True):
        if id(x) not in placed:
            placed[id(x)] = place(x, mesh, spec)
    return LowRank(*(placed[id(x)] for x in low))
