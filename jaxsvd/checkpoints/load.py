"""Hugging Face checkpoints to decoders and back: streamed tensor by tensor, and strict.

Every tensor of the files must be a parameter of the model and every parameter must be filled;
all that is wrong with a checkpoint is reported at once. Pickled code never runs: ``.bin`` files
go through torch with ``weights_only=True``.
"""

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jax.typing import DTypeLike

from jaxsvd.checkpoints.factored import Pair, merged
from jaxsvd.checkpoints.placement import part_of, to_devices
from jaxsvd.checkpoints.tensors import FLOATS, Tensor, open_tensors, summarise
from jaxsvd.devices.sharding import sharding_of
from jaxsvd.models.config import DecoderConfig
from jaxsvd.models.decoder import Block, Decoder
from jaxsvd.models.hf_config import Family
from jaxsvd.models.layout import Layout, Stored, resolve
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.progress import SILENT, Progress


@dataclass(frozen=True)
class Origin:
    """How a parameter is stored in the files that it was read from.

    Attributes:
        dtype: of its numbers, as safetensors call it.
        file: name of the shard; empty where files have no bounds worth keeping (GGUF).
    """

    dtype: str
    file: str


@dataclass(frozen=True)
class Checkpoint:
    """What was read from the files of a model.

    Attributes:
        decoder: with the weights.
        origins: of its parameters, by path.
        factors: the matrices that the files hold as products, by path.
    """

    decoder: Decoder
    origins: Mapping[str, Origin]
    factors: Mapping[str, Pair]


@functools.cache
def parameter_shapes(config: DecoderConfig) -> dict[str, tuple[int, ...]]:
    """Every parameter of a decoder by path (``blocks.0.attn.q_proj.weight``), and its shape."""
    flat = nnx.to_flat_state(nnx.state(_abstract(config, jnp.float32, layers=1)))
    shapes = {".".join(map(str, path)): tuple(leaf.shape) for path, leaf in flat}
    block = {path: shape for path, shape in shapes.items() if path.startswith(_FIRST)}
    layers = {
        f"blocks.{layer}.{path.removeprefix(_FIRST)}": shape
        for layer in range(config.layers)
        for path, shape in block.items()
    }
    return layers | {path: shape for path, shape in shapes.items() if path not in block}


_FIRST = "blocks.0."


def _abstract(config: DecoderConfig, dtype: DTypeLike, *, layers: int) -> Decoder:
    """A decoder of shapes alone.

    Only one block of a kind is traced: tracing takes time that grows with the square of their
    number, hours for the thousand layers that a damaged config.json may ask for.
    """
    none = dataclasses.replace(config, layers=0)
    decoder = nnx.eval_shape(lambda: Decoder(none, dtype=dtype, rngs=nnx.Rngs(0)))
    blocks = {
        kind: nnx.eval_shape(lambda kind=kind: Block(config, kind, dtype=dtype, rngs=nnx.Rngs(0)))
        for kind in set(map(config.kind, range(layers)))
    }
    decoder.blocks = nnx.List([nnx.clone(blocks[config.kind(i)]) for i in range(layers)])
    decoder.config = config
    return decoder


def layout_of(config: DecoderConfig, family: Family) -> Layout:
    """Where every parameter of a decoder stands in the files of its family."""
    return resolve(family.layout, parameter_shapes(config), config.key_value_heads)


def tensor_names(config: DecoderConfig, family: Family) -> dict[str, str]:
    """The checkpoint's tensor name of every parameter path of the decoder."""
    return {path: entry.name for path, entry in layout_of(config, family).entries.items()}


