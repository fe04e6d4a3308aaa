"""Tensors of a GGUF file under their Hugging Face names and in their layout, dequantised in parts.

llama.cpp's converter changes some: it pairs neighbouring features of q and k for Llama's rotary
embedding, adds 1 to Gemma's norms, puts GPT-NeoX's heads together and turns GPT-2's matrices. All
of that is undone here, so that whatever reads a Hugging Face checkpoint reads a GGUF file.
"""

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Int

from jaxsvd.checkpoints.gguf import header
from jaxsvd.checkpoints.gguf.header import Header, Placed
from jaxsvd.checkpoints.tensors import Tensor
from jaxsvd.runtime.errors import UserError

if TYPE_CHECKING:
    from jaxsvd.models.hf_config import Family

_F32, _F16, _BF16 = 0, 1, 30
FLOAT_KINDS = {_F32: "F32", _F16: "F16", _BF16: "BF16"}
_PART = 2**20  # elements dequantised at a time

_PERMUTED = ("llama", "smollm3")
"""Architectures whose q and k rows the converter pairs up."""
_OFFSET = ("gemma", "gemma2", "gemma3")
"""Architectures to whose norms the converter adds 1."""
_TURNED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
"""GPT-2's matrices, which its checkpoints hold as ``[in, out]``."""
_IGNORED = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")


def library() -> Any:
    """The gguf library.

    Raises:
        UserError: it is not installed.
    """
    try:
        import gguf  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError(
            "GGUF files need the gguf library; install jaxsvd[gguf] (pip install gguf)"
        ) from None
    return gguf


def quantization(gguf_header: Header) -> str:
    """The type that most weights have, by llama.cpp's name: ``Q4_1``, ``F16``; of K mixes too."""
    gguf = library()
    file_type = gguf_header.metadata.get("general.file_type")
    with contextlib.suppress(ValueError):
        name = gguf.LlamaFileType(file_type).name
        return name.removeprefix("MOSTLY_").removeprefix("ALL_")
    sizes: Counter[int] = Counter()
    for placed in gguf_header.tensors.values():
        sizes[placed.kind] += math.prod(placed.shape)
    kind = sizes.most_common(1)[0][0] if sizes else _F32
    return gguf.GGMLQuantizationType(kind).name


def is_quantized(gguf_header: Header) -> bool:
    """Whether some weights are of fewer bits than float types have."""
    return any(placed.kind not in FLOAT_KINDS for placed in gguf_header.tensors.values())


@contextlib.contextmanager
def open_tensors(path: Any, family: "Family") -> Iterator[dict[str, Tensor]]:
    """All tensors of a file by Hugging Face name.

    Args:
        path: of the file.
        family: tells the names.

    Raises:
        UserError: the gguf library is missing; a damaged file; tensors that no name is known for.
    """
    gguf_header = header.read(path)
    gguf = library()
    theirs = _names(gguf, gguf_header, family)
    tensors, rest = {}, dict(gguf_header.tensors)
    for name, (ours, suffix) in theirs.items():
        placed = rest.pop(ours + suffix, None)
        if placed is not None:
            tensors[name] = _tensor(gguf, gguf_header, name, placed)
    for name in _IGNORED:
        rest.pop(name, None)
    # Names that nothing maps stay as they are: the header check says that they are too many.
    tensors |= {name: _tensor(gguf, gguf_header, name, placed) for name, placed in rest.items()}
    yield tensors


def _names(gguf: Any, gguf_header: Header, family: "Family") -> dict[str, tuple[str, str]]:
    """llama.cpp's name, and its suffix, of every tensor that the family's checkpoints may have."""
    architecture = next(
        (a for a, name in gguf.MODEL_ARCH_NAMES.items() if name == gguf_header.architecture), None
    )
    layers = gguf_header.value("block_count")
    if architecture is None or not isinstance(layers, int) or layers > len(gguf_header.tensors):
        raise UserError(f"{gguf_header.path}: the gguf library does not know it, or it is damaged")
    table = gguf.get_tensor_name_map(architecture, layers)
    names = {}
    for template in _templates(family):
        for layer in range(layers) if "{layer}" in template else (0,):
            name = template.format(layer=layer)
            stem, _, suffix = name.rpartition(".")
            ours = table.get_name(stem)
            if ours is not None:
                names[name] = (ours, f".{suffix}")
    return names


def _templates(family: "Family") -> Iterator[str]:
    for entry in family.layout.values():
        yield entry if isinstance(entry, str) else entry.name


