"""Every program of a search compiles for TPUs, exchanges what it should, and loops nowhere.

The compiler is that of the package ``libtpu`` (``make aot``); no device is there.
"""

import dataclasses

import jax.numpy as jnp
import pytest

from experiments.accelerators.compiled import (
    Placing,
    Program,
    Sizes,
    compiler_at_hand,
    engine_programs,
)
from jaxsvd.devices.sharding import ONE, Axes
from jaxsvd.engine.limits import layer_bytes
from jaxsvd.models import read_config
from jaxsvd.models.config import DecoderConfig
from tests.models.tiny_families import TINY

pytestmark = [
    pytest.mark.aot,
    pytest.mark.skipif(not compiler_at_hand(), reason="libtpu is not installed (extra aot)"),
]

KINDS = ("gptj", "gpt_neox", "llama", "gemma2", "olmo2", "opt")
"""A family for each way of making a layer (:data:`jaxsvd.models.config.Residual`)."""

MESHES = {"one chip": ONE, "data=4": Axes(4, 1), "data=2,model=2": Axes(2, 2)}

SLICE = "v5e:2x2"


def config_of(family: str) -> DecoderConfig:
    return read_config(TINY[family].sized(), "config.json")[0]


def is_layer(program: Program) -> bool:
    return program.name.startswith(("layer", "last_layer", "prefix_", "feed"))


@pytest.mark.parametrize("axes", MESHES.values(), ids=MESHES)
@pytest.mark.parametrize("family", KINDS)
def test_programs(family: str, axes: Axes) -> None:
    """They compile; nothing is float64; layers do not loop and exchange only sums, in bfloat16."""
    config, placing = config_of(family), Placing.of(SLICE, axes)
    for program in engine_programs(config, jnp.bfloat16, placing, Sizes(8, 16, 4, 16)):
        assert "f64[" not in program.text, program.name
        if not is_layer(program):
            continue
        assert not program.has("while"), program.name
        kinds, most, dtypes = program.collectives, 1 if config.parallel else 2, {"bf16"}
        if config.qk_norm == "projection":
            # Norms of the queries and of the keys, over heads of several devices: a float32 number
            # a token each.
            most, dtypes = most + 2, dtypes | {"f32"}
        if axes.model == 1:
            assert not kinds, (program.name, kinds)
            continue
        assert {kind for kind, _ in kinds} <= {"all-reduce"}, (program.name, kinds)
        assert {word for _, types in kinds for word in types.split()} <= dtypes, program.name
        # A truncated matrix is one of several products, each with the sum that it needs: one runs.
        if "truncated" not in program.name:
            assert len(kinds) <= most, (program.name, kinds)


def test_memory_of_a_layer() -> None:
    """Of a batch far larger than a chip's own cache: below our estimate, above an eighth of it."""
    config = dataclasses.replace(
        config_of("gptj"), width=512, heads=4, key_value_heads=4, head_width=128, mlp_width=1024
    )
    sizes = Sizes(128, 128, 8, 1024)
    programs = engine_programs(
        config,
        jnp.bfloat16,
        Placing.of(SLICE),
        sizes,
        names=("embed_prefix", "embed", "prefix_layer", "layer"),
    )
    layer = next(program for program in programs if program.name == "layer")
    tokens = sizes.rows * sizes.tokens
    estimate = layer_bytes(config, tokens, sizes.tokens + sizes.prefix)
    assert estimate / 8 < layer.temporary_bytes < estimate
