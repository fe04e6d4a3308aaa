"""The implicit updates of real blocks: exact in both kinds of block; a run of the experiment."""

import json
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.common.scaffold import main
from experiments.implicit_updates import experiment, streams
from jaxsvd.model import Model
from jaxsvd.models.attention import Places
from theory import softmax

TOKENS = np.arange(12) * 7 % 50


@pytest.mark.parametrize("family", ["gptj", "llama"])
@pytest.mark.brief(family=("llama",))
def test_the_changed_mlp_is_exact_in_every_layer(family: str, tiny: Callable[..., Model]) -> None:
    """Parallel blocks and sequential ones, plain MLPs and gated ones."""
    model = tiny(family)
    decoder = model.decoder
    kept = [streams.streams(decoder, tokens) for tokens in (TOKENS, TOKENS[8:])]
    for layer, block in enumerate(decoder.blocks):
        contextual, plain = (streams.reading(decoder, block, one[layer]) for one in kept)
        assert experiment.exactness(model, layer, contextual, plain) < 1e-4
        if family == "gptj" and layer == 0:
            # The MLP of a parallel first block reads the token alone: all context is in the bias.
            np.testing.assert_allclose(contextual.read, plain.read, atol=1e-6)
        elif layer:
            assert np.abs(contextual.read - plain.read).max() > 1e-3
        if layer + 1 < len(decoder.blocks):  # the readings are the decoder's own
            after = kept[0][layer + 1][0, -1]
            np.testing.assert_allclose(contextual.attended + contextual.output, after, atol=1e-5)


@pytest.mark.parametrize("family", ["gptj", "llama"])
@pytest.mark.brief(family=("llama",))
def test_a_layers_attention_as_theory_takes_it(family: str, tiny: Callable[..., Model]) -> None:
    """Its Jacobian is the derivative of what the decoder's attention adds, keys and values held."""
    decoder = tiny(family).decoder
    attn = decoder.blocks[1].attn
    hidden = streams.normed_streams(decoder, TOKENS)[1]
    attention, rotary = streams.attention_of(decoder, 1)
    norms = softmax.layer_norms(hidden, attention, rotary)
    places = Places.of(decoder.config, jnp.arange(len(TOKENS))[None])
    rows = jnp.asarray(hidden)[None]
    own = attn.states(rows, places)

    def added(x: jax.Array) -> jax.Array:
        return attn(rows.at[0, -1].set(x), places, own, places)[0, -1]

    jacobian = np.asarray(jax.jacobian(added)(rows[0, -1]))
    assert float(norms.layer) == pytest.approx(np.log(np.linalg.norm(jacobian)), abs=1e-4)


def test_a_truncated_block_is_a_copy(tiny: Callable[..., Model]) -> None:
    decoder = tiny("llama").decoder
    kept = np.array(decoder.blocks[1].mlp.fc_in.weight[...])
    cut = streams.truncated(decoder, 1, "mlp", 0.9)
    assert np.linalg.matrix_rank(streams.first_matrices(cut)[0]) < min(kept.shape)
    np.testing.assert_array_equal(decoder.blocks[1].mlp.fc_in.weight[...], kept)


@pytest.mark.long
def test_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    arguments = ["--quick", "--validation-size", "4", "--shots", "4", "--out", str(out)]
    assert main(experiment.EXPERIMENT, arguments) == 0
    result = json.loads((out / "result.json").read_text())
    assert result["questions"] == 4
    for layer in result["layers"]:
        assert layer["error"] < 1e-4
        assert [row["module"] for row in layer["rows"]] == ["none", "mlp", "attn"]
    assert (out / "updates.png").stat().st_size > 10_000
    assert "change of the MLP's first weights" in capsys.readouterr().out