def load_checkpoint(
    directory: Path,
    config: DecoderConfig,
    family: Family,
    *,
    dtype: DTypeLike = jnp.float32,
    ranks: Mapping[str, int] | None = None,
    mesh: Mesh | None = None,
    problems: Sequence[str] = (),
    progress: Progress = SILENT,
) -> Checkpoint:
    """A decoder with the weights of a checkpoint, cast once to ``dtype``.

    Each tensor goes from its file to the device before the next is read: memory never holds
    more than the model and one tensor (:mod:`jaxsvd.checkpoints.placement`).

    Args:
        directory: a Hugging Face model directory.
        config: what its config.json says.
        family: tells the tensor names.
        dtype: of the parameters.
        ranks: of the matrices that the files hold as factors
            (:mod:`jaxsvd.checkpoints.factored`).
        mesh: the devices that share the parameters (:mod:`jaxsvd.devices.sharding`); each reads
            only what it gets. One device if left out.
        problems: what is wrong already; it is reported with what is wrong here.
        progress: where to show it.

    Raises:
        UserError: missing, extra, misshapen, non-float or non-finite tensors, damaged files;
            all problems in one line.
    """
    layout = layout_of(config, family)
    arrays: dict[str, jax.Array] = {}
    try:
        with open_tensors(directory, family) as stored:
            ranks = ranks or {}
            tensors = _renamed(merged(stored, ranks), layout, family)
            layout = _split(layout, config, tensors if ranks else {})
            wrong = _header_problems(tensors, layout, config, family)
            finite: dict[str, bool] = {}
            with progress.bar("loading weights", len(layout.entries), "tensors") as advance:
                for path, (_, name, share) in layout.entries.items():
                    advance(1)
                    tensor = tensors.get(name)
                    fits = tensor and tensor.shape == layout.shapes[name]
                    if not tensor or not fits or tensor.dtype not in FLOATS:
                        continue
                    # One device is the default and needs no telling.
                    where = () if mesh is None else (sharding_of(path, mesh),)
                    array, good = to_devices(part_of(tensor, share), dtype, *where)
                    finite[name] = good and finite.get(name, True)
                    if not wrong and not problems:  # else the tensors are only looked through
                        arrays[path] = array
            factors: dict[str, Pair] = {}
            if mesh is None and not wrong and not problems:
                factors = _factors(stored, ranks, layout, dtype)
            origins = {
                path: Origin(tensor.stored or tensor.dtype, tensor.file)
                for path, (_, name, _) in layout.entries.items()
                if (tensor := tensors.get(name)) is not None
            }
            if bad := sorted(name for name, ok in finite.items() if not ok):
                wrong.append(f"NaN or infinite weights in {summarise(bad)}")
            head = _head_name(family)
            tied_head = tensors.get(head) if config.tied else None
            embedding = layout.entries["embedding.tokens"].name
            if tied_head and not _equal(tied_head, tensors.get(embedding), dtype):
                wrong.append(f"tie_word_embeddings is true, but {head} differs from the embedding")
        if wrong:
            raise UserError(f"{directory}: " + "; ".join(wrong))
    except UserError as error:
        raise UserError("; ".join([*problems, str(error)])) from None
    if problems:
        raise UserError("; ".join(problems))
    return Checkpoint(fill(config, arrays, dtype), origins, factors)


def _factors(
    stored: Mapping[str, Tensor], ranks: Mapping[str, int], layout: Layout, dtype: DTypeLike
) -> dict[str, Pair]:
    """The matrices that files hold as products, by path in the decoder, ``[out, in]``."""
    pairs = {}
    for name in ranks:
        [path] = layout.members[name]
        sides = (stored[f"{name}.{side}"] for side in ("left", "right"))
        pair = Pair(*(to_devices(side, dtype)[0] for side in sides))
        pairs[path] = pair.transposed() if layout.entries[path].share.transposed else pair
    return pairs


def read_parameter(directory: Path, config: DecoderConfig, family: Family, path: str) -> np.ndarray:
    """One parameter of a checkpoint that was loaded before, ``[out, in]``, in float32.

    Args:
        directory: of the checkpoint.
        config: of its model.
        family: tells the tensor names.
        path: of the parameter.

    Raises:
        UserError: the files have changed since.
    """
    layout = layout_of(config, family)
    _, name, share = layout.entries[path]
    with open_tensors(directory, family) as stored:
        tensor = _renamed(stored, layout, family).get(name)
        if tensor is None or tensor.shape != layout.shapes[name] or tensor.dtype not in FLOATS:
            raise UserError(f"{directory}: {name} is no longer there as it was loaded")
        return np.asarray(to_devices(part_of(tensor, share), np.float32)[0])


