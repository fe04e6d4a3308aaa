"""Tensors in checkpoint files: safetensors or torch's ``.bin``, sharded or not, one at a time."""

import contextlib
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from jaxsvd.checkpoints.gguf.header import is_gguf
from jaxsvd.models.hf_config import Family
from jaxsvd.runtime.errors import UserError

FLOATS = ("F64", "F32", "F16", "BF16")
LAYOUTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "model.factored.safetensors",
    "model.factored.safetensors.index.json",
)


@dataclass(frozen=True)
class Tensor:
    """A tensor in a file, not yet read.

    Attributes:
        shape: of the whole tensor.
        dtype: as safetensors call it.
        read: gives all of it.
        into: fills an array of the stored dtype with the elements from a given one on, in the
            order of the file; None where only all of it can be read.
        transposed: whether that order is the one of the transposed tensor.
        file: name of the shard that it stands in; empty where files have no bounds worth keeping.
        stored: dtype of its numbers in the file, where reading gives another.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray]
    into: Callable[[int, np.ndarray], None] | None = None
    transposed: bool = False
    file: str = ""
    stored: str | None = None


_POINTER = b"version https://git-lfs"


def refuse_pointer(path: Path) -> None:
    """Refuse the three lines that a clone without git-lfs has in place of a large file.

    Raises:
        UserError: the file is such a pointer.
    """
    try:
        with path.open("rb") as file:
            is_pointer = file.read(len(_POINTER)) == _POINTER
    except OSError:
        return  # whoever reads it says why it cannot be read
    if is_pointer:
        raise UserError(
            f"{path}: a git-lfs pointer and not the file itself; run `git lfs pull` there, or "
            "load the model by its hub id"
        )


def unreadable(error: OSError) -> str:
    """What the system says, in words."""
    return error.strerror or str(error)


def is_file(path: Path) -> bool:
    """Whether a file is there.

    Raises:
        UserError: its directory may not be read, or its name is too long for the file system.
    """
    try:
        return path.is_file()
    except OSError as error:
        raise UserError(f"{path}: can't be read ({unreadable(error)})") from None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        UserError: no such file, or not a JSON object.
    """
    try:
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path.parent}: no {path.name} there; a model directory has one") from None
    except PermissionError as error:
        raise UserError(f"{path}: can't be read ({unreadable(error)})") from None
    except (OSError, ValueError, RecursionError) as error:  # json raises more than its own
        refuse_pointer(path)
        raise UserError(f"{path}: not readable as JSON ({error})") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: should hold a JSON object, holds {type(value).__name__}")
    return value


@contextlib.contextmanager
def open_tensors(directory: Path, family: Family) -> Iterator[dict[str, Tensor]]:
    """All tensors of a checkpoint by name, but for buffers, with their files held open.

    Raises:
        UserError: no weights, a damaged or missing file, an index that disagrees with its files.
    """
    if is_gguf(directory):
        from jaxsvd.checkpoints.gguf import weights

        with weights.open_tensors(directory, family) as tensors:
            yield tensors
        return
    layout = next((name for name in LAYOUTS if is_file(directory / name)), None)
    if layout is None:
        raise UserError(f"{directory}: {_no_layout(directory)}")
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
                opened = opener(directory / file, stack)
            except UserError as error:
                problems.append(str(error))
                continue
            if twice := sorted(opened.keys() & tensors.keys()):
                problems.append(f"{file}: {summarise(twice)} is in another file too")
            tensors.update(opened)
            if weight_map is not None:
                listed = {name for name, where in weight_map.items() if where == file}
                if absent := sorted(listed - opened.keys()):
                    problems.append(f"{file}: lacks {summarise(absent)}, which the index lists")
        if problems:
            raise UserError("; ".join(problems))
        yield {name: tensor for name, tensor in tensors.items() if not is_buffer(name, tensor)}


_SHARD = re.compile(r"(?P<stem>.+)-(\d{5})-of-(?P<count>\d{5})\.(safetensors|bin)")


def _no_layout(directory: Path) -> str:
    """Why a directory holds no weights, from what is there."""
    try:
        names = sorted(path.name for path in directory.iterdir())
    except OSError as error:
        return f"can't be read ({unreadable(error)})"
    if shards := [name for name in names if _SHARD.fullmatch(name)]:
        match = _SHARD.fullmatch(shards[0])
        assert match is not None
        index = f"{match['stem']}.{match[4]}.index.json"
        return (
            f"{len(shards)} of {int(match['count'])} shards of weights are there ({shards[0]}), "
            f"but not their index {index}; get it from where the shards came from"
        )
    expected = f"expected one of {', '.join(LAYOUTS)}"
    if others := [name for name in names if name.endswith((".safetensors", ".bin", ".pt", ".pth"))]:
        return f"no weights there by a name that is read; {expected}; there is {others[0]}"
    return f"no weights there; {expected}"


