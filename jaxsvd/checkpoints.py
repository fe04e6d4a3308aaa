"""Hugging Face checkpoints to decoders and back: streamed tensor by tensor, and strict.

Every tensor of the files must be a parameter of the model and every parameter must be filled;
all that is wrong with a checkpoint is reported at once. Pickled code never runs: ``.bin`` files
go through torch with ``weights_only=True``.
"""

import functools
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from jaxsvd.errors import UserError
from jaxsvd.models.config import DecoderConfig
from jaxsvd.models.decoder import Decoder
from jaxsvd.models.reading import Family
from jaxsvd.progress import SILENT, Progress
from jaxsvd.tensors import FLOATS, Tensor, open_tensors, summarise


@functools.cache
def parameter_shapes(config: DecoderConfig) -> dict[str, tuple[int, ...]]:
    """Every parameter of a decoder by path (``blocks.0.attn.q_proj.weight``), and its shape."""
    abstract = nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0)))
    flat = nnx.to_flat_state(nnx.state(abstract))
    return {".".join(map(str, path)): tuple(leaf.shape) for path, leaf in flat}


def tensor_names(config: DecoderConfig, family: Family) -> dict[str, str]:
    """The checkpoint's tensor name of every parameter path of the decoder."""
    names = {}
    for path in parameter_shapes(config):
        layer = re.match(r"blocks\.(\d+)\.", path)
        generic = path if layer is None else "blocks.{layer}." + path[layer.end() :]
        names[path] = family.names[generic].format(layer=layer[1] if layer else "")
    return names


def load_decoder(
    directory: Path,
    config: DecoderConfig,
    family: Family,
    *,
    dtype: DTypeLike = jnp.float32,
    problems: Sequence[str] = (),
    progress: Progress = SILENT,
) -> Decoder:
    """A decoder with the weights of a checkpoint, cast once to ``dtype``.

    Each tensor goes from its file to the device before the next is read: memory never holds
    more than the model and one tensor.

    Args:
        directory: a Hugging Face model directory.
        config: what its config.json says.
        family: tells the tensor names.
        dtype: of the parameters.
        problems: what is wrong already; it is reported with what is wrong here.
        progress: where to show it.

    Raises:
        UserError: missing, extra, misshapen, non-float or non-finite tensors, damaged files;
            all problems in one line.
    """
    names = tensor_names(config, family)
    arrays: dict[str, jax.Array] = {}
    try:
        with open_tensors(directory, family) as tensors:
            wrong = _header_problems(tensors, names, config, family)
            finite = {}
            with progress.bar("loading weights", len(names), "tensors") as advance:
                for path, name in names.items():
                    advance(1)
                    if name not in tensors or tensors[name].dtype not in FLOATS:
                        continue
                    array = _to_device(tensors[name], dtype)
                    finite[name] = jnp.isfinite(array).all()
                    if not wrong and not problems:  # else the tensors are only looked through
                        arrays[path] = array
            if bad := sorted(name for name, ok in finite.items() if not ok):
                wrong.append(f"NaN or infinite weights in {summarise(bad)}")
            head = family.names["head.unembedding"]
            tied_head = tensors.get(head) if config.tied else None
            if tied_head and not _equal(tied_head, tensors.get(names["embedding"]), dtype):
                wrong.append(f"tie_word_embeddings is true, but {head} differs from the embedding")
        if wrong:
            raise UserError(f"{directory}: " + "; ".join(wrong))
    except UserError as error:
        raise UserError("; ".join([*problems, str(error)])) from None
    if problems:
        raise UserError("; ".join(problems))
    return fill(config, arrays, dtype)


def fill(config: DecoderConfig, arrays: Mapping[str, jax.Array], dtype: DTypeLike) -> Decoder:
    """A decoder made of the given arrays, one for each path of :func:`parameter_shapes`."""
    decoder = nnx.eval_shape(lambda: Decoder(config, dtype=dtype, rngs=nnx.Rngs(0)))
    for path, parameter in nnx.to_flat_state(nnx.state(decoder)):
        parameter.set_value(arrays[".".join(map(str, path))])
    return decoder


def _to_device(tensor: Tensor, dtype: DTypeLike) -> jax.Array:
    with np.errstate(over="ignore"):  # what becomes infinite is reported by name
        return jnp.asarray(tensor.read().astype(jnp.dtype(dtype), copy=False))


def _equal(one: Tensor, other: Tensor | None, dtype: DTypeLike) -> bool:
    if other is None or one.shape != other.shape or {one.dtype, other.dtype} - {*FLOATS}:
        return False
    return bool(jnp.array_equal(_to_device(one, dtype), _to_device(other, dtype)))


def _header_problems(
    tensors: Mapping[str, Tensor],
    names: Mapping[str, str],
    config: DecoderConfig,
    family: Family,
) -> list[str]:
    shapes = parameter_shapes(config)
    wanted = {names[path]: shapes[path] for path in names}
    ignored = {family.names["head.unembedding"]} if config.tied else set()
    extra = [
        name
        for name in tensors.keys() - wanted.keys() - ignored
        if not any(re.fullmatch(buffer, name) for buffer in family.buffers)
    ]
    problems = []
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


def save_decoder(
    decoder: Decoder,
    family: Family,
    hf_config: Mapping[str, Any],
    directory: Path,
    *,
    copy_from: Path | None = None,
) -> None:
    """Write a Hugging Face model directory: config.json, model.safetensors, tokenizer files.

    Args:
        decoder: its parameters are written in the dtype they have.
        family: tells the tensor names.
        hf_config: the config.json to write, its dtype set to the decoder's.
        directory: a new one; it appears when all is written.
        copy_from: a model directory whose tokenizer files are copied.

    Raises:
        UserError: the directory exists already.
    """
    from safetensors.numpy import save_file

    if directory.exists():
        raise UserError(f"{directory} exists already; choose a new directory")
    names = tensor_names(decoder.config, family)
    parameters = nnx.to_flat_state(nnx.state(decoder))
    arrays = {names[".".join(map(str, p))]: np.asarray(v.get_value()) for p, v in parameters}
    dtype = np.asarray(decoder.embedding[...]).dtype.name
    config = {key: value for key, value in hf_config.items() if key != "torch_dtype"}
    directory.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        if copy_from is not None:
            for file in sorted(copy_from.iterdir()):
                if re.match(r"tokenizer|special_tokens|vocab|merges|added_tokens|gener", file.name):
                    shutil.copy(file, partial / file.name)
        (partial / "config.json").write_text(
            json.dumps(config | {"dtype": dtype}, indent=2, sort_keys=True) + "\n", "utf-8"
        )
        save_file(arrays, partial / "model.safetensors", metadata={"format": "pt"})
        partial.chmod(0o755)
        os.rename(partial, directory)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
