"""What attention reads, against a plain forward pass: both families, grouped queries, variants."""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import pytest
from attention_reference import forward, linear, norm, turn, weights_of
from flax import nnx
from tolerances import assert_close, decoder_sums, rounding

import jaxsvd
from jaxsvd.edits.edit import Edit
from jaxsvd.edits.replacement import low_ranks, variants
from jaxsvd.engine.attention_trace import (
    LayerAttention,
    attention_layers,
    dense,
    head_matrices,
    norm_differential,
)
from jaxsvd.engine.prompts import Prompts, demonstration_of_tokens
from jaxsvd.model import Model
from jaxsvd.models.config import LayerKind
from jaxsvd.models.matrices import matrices
from jaxsvd.svd import truncate

PREFIX, LENGTHS = 21, (7, 3, 1)


def made_prompts() -> Prompts:
    """Three prompts behind one prefix; demonstrations of 8, 9 and 6 tokens, one of them split."""
    rng = np.random.default_rng(0)
    prefix, tokens = np.zeros(32, np.int32), np.zeros((3, 16), np.int32)
    prefix[:PREFIX] = rng.integers(0, 97, PREFIX)
    numbers = np.full((3, 48), -1)
    for row, length in enumerate(LENGTHS):
        tokens[row, :length] = rng.integers(0, 97, length)
        whole = np.repeat([0, 1, 2, -1], [8, 9, 6, 5])[: PREFIX + length]
        whole[-1] = -1
        numbers[row, :PREFIX], numbers[row, 32 : 32 + length] = whole[:PREFIX], whole[PREFIX:]
    return Prompts(prefix, PREFIX, tokens, np.array(LENGTHS), numbers)


def context(prompts: Prompts, row: int) -> np.ndarray:
    own = prompts.tokens[row, : prompts.lengths[row]]
    return np.concatenate([prompts.prefix[: prompts.prefix_length], own])


def check(model: Model, layers: list[LayerAttention], prompts: Prompts, row: int, reads) -> None:
    """Attention, values, and products of keys and query, which no frame changes."""
    config = model.config
    sums = decoder_sums(config, 48)
    real = np.concatenate([np.arange(PREFIX), 32 + np.arange(prompts.lengths[row])])
    for layer, read in zip(layers, reads[layers[0].layer :], strict=True):
        attention = np.asarray(layer.attention[row])
        assert_close(attention[:, real], read.attention, sums)
        assert attention.sum(axis=-1) == pytest.approx(1, abs=rounding(48))
        assert (np.flatnonzero(np.asarray(layer.visible[row])) == real).all()
        assert_close(np.asarray(layer.values[row])[real], read.values, sums)
        ours = np.asarray(layer.keys[row], np.float64)[real]
        gram = np.einsum("ikh,jkh->kij", read.keys, read.keys)
        actual = np.einsum("ikh,jkh->kij", ours, ours)
        products = rounding([*sums, *sums], float(np.abs(gram).max()))  # of two rounded numbers
        np.testing.assert_allclose(actual, gram, atol=products)
        # In the query's frame the query is as W_Q gives it, and turning it back gives the scores.
        each = config.heads // config.key_value_heads
        position = np.array([len(real) - 1])
        turned = turn(config.rotary, np.asarray(layer.query[row], np.float64)[None], position)[0]
        np.testing.assert_allclose(
            turned, read.query, atol=rounding(sums, float(np.abs(read.query).max()))
        )
        scores = np.einsum(
            "nh,tnh->nt", np.asarray(layer.query[row], np.float64), np.repeat(ours, each, axis=1)
        )
        wanted = np.einsum("nh,tnh->nt", read.query, np.repeat(read.keys, each, axis=1))
        np.testing.assert_allclose(
            scores, wanted, atol=rounding([*sums, *sums], float(np.abs(wanted).max()))
        )


