"""What edits take away, counted in parameters, and models without one of their layers."""

import math
from dataclasses import dataclass, replace

import jax

from jaxsvd.edits.edit import Edit
from jaxsvd.edits.replacement import matrix_shapes, parameters_kept
from jaxsvd.engine.engine import Engine
from jaxsvd.models.matrices import matrices


@dataclass(frozen=True)
class ParameterCount:
    """Parameters of the matrices of a module in one layer.

    Attributes:
        kept: what a truncation at some rate keeps of them.
        removed: what it takes away.
    """

    kept: int
    removed: int


def count(engine: Engine, layer: int, module: str, rate: float) -> ParameterCount:
    """What a truncation of a module keeps and removes; one by magnitude the same."""
    shapes = matrix_shapes(engine, layer)
    removed = 0
    names = matrices(engine.config, module)
    for edit in Edit(layer, module, rate).by_matrix(engine.config):
        shape = shapes[edit.module]
        removed += math.prod(shape) - parameters_kept(edit.rank_of(shape), shape)
    return ParameterCount(sum(math.prod(shapes[name]) for name in names) - removed, removed)


def layer_size(engine: Engine, layer: int) -> int:
    """All parameters of a layer, its norms and biases included."""
    return sum(leaf.size for leaf in jax.tree.leaves(engine.blocks[layer]))


def without_layer(engine: Engine, layer: int) -> Engine:
    """The model without one of its layers; shares the arrays of the others.

    Args:
        engine: of at least two layers.
        layer: counted from 0.
    """
    blocks = engine.blocks[:layer] + engine.blocks[layer + 1 :]
    return replace(engine, config=replace(engine.config, layers=len(blocks)), blocks=blocks)
