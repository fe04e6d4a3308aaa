"""The engine against a plain forward pass of the truncated model, example by example."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pytest
from conftest import make_tiny
from edited_models import PADDED, by_hand
from edited_models import logits as plain_logits
from tolerances import assert_close, decoder_sums

from jaxsvd.devices.compilation import compile_count, compiled_since
from jaxsvd.edits.edit import Edit
from jaxsvd.edits.replacement import variants
from jaxsvd.engine.limits import Limits
from jaxsvd.engine.packing import Shape
from jaxsvd.engine.requests import Group, Scoring, line_of
from jaxsvd.engine.variants import Scored, Variants
from jaxsvd.model import Model
from jaxsvd.models.matrices import MODULES
from tests.conftest import make_model
from tests.models.tiny_families import TINY, every_family

RATES = (0.0, 0.5, 0.9)
LABELS = (3, 17, 41)


def truncated(model: Model, layer: int, module: str, rate: float) -> Model:
    """A copy of the model with the module truncated, for a plain forward pass."""
    return by_hand(model, (Edit(layer, module, rate),))


def cuts(model: Model, *places: tuple[int, str], rates: Sequence[float] = RATES) -> Variants:
    """Some modules of layers at every rate, in that order."""
    edits = [(Edit(layer, module, rate),) for layer, module in places for rate in rates]
    return variants(model.engine, edits)


Encoded = tuple[Group, ...]


def random_encoded(
    scoring: Scoring, *, n: int = 9, groups: int = 1, prefix: int = 21, seed: int = 0, candidates=3
) -> Encoded:
    """Questions of random tokens; each group has its own prefix."""
    rng = np.random.default_rng(seed)

    def tokens(low: int, high: int) -> list[int]:
        return rng.integers(0, 97, rng.integers(low, high)).tolist()

    built = []
    for g in range(groups):
        lines = [
            line_of(q, tokens(1, 14), [tokens(1, 6) for _ in range(candidates)], scoring)
            for q in range(g * n, (g + 1) * n)
        ]
        length = 0 if scoring == "mean raw logit" else prefix
        labels = LABELS if scoring == "label tokens" else ()
        built.append(
            Group(rng.integers(0, 97, length).astype(np.int32), tuple(lines), scoring, labels)
        )
    return tuple(built)


def count(encoded: Encoded) -> int:
    """Of the requests."""
    return sum(len(group.lines) for group in encoded)


def brute_force(model: Model, encoded: Encoded) -> np.ndarray:
    """Scores by one full forward pass for each question and candidate."""
    scores = np.zeros((count(encoded), encoded[0].lines[0].count))
    for group in encoded:
        for line in group.lines:
            for c in range(scores.shape[1]):
                own = line.tokens[np.isin(line.continuations, [0, c + 1])]
                ids = np.concatenate([group.prefix, own])
                logits = plain_logits(model, ids)
                targets = line.targets[line.scored == c]
                if group.kind == "label tokens":
                    scores[line.request] = logits[-1, list(group.labels)]
                    break
                if group.kind == "mean raw logit":
                    scores[line.request, c] = logits.mean()
                    continue
                read = logits[len(ids) - len(targets) :]
                logp = read - np.logaddexp.reduce(read, axis=-1, keepdims=True)
                chosen = logp[np.arange(len(read)), targets]
                total = group.kind == "sequence log-likelihood"
                scores[line.request, c] = chosen.sum() if total else chosen.mean()
    return scores


def engine_scores(
    model: Model, encoded: Encoded, layer: int, module: str, shape: Shape | None = None
) -> np.ndarray:
    """Scores of all rates from one pass of the engine, ``[rates, questions, candidates]``."""
    what = cuts(model, (layer, module))
    return collect(model.engine.score_groups(encoded, what, shape=shape), encoded)


def collect(scored: Iterable[Scored], encoded: Encoded) -> np.ndarray:
    """All scores, ``[variants, requests, candidates]``; each must come once."""
    scored = list(scored)
    cells = {(s.variant, s.request): s.scores for s in scored}
    assert len(cells) == len(scored)
    number = max(s.variant for s in scored) + 1
    assert len(cells) == number * count(encoded)
    return np.array([[cells[v, q] for q in range(count(encoded))] for v in range(number)])


def assert_same(ours: np.ndarray, reference: np.ndarray) -> None:
    """Up to rounding along the longest chain: a Llama's layers, seven matrices as two factors."""
    config = make_tiny("llama").config
    assert_close(ours, reference, [*decoder_sums(config, PADDED), *[config.width] * 2 * 7])