@pytest.mark.parametrize(("family", "heads"), [("gptj", 4), ("llama", 2), ("llama", 1)])
@pytest.mark.brief(heads=(4, 2))
def test_against_a_plain_pass(family: str, heads: int, tiny: Callable[..., Model]) -> None:
    changes = {"num_key_value_heads": heads} if family == "llama" else {}
    model, prompts = tiny(family, **changes), made_prompts()
    layers = list(attention_layers(model.engine, prompts))
    assert [layer.layer for layer in layers] == [0, 1, 2]
    for row in range(3):
        check(model, layers, prompts, row, forward(model, context(prompts, row)))
    for layer in layers:
        turned = forward(model, context(prompts, 0))[layer.layer].keys
        actual = np.asarray(layer.prefix.keys)[:PREFIX]
        assert_close(actual, turned[:PREFIX], decoder_sums(model.config, 48))


@pytest.mark.long
@pytest.mark.parametrize(("family", "module"), [("gptj", "mlp"), ("llama", "attn")])
def test_a_variant_goes_on_from_the_untouched_model(
    family: str, module: str, tiny: Callable[..., Model]
) -> None:
    model, prompts = tiny(family), made_prompts()
    engine = model.engine
    before = list(attention_layers(engine, prompts))[1].before
    for rate in (0.3, 0.9):  # multiplied dense, and as factors
        [variant] = variants(engine, [(Edit(1, module, rate),)]).make([0])
        layers = list(attention_layers(engine, prompts, first=1, before=before, variant=variant))
        exchanged = {
            name: np.asarray(truncate(engine.matrix(1, name), rate))
            for name in matrices(model.config, module)
        }
        for row in range(3):
            reads = forward(model, context(prompts, row), 1, exchanged)
            check(model, layers, prompts, row, reads)
        if module == "attn":
            heads = head_matrices(model.config, layers[0].weights)
            for name, actual in (("q_proj", heads.query), ("out_proj", heads.output)):
                flat = np.asarray(actual).reshape(-1, model.config.width)
                wanted = exchanged[name] if name == "q_proj" else exchanged[name].T
                tolerance = rounding([1, 16], float(np.abs(wanted).max()))  # as two factors
                np.testing.assert_allclose(flat, wanted, atol=tolerance)


def test_a_layer_above_the_first_needs_its_streams(tiny: Callable[..., Model]) -> None:
    with pytest.raises(ValueError, match="layer 2 needs the streams before it"):
        next(attention_layers(tiny("gptj").engine, made_prompts(), first=2))


def test_scaled_rotations_go_to_the_keys(tiny: Callable[..., Model]) -> None:
    """YaRN scales query and keys; the query stays as W_Q gives it and the scores as they are."""
    model, prompts = tiny("llama"), made_prompts()
    assert model.config.rotary is not None
    rotary = dataclasses.replace(model.config.rotary, scale=1.2)
    kind = LayerKind(rotary)
    config = dataclasses.replace(model.config, kinds=(kind,))
    decoder = nnx.clone(model.decoder)
    decoder.config = config
    for block in decoder.blocks:
        block.attn.config, block.attn.kind = config, kind
    model = dataclasses.replace(model, config=config, decoder=decoder)
    layer = next(attention_layers(model.engine, prompts))
    read = forward(model, context(prompts, 0))[0]
    real = np.concatenate([np.arange(PREFIX), 32 + np.arange(7)])
    sums = decoder_sums(config, 48)
    assert_close(np.asarray(layer.attention[0])[:, real], read.attention, sums)
    block = weights_of(model, 0)
    plain = linear(block["attn"]["q_proj"], read.hidden).reshape(4, -1)
    assert_close(np.asarray(layer.query[0]), plain, sums)


@pytest.mark.parametrize("rank", [1, 3, 9, 20])
def test_a_truncated_matrix_multiplied_out(rank: int) -> None:
    rng = np.random.default_rng(rank)
    matrix = jnp.asarray(rng.normal(size=(20, 28)), jnp.float32)
    rate = 1 - rank / 20
    if rank == 20:
        return
    [cut] = low_ranks(matrix, [Edit(0, "fc_in", rate)]).values()
    product = np.asarray(cut.left, np.float64)[:, :rank] @ np.asarray(cut.right)[:rank]
    for either in (dense(cut), truncate(matrix, rate)):
        assert_close(either, product, [1, rank])


