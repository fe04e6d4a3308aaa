"""Training of the bundled model at a tiny size: determinism, resumption, episodes."""

import dataclasses
import json
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.train_bundled_model import episodes as bundled_episodes
from experiments.train_bundled_model import experiment as train_bundled_model
from experiments.train_bundled_model import tokenizer as bundled_tokenizer
from experiments.train_bundled_model.experiment import PLAN, main, train
from experiments.train_bundled_model.training import HF_CONFIG, Plan, Stage, forward, start
from jaxsvd import UserError
from jaxsvd.tasks.words import CATEGORIES, LABELS, NOISE, held_out_pairs

CONFIG = HF_CONFIG | {"n_embd": 16, "n_head": 2, "n_inner": 16, "n_layer": 2, "rotary_dim": 4}
# Two stages of one batch shape: one compilation serves all tests here.
TINY = Plan(
    (Stage(steps=3, rows=2, examples=2, scaffold=1.0), Stage(steps=4, rows=2, examples=2)),
    warm_up=2,
)


def leaves(state):
    return [np.asarray(x) for x in jax.tree.leaves(state)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing interrupted."""
    out = tmp_path_factory.mktemp("bundled") / "run"
    _, state, _ = train(TINY, out, hf_config=CONFIG, every=2)
    return out, state


@pytest.mark.brief(moment=(3,))
@pytest.mark.parametrize("moment", [1, 3, 6])
def test_killed_and_resumed_is_the_same_run(tmp_path, whole, moment):
    def kill(step):
        if step == moment:
            raise KeyboardInterrupt

    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(TINY, out, hf_config=CONFIG, every=2, after_step=kill)
    # A line that a kill cut short, after the last checkpoint.
    with (out / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9')
    _, state, _ = train(TINY, out, hf_config=CONFIG, every=2, resume=True)
    for mine, wanted in zip(leaves(state), leaves(whole[1]), strict=True):
        np.testing.assert_array_equal(mine, wanted)
    assert (out / "metrics.jsonl").read_bytes() == (whole[0] / "metrics.jsonl").read_bytes()


def test_another_seed_gives_other_weights():
    _, one = start(TINY, CONFIG)
    _, other = start(dataclasses.replace(TINY, seed=1), CONFIG)
    _, same = start(TINY, CONFIG)
    matrix = [s.parameters["embedding"]["tokens"][...] for s in (one, other, same)]
    assert not np.array_equal(matrix[0], matrix[1])
    np.testing.assert_array_equal(matrix[0], matrix[2])


def test_metrics(whole):
    lines = [json.loads(line) for line in (whole[0] / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6, 7]
    assert all(np.isfinite(line["tokens"]) for line in lines)


def test_an_existing_run_is_never_overwritten(whole):
    with pytest.raises(UserError, match="--resume"):
        train(TINY, whole[0], hf_config=CONFIG, every=2)
    other = dataclasses.replace(TINY, peak=1.0)
    with pytest.raises(UserError, match=r"run of another command: plan peak was 0\.002, is 1\.0"):
        train(other, whole[0], hf_config=CONFIG, every=2, resume=True)


def test_a_damaged_checkpoint_is_one_line(tmp_path, whole):
    out = tmp_path / "run"
    shutil.copytree(whole[0], out)
    for damaged in (b"PK\x03\x04 cut short", b"", (out / "checkpoint.npz").read_bytes()[:-500]):
        (out / "checkpoint.npz").write_bytes(damaged)
        with pytest.raises(UserError, match="not readable"):
            train(TINY, out, hf_config=CONFIG, every=2, resume=True)


def test_command_line_reports_mistakes_and_interruptions(tmp_path, monkeypatch, capsys):
    assert main(["--seed", "-1"]) == 2
    assert main(["--steps", "0"]) == 2
    (tmp_path / "something").write_text("")
    assert main(["--out", str(tmp_path)]) == 2
    assert "--resume" in capsys.readouterr().err

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(train_bundled_model, "train", interrupted)
    assert main(["--out", str(tmp_path / "run")]) == 130


def test_forward_is_the_decoder():
    graph, state = start(TINY, CONFIG)
    tokens = jax.random.randint(jax.random.key(0), (2, 9), 0, CONFIG["vocab_size"])

    @jax.jit
    def both(parameters, tokens):
        decoder = nnx.merge(graph, parameters)
        return forward(decoder, tokens)[0], decoder(tokens)[0]

    np.testing.assert_allclose(*both(state.parameters, tokens), atol=1e-5)


@pytest.fixture(scope="module")
def episodes():
    stage = Stage(steps=1, rows=256, examples=4)
    drawn = jax.jit(bundled_episodes.draw, static_argnums=(3, 4))
    return drawn(bundled_episodes.language(), stage.difficulty, jax.random.key(3), 256, 4)


def rows(episodes):
    tokenizer = bundled_tokenizer.build()
    for ids, real in zip(np.asarray(episodes.tokens), np.asarray(episodes.real), strict=True):
        yield tokenizer, ids[real].tolist(), tokenizer.decode(ids[real].tolist())


@pytest.mark.long
def test_episodes_are_text_as_the_tokenizer_writes_it(episodes):
    for tokenizer, ids, text in rows(episodes):
        assert tokenizer.encode(text).ids == ids
        assert re.fullmatch(r"(text:( [a-z]+){3,5}\nlabel : [a-z]+\n){4}", text)


@pytest.mark.long
def test_episodes_never_show_held_out_pairs_together(episodes):
    held_out = {frozenset(pair) for pair in held_out_pairs()}
    lists = list(CATEGORIES.values())
    seen = set()
    for _, _, text in rows(episodes):
        words = set(text.split())
        seen.add(frozenset(i for i, category in enumerate(lists) if words & set(category)))
    assert all(len(pair) <= 2 for pair in seen)
    assert not seen & held_out
    assert len(seen) > 150


def test_episode_labels_are_drawn_anew_and_bound_to_the_category(episodes):
    lists = list(CATEGORIES.values())
    bindings = set()
    for _, _, text in rows(episodes):
        binding = {}
        for example in text.removeprefix("text: ").split("\ntext: "):
            words, label = example.strip("\n").split("\nlabel : ")
            certain = [w for w in words.split() if w not in NOISE]
            assert len(certain) >= 2
            (category,) = {i for i, c in enumerate(lists) for w in certain if w in c}
            assert binding.setdefault(category, label) == label
        assert len(set(binding.values())) == len(binding)
        bindings |= set(binding.items())
    assert {label for _, label in bindings} == set(LABELS)


def test_label_marks_and_classes(episodes):
    marked = np.asarray(episodes.tokens)[np.asarray(episodes.label)].reshape(256, 4)
    chosen = jnp.take_along_axis(episodes.choices, episodes.classes, axis=1)
    np.testing.assert_array_equal(marked, chosen)


def test_plan_scales_to_any_number_of_steps():
    for steps in (1, 7, 1000):
        plan = PLAN.scaled(steps)
        assert plan.steps == steps
        assert plan.stage(steps - 1) in plan.stages
    with pytest.raises(IndexError):
        PLAN.stage(PLAN.steps)
