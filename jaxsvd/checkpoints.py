"""Hugging Face checkpoints to decoders and back: streamed tensor by tensor, and strict.

Every tensor of the files must be a parameter of the model and every parameter must be filled;
all that is wrong with a checkpoint is reported at once, from the headers, before any weight is
read. Pickled code never runs: ``.bin`` files go through torch with ``weights_only=True``.
"""

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from jaxsvd.errors import UserError
from jaxsvd.models.config import DecoderConfig
from jaxsvd.models.decoder import Decoder
from jaxsvd.models.reading import Family
from jaxsvd.progress import SILENT, Progress

FLOATS = ("F64", "F32", "F16", "BF16")
LAYOUTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


@dataclass(frozen=True)
class Tensor:
    """A tensor in a file, not yet read."""

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        UserError: no such file, or not a JSON object.
    """
    try:
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path.parent}: no {path.name} there; a model directory has one") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"{path}: not readable as JSON ({error})") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: should hold a JSON object, holds {type(value).__name__}")
    return value


@contextlib.contextmanager
def open_tensors(directory: Path, family: Family) -> Iterator[dict[str, Tensor]]:
    """All tensors of a checkpoint by name, memory-mapped, with their files held open.

    Raises:
        UserError: no weights, a damaged or missing file, an index that disagrees with its files.
    """
    layout = next((name for name in LAYOUTS if (directory / name).is_file()), None)
    if layout is None:
        raise UserError(f"{directory}: no weights there; expected one of {', '.join(LAYOUTS)}")
    if layout.endswith(".bin") or ".bin." in layout:
        require_torch(f"{directory / layout}", family)
    problems: list[str] = []
    weight_map: dict[str, str] | None = None
    files = [layout]
    if layout.endswith(".index.json"):
        weight_map = _weight_map(directory / layout)
        files = sorted(set(weight_map.values()))
    tensors: dict[str, Tensor] = {}
    with contextlib.ExitStack() as stack:
        for file in files:
            opener = _open_safetensors if file.endswith(".safetensors") else _open_pickle
            try:
                found = opener(directory / file, stack)
            except UserError as error:
                problems.append(str(error))
                continue
            if twice := sorted(found.keys() & tensors.keys()):
                problems.append(f"{file}: {summarise(twice)} in another file too")
            tensors.update(found)
            if weight_map is not None:
                listed = {name for name, where in weight_map.items() if where == file}
                if absent := sorted(listed - found.keys()):
                    problems.append(f"{file}: lacks {summarise(absent)}, which the index lists")
        if problems:
            raise UserError("; ".join(problems))
        yield tensors


def _weight_map(path: Path) -> dict[str, str]:
    weight_map = read_json(path).get("weight_map")
    good = isinstance(weight_map, dict) and all(isinstance(f, str) for f in weight_map.values())
    if not isinstance(weight_map, dict) or not good or not weight_map:
        raise UserError(f"{path}: weight_map should be an object of tensor name to file name")
    for file in set(weight_map.values()):
        # A path here could name any file of the machine.
        if Path(file).name != file or not file.endswith((".safetensors", ".bin")):
            raise UserError(
                f"{path}: {file!r} should be a .safetensors or .bin file beside the index"
            )
    return weight_map


def _open_safetensors(path: Path, stack: contextlib.ExitStack) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        file = stack.enter_context(safe_open(path, framework="numpy"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file, though the index lists it") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: damaged or cut short ({error})") from None
    tensors = {}
    for name in file.keys():  # noqa: SIM118 (not a dictionary)
        part = file.get_slice(name)
        tensors[name] = Tensor(
            tuple(part.get_shape()), part.get_dtype(), lambda name=name: file.get_tensor(name)
        )
    return tensors


def _open_pickle(path: Path, stack: contextlib.ExitStack) -> dict[str, Tensor]:
    del stack  # torch keeps the map open as long as a tensor lives
    import torch  # pyright: ignore[reportMissingImports]

    short = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16"}
    short[torch.bfloat16] = "BF16"

    def read(tensor: torch.Tensor) -> np.ndarray:
        tensor = tensor.detach().contiguous()
        if tensor.dtype == torch.bfloat16:  # numpy has none of its own
            return tensor.view(torch.uint16).numpy().view(ml_dtypes.bfloat16)
        return tensor.numpy()

    try:
        values = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file, though the index lists it") from None
    except Exception as error:  # torch raises what it likes on damaged archives
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: not readable as a torch checkpoint ({reason})") from None
    if not isinstance(values, dict) or not all(torch.is_tensor(v) for v in values.values()):
        raise UserError(f"{path}: should hold a dictionary of tensors")
    return {
        str(name): Tensor(
            tuple(value.shape),
            short.get(value.dtype, str(value.dtype)),
            lambda value=value: read(value),
        )
        for name, value in values.items()
    }


def require_torch(what: str, family: Family | None) -> None:
    """Refuse a ``.bin`` checkpoint where torch is not installed, saying what would do."""
    from importlib.util import find_spec

    if find_spec("torch") is None:
        revisions = family.safetensors_revision if family else {}
        other = "".join(f" or load {id} with --revision {r}" for id, r in revisions.items())
        raise UserError(
            f"{what}: .bin weights need torch; install jaxsvd[torch],"
            f"{other or ' or use a revision with safetensors'}"
        )


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
        progress: where to show it.

    Raises:
        UserError: missing, extra, misshapen, non-float or non-finite tensors, damaged files;
            all problems in one line.
    """
    shapes = parameter_shapes(config)
    names = tensor_names(config, family)
    arrays: dict[str, jax.Array] = {}
    with open_tensors(directory, family) as tensors:
        extra_head = tensors.get(family.names["head.unembedding"]) if config.tied else None
        _check_headers(directory, tensors, names, shapes, family, tied=config.tied)
        with progress.bar("loading weights", len(names), "tensors") as advance:
            finite = {}
            for path, name in names.items():
                arrays[path] = _to_device(tensors[name], dtype)
                finite[name] = jnp.isfinite(arrays[path]).all()
                advance(1)
        if bad := sorted(name for name, ok in finite.items() if not ok):
            raise UserError(f"{directory}: NaN or infinite weights in {summarise(bad)}")
        if extra_head is not None and not jnp.array_equal(
            _to_device(extra_head, dtype), arrays["embedding"]
        ):
            raise UserError(
                f"{directory}: tie_word_embeddings is true, but "
                f"{family.names['head.unembedding']} differs from the embedding"
            )
    return fill(config, arrays, dtype)