def fill(config: DecoderConfig, arrays: Mapping[str, jax.Array], dtype: DTypeLike) -> Decoder:
    """A decoder made of the given arrays, one for each path of :func:`parameter_shapes`."""
    decoder = _abstract(config, dtype, layers=config.layers)
    for path, parameter in nnx.to_flat_state(nnx.state(decoder)):
        parameter.set_value(arrays[".".join(map(str, path))])
    return decoder


def _equal(one: Tensor, other: Tensor | None, dtype: DTypeLike) -> bool:
    if other is None or one.shape != other.shape or {one.dtype, other.dtype} - {*FLOATS}:
        return False
    return bool(jnp.array_equal(to_devices(one, dtype)[0], to_devices(other, dtype)[0]))


def _head_name(family: Family) -> str:
    head = family.layout["head.unembedding"]
    return head.name if isinstance(head, Stored) else head


def _renamed(tensors: Mapping[str, Tensor], layout: Layout, family: Family) -> Mapping[str, Tensor]:
    """Tensors by the names that they have in a whole checkpoint, where only its body was saved."""
    aliases = family.aliases
    tensors = {
        name if aliases.get(name, name) in tensors else aliases[name]: tensor
        for name, tensor in tensors.items()
    }
    if not any(
        name not in layout.shapes and family.body + name in layout.shapes for name in tensors
    ):
        return tensors
    head = _head_name(family)
    return {name if name == head else family.body + name: x for name, x in tensors.items()}


def _split(layout: Layout, config: DecoderConfig, tensors: Mapping[str, Tensor]) -> Layout:
    """The layout of a factored file: a tensor of which a part is factored is stored in parts."""
    split = {
        path
        for name, paths in layout.members.items()
        if name not in tensors and any(path in tensors for path in paths)
        for path in paths
    }
    return layout.split(split, parameter_shapes(config)) if split else layout


_PACKED = re.compile(
    r"\.(qweight|qzeros|g_idx|weight_packed|weight_scale|weight_scale_inv|SCB|absmax|quant_map"
    r"|weight\.(absmax|quant_map|quant_state.*)|weight_(blocks|scales))$"
)
"""Names that GPTQ, AWQ, bitsandbytes, compressed-tensors and FP8 give the parts of a matrix."""


def _header_problems(
    tensors: Mapping[str, Tensor],
    layout: Layout,
    config: DecoderConfig,
    family: Family,
) -> list[str]:
    wanted = layout.shapes
    ignored = {_head_name(family)} if config.tied else set()
    extra = [
        name
        for name in tensors.keys() - wanted.keys() - ignored
        if not any(re.fullmatch(buffer, name) for buffer in family.buffers)
    ]
    problems = []
    if packed := sorted(name for name in extra if _PACKED.search(name)):
        return [
            f"its weights are quantised ({packed[0]}, for example), which is not read; use the "
            "model's unquantised checkpoint, or a GGUF file of it"
        ]
    if missing := sorted(wanted.keys() - tensors.keys()):
        problems.append(f"missing {summarise(missing)}")
    if extra:
        problems.append(f"not part of a {family.name} model: {summarise(sorted(extra))}")
    for name in sorted(wanted.keys() & tensors.keys()):
        tensor = tensors[name]
        if tensor.shape != wanted[name]:
            problems.append(
                f"{name} has shape {list(tensor.shape)}, should be {list(wanted[name])}"
            )
        if tensor.dtype not in FLOATS:
            problems.append(f"{name} is {tensor.dtype}, should be one of {' '.join(FLOATS)}")
    return problems
