"""From a layer's compiled program to the seconds of a search: arithmetic alone."""

from dataclasses import dataclass
from fractions import Fraction

from experiments.accelerators.machines import Machine
from jaxsvd.models.config import DecoderConfig
from jaxsvd.svd import RATES


@dataclass(frozen=True)
class Layer:
    """What a compiler says of a layer over one batch, on each device.

    Attributes:
        tokens: of the batch, over all devices.
        operations: two for a multiply-add.
        bytes: read from and written to memory.
        cycles: estimated; None where no compiler is at hand.
        arguments: bytes of weights, batch and prefix.
        temporary: bytes of memory beside arguments and results.
        collectives: how many exchanges there are.
    """

    tokens: int
    operations: float
    bytes: float
    cycles: int | None
    arguments: int
    temporary: int
    collectives: int


@dataclass(frozen=True)
class Workload:
    """The paper's search: every rate on the validation examples, two models on the test examples.

    Attributes:
        validation, test: numbers of examples.
        line: tokens of an example beyond the demonstrations, on average.
        fill: share of a batch's places that hold such tokens.
        rates: how many, the untouched model among them.
    """

    validation: int = 8_000
    test: int = 59_339
    line: float = 16.0
    fill: float = 0.95
    rates: int = len(RATES)


def layer_passes(workload: Workload, layers: int, edited: int) -> float:
    """Examples times layers that the engine computes.

    Below the edited layer once for all rates; from it on once for each. The last layer and the
    truncated products count as whole layers: an upper bound.

    Args:
        workload: the search.
        layers: of the model.
        edited: counted from 0.
    """
    above = layers - edited
    validation = workload.validation * (edited + workload.rates * above)
    return float(validation + workload.test * (edited + 2 * above))


def seconds_of_layer(layer: Layer, machine: Machine) -> tuple[float, str]:
    """Of one batch, and what bounds it: products, memory, or the compiler's estimate above both."""
    bounds = {
        "operations": layer.operations / machine.peak,
        "memory": layer.bytes / machine.bandwidth,
    }
    if layer.cycles is not None and machine.clock is not None:
        bounds["estimated cycles"] = layer.cycles / machine.clock
    name = max(bounds, key=bounds.__getitem__)
    return bounds[name], name


def share_of_peak(layer: Layer, machine: Machine) -> float:
    """Of the products that a device could do in the predicted time, those of this layer."""
    return layer.operations / machine.peak / seconds_of_layer(layer, machine)[0]


def seconds_of_search(
    config: DecoderConfig,
    layer: Layer,
    machine: Machine,
    workload: Workload,
    depth: Fraction = Fraction(1, 2),
) -> float:
    """Of scoring alone, with the layer at this share of the depth edited.

    Not in it: loading, encoding, compiling, factoring, condition numbers, reading of logits.
    """
    edited = min(config.layers - 1, int(depth * config.layers))
    tokens = layer_passes(workload, config.layers, edited) * workload.line / workload.fill
    return tokens / layer.tokens * seconds_of_layer(layer, machine)[0]
