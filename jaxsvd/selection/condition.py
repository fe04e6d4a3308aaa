"""Which layer to truncate: condition numbers, and the choice that Algorithm 1 makes by them."""

from collections.abc import Iterable

import jax
import numpy as np
from jaxtyping import Array, Float

from jaxsvd import svd
from jaxsvd.condition_number import condition_number, ratio
from jaxsvd.devices import distributed, sharding
from jaxsvd.model import Model
from jaxsvd.models.matrices import matrices
from jaxsvd.results.search import LayerChoice
from jaxsvd.runtime.progress import SILENT, Advance, Progress
from jaxsvd.selection.kept import KeptNumbers

TOP_LAYERS = 3
"""Layers that compete by condition number; the paper leaves its k open."""


def condition_numbers(
    model: Model, module: str = "all", *, progress: Progress = SILENT
) -> dict[tuple[int, str], float]:
    """2-norm condition numbers, sigma_max / sigma_min in float64, by layer and matrix.

    On one device they are kept in the user's cache folder (:mod:`jaxsvd.selection.kept`).

    Args:
        model: any.
        module: which matrices; all by default.
        progress: where to show it.

    Raises:
        UserError: an unknown module.
    """
    engine, names = model.engine, matrices(model.config, module)
    keys = [(layer, name) for layer in range(model.config.layers) for name in names]
    with progress.bar("condition numbers", len(keys), "matrices") as advance:
        if model.mesh is not None:
            measured = condition_numbers_on(
                (engine.matrix(*key) for key in keys), len(keys), advance
            )
            return dict(zip(keys, measured, strict=True))
        kept = KeptNumbers(model)
        numbers, computed = {}, {}
        try:
            for key in keys:
                matrix = engine.matrix(*key)
                known = kept.get(*key, matrix)
                if known is None:
                    known = condition_number(matrix)
                    computed[key] = matrix, known
                numbers[key] = known
                advance(1)
        finally:  # what an interrupted search has computed is not lost either
            kept.add(computed)
    return numbers


def condition_numbers_on(
    matrices: Iterable[Float[Array, "rows columns"]],
    count: int,
    advance: Advance,
    *,
    on_devices: bool | None = None,
) -> list[float]:
    """Condition numbers of matrices on a mesh, spread over processes and devices.

    Args:
        matrices: all processes give the same, in the same order.
        count: how many.
        advance: called for each that is done.
        on_devices: whether the devices themselves decompose, several at a time. GPUs do; LAPACK
            on a CPU uses all cores for one matrix, and TPUs know no float64.
    """
    devices, own = jax.local_devices(), distributed.shared_out(count)
    if on_devices is None:
        on_devices = devices[0].platform == "gpu"
    numbers: dict[int, float] = {}
    waiting: dict[int, Array] = {}

    def collect() -> None:
        for i, values in waiting.items():
            numbers[i] = ratio(np.asarray(values), max(shapes[i]))
        waiting.clear()

    shapes: dict[int, tuple[int, ...]] = {}
    for i, matrix in enumerate(matrices):
        device = devices[len(waiting) % len(devices)]
        whole = sharding.gathered(matrix, device)  # by all processes together
        if i in own:
            shapes[i] = matrix.shape
            if on_devices:
                waiting[i] = svd.singular_values(whole)
            else:
                numbers[i] = condition_number(whole)
        if len(waiting) == len(devices):
            collect()
        advance(1)
    collect()
    return distributed.gathered(numbers, count)


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
