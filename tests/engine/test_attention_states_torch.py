"""Softmax quantities against those of a torch run of the same model, its attention hooked.

transformers' eager attention gives the attention weights, hooks on the projections what they read;
norms are then computed from matrices written out, in float64. The bound is 1e-4.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attention_reference import Read, log_norms, turn, weights_of

import jaxsvd
from experiments.bounds_vs_accuracy import trajectories
from jaxsvd.edits.edit import Edit
from jaxsvd.edits.replacement import variants
from jaxsvd.engine.attention_trace import attention_layers
from jaxsvd.engine.prompts import Prompts
from jaxsvd.model import Model
from jaxsvd.models.matrices import matrices
from jaxsvd.svd import truncate

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")

sys.path.append(str(Path(__file__).parents[1]))
from models.live import torch_model  # noqa: E402
from models.random_models import gptj_json, llama_json, weights, write_checkpoint  # noqa: E402

MADE = {
    "gptj": gptj_json(n_positions=48, n_layer=3),
    "llama, 2 of 4 heads": llama_json(max_position_embeddings=48, num_hidden_layers=3),
    "llama, 1 of 4 heads": llama_json(max_position_embeddings=48, num_key_value_heads=1),
    "llama, biased": llama_json(max_position_embeddings=48, attention_bias=True),
}
PREFIX, OWN, N = 20, 6, 3
PATHS = {
    "gptj": ("transformer.h.{}.attn", "transformer.h.{}.attn.{}"),
    "llama": ("model.layers.{}.self_attn", "model.layers.{}.self_attn.{}"),
}


def prompts() -> Prompts:
    rng = np.random.default_rng(0)
    prefix, tokens = np.zeros(32, np.int32), np.zeros((2, 16), np.int32)
    prefix[:PREFIX] = rng.integers(1, 61, PREFIX)
    tokens[:, :OWN] = rng.integers(1, 61, (2, OWN))
    numbers = np.full((2, 48), -1)
    numbers[:, :PREFIX] = np.repeat([-1, 0, 1, 2], [2, 6, 6, 6])
    return Prompts(prefix, PREFIX, tokens, np.full(2, OWN), numbers)


def hooked(reference: Any, family: str, model: Model, ids: np.ndarray) -> list[Read]:
    """What the last token reads in every layer of the torch model."""
    config, caught = model.config, {}
    removes = []
    for layer in range(config.layers):
        where, inner = PATHS[family]
        for name in ("q_proj", "k_proj", "v_proj"):
            module = reference.get_submodule(inner.format(layer, name))

            def keep(_m: Any, _i: Any, out: Any, key: tuple = (layer, name)) -> None:
                caught[key] = out[0].double().numpy()

            removes.append(module.register_forward_hook(keep))

        def weigh(_m: Any, _i: Any, out: Any, key: tuple = (layer, "attention")) -> None:
            caught[key] = out[1][0].double().numpy()

        removes.append(reference.get_submodule(where.format(layer)).register_forward_hook(weigh))
    with torch.inference_mode():
        reference(torch.from_numpy(ids[None].astype(np.int64)), use_cache=False)
    for handle in removes:
        handle.remove()
    reads = []
    for layer in range(config.layers):
        q, k, v = (
            caught[layer, name].reshape(len(ids), -1, config.head_width)
            for name in ("q_proj", "k_proj", "v_proj")
        )
        q, k = (turn(config.rotary, a) for a in (q, k))
        reads.append(Read(caught[layer, "attention"][:, -1], q[-1], k, v, np.zeros(0)))
    return reads


def check(model: Model, layers: Any, actual: Any, reads: Callable[[int], list[Read]]) -> None:
    """Attention, values and both norms of every layer given, row by row."""
    given = prompts()
    real = np.concatenate([np.arange(PREFIX), 32 + np.arange(OWN)])
    shown = given.demonstrations[0][real] >= 0
    for row in range(2):
        reported = reads(row)
        for read, layer in zip(layers, actual, strict=True):
            theirs = reported[read.layer]
            assert np.abs(theirs.attention.sum(-1) - 1).max() < 1e-4
            ours = np.asarray(read.attention[row])[:, real]
            np.testing.assert_allclose(ours, theirs.attention, atol=1e-4)
            scale = np.abs(theirs.values).max()
            values = np.asarray(read.values[row])[real]
            np.testing.assert_allclose(values / scale, theirs.values / scale, atol=1e-4)
            block = block_of(model, read)
            update, _, jacobian = log_norms(model.config, block, theirs, shown)
            whole = np.log(np.exp(2 * update).sum()) / 2
            assert layer.update[row] == pytest.approx(whole, abs=1e-4)
            assert layer.jacobian[row] == pytest.approx(jacobian, abs=1e-4)


def block_of(model: Model, read: Any) -> Any:
    """A layer's matrices, truncated ones multiplied out."""
    from jaxsvd.engine.attention_trace import head_matrices

    block = weights_of(model, read.layer)
    heads = head_matrices(model.config, read.weights)
    width = model.config.width
    block["attn"]["q_proj"] = {"weight": np.asarray(heads.query, float).reshape(-1, width)}
    block["attn"]["out_proj"] = {"weight": np.asarray(heads.output, float).reshape(-1, width).T}
    return block


@pytest.mark.parametrize("name", MADE)
def test_against_hooks(name: str, tmp_path: Path) -> None:
    config, family = MADE[name], name.split(",")[0]
    tensors = weights(config, 1)
    model = jaxsvd.load(write_checkpoint(tmp_path / "model", config, tensors))
    engine, given = model.engine, prompts()
    contexts = [np.concatenate([given.prefix[:PREFIX], own[:OWN]]) for own in given.tokens]

    reference = torch_model(config, tensors)
    layers = list(attention_layers(engine, given))
    actual, _ = trajectories.walk(engine, [given], N)
    check(model, layers, actual, lambda row: hooked(reference, family, model, contexts[row]))

    # And a truncated variant: the torch model with its matrices exchanged.
    _, at = trajectories.walk(engine, [given], N, stop=2)
    for module in ("attn", "mlp"):
        [variant] = variants(engine, [(Edit(1, module, 0.7),)]).make([0])
        cut = torch_model(config, tensors)
        for matrix in matrices(model.config, module):
            weight = torch_weight(cut, family, 1, matrix)
            weight.data = torch.from_numpy(np.array(truncate(engine.matrix(1, matrix), 0.7)))
        above, _ = trajectories.walk(engine, [given], N, first=1, at=at, variant=variant)
        reads = attention_layers(engine, given, first=1, before=layers[1].before, variant=variant)
        check(
            model,
            list(reads),
            above,
            lambda row, cut=cut: hooked(cut, family, model, contexts[row]),
        )


def torch_weight(model: Any, family: str, layer: int, matrix: str) -> Any:
    """The parameter of a matrix by our name for it."""
    if family == "gptj":
        part = "attn" if matrix.endswith("_proj") else "mlp"
        return model.get_submodule(f"transformer.h.{layer}.{part}.{matrix}").weight
    names = {"out_proj": "o_proj", "fc_in": "gate_proj", "fc_up": "up_proj", "fc_out": "down_proj"}
    part = "self_attn" if matrix.endswith("_proj") else "mlp"
    return model.get_submodule(f"model.layers.{layer}.{part}.{names.get(matrix, matrix)}").weight