_BUFFER = re.compile(
    r"(.+\.)?(rotary_emb|rotary_pos_emb|rotary_embedding|rope)\.[a-z_]+"
    r"|(.+\.)?(inv_freq|original_inv_freq|cos_cached|sin_cached|cos_sin_cache|freqs_cis)"
    r"|(.+\.)?(position_ids|causal_mask|attention_mask|attn_mask|masked_bias|alibi)"
    r"|(.+\.)?(attn|attention|self_attn)\.(mask|embed_positions)"
)
_MASK = re.compile(r"(.+\.)?(attn|attention|self_attn)\.bias")


def is_buffer(name: str, tensor: Tensor) -> bool:
    """Whether a tensor is a rotary table or a mask, which models compute and no longer read.

    Old checkpoints of every family carry some, at one level or another.
    """
    if _BUFFER.fullmatch(name):
        return True
    return _MASK.fullmatch(name) is not None and len(tensor.shape) == 4  # of a mask, not a bias


def _weight_map(path: Path) -> dict[str, str]:
    weight_map = read_json(path).get("weight_map")
    good = isinstance(weight_map, dict) and all(isinstance(f, str) for f in weight_map.values())
    if not isinstance(weight_map, dict) or not good or not weight_map:
        raise UserError(f"{path}: weight_map should be an object of tensor name to file name")
    # A path here could name any file of the machine, and a .bin file would run through torch.
    suffix = ".bin" if ".bin." in path.name else ".safetensors"
    files = sorted(set(weight_map.values()))
    if wrong := [f for f in files if Path(f).name != f or not f.endswith(suffix)]:
        shown = ", ".join(map(repr, wrong))
        raise UserError(f"{path}: {shown} should be a {suffix} file beside the index")
    return weight_map


def _open_safetensors(path: Path, stack: contextlib.ExitStack) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        file = stack.enter_context(safe_open(path, framework="numpy"))
    except FileNotFoundError:  # which the library raises, too, of a file that may not be read
        if path.exists():
            raise UserError(f"{path}: can't be read (Permission denied)") from None
        raise UserError(f"{path}: no such file, though the index lists it") from None
    except PermissionError as error:
        raise UserError(f"{path}: can't be read ({unreadable(error)})") from None
    except (SafetensorError, OSError) as error:
        refuse_pointer(path)
        raise UserError(f"{path}: damaged or cut short ({error})") from None
    # The library has checked the header against the file. Tensors are read and not mapped: pages
    # of a mapped file stay in memory beside the arrays made of them.
    with path.open("rb") as header:
        size = int.from_bytes(header.read(8), "little")
        entries = json.loads(header.read(size))
    tensors = {}
    for name in file.keys():  # noqa: SIM118 (not a dictionary)
        part, start = file.get_slice(name), 8 + size + entries[name]["data_offsets"][0]
        shape, dtype = tuple(part.get_shape()), part.get_dtype()
        whole, into = partial(_read, path, start, shape, dtype), partial(_read_into, path, start)
        tensors[name] = Tensor(shape, dtype, whole, into, file=path.name)
    return tensors


NUMPY = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}


def _read(path: Path, start: int, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    count = math.prod(shape)
    values = np.fromfile(path, NUMPY[dtype], count, offset=start)
    if values.size != count:
        raise UserError(f"{path}: cut short while it was read")
    return values.reshape(shape)


def _read_into(path: Path, start: int, first: int, out: np.ndarray) -> None:
    left = memoryview(out.reshape(-1).view(np.uint8))  # pyright: ignore[reportArgumentType]
    with path.open("rb", buffering=0) as file:
        file.seek(start + first * out.itemsize)
        while left:
            count = file.readinto(left)
            if not count:
                raise UserError(f"{path}: cut short while it was read")
            left = left[count:]


def _open_pickle(path: Path, stack: contextlib.ExitStack) -> dict[str, Tensor]:
    del stack  # torch keeps the map open as long as a tensor lives
    import torch  # pyright: ignore[reportMissingImports]

    short = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16"}
    short[torch.bfloat16] = "BF16"

    def kind(tensor: torch.Tensor) -> str:
        plain = tensor.layout == torch.strided and tensor.device.type == "cpu"
        name = short.get(tensor.dtype, str(tensor.dtype))
        return name if plain else f"{name} ({tensor.layout} on {tensor.device})"

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
        refuse_pointer(path)
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: not readable as a torch checkpoint ({reason})") from None
    if not isinstance(values, dict) or not all(torch.is_tensor(v) for v in values.values()):
        raise UserError(f"{path}: should hold a dictionary of tensors")
    return {
        str(name): Tensor(
            tuple(value.shape),
            kind(value),
            lambda value=value: read(value),
            file=path.name,
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
