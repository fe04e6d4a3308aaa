"""Algorithm 1 end to end on the bundled model: its files, its rule, and interruptions."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxsvd
from jaxsvd.commands.search import best_of, check_rates
from jaxsvd.engine import kernels
from jaxsvd.model import Model
from jaxsvd.models.matrices import matrices, part
from jaxsvd.results.search import RateScore
from jaxsvd.results.statistics import Accuracy
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.progress import Advance, Progress
from jaxsvd.selection.condition import choose_layer, condition_numbers
from jaxsvd.svd import rank_at

SMALL: dict[str, Any] = {"validation_size": 20, "test_size": 12, "layer": -2, "shots": 2}


@pytest.fixture(scope="module")
def model() -> Model:
    return jaxsvd.load()


@pytest.fixture(scope="module")
def run(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search."""
    out = tmp_path_factory.mktemp("runs") / "search"
    jaxsvd.search(model, module="all", out=out, save_prompts=True, **SMALL)
    return out


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def timeless(run: Path) -> dict[str, Any]:
    """result.json without what differs between two runs of the same command."""
    result = json.loads((run / "result.json").read_text())
    return {key: value for key, value in result.items() if key not in ("started", "seconds")}


def test_result_is_what_the_predictions_say(run: Path) -> None:
    """Every count of result.json follows from predictions.jsonl."""
    result = json.loads((run / "result.json").read_text())
    records = lines(run / "predictions.jsonl")
    assert result["command"] == "search"
    assert result["task"]["validation_size"] == 20
    assert result["task"]["test_size"] == 12
    assert {"total", "load", "encode", "factor", "compile", "score"} <= result["seconds"].keys()

    def correct(split: str, rate: float) -> tuple[int, int]:
        here = [r for r in records if r["split"] == split and r["rate"] == rate]
        assert len({r["index"] for r in here}) == len(here)
        return sum(r["prediction"] == r["gold"] for r in here), len(here)

    layers = result["model"]["layers"]
    for entry in result["validation"]:
        assert (entry["correct"], entry["total"]) == correct("validation", entry["rate"])
        assert entry["accuracy"] == entry["correct"] / entry["total"]
    best = max(result["validation"], key=lambda entry: (entry["correct"], -entry["rate"]))
    assert result["best_rate"] == best["rate"]
    test = result["test"]
    assert (test["base"]["correct"], 12) == correct("test", 0.0)
    assert (test["pruned"]["correct"], 12) == correct("test", best["rate"])
    assert test["difference"] == pytest.approx(
        test["pruned"]["accuracy"] - test["base"]["accuracy"]
    )
    assert test["interval"][0] <= test["difference"] <= test["interval"][1]
    assert {r["layer"] for r in records} == {result["layer"]} == {layers - 2}
    for record in records:
        assert record["prediction"] == int(np.argmax(record["scores"]))
        assert len(record["scores"]) == len(result["task"]["labels"])


@pytest.mark.long
def test_predictions_are_those_of_the_truncated_model(model: Model, run: Path) -> None:
    """From prompts.jsonl alone: encode, truncate by numpy in float64, one full forward each."""
    prompts = {(p["split"], p["index"]): p for p in lines(run / "prompts.jsonl")}
    layer = model.config.layers - 2
    for rate in (0.0, 0.5, 0.99):
        decoder = nnx.clone(model.decoder)
        for name in matrices(model.config, "all") if rate else ():
            weight = getattr(getattr(decoder.blocks[layer], part(name)), name).weight
            w = np.asarray(weight.get_value(), np.float64)
            u, s, vt = np.linalg.svd(w, full_matrices=False)
            r = rank_at(rate, w.shape)
            weight.set_value(jnp.asarray(u[:, :r] * s[:r] @ vt[:r], jnp.float32))
        cut = Model(model.config, decoder, {}, "", None, model.directory, "float32")
        for record in lines(run / "predictions.jsonl"):
            if record["rate"] != rate or record["split"] != "validation":
                continue
            prompt = prompts["validation", record["index"]]
            ids = model.tokenizer(prompt["prompt"])["input_ids"]
            labels = [
                model.tokenizer(prompt["prompt"] + label)["input_ids"][len(ids) :]
                for label in prompt["labels"]
            ]
            assert all(len(label) == 1 for label in labels)
            padded = np.pad(np.asarray(ids), (0, model.config.context - len(ids)))[None]
            scores = np.asarray(cut.logits(padded))[0, len(ids) - 1, [i for (i,) in labels]]
            np.testing.assert_allclose(record["scores"], scores, atol=1e-3)
            assert record["prediction"] == int(np.argmax(scores))
            assert record["gold"] == prompt["gold"]


