"""Writes the golden files: logits of tiny random models computed by transformers in torch.

Run from the root of the checkout where torch is installed::

    python -m tests.models.make_golden

A golden file holds a config.json, a seed from which the weights follow (``random_models.weights``),
token ids, a mask, and the logits at the real tokens; a checksum guards the weights.
"""

import json

import numpy as np

from .live import torch_logits, torch_model
from .random_models import (
    GOLDEN,
    checksum,
    gptj_json,
    llama_json,
    padded_batch,
    weights,
)
from .tiny_families import TINY, Json

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 5e5,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 1e4,
    "factor": 4.0,
    "original_max_position_embeddings": 8,
}
MODELS: dict[str, Json] = {
    "gptj": gptj_json(),
    "gptj-tied": gptj_json(
        tie_word_embeddings=True, n_head=2, rotary_dim=10, n_inner=None, n_positions=17
    ),
    "gptj-gelu-one-head": gptj_json(
        n_head=1, rotary_dim=32, activation_function="gelu", vocab_size=29, n_layer=3
    ),
    "llama": llama_json(num_key_value_heads=4),
    "llama-grouped-llama3": llama_json(
        max_position_embeddings=32, rope_parameters=LLAMA3, num_key_value_heads=1
    ),
    "llama-yarn": llama_json(max_position_embeddings=32, rope_parameters=YARN, head_dim=12),
    "llama-biases-tied": llama_json(
        attention_bias=True, mlp_bias=True, tie_word_embeddings=True, hidden_act="gelu"
    ),
    "llama-old-linear": llama_json(
        rope_theta=2000.0, rope_scaling={"type": "linear", "factor": 2.5}, num_hidden_layers=3
    ),
    "llama-dynamic": llama_json(rope_parameters={"rope_type": "dynamic", "factor": 2.0}),
    **{name: family.json() for name, family in TINY.items() if name not in ("gptj", "llama")},
}


def main() -> None:
    """Writes one file for each model."""
    GOLDEN.mkdir(exist_ok=True)
    for seed, (name, config) in enumerate(MODELS.items(), start=100):
        tensors = weights(config, seed)
        ids, mask = padded_batch(config, seed)
        logits = torch_logits(torch_model(config, tensors), ids, mask)
        np.savez_compressed(
            GOLDEN / f"{name}.npz",
            config=json.dumps(config, sort_keys=True),
            seed=seed,
            checksum=checksum(tensors),
            ids=ids.astype(np.int16),
            mask=mask,
            logits=logits[mask],
        )
        print(f"{name}: {(GOLDEN / f'{name}.npz').stat().st_size} bytes")


if __name__ == "__main__":
    main()
