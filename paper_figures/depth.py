"""The four layers that the paper shows, by their place in a model of any depth."""

from collections.abc import Collection
from enum import Enum


class Depth(Enum):
    """A layer counted from the beginning or the end; the value is what legends say."""

    FIRST = "layer 0"
    SECOND = "layer 1"
    LAST_BUT_ONE = "layer n-2"
    LAST = "layer n-1"


def depth(layer: int, layers: int) -> Depth | None:
    """The place of a layer; None for those between.

    In models of fewer than four layers a layer could be counted from either side; the nearer side
    counts, and the beginning in the middle.

    Args:
        layer: index from 0.
        layers: of the model.
    """
    behind = layers - 1 - layer
    if layer <= behind:
        return {0: Depth.FIRST, 1: Depth.SECOND}.get(layer)
    return {1: Depth.LAST_BUT_ONE, 0: Depth.LAST}.get(behind)


def legend_name(place: Depth, depths: Collection[int]) -> str:
    """A place for a legend, with the layer's number where all models are as deep.

    Args:
        place: one of the four.
        depths: layers of the models shown.
    """
    behind = {Depth.LAST_BUT_ONE: 2, Depth.LAST: 1}.get(place)
    if behind is None or len(depths) != 1:
        return place.value
    return f"layer {next(iter(depths)) - behind} (n-{behind})"


def expected(layers: int) -> list[Depth]:
    """The places that a model of so many layers has."""
    return [place for layer in range(layers) if (place := depth(layer, layers)) is not None]
