"""Which layer to truncate: condition numbers, and the choice that Algorithm 1 makes by them."""

from dataclasses import dataclass
from typing import Any

from jaxsvd import svd
from jaxsvd.model import Model
from jaxsvd.modules import matrices
from jaxsvd.progress import SILENT, Progress
from jaxsvd.scoring.engine import Engine

TOP_LAYERS = 3
"""Layers that compete by condition number; the paper leaves its k open."""


@dataclass(frozen=True)
class LayerChoice:
    """How the layer was chosen.

    Attributes:
        layer: counted from 0.
        top: the layers with the largest condition numbers, from the largest on; empty where
            the layer was given.
        numbers: condition number by layer and matrix; a layer's own is the largest of its
            matrices'.
    """

    layer: int
    top: tuple[int, ...] = ()
    numbers: tuple[dict[str, float], ...] = ()

    def record(self) -> dict[str, Any]:
        """For result.json."""
        if not self.numbers:
            return {"rule": "given", "layer": self.layer}
        return {
            "rule": f"deepest of the {len(self.top)} layers with the largest condition number",
            "layer": self.layer,
            "top": list(self.top),
            "condition_numbers": [
                {"layer": i, "condition_number": max(by_name.values()), "matrices": by_name}
                for i, by_name in enumerate(self.numbers)
            ],
        }


def condition_numbers(
    model: Model, module: str = "all", *, progress: Progress = SILENT
) -> dict[tuple[int, str], float]:
    """2-norm condition numbers, sigma_max / sigma_min in float64, by layer and matrix.

    Args:
        model: any.
        module: which matrices; all by default.
        progress: where to show it.

    Raises:
        UserError: an unknown module.
    """
    engine, names = Engine.of(model), matrices(model.config, module)
    numbers = {}
    layers = range(model.config.layers)
    with progress.bar("condition numbers", len(layers) * len(names), "matrices") as advance:
        for layer in layers:
            for name in names:
                numbers[layer, name] = svd.condition_number(engine.matrix(layer, name))
                advance(1)
    return numbers


def choose_layer(
    model: Model, module: str, *, top: int = TOP_LAYERS, progress: Progress = SILENT
) -> LayerChoice:
    """Steps 2 and 3 of Algorithm 1: the deepest of the layers with the largest condition numbers.

    The paper does not say how the matrices of a module make one number; ours is the largest.
    """
    numbers = condition_numbers(model, module, progress=progress)
    by_layer = [
        {name: value for (at, name), value in numbers.items() if at == layer}
        for layer in range(model.config.layers)
    ]
    order = sorted(range(len(by_layer)), key=lambda i: (-max(by_layer[i].values()), -i))
    return LayerChoice(max(order[:top]), tuple(order[:top]), tuple(by_layer))
