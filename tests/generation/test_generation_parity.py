"""Greedy tokens against transformers' ``generate``, every family (``make parity``)."""

from pathlib import Path

import numpy as np
import pytest

import jaxsvd
from jaxsvd.generation.tokens import continued
from tests.models.random_models import Uniform, weights
from tests.models.tiny_families import TINY

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")

from tests.models.live import torch_model  # noqa: E402 (needs torch)


@pytest.mark.parametrize("family", TINY)
def test_greedy_tokens(tmp_path: Path, family: str) -> None:
    """A ragged batch of ours, each prompt alone in transformers; token 0 ends a row in both."""
    config = TINY[family].sized()
    reference = torch_model(config, weights(config, 3))
    reference.save_pretrained(tmp_path)
    model = jaxsvd.load(tmp_path)
    uniform = Uniform(4)
    prompts = [
        (1 + uniform.integers((n,), config["vocab_size"] - 1)).tolist() for n in (5, 23, 1, 12)
    ]
    ours = dict(continued(model.decoder, prompts, max_new_tokens=24, stop_tokens=[0]))
    for i, prompt in enumerate(prompts):
        ids = torch.from_numpy(np.asarray([prompt]))
        theirs = reference.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=24,
            eos_token_id=0,
            pad_token_id=0,
        )[0, len(prompt) :].tolist()
        assert ours[i] == theirs