def test_demonstrations_are_in_every_prompt(run: Path) -> None:
    """Two shots and the query, as text."""
    for prompt in lines(run / "prompts.jsonl"):
        assert prompt["prompt"].count("label :") == 3
        assert prompt["prompt"].endswith("label :")


def test_same_command_same_files(model: Model, run: Path, tmp_path: Path) -> None:
    """Bit for bit on CPU, times aside."""
    again = tmp_path / "again"
    jaxsvd.search(model, module="all", out=again, save_prompts=True, **SMALL)
    for name in ("predictions.jsonl", "prompts.jsonl", "run.json"):
        assert (again / name).read_bytes() == (run / name).read_bytes()
    assert timeless(again) == timeless(run)


class InterruptingStage(Progress):
    """Ctrl-C after so many examples of a stage."""

    def __init__(self, stage: str, after: int) -> None:
        self.stage, self.after = stage, after

    @contextlib.contextmanager
    def bar(self, description: str, total: int, unit: str) -> Iterator[Advance]:
        del total, unit
        seen = 0

        def advance(n: int) -> None:
            nonlocal seen
            seen += n
            if self.stage in description and seen >= self.after:
                raise KeyboardInterrupt

        yield advance


@pytest.mark.parametrize(
    ("stage", "after"), [("factoring", 1), ("validation", 10), ("test", 1), ("test", 11)]
)
def test_an_interrupted_search_goes_on(
    model: Model, run: Path, tmp_path: Path, stage: str, after: int
) -> None:
    """The files are valid at once, and after --resume the same as without interruption."""
    out = tmp_path / "run"
    options = SMALL | {"module": "all", "out": out}
    with pytest.raises(KeyboardInterrupt):
        jaxsvd.search(model, progress=InterruptingStage(stage, after), **options)
    assert not (out / "result.json").exists()
    kept = lines(out / "predictions.jsonl") if (out / "predictions.jsonl").exists() else []
    with pytest.raises(UserError, match="exists already"):
        jaxsvd.search(model, **options)
    with pytest.raises(UserError, match="module was 'all', is 'attn'"):
        jaxsvd.search(model, resume=True, **options | {"module": "attn"})
    jaxsvd.search(model, resume=True, **options)
    assert (out / "predictions.jsonl").read_bytes() == (run / "predictions.jsonl").read_bytes()
    assert timeless(out) == timeless(run)
    assert all(record in lines(out / "predictions.jsonl") for record in kept)


LONG = ["--layer=0", "--shots", "4", "--validation-size", "2000", "--test-size", "300"]
"""A search that scores for seconds, so that a signal finds it at work."""


