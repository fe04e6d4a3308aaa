"""Accelerators as their makers describe them, and the two models of the paper at full size."""

from dataclasses import dataclass

from jaxsvd.devices.sharding import ONE, Axes
from jaxsvd.models import read_config
from jaxsvd.models.config import DecoderConfig

GIB = 2**30


@dataclass(frozen=True)
class Machine:
    """Some equal devices.

    Attributes:
        name: of the table's line.
        topology: as libtpu names the slice; None where no compiler is at hand.
        axes: of the mesh.
        peak: operations a second of one device, in bfloat16, two for a multiply-add.
        bandwidth: bytes a second between one device and its memory.
        memory: bytes of one device.
        clock: cycles a second of the compiler's estimate; None where there is none.
    """

    name: str
    topology: str | None
    axes: Axes
    peak: float
    bandwidth: float
    memory: int
    clock: float | None


# Published by Google Cloud (TPU v5e, TPU v5p). The clock is the one at which the four units of
# 128 x 128 multiply-adds of each core (one of v5e, two of v5p) reach the published peak.
_V5E = (197e12, 819e9, 16 * GIB, 1.5e9)
_V5P = (459e12, 2765e9, 95 * GIB, 1.75e9)
# Published by NVIDIA for the SXM5 card, dense.
_H100 = (989e12, 3350e9, 80 * 10**9, None)

MACHINES = (
    Machine("v5e, one chip", "v5e:2x2", ONE, *_V5E),
    Machine("v5e-4, data=4", "v5e:2x2", Axes(4, 1), *_V5E),
    Machine("v5e-4, model=4", "v5e:2x2", Axes(1, 4), *_V5E),
    Machine("v5p, one chip", "v5p:2x2x1", ONE, *_V5P),
    Machine("H100, one card (roofline)", None, ONE, *_H100),
)

_GPT_J_6B = {
    "model_type": "gptj",
    "n_embd": 4096,
    "n_head": 16,
    "n_layer": 28,
    "n_positions": 2048,
    "rotary_dim": 64,
    "vocab_size": 50400,
    "tie_word_embeddings": False,
}
_LLAMA_2_7B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "vocab_size": 32000,
    "tie_word_embeddings": False,
}


def models() -> dict[str, DecoderConfig]:
    """By name, from what matters here of their published config.json."""
    raw = {"GPT-J-6B": _GPT_J_6B, "Llama-2-7B": _LLAMA_2_7B}
    return {name: read_config(config, "config.json")[0] for name, config in raw.items()}
