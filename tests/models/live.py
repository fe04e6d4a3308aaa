"""What the live tests and the golden files share: the same model in transformers and torch."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from .random_models import EMBEDDINGS, Weights


def torch_model(
    config: Mapping[str, Any], tensors: Weights, dtype: torch.dtype = torch.float32
) -> PreTrainedModel:
    """The transformers model with exactly these weights, in eager attention."""
    settings = {key: value for key, value in config.items() if key != "model_type"}
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(config["model_type"], **settings),
        attn_implementation="eager",
        dtype=dtype,
    )
    # GPT-NeoX's head has one name in files and another in transformers' own model.
    state = {
        name.replace("embed_out", "lm_head"): torch.from_numpy(value)
        for name, value in tensors.items()
    }
    if config.get("tie_word_embeddings"):
        embedding = next(n for n in state if n.endswith(EMBEDDINGS))
        state["lm_head.weight"] = state[embedding]
    model.load_state_dict(state)  # strict: our names and shapes are transformers' own
    return model.eval()


def torch_logits(
    model: PreTrainedModel, ids: np.ndarray, mask: np.ndarray | None = None
) -> np.ndarray:
    """Logits in float32; positions count the real tokens only."""
    mask = np.ones(ids.shape, bool) if mask is None else mask
    positions = np.maximum(np.cumsum(mask, axis=-1) - 1, 0)
    with torch.inference_mode():
        logits = model(
            torch.from_numpy(ids.astype(np.int64)),
            attention_mask=torch.from_numpy(mask.astype(np.int64)),
            position_ids=torch.from_numpy(positions),
            use_cache=False,
        ).logits
    return logits.float().numpy()