def fill(config: DecoderConfig, arrays: Mapping[str, jax.Array], dtype: DTypeLike) -> Decoder:
    """A decoder made of the given arrays, one for each path of :func:`parameter_shapes`."""
    decoder = nnx.eval_shape(lambda: Decoder(config, dtype=dtype, rngs=nnx.Rngs(0)))
    for path, parameter in nnx.to_flat_state(nnx.state(decoder)):
        parameter.set_value(arrays[".".join(map(str, path))])
    return decoder


def _to_device(tensor: Tensor, dtype: DTypeLike) -> jax.Array:
    return jnp.asarray(tensor.read().astype(jnp.dtype(dtype), copy=False))


def _check_headers(
    directory: Path,
    tensors: Mapping[str, Tensor],
    names: Mapping[str, str],
    shapes: Mapping[str, tuple[int, ...]],
    family: Family,
    *,
    tied: bool,
) -> None:
    wanted = {names[path]: shapes[path] for path in names}
    ignored = {family.names["head.unembedding"]} if tied else set()
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
    if problems:
        raise UserError(f"{directory}: " + "; ".join(problems))


def summarise(names: list[str]) -> str:
    """Names in a line, those that differ only in a number folded: ``h.{0,1,2}.ln.weight``."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        number = re.search(r"(?<=\.)\d+(?=\.)", name)
        key = (name,) if number is None else (name[: number.start()], name[number.end() :])
        groups.setdefault(key, []).append("" if number is None else number[0])
    return ", ".join(
        key[0] if len(key) == 1 else f"{key[0]}{_braces(sorted(numbers, key=int))}{key[1]}"
        for key, numbers in groups.items()
    )


def _braces(numbers: list[str]) -> str:
    return numbers[0] if len(numbers) == 1 else "{" + ",".join(numbers) + "}"


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