def _tensor(gguf: Any, gguf_header: Header, name: str, placed: Placed) -> Tensor:
    """A tensor of the file as the Hugging Face checkpoint has it."""
    kind = placed.kind
    try:
        block, width = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(kind)]
    except (ValueError, KeyError):
        raise UserError(
            f"{gguf_header.path}: {name} is quantised as type {kind}, unknown here"
        ) from None
    columns = placed.shape[-1] if placed.shape else 1
    count = math.prod(placed.shape)
    if columns % block or placed.start + count // block * width > gguf_header.size:
        raise UserError(f"{gguf_header.path}: damaged or cut short ({name} ends beyond the file)")
    order = _row_order(gguf_header, name, placed.shape)
    rows = partial(_rows, gguf, gguf_header, placed, order, _offset(gguf_header, name))
    stored = FLOAT_KINDS.get(kind)
    if gguf_header.architecture == "gpt2" and name.endswith(_TURNED):
        turned = placed.shape[::-1]
        return Tensor(turned, "F32", lambda: _whole(rows, placed.shape).T, stored=stored)
    into = partial(_into, rows, placed.shape)
    return Tensor(placed.shape, "F32", lambda: _whole(rows, placed.shape), into, stored=stored)


def _offset(gguf_header: Header, name: str) -> float:
    return -1.0 if gguf_header.architecture in _OFFSET and name.endswith("norm.weight") else 0.0


def _row_order(
    gguf_header: Header, name: str, shape: tuple[int, ...]
) -> Int[np.ndarray, " rows"] | None:
    """Which row of the file each row of the checkpoint's tensor is; None where all are the same."""
    heads = gguf_header.value("attention.head_count")
    if not shape or not isinstance(heads, int) or heads < 1:
        return None
    if gguf_header.architecture in _PERMUTED:
        states = gguf_header.value("attention.head_count_kv", heads)
        count = heads if ".q_proj." in name else states if ".k_proj." in name else 0
        if count and shape[0] % (2 * count) == 0:
            order = np.arange(shape[0]).reshape(count, shape[0] // count // 2, 2)
            return order.swapaxes(1, 2).reshape(-1)
    if gguf_header.architecture in ("gptneox", "bloom") and "query_key_value" in name:
        order = np.arange(shape[0]).reshape(3, heads, shape[0] // (3 * heads))
        return order.swapaxes(0, 1).reshape(-1)
    return None


def _rows(
    gguf: Any,
    gguf_header: Header,
    placed: Placed,
    order: Int[np.ndarray, " all_rows"] | None,
    offset: float,
    start: int,
    stop: int,
) -> Float32[np.ndarray, "rows columns"]:
    """Rows of a tensor (of a vector: the whole of it as one) in float32."""
    columns = placed.shape[-1]
    kind = gguf.GGMLQuantizationType(placed.kind)
    block, width = gguf.GGML_QUANT_SIZES[kind]
    size = columns // block * width
    vector = len(placed.shape) == 1

    def read(first: int, last: int) -> np.ndarray:
        at = placed.start + first * size
        raw = np.fromfile(gguf_header.path, np.uint8, (last - first) * size, offset=at)
        if raw.size != (last - first) * size:
            raise UserError(f"{gguf_header.path}: cut short while it was read")
        return gguf.dequantize(raw.reshape(last - first, size), kind).reshape(-1, columns)

    if order is None:
        values = read(start, stop)
    elif vector:
        values = read(0, 1)[:, order]
    else:  # rows of one head stand together in the file
        wanted = order[start:stop]
        first, last = int(wanted.min()), int(wanted.max()) + 1
        values = read(first, last)[wanted - first]
    values = values.astype(np.float32, copy=False)
    return values + np.float32(offset) if offset else values


def _whole(
    rows: Callable[[int, int], np.ndarray], shape: tuple[int, ...]
) -> Float32[np.ndarray, "..."]:
    out = np.empty(shape, np.float32)
    _into(rows, shape, 0, out)
    return out


def _into(
    rows: Callable[[int, int], np.ndarray], shape: tuple[int, ...], first: int, out: np.ndarray
) -> None:
    """Fill an array with the elements from a given one on, some rows at a time."""
    columns = shape[-1]
    left = out.reshape(-1)
    step = max(1, _PART // columns)
    while left.size:
        row, column = divmod(first, columns)
        count = min(step, -(-(column + left.size) // columns))
        values = rows(row, row + count).reshape(-1)[column : column + left.size]
        left[: values.size] = values
        left, first = left[values.size :], first + values.size