@pytest.mark.brief(layer=(0, 2), module=("attn", "mlp"))
@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize(
    ("family", "module"),
    [(f, m) for f in ("gptj", "llama") for m in MODULES if (f, m) != ("gptj", "fc_up")],
)
def test_engine_equals_brute_force(
    tiny: Callable[..., Model], family: str, module: str, layer: int
) -> None:
    """Every module and layer, all rates from one pass, two groups with prefixes of their own."""
    model = tiny(family)
    encoded = random_encoded("label tokens", n=5, groups=2)
    ours = engine_scores(model, encoded, layer, module)
    for rate, scores in zip(RATES, ours, strict=True):
        assert_same(scores, brute_force(truncated(model, layer, module, rate), encoded))
    assert np.abs(ours[0] - ours[2]).max() > 1e-2, "truncation changed nothing"


@pytest.mark.long
@pytest.mark.parametrize("family", every_family())
def test_every_family_and_module(tiny: Callable[..., Model], family: str) -> None:
    """Prefix and packing, windows shorter than the prompt, each module in a layer of its own."""
    model = tiny(family)
    encoded = random_encoded("sequence log-likelihood", n=3)
    untouched = brute_force(model, encoded)
    modules = [m for m in MODULES if m != "fc_up" or model.config.gated]
    for i, module in enumerate(modules):
        ours = engine_scores(model, encoded, i % model.config.layers, module)
        assert_same(ours[0], untouched)
        cut = truncated(model, i % model.config.layers, module, 0.9)
        assert_same(ours[2], brute_force(cut, encoded))
        assert np.abs(ours[0] - ours[2]).max() > 1e-3, f"truncating {module} changed nothing"


@pytest.mark.long
@pytest.mark.brief(family=("gemma2",))
@pytest.mark.parametrize("family", ["gemma2", "opt"])
def test_mean_logits_with_caps_and_projections(tiny: Callable[..., Model], family: str) -> None:
    """The mean over the vocabulary is no product with the mean row where logits are capped."""
    model, encoded = tiny(family), random_encoded("mean raw logit", n=3)
    assert_same(engine_scores(model, encoded, 1, "mlp")[0], brute_force(model, encoded))


@pytest.mark.brief(family=("llama",))
@pytest.mark.parametrize(
    "scoring", ["sequence log-likelihood", "mean log-likelihood", "mean raw logit"]
)
@pytest.mark.parametrize("family", ["gptj", "llama"])
def test_every_kind_of_score(tiny: Callable[..., Model], family: str, scoring: Scoring) -> None:
    """Candidates of several tokens, shared prefix or none."""
    model = tiny(family)
    encoded = random_encoded(scoring, n=6)
    ours = engine_scores(model, encoded, 1, "mlp")
    for rate, scores in zip(RATES, ours, strict=True):
        assert_same(scores, brute_force(truncated(model, 1, "mlp", rate), encoded))


@pytest.mark.long
@pytest.mark.brief(shape=(Shape(8, 64, 16),))
@pytest.mark.parametrize("shape", [Shape(1, 64, 64), Shape(2, 128, 24), Shape(8, 64, 16)])
def test_shape_does_not_matter(tiny: Callable[..., Model], shape: Shape) -> None:
    """Any row length, number of rows and number of reads gives the same scores."""
    model = tiny("llama")
    encoded = random_encoded("sequence log-likelihood", n=8)
    ours = engine_scores(model, encoded, 1, "all", shape)
    for rate, scores in zip(RATES, ours, strict=True):
        assert_same(scores, brute_force(truncated(model, 1, "all", rate), encoded))


@pytest.mark.brief(prefix=(64,))
@pytest.mark.parametrize("prefix", [0, 1, 63, 64, 65])
def test_any_prefix_length(tiny: Callable[..., Model], prefix: int) -> None:
    """No prefix at all, and lengths around the multiple that they are padded to."""
    model = tiny("gptj")
    encoded = random_encoded("label tokens", n=4, prefix=prefix)
    ours = engine_scores(model, encoded, 1, "attn")
    for rate, scores in zip(RATES, ours, strict=True):
        assert_same(scores, brute_force(truncated(model, 1, "attn", rate), encoded))


def test_what_is_done_changes_nothing_for_the_rest(tiny: Callable[..., Model]) -> None:
    """A resumed pass skips whole batches, and gives the others the same scores bit for bit."""
    engine = tiny("gptj").engine
    encoded, shape = random_encoded("label tokens", n=40, groups=2), Shape(1, 64, 8)
    whole = {s.request: s.scores for s in engine.score_groups(encoded, shape=shape)}
    # All of the first group, most of the second.
    rest = {
        s.request: s.scores
        for s in engine.score_groups(encoded, shape=shape, done=lambda v, request: request < 78)
    }
    assert {78, 79} <= set(rest)
    assert not set(rest) & set(range(40))
    assert len(rest) < 40
    for question, scores in rest.items():
        np.testing.assert_array_equal(scores, whole[question])


