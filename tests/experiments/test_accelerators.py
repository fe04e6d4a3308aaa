"""The arithmetic from a compiled layer to the seconds of a search."""

import dataclasses

import pytest

from experiments.accelerators.compiled import Program
from experiments.accelerators.machines import MACHINES, models
from experiments.accelerators.prediction import (
    Layer,
    Workload,
    layer_passes,
    seconds_of_layer,
    seconds_of_search,
    share_of_peak,
)

V5E, H100 = MACHINES[0], MACHINES[-1]
LAYER = Layer(8192, V5E.peak, V5E.bandwidth / 2, 3_000_000_000, 1, 1, 0)
"""A second of products, half a second of memory, two seconds by the compiler's estimate."""


def test_passes_counted_one_by_one() -> None:
    """Every example, rate and layer: what lies below the edited layer is computed once."""
    workload = Workload(validation=5, test=3, rates=4)
    for edited in range(6):
        passes = 0
        for examples, variants in ((5, 4), (3, 2)):
            for layer in range(6):
                passes += examples * (1 if layer < edited else variants)
        assert layer_passes(workload, 6, edited) == passes


def test_the_slowest_bound_counts() -> None:
    assert seconds_of_layer(LAYER, V5E) == (2.0, "estimated cycles")
    assert share_of_peak(LAYER, V5E) == 0.5
    alone = dataclasses.replace(LAYER, cycles=None)
    assert seconds_of_layer(alone, V5E) == (1.0, "operations")
    slow = dataclasses.replace(alone, bytes=3 * V5E.bandwidth)
    assert seconds_of_layer(slow, V5E) == (3.0, "memory")


def test_a_search_is_batches_of_layers() -> None:
    """Halving the lines halves the seconds; a batch of twice the tokens too."""
    config, workload = models()["GPT-J-6B"], Workload()
    seconds = seconds_of_search(config, LAYER, V5E, workload)
    half = dataclasses.replace(workload, line=workload.line / 2)
    assert seconds_of_search(config, LAYER, V5E, half) == pytest.approx(seconds / 2)
    wide = dataclasses.replace(LAYER, tokens=16_384)
    assert seconds_of_search(config, wide, V5E, workload) == pytest.approx(seconds / 2)
    assert H100.clock is None


def test_reading_a_program() -> None:
    """Exchanges, loops and cycles in XLA's text; a started exchange counts once."""
    text = """HloModule m

%body { ROOT %t = f32[2]{0} add(%a, %b), backend_config={"estimated_cycles":"7"} }

ENTRY %main {
  %r = (bf16[8,16]{1,0:T(8,128)(2,1)}, bf16[8,16]{1,0}) all-reduce-start(%p, %q), channel_id=1
  %d = (bf16[8,16]{1,0}, bf16[8,16]{1,0}) all-reduce-done(%r)
  %g = f32[4]{0} all-gather(%x), backend_config={"estimated_cycles":"100"}
  %w = (s32[], f32[4]{0}) while(%g), backend_config={"estimated_cycles":"20"}
}
"""

    class Text:
        def as_text(self) -> str:
            return text

    program = Program("m", Text())
    assert program.collectives == [("all-reduce", "bf16 bf16"), ("all-gather", "f32")]
    assert program.has("while")
    assert not program.has("conditional")
    assert program.estimated_cycles == 120
