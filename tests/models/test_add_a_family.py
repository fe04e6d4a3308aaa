"""The family of docs/add_a_family.md, added as that page says."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jaxsvd
from jaxsvd.models import FAMILIES
from jaxsvd.models.hf_config import Family

from .random_models import padded_batch, relative_error, weights, write_checkpoint

PAGE = Path(__file__).parents[2] / "docs" / "add_a_family.md"
CONFIG: dict[str, Any] = {
    "model_type": "ember",
    "vocab_size": 61,
    "max_position_embeddings": 12,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "sliding_window": 3,
}


@pytest.fixture
def ember(monkeypatch: pytest.MonkeyPatch) -> Family:
    """The page's code, run as it stands, and its family registered."""
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    exec("\n".join(blocks), names)
    monkeypatch.setitem(FAMILIES, "ember", names["EMBER"])
    return names["EMBER"]


def reference(config: dict[str, Any], tensors: dict[str, np.ndarray], ids: np.ndarray) -> Any:
    """Logits of one row in float64, written out for this model alone."""
    w = {name: value.astype(np.float64) for name, value in tensors.items()}
    n, states, wide = len(ids), config["num_key_value_heads"], 8

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * w[f"{name}.weight"]

    angles = np.arange(n)[:, None] * 10_000.0 ** (-np.arange(0, wide, 2) / wide)
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]

    def turn(x: np.ndarray) -> np.ndarray:
        a, b = np.split(x, 2, axis=-1)
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)

    x = w["embed.weight"][ids]
    distance = np.subtract.outer(np.arange(n), np.arange(n))
    for layer in range(config["num_hidden_layers"]):
        at = f"layers.{layer}"
        q, k, v = np.split(norm(x, f"{at}.norm_1") @ w[f"{at}.attention.qkv.weight"].T, [32, 48], 1)
        q, k, v = turn(q.reshape(n, 4, wide)), turn(k.reshape(n, states, wide)), v.reshape(n, 2, 8)
        k, v = np.repeat(k, 2, axis=1), np.repeat(v, 2, axis=1)
        scores = np.einsum("qnh,tnh->nqt", q, k) / np.sqrt(wide)
        seen = (distance >= 0) & (distance < (3 if layer % 2 == 0 else n))
        scores = np.exp(np.where(seen, scores, -np.inf))
        scores /= scores.sum(-1, keepdims=True)
        attended = np.einsum("nqt,tnh->qnh", scores, v).reshape(n, 32)
        hidden = norm(x, f"{at}.norm_2") @ w[f"{at}.mlp.up.weight"].T
        hidden = hidden / (1 + np.exp(-hidden))
        x = x + attended @ w[f"{at}.attention.out.weight"].T + hidden @ w[f"{at}.mlp.down.weight"].T
    return norm(x, "norm") @ w["head.weight"].T


def test_it_loads_computes_and_is_cut(ember: Family, tmp_path: Path) -> None:
    assert ember.name == "ember"
    tensors = weights(CONFIG)
    assert tensors["layers.2.attention.qkv.weight"].shape == (64, 32)
    model = jaxsvd.load(write_checkpoint(tmp_path / "model", CONFIG, tensors))
    assert len(model.config.kinds) == 2
    ids, _ = padded_batch(CONFIG)
    ours = np.asarray(model.logits(ids))
    for row in range(len(ids)):
        assert relative_error(ours[row], reference(CONFIG, tensors, ids[row])) <= 2e-5
    pruned = jaxsvd.prune(model, layer=0, module="attn", rate=0.75)
    pruned.save(tmp_path / "pruned")
    again = np.asarray(jaxsvd.load(tmp_path / "pruned").logits(ids))
    np.testing.assert_array_equal(again, np.asarray(pruned.logits(ids)))
    assert np.abs(again - ours).max() > 0.1
