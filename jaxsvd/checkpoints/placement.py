"""Tensors of files to arrays on devices, a piece at a time.

A tensor is read in pieces that stay in the processor's caches, cast there, and put together where
it belongs: beside the model there is never more in memory than one tensor of it, in the dtype that
it will have, and on a CPU not even that, since an aligned array of the host is the device's own.
"""

import math
from collections.abc import Sequence
from functools import partial

import jax
import ml_dtypes
import numpy as np
from jax.sharding import Sharding
from jax.typing import DTypeLike

from jaxsvd.checkpoints.tensors import NUMPY, Tensor
from jaxsvd.models.layout import TensorPart

PIECE_BYTES = 2**20
"""Of a file, read and cast at a time."""

_ALIGNMENT = 64  # what XLA wants of memory that it is to use as it is

Index = tuple[slice, ...]


def part_of(tensor: Tensor, share: TensorPart) -> Tensor:
    """The parameter that is a part of a tensor, to be read like a tensor of its own.

    Args:
        tensor: of a file, of the shape that the layout says.
        share: the part.
    """
    if share.whole and not share.transposed:
        return tensor
    rows = share.groups * (share.stop - share.start)
    shape = (rows, tensor.shape[0]) if share.transposed else (rows, *tensor.shape[1:])
    into = tensor.into
    if into is not None and not share.whole:
        into = partial(_part_into, tensor, share)
    return Tensor(shape, tensor.dtype, lambda: share.of(tensor.read()), into, share.transposed)


