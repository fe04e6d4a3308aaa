"""A decoder to files in Hugging Face layout: the source's dtype, its shards, its companions."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from jaxsvd.checkpoints.factored import FIELD, FILES, PROVENANCE, Pair
from jaxsvd.checkpoints.load import Origin, layout_of, parameter_shapes
from jaxsvd.checkpoints.save import Planned, whole_directory, write_tensors
from jaxsvd.checkpoints.tensors import NUMPY
from jaxsvd.models.decoder import Decoder
from jaxsvd.models.hf_config import Family
from jaxsvd.models.layout import Layout
from jaxsvd.runtime.errors import UserError


def save_decoder(
    decoder: Decoder,
    family: Family,
    hf_config: Mapping[str, Any],
    directory: Path,
    *,
    write_companions: Callable[[Path], None] | None = None,
    factors: Mapping[str, Pair] | None = None,
    origins: Mapping[str, Origin] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Write a Hugging Face model directory: config.json, safetensors, tokenizer files.

    Args:
        decoder: its parameters are written as their origins say, or in the dtype that they have.
        family: tells the tensor names.
        hf_config: the config.json to write.
        directory: a new one; it appears when all is written.
        write_companions: writes the tokenizer's files into the directory, before it appears.
        factors: matrices to be written as products, by path (:mod:`jaxsvd.checkpoints.factored`).
        origins: how the parameters were stored, by path; a dtype wider than the decoder's, which
            holds no more than its own, becomes the decoder's.
        provenance: what config.json says of where the weights come from.

    Raises:
        UserError: the directory exists already, other processes have a part of the model, or a
            number is beyond the dtype.
    """
    arrays = arrays_of(decoder)
    layout, factors, origins = layout_of(decoder.config, family), factors or {}, origins or {}
    layout = _with_factors_apart(layout, factors, decoder)
    planned: dict[str, Planned] = {}
    as_stored, ranks = bool(origins), {}
    for name in dict.fromkeys(layout.entries[path].name for path in arrays):
        paths = layout.members[name]
        origin = origins.get(paths[0])
        dtype, file = written_dtype(origin, decoder.dtype), "" if origin is None else origin.file
        as_stored &= origin is not None and dtype == NUMPY[origin.dtype]
        pair = factors.get(paths[0])
        if pair is not None:
            pair = pair.transposed() if layout.entries[paths[0]].share.transposed else pair
            ranks[name] = pair.left.shape[1]
            for side, half in pair.of(name).items():
                planned[side] = Planned(half.shape, dtype, partial(cast, half, dtype, side), file)
        else:
            make = partial(_joined, layout, name, {p: arrays[p] for p in paths}, dtype)
            planned[name] = Planned(layout.shapes[name], dtype, make, file)
    config = _config(hf_config, planned, as_stored=as_stored)
    if ranks:
        config[FIELD] = ranks
    if provenance:
        config[PROVENANCE] = dict(provenance)
    with whole_directory(directory) as partial_directory:
        if write_companions is not None:
            write_companions(partial_directory)
        text = json.dumps(config, indent=2, sort_keys=True)
        (partial_directory / "config.json").write_text(text + "\n", "utf-8")
        write_tensors(partial_directory, planned, name=FILES if factors else "model")


def arrays_of(decoder: Decoder) -> dict[str, jax.Array]:
    """The parameters of a decoder by path.

    Raises:
        UserError: other processes have a part of the model.
    """
    if not decoder.embedding.tokens[...].is_fully_addressable:
        raise UserError("a model of several processes cannot be saved; load it in one")
    state = nnx.to_flat_state(nnx.state(decoder))
    return {".".join(map(str, path)): leaf.get_value() for path, leaf in state}


def cast(array: jax.Array | np.ndarray, dtype: np.dtype, name: str) -> np.ndarray:
    """An array on the host in another dtype.

    Raises:
        UserError: a number is beyond it.
    """
    whole = np.asarray(array)
    with np.errstate(over="ignore"):
        converted = whole.astype(dtype, copy=False)
    if dtype.itemsize < 4 and not np.isfinite(converted).all():
        largest = float(np.abs(whole.astype(np.float32)).max())
        raise UserError(
            f"{name} holds {largest:.3g}, beyond {dtype.name}, the dtype of the source's files; "
            "save a float32 copy of the source first, and edit that"
        )
    return converted


def _joined(
    layout: Layout, name: str, parameters: Mapping[str, jax.Array], dtype: np.dtype
) -> np.ndarray:
    parts = {path: cast(x, dtype, name) for path, x in parameters.items()}
    return layout.joined(name, parts)


def _with_factors_apart(layout: Layout, factors: Mapping[str, Pair], decoder: Decoder) -> Layout:
    """The layout, with the tensors in parts of which a part is written as a product."""
    fused = {path for path in factors if layout.fused(layout.entries[path].name)}
    siblings = {p for path in fused for p in layout.members[layout.entries[path].name]}
    return layout.split(siblings, parameter_shapes(decoder.config))


def written_dtype(origin: Origin | None, own: np.dtype) -> np.dtype:
    """What a tensor is written in: as it was stored, but no wider than what is at hand.

    Args:
        origin: of the tensor; None for one that no file had.
        own: dtype of the numbers at hand.
    """
    if origin is None:
        return np.dtype(own)
    stored = np.dtype(NUMPY[origin.dtype])
    return stored if stored.itemsize <= np.dtype(own).itemsize else np.dtype(own)


def _config(
    hf_config: Mapping[str, Any],
    planned: Mapping[str, Planned],
    *,
    as_stored: bool,
) -> dict[str, Any]:
    """config.json: the source's, and the dtype of most numbers where the source's does not hold."""
    config = dict(hf_config)
    if as_stored and ("dtype" in config or "torch_dtype" in config):
        return config
    config.pop("torch_dtype", None)
    sizes: Counter[str] = Counter()
    for tensor in planned.values():
        sizes[tensor.dtype.name] += tensor.size
    config["dtype"] = sizes.most_common(1)[0][0]
    return config