@pytest.fixture(scope="module")
def long_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "long"
    command = [sys.executable, "-m", "jaxsvd", "search", *LONG, "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return out


@pytest.mark.long
def test_what_is_scored_is_not_scored_again(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resuming a finished run writes the same files without a single forward pass."""
    out = tmp_path / "run"
    jaxsvd.search(model, out=out, **SMALL)
    before = (out / "predictions.jsonl").read_bytes(), timeless(out)
    monkeypatch.setattr(kernels, "layer", lambda *_: pytest.fail("scored again"))
    jaxsvd.search(model, out=out, resume=True, **SMALL)
    assert ((out / "predictions.jsonl").read_bytes(), timeless(out)) == before


HEEDING = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from jaxsvd.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
"""The command with Ctrl-C in force: a shell's background jobs inherit that it is ignored."""


@pytest.mark.long
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_process_goes_on(long_run: Path, tmp_path: Path, sign: signal.Signals) -> None:
    """Killed or interrupted in the middle of scoring, then --resume: the same files."""
    out = tmp_path / "run"
    command = [sys.executable, "-c", HEEDING, "search", *LONG, "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (out / "predictions.jsonl").exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(sign)
    stdout, stderr = process.communicate(timeout=120)
    assert stdout == ""
    kept = (out / "predictions.jsonl").read_text().count("\n")
    assert 0 < kept < 8 * 2000 + 300
    if sign == signal.SIGINT:
        assert process.returncode == 130
        assert stderr.splitlines()[-1].startswith("jaxsvd: interrupted; to continue, repeat")
    subprocess.run([*command, "--resume"], check=True, capture_output=True, timeout=300)
    for name in ("predictions.jsonl", "run.json"):
        assert (out / name).read_bytes() == (long_run / name).read_bytes()
    assert timeless(out) == timeless(long_run)


def test_ties_go_to_the_smallest_rate() -> None:
    def score(rate: float, correct: int) -> RateScore:
        return RateScore(rate, None, Accuracy(correct, 10))

    scores = [score(0.0, 4), score(0.1, 6), score(0.5, 6), score(0.9, 5)]
    assert best_of(scores).rate == 0.1
    assert best_of([score(0.0, 0), score(0.5, 0)]).rate == 0.0
    assert check_rates([0.5, 0.0, 0.5, 0.1]) == (0.0, 0.1, 0.5)
    with pytest.raises(UserError, match="no clipping rates"):
        check_rates([])


def test_layer_choice(model: Model) -> None:
    """The deepest of the top k by the largest condition number among the module's matrices."""
    numbers = condition_numbers(model)
    for (layer, name), value in numbers.items():
        weight = getattr(getattr(model.decoder.blocks[layer], part(name)), name).weight
        reference = np.linalg.cond(np.asarray(weight.get_value(), np.float64))
        assert value == pytest.approx(reference, rel=1e-6)
    for module in ("mlp", "attn", "all", "q_proj"):
        by_layer = [
            max(numbers[layer, name] for name in matrices(model.config, module))
            for layer in range(model.config.layers)
        ]
        for top in (1, 2, 3):
            choice = choose_layer(model, module, top=top)
            largest = sorted(range(len(by_layer)), key=lambda i: -by_layer[i])[:top]
            assert choice.top == tuple(largest)
            assert choice.layer == max(largest)


def test_automatic_layer_is_recorded(model: Model, tmp_path: Path) -> None:
    sizes = {"validation_size": 20, "test_size": 20}
    result = jaxsvd.search(model, module="attn", rates=[0.0, 0.9], out=tmp_path / "run", **sizes)
    choice = json.loads((tmp_path / "run" / "result.json").read_text())["layer_choice"]
    assert choice["layer"] == result.layer == max(choice["top"])
    assert len(choice["condition_numbers"]) == model.config.layers
    entry = choice["condition_numbers"][result.layer]
    assert entry["condition_number"] == max(entry["matrices"].values())


@pytest.mark.long
def test_randomized_mode_is_recorded_and_repeatable(model: Model) -> None:
    options = SMALL | {"rates": [0.5], "method": "randomized"}
    one, two = (jaxsvd.search(model, **options) for _ in range(2))
    assert one.record["svd"] == "randomized"
    assert one.validation == two.validation


def test_nothing_is_written_without_out(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = jaxsvd.search(model, rates=[0.0], **SMALL)
    assert result.out is None
    assert not list(tmp_path.iterdir())


def test_an_evaluation_is_the_searchs_baseline(model: Model, run: Path) -> None:
    """Same draw, nothing truncated: the same count."""
    base = json.loads((run / "result.json").read_text())["test"]["base"]
    sizes = {name: SMALL[name] for name in ("validation_size", "test_size", "shots")}
    assert jaxsvd.evaluate(model, **sizes).accuracy.correct == base["correct"]
