"""Where a parameter stands in a checkpoint, as data.

A family maps each parameter path of the decoder to a :class:`Stored`. From that and a config
follow the tensors that a checkpoint has, their shapes, and which rows or columns of which tensor a
parameter is: loading, header checks, saving and factored files all read the same table.
"""

import dataclasses
import re
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Stored:
    """A parameter in a file.

    Several parameters may name one tensor: it holds their rows one after the other, in the order
    of the family's table.

    Attributes:
        name: of the tensor; ``{layer}`` stands for the index of a block.
        by_heads: whether the tensor holds those rows for one key-value head after the other, not
            all of a parameter together (GPT-NeoX).
        transposed: whether the tensor is ``[in, out]``.
    """

    name: str
    by_heads: bool = False
    transposed: bool = False


@dataclass(frozen=True)
class TensorPart:
    """The part of a tensor that a parameter is.

    The tensor, turned to ``[out, in]``, is ``groups`` times ``total`` rows; the parameter is the
    rows ``start`` to ``stop`` of every group.

    Attributes:
        groups: 1, or the number of key-value heads.
        start: in a group.
        stop: in a group.
        total: rows of a group.
        transposed: whether the tensor is stored ``[in, out]``.
    """

    groups: int
    start: int
    stop: int
    total: int
    transposed: bool

    @property
    def whole(self) -> bool:
        """Whether the tensor holds nothing else."""
        return (self.start, self.stop) == (0, self.total)

    def rows(self) -> np.ndarray:
        """Where the parameter's rows stand in the tensor (its columns, if it is transposed)."""
        within = np.arange(self.start, self.stop)
        return (np.arange(self.groups)[:, None] * self.total + within).reshape(-1)

    def of(self, tensor: np.ndarray) -> np.ndarray:
        """The parameter, from all of the tensor."""
        turned = tensor.T if self.transposed else tensor
        if self.whole:
            return turned
        if self.groups == 1:
            return turned[self.start : self.stop]
        return turned[self.rows()]


class Entry(NamedTuple):
    """A parameter's tensor and its part of it.

    Attributes:
        path: of the parameter in the decoder.
        name: of the tensor.
        share: of it.
    """

    path: str
    name: str
    share: TensorPart


@dataclass(frozen=True)
class Layout:
    """All parameters of a decoder in the files of its family.

    Attributes:
        entries: by parameter path.
        shapes: of the tensors as they are stored, by name.
        members: the paths of a tensor's parameters, in the order of its rows, by name.
    """

    entries: Mapping[str, Entry]
    shapes: Mapping[str, Shape]
    members: Mapping[str, tuple[str, ...]]

    def fused(self, name: str) -> bool:
        """Whether a tensor holds several parameters."""
        return len(self.members[name]) > 1

    def plain(self, name: str) -> bool:
        """Whether a tensor is a parameter as it stands."""
        return not self.fused(name) and not self.entries[self.members[name][0]].share.transposed

    def split(self, paths: Set[str], shapes: Mapping[str, Shape]) -> "Layout":
        """The layout with some parameters in tensors of their own, named by their paths.

        Args:
            paths: all parameters of the tensors that are split.
            shapes: of the decoder's parameters.
        """
        entries, tensors, members = dict(self.entries), dict(self.shapes), dict(self.members)
        for path in paths:
            tensors.pop(entries[path].name, None)
            members.pop(entries[path].name, None)
            share = TensorPart(1, 0, shapes[path][0], shapes[path][0], transposed=False)
            entries[path] = Entry(path, path, share)
            tensors[path], members[path] = shapes[path], (path,)
        return Layout(entries, tensors, members)

    def joined(self, name: str, parameters: Mapping[str, np.ndarray]) -> np.ndarray:
        """A tensor as it is stored, made of its parameters by path."""
        paths = self.members[name]
        share = self.entries[paths[0]].share
        arrays = [np.asarray(parameters[path]) for path in paths]
        if len(arrays) > 1:
            tail = arrays[0].shape[1:]
            parts = [x.reshape(share.groups, -1, *tail) for x in arrays]
            arrays = [np.concatenate(parts, axis=1).reshape(-1, *tail)]
        return np.ascontiguousarray(arrays[0].T) if share.transposed else arrays[0]


_BLOCK = re.compile(r"blocks\.(\d+)\.")


def resolve(
    table: Mapping[str, Stored | str], shapes: Mapping[str, Shape], key_value_heads: int
) -> Layout:
    """The layout of a decoder.

    Args:
        table: of the family, by parameter path with ``{layer}`` for a block's index; a name alone
            stands for a tensor that is the parameter.
        shapes: of the decoder's parameters, ``[out, in]`` or ``[out]``.
        key_value_heads: of the decoder.
    """
    order = {generic: i for i, generic in enumerate(table)}
    stored: dict[str, Stored] = {}
    rank: dict[str, int] = {}
    for path in shapes:
        match = _BLOCK.match(path)
        generic = path if match is None else "blocks.{layer}." + path[match.end() :]
        entry = table[generic]
        entry = Stored(entry) if isinstance(entry, str) else entry
        name = entry.name.format(layer=match[1] if match else "")
        stored[path], rank[path] = dataclasses.replace(entry, name=name), order[generic]
    members: dict[str, list[str]] = {}
    for path, where in stored.items():
        members.setdefault(where.name, []).append(path)
    entries: dict[str, Entry] = {}
    tensors: dict[str, Shape] = {}
    for name, paths in members.items():
        paths.sort(key=rank.__getitem__)
        groups = key_value_heads if stored[paths[0]].by_heads else 1
        sizes = [shapes[path][0] // groups for path in paths]
        total, tail, start = sum(sizes), shapes[paths[0]][1:], 0
        turned = stored[paths[0]].transposed
        tensors[name] = (*tail, total * groups) if turned else (total * groups, *tail)
        for path, size in zip(paths, sizes, strict=True):
            share = TensorPart(groups, start, start + size, total, turned)
            entries[path] = Entry(path, name, share)
            start += size
    ordered = {path: entries[path] for path in shapes}
    return Layout(ordered, tensors, {name: tuple(paths) for name, paths in members.items()})