@pytest.mark.parametrize("family", ["gptj", "llama"])
def test_differential_of_the_norm(family: str, tiny: Callable[..., Model]) -> None:
    model = tiny(family)
    engine, rng = model.engine, np.random.default_rng(0)
    x, tangents = rng.normal(size=(2, 32)), rng.normal(size=(2, 32, 5))
    actual = norm_differential(
        model.config,
        engine.blocks[1],
        jnp.asarray(x, jnp.float32),
        jnp.asarray(tangents, jnp.float32),
    )
    own, step = weights_of(model, 1)["norm_attn"], 1e-6
    for row in range(2):
        for c in range(5):
            off = step * tangents[row, :, c]
            above, below = (norm(model.config, own, x[row] + s * off) for s in (1, -1))
            wanted = (above - below) / (2 * step)
            assert_close(actual[row, :, c], wanted, [32] * 4)  # two means, two products


def test_tokens_of_demonstrations() -> None:
    """Every token of the bundled model's prompt, told from its text."""
    model = jaxsvd.load()
    texts = ("text: red blue\nlabel : one\n", "text: cat\nlabel : two\n")
    prompt = "".join(texts) + "text: green\nlabel :"
    ids = np.asarray(model.tokenizer(prompt)["input_ids"])
    numbers = demonstration_of_tokens(model.tokenizer, texts, ids)
    spans = model.tokenizer(prompt, return_offsets_mapping=True)["offset_mapping"]
    first, second = len(texts[0]), len(texts[0]) + len(texts[1])
    for number, (start, stop) in zip(numbers, spans, strict=True):
        if stop <= first:
            assert number == 0
        elif start >= first and stop <= second:
            assert number == 1
        elif start >= second:
            assert number == -1
    assert {0, 1, -1} == set(numbers.tolist())


@pytest.mark.parametrize("fast", [True, False], ids=["offsets", "prefixes"])
def test_tokens_of_demonstrations_with_special_tokens(fast: bool) -> None:
    """A token before the text belongs to none of them; without offsets prefixes tell the same."""

    class Words:
        """Each character a token, a special one first."""

        is_fast = fast

        def __call__(self, text: str, **options: bool) -> dict[str, list]:
            n = len(text)
            return {
                "input_ids": [0, *map(ord, text)],
                "offset_mapping": [(0, 0), *((i, i + 1) for i in range(n))],
                "special_tokens_mask": [1] + [0] * n,
            }

    texts = ("ab\n", "c\n")
    ids = np.array([0, *map(ord, "ab\nc\nde")])
    numbers = demonstration_of_tokens(Words(), texts, ids)  # pyright: ignore
    assert numbers.tolist() == [-1, 0, 0, 0, 1, 1, -1, -1]


def test_prompts_of_a_task() -> None:
    """The rows of Prompts are the questions' prompts, their demonstrations numbered in order."""
    model = jaxsvd.load()
    from jaxsvd.encoded_task import encode_task

    encoded = encode_task(model, "bundled", ("test",), seed=1, test_size=40).encoded
    for group in encoded.groups[:2]:
        prompts = Prompts.of(model.tokenizer, encoded, group, [0, 1], least=(128, 48))
        assert prompts.prefix.shape == (128,)
        assert prompts.tokens.shape == (2, 48)
        for row in range(2):
            question = encoded.questions[group.lines[row].request]
            ids = np.asarray(model.tokenizer(question.prompt)["input_ids"])
            ours = context(prompts, row)
            assert (ours == ids[: len(ours)]).all()
            own = prompts.demonstrations[row]
            real = np.concatenate(
                [own[: prompts.prefix_length], own[128 : 128 + prompts.lengths[row]]]
            )
            assert (np.delete(own, np.flatnonzero(own >= 0)) == -1).all()
            shown = real[real >= 0]
            assert (np.diff(shown) >= 0).all()
            assert set(shown) == set(range(8))
            assert real[-1] == -1