def _part_into(tensor: Tensor, share: TensorPart, first: int, out: np.ndarray) -> None:
    """As :attr:`Tensor.into`, for whole rows of a part, in the order of the file."""
    assert tensor.into is not None
    if share.transposed:
        rows, columns = first // out.shape[1], share.rows()
        buffer = np.empty((len(out), tensor.shape[1]), out.dtype)
        tensor.into(rows * tensor.shape[1], buffer)
        out[...] = (
            buffer[:, columns[0] : columns[-1] + 1] if share.groups == 1 else (buffer[:, columns])
        )
        return
    width = math.prod(tensor.shape[1:])
    rows = share.rows()[first // width :][: len(out)]
    if share.groups == 1:
        tensor.into(int(rows[0]) * width, out)
        return
    buffer = np.empty((rows[-1] + 1 - rows[0], *tensor.shape[1:]), out.dtype)
    tensor.into(int(rows[0]) * width, buffer)
    out[...] = buffer[rows - rows[0]]


def to_devices(
    tensor: Tensor, dtype: DTypeLike, sharding: Sharding | None = None
) -> tuple[jax.Array, bool]:
    """A tensor of a file on its device, or each part of it on its own.

    Args:
        tensor: of floats.
        dtype: to be cast to.
        sharding: which device gets what; JAX's default device gets all if left out.

    Returns:
        The array, and whether all that was read of it is finite.
    """
    if sharding is None:
        [part], finite = read_parts(tensor, dtype, [_everything(tensor)])
        array = jax.device_put(part)
    else:
        indices = sharding.addressable_devices_indices_map(tensor.shape)
        keys = {device: _bounds(index, tensor.shape) for device, index in indices.items()}
        distinct = list(dict.fromkeys(keys.values()))
        parts, finite = read_parts(tensor, dtype, [_slices(key) for key in distinct])
        of_key = dict(zip(distinct, parts, strict=True))
        arrays = [jax.device_put(of_key[key], device) for device, key in keys.items()]
        array = jax.make_array_from_single_device_arrays(tensor.shape, sharding, arrays)
    return array.block_until_ready(), finite


def read_parts(
    tensor: Tensor, dtype: DTypeLike, indices: Sequence[Index]
) -> tuple[list[np.ndarray], bool]:
    """Rectangular parts of a tensor, cast; what several need is read once.

    Args:
        tensor: of floats.
        dtype: to be cast to.
        indices: of the parts, slices with a start and a stop for every axis.

    Returns:
        The parts, and whether all of them is finite.
    """
    dtype = np.dtype(dtype)
    parts = [_aligned(tuple(s.stop - s.start for s in index), dtype) for index in indices]
    if not tensor.shape or tensor.into is None:
        whole = tensor.read()
        if tensor.shape == whole.shape and [*indices] == [_everything(tensor)]:
            cast = np.ascontiguousarray(_cast(whole, dtype))
            return [cast], is_finite(cast)
        for part, index in zip(parts, indices, strict=True):
            part[...] = _cast(whole[index], dtype)
        return parts, all(map(is_finite, parts))
    stored = np.dtype(NUMPY[tensor.dtype])
    direct = stored == dtype and [*indices] == [_everything(tensor)] and not tensor.transposed
    shape, targets = tensor.shape, parts
    if tensor.transposed:  # everything in the order of the file
        shape, targets = shape[::-1], [part.T for part in parts]
        indices = [index[::-1] for index in indices]
    width = math.prod(shape[1:])
    step = max(1, PIECE_BYTES // max(1, width * stored.itemsize))
    piece = np.empty((min(step, shape[0]), *shape[1:]), stored)
    finite = True
    for first in range(0, shape[0], step):
        last = min(first + step, shape[0])
        if direct:
            tensor.into(first * width, parts[0][first:last])
            finite = is_finite(parts[0][first:last]) and finite
            continue
        wanted = [
            (part, index, max(first, index[0].start), min(last, index[0].stop))
            for part, index in zip(targets, indices, strict=True)
        ]
        wanted = [(part, index, low, high) for part, index, low, high in wanted if low < high]
        if not wanted:
            continue
        rows = piece[: last - first]
        tensor.into(first * width, rows)
        for part, index, low, high in wanted:
            target = part[low - index[0].start : high - index[0].start]
            source = rows[(slice(low - first, high - first), *index[1:])]
            finite = cast_into(source, target) and finite
    return parts, finite


_LARGEST = 0x7F7F8000
"""Bits of the least positive float32 that bfloat16 rounds to infinity; NaN are beyond it too."""


def cast_into(source: np.ndarray, target: np.ndarray) -> bool:
    """Copy an array into another of the same shape; whether all that arrives is finite.

    Float32 to bfloat16, rounded to the nearest and ties to even, goes by integers, which is faster
    than ml_dtypes; then what is not finite arrives as anything.
    """
    if source.dtype == np.float32 and target.dtype == ml_dtypes.bfloat16:
        bits = np.ascontiguousarray(source).view(np.uint32)
        rounded = bits & 0x7FFFFFFF
        finite = int(rounded.max(initial=0)) < _LARGEST
        np.right_shift(bits, 16, out=rounded)
        rounded &= 1
        rounded += bits
        rounded += 0x7FFF
        rounded >>= 16
        target.view(np.uint16)[...] = rounded
        return finite
    with np.errstate(over="ignore", invalid="ignore"):
        target[...] = source
    return is_finite(target)


def _cast(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is reported by name
        return x.astype(dtype, copy=False)


_EXPONENTS = {2: (np.uint16, 0x7F80), 4: (np.uint32, 0x7F800000)}


def is_finite(x: np.ndarray) -> bool:
    """Whether a bfloat16 or float32 array has neither infinities nor NaN."""
    if x.dtype not in (np.float32, ml_dtypes.bfloat16) or not x.flags.c_contiguous:
        return bool(np.isfinite(x).all())
    kind, exponent = _EXPONENTS[x.dtype.itemsize]
    flat = x.reshape(-1)
    # In pieces: nothing as large as the array is made.
    step = max(1, PIECE_BYTES // x.dtype.itemsize)
    return all(
        int((flat[start : start + step].view(kind) & kind(exponent)).max(initial=0)) < exponent
        for start in range(0, flat.size, step)
    )


def _aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An empty array whose memory a CPU device can use as it is."""
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


def _everything(tensor: Tensor) -> Index:
    return tuple(slice(0, size) for size in tensor.shape)


def _bounds(index: Index | None, shape: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    assert index is not None
    return tuple(s.indices(size)[:2] for s, size in zip(index, shape, strict=True))


def _slices(bounds: tuple[tuple[int, int], ...]) -> Index:
    return tuple(slice(*pair) for pair in bounds)