@pytest.mark.brief(family=("llama",))
@pytest.mark.parametrize("family", ["gptj", "llama"])
def test_many_points_in_one_pass(tiny: Callable[..., Model], family: str) -> None:
    """A sweep's points, several of a layer and in any order: each as if it were alone."""
    model = tiny(family)
    engine, encoded = model.engine, random_encoded("label tokens", n=5, groups=2)
    requested = [(2, "attn"), (0, "mlp"), (1, "all"), (0, "attn"), (2, "mlp")]
    together = collect(engine.score_groups(encoded, cuts(model, *requested)), encoded)
    by_place = together.reshape(len(requested), len(RATES), *together.shape[1:])
    for (layer, module), ours in zip(requested, by_place, strict=True):
        for rate, scores in zip(RATES, ours, strict=True):
            assert_same(scores, brute_force(truncated(model, layer, module, rate), encoded))


@pytest.mark.long
def test_passes_of_one_batch(tiny: Callable[..., Model]) -> None:
    """Memory for one batch only, one worker: more passes, the same scores."""
    model = tiny("gptj")
    engine, encoded = model.engine, random_encoded("label tokens", n=30)
    what = cuts(model, (0, "mlp"), (2, "mlp"))
    shape, small = Shape(1, 32, 4), Limits(batch_tokens=32, stream_bytes=1, workers=1)
    ours = collect(engine.score_groups(encoded, what, shape=shape, limits=small), encoded)
    theirs = collect(engine.score_groups(encoded, what, shape=shape), encoded)
    np.testing.assert_array_equal(ours, theirs)


def test_order_of_examples_does_not_matter(tiny: Callable[..., Model]) -> None:
    """Reversed lines pack into other rows; one is longer than a row; the scores are the same."""
    model = tiny("llama")
    encoded = random_encoded("label tokens", n=12)
    [group] = encoded
    rng = np.random.default_rng(5)
    long = line_of(3, rng.integers(0, 97, 70).tolist(), [[1], [2], [3]], "label tokens")
    lines = tuple(long if line.request == 3 else line for line in group.lines)
    there, back = ((dataclasses.replace(group, lines=chosen),) for chosen in (lines, lines[::-1]))
    shape = Shape(2, 48, 4)
    one, other = (engine_scores(model, encoded, 1, "mlp", shape) for encoded in (there, back))
    for rate, *both in zip(RATES, one, other, strict=True):
        reference = brute_force(truncated(model, 1, "mlp", rate), there)
        for scores in both:
            assert_same(scores, reference)


def test_nothing_compiles_again(tiny: Callable[..., Model]) -> None:
    """Another layer, module, rate, seed or number of questions uses what is compiled already."""
    model, deeper = tiny("gptj", n_layer=4), tiny("gptj", n_layer=6)
    shape = Shape(2, 64, 8)

    def sweep(model: Model, rates: tuple[float, ...], encoded: Encoded, module: str) -> None:
        places = [(layer, module) for layer in (0, 1, model.engine.last)]
        list(model.engine.score_groups(encoded, cuts(model, *places, rates=rates), shape=shape))

    start = compile_count()
    sweep(model, (0.0, 0.1, 0.5), random_encoded("label tokens", n=3), "mlp")
    sweep(model, (0.0, 0.1, 0.5), random_encoded("label tokens", n=3), "all")
    before = compile_count()
    sweep(model, (0.0, 0.2, 0.9, 0.99), random_encoded("label tokens", n=40, seed=1), "mlp")
    sweep(model, (0.3, 0.95), random_encoded("label tokens", n=7, prefix=30), "all")
    sweep(model, (0.0, 0.75), random_encoded("label tokens", n=7), "attn")
    sweep(model, (0.5,), random_encoded("label tokens", n=9), "q_proj")
    assert compiled_since(before) == []
    # The config of a deeper model is another one, so its functions are; as many, not more.
    sweep(deeper, (0.0, 0.1, 0.5), random_encoded("label tokens", n=3), "mlp")
    sweep(deeper, (0.0, 0.1, 0.5), random_encoded("label tokens", n=3), "all")
    assert compile_count() - before <= before - start


@pytest.mark.long
def test_one_program_for_a_kind_of_layer(tiny: Callable[..., Model]) -> None:
    """Two kinds in turn compile each piece twice, however many layers there are."""
    types = ["sliding_attention", "full_attention"]
    encoded, shape = random_encoded("label tokens", n=3), Shape(2, 64, 8)

    def programs(layers: int) -> int:
        changes = {"num_hidden_layers": layers, "layer_types": types * (layers // 2)}
        raw = TINY["gemma2"].sized(**changes)
        model = make_model(raw)
        assert len(model.config.kinds) == 2
        before = compile_count()
        cut = cuts(model, (1, "all"), rates=(0.0, 0.5))
        list(model.engine.score_groups(encoded, cut, shape=shape))
        return compile_count() - before

    programs(2)  # what serves any model
    assert programs(8) == programs(6)
