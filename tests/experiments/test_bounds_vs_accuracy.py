"""What is asked and measured, and what the verdict says of planted records."""

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jaxsvd
from experiments.bounds_vs_accuracy import agreement, questions, study
from experiments.bounds_vs_accuracy.conclusions import distinct
from experiments.bounds_vs_accuracy.experiment import EXPERIMENT
from experiments.bounds_vs_accuracy.measured import clustered, measure, removed
from experiments.bounds_vs_accuracy.questions import Design, SupersampledTask
from experiments.common.records import restore
from experiments.common.scaffold import main, parser, run
from experiments.language.setting import TaskSetting
from jaxsvd.edits.edit import Edit
from jaxsvd.model import Model
from jaxsvd.results.statistics import paired_difference
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.progress import SILENT
from jaxsvd.score import predict
from jaxsvd.tasks.base import Question
from theory.cmi import pick


@pytest.fixture(scope="module")
def model() -> Model:
    return jaxsvd.load()


@pytest.fixture(scope="module")
def draw(model: Model) -> SupersampledTask:
    options = parser(EXPERIMENT).parse_args(["--validation-size", "20", "--test-size", "40"])
    setting = study.resolve(options)
    task = TaskSetting("bundled", "bundled", None, (0,))
    return questions.make_draw(model, setting, task, 0, Design(3, 2), SILENT)


def plain_answer(model: Model, question: Question) -> int:
    """One full forward pass of one prompt, and the label token with the largest logit."""
    ids = model.tokenizer(question.prompt)["input_ids"]
    both = [model.tokenizer(question.prompt + c)["input_ids"] for c in question.candidates]
    assert all(one[: len(ids)] == ids and len(one) == len(ids) + 1 for one in both)  # pyright: ignore
    padded = np.zeros((1, 320), int)  # one length compiles once; what follows changes nothing
    padded[0, : len(ids)] = ids
    logits = np.asarray(model.logits(padded))[0, len(ids) - 1]  # pyright: ignore
    return predict(logits[[one[-1] for one in both]])  # pyright: ignore


@pytest.mark.long
def test_supersample_scores_are_those_of_plain_evaluation(
    model: Model, draw: SupersampledTask
) -> None:
    """Every sixth question of the one pass, demonstrations and supersamples included."""
    actual = questions.answers(model.engine, draw.encoded, [()])[0]
    for name, at in draw.positions.items():
        chosen = at[:: max(1, len(at) // 16)]
        wanted = [plain_answer(model, draw.encoded.questions[i]) for i in chosen]
        assert actual[chosen].tolist() == wanted, name
    sample = draw.sample(actual)
    flat = [draw.encoded.questions[i] for i in draw.positions["supersample"]]
    wrong = np.array([actual[i] for i in draw.positions["supersample"]]) != [q.gold for q in flat]
    assert (sample.losses.ravel() == wrong).all()
    assert sample.losses.shape == (3, 2, 8, 2)


@pytest.mark.long
def test_all_truncations_come_from_one_pass(model: Model, draw: SupersampledTask) -> None:
    """Answers of several modules together are those of each alone."""
    engine = model.engine
    edits = [(Edit(2, module, rate),) for module in ("mlp", "k_proj") for rate in (0.5, 0.95)]
    together = questions.answers(engine, draw.encoded, edits)
    for edit, actual in zip(edits, together, strict=True):
        assert (actual == questions.answers(engine, draw.encoded, [edit])[0]).all()
        assert (actual >= 0).all()


def test_demonstrations_of_a_mask_are_the_members_it_picks(draw: SupersampledTask) -> None:
    places = draw.positions["supersample"].reshape(*draw.masks.shape, 2)
    questions = draw.encoded.questions
    for z, m in np.ndindex(draw.masks.shape[:2]):
        chosen, others = pick(places[z, m], draw.masks[z, m])
        texts = {f"{q.query}{q.candidates[q.gold]}\n" for q in (questions[i] for i in chosen)}
        for i in places[z, m].ravel():
            assert set(questions[i].demonstrations) == texts
        outside = {
            f"{questions[i].query}{questions[i].candidates[questions[i].gold]}\n" for i in others
        }
        assert not outside & texts
        labels = [[questions[i].gold for i in pair] for pair in places[z, m]]
        assert all(a == b for a, b in labels)  # pairs have one label: prompts stay balanced
        assert sorted(np.bincount([a for a, _ in labels])) == [4, 4]
    assert {q.split for q in questions} == {"validation", "test", "training", "supersample"}


def test_every_demonstration_is_asked_under_its_prompt(draw: SupersampledTask) -> None:
    questions = [draw.encoded.questions[i] for i in draw.positions["training"]]
    test = {draw.encoded.questions[i].demonstrations for i in draw.positions["test"]}
    actual = [(q.demonstrations, f"{q.query}{q.candidates[q.gold]}\n") for q in questions]
    assert sorted(actual) == sorted((prompt, text) for prompt in test for text in prompt)


def test_the_longest_label_that_fits() -> None:
    words = (" entailment", " not entailment")
    assert questions.split_demonstration("a b: not entailment\n", words) == ("a b:", 1)
    assert questions.split_demonstration("a b: entailment\n", words) == ("a b:", 0)
    with pytest.raises(UserError, match="ends with none"):
        questions.split_demonstration("a b: neutral\n", words)


def test_too_few_examples_are_refused() -> None:
    with pytest.raises(UserError, match="examples for 20 supersamples of 16, not for 21"):
        questions.candidates("bundled", None, 8, 0, Design(21, 1))
    with pytest.raises(UserError, match="up to 16"):
        questions.candidates("bundled", None, 17, 0, Design(2, 1))
    one = Question("test", 0, (), "q", (" a", " b"), 0)
    with pytest.raises(UserError, match="3 examples make 1 pairs of one label, not 2"):
        questions.pairs_of([one, replace(one, gold=1), one], 2)


def test_standard_errors() -> None:
    """Singletons: the usual one; clusters of copies: that of the copies' number; a difference."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=40), rng.normal(size=30)
    value, error = clustered([(a, np.arange(40))])
    assert value == pytest.approx(a.mean())
    assert error == pytest.approx(a.std(ddof=1) / math.sqrt(40))
    copies = clustered([(np.repeat(a, 5), np.repeat(np.arange(40), 5))])
    assert copies == pytest.approx([value, error])
    both = clustered([(a, np.arange(40)), (-b, 40 + np.arange(30))])
    variance = a.var(ddof=1) / 40 + b.var(ddof=1) / 30
    assert both[0] == pytest.approx(a.mean() - b.mean())
    assert both[1] == pytest.approx(math.sqrt(variance), rel=0.02)
    # What moves both sides of a cluster together cancels in the difference.
    effect = rng.normal(size=40)
    same = clustered([(effect, np.arange(40)), (-effect, np.arange(40))])
    assert same == pytest.approx([0, 0], abs=1e-12)
    assert math.isnan(clustered([(a[:1], np.arange(1))])[1])


def test_a_cell_is_measured_from_its_answers(draw: SupersampledTask) -> None:
    gold, test = draw.gold, draw.positions["test"]
    base, actual = gold.copy(), gold.copy()
    base[test[:4]] = 1 - base[test[:4]]
    actual[test[2:10]] = 1 - actual[test[2:10]]
    actual[draw.positions["training"][:8]] = 1 - actual[draw.positions["training"][:8]]
    reported = measure(draw, actual, base)
    assert reported["test"]["correct"] == 32
    assert reported["validation"]["accuracy"] == 1
    assert reported["test_error"][0] == pytest.approx(8 / 40)
    assert reported["training_error"][0] == pytest.approx(8 / 160)
    assert reported["gap"][0] == pytest.approx(8 / 40 - 8 / 160)
    assert reported["changes"]["test error"][0] == pytest.approx((8 - 4) / 40)
    assert reported["changes"]["gap"][0] == pytest.approx(4 / 40 - 8 / 160)
    right = [answer[test] == gold[test] for answer in (base, actual)]
    assert reported["changes"]["p_value"] == paired_difference(*right).p_value


def test_removed_parameters() -> None:
    """A matrix of rank r has r (m + n - r) free numbers."""
    assert removed([(3, 5)], [3]) == 0
    assert removed([(3, 5), (4, 4)], [1, 2]) == (15 - 7) + (16 - 12)


def planted(seed: int, signal: float) -> list[dict[str, Any]]:
    """Cells of 5 draws of one model: a pair's own effect, a trend in the rate, noise."""
    rng = np.random.default_rng(seed)
    built = []
    for layer, module in itertools.product(range(4), ("mlp", "attn", "q", "k", "v")):
        for rate in (0.5, 0.9, 0.99):
            own = rng.normal()
            for draw_seed in range(5):
                outcome = own + rate + 0.2 * rng.normal()
                norm, theorem = rng.normal(size=2) - rate
                built.append(
                    {
                        "seed": draw_seed,
                        "module": module,
                        "layer": layer,
                        "rate": rate,
                        "changes": {"test error": [outcome, 0.2], "gap": [rng.normal(), 1.0]},
                        "predictors": {"parameters removed": rate**2},
                        "predicted_changes": {
                            "update norm": norm,
                            "lemma 6": signal * own + rate + 0.3 * rng.normal(),
                            "theorem 2": theorem,
                        },
                    }
                )
    return built


def conclusions(cells: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    records = agreement.records_of(cells, ["parameters removed"])
    names = agreement.predictors_in(records)
    assert set(names) == {
        "rate", "layer", "parameters removed", "update norm", "lemma 6", "theorem 2",
    }  # fmt: skip
    rows = agreement.analyse(records, names, cluster=("module", "layer"), draws=200)
    assert len(rows) == 6 * 2 * 3
    return rows, agreement.verdict(rows)


def test_rates_that_keep_one_rank_count_once() -> None:
    cells = planted(0, 1.0)
    for cell in cells:
        cell["predictors"]["parameters removed"] = min(cell["rate"], 0.9)
    kept = distinct(cells)
    assert len(kept) == 20 * 2 * 5
    assert {cell["rate"] for cell in kept} == {0.5, 0.9}


def test_the_verdict_finds_the_planted_predictor() -> None:
    rows, reported = conclusions(planted(0, signal=1.0))
    actual = {(r["outcome"], r["within"], r["predictor"]) for r in rows if r["informative"]}
    assert actual == {("test error", within, "lemma 6") for within in (None, "rate", "layer")}
    assert reported[0].startswith(
        "Pooled, the change of the test error is told beyond the baselines by: lemma 6 (+0."
    )
    assert any(line.startswith("Better than xi alone") and "lemma 6" in line for line in reported)
    assert any("change of the gap beyond the baselines" in line for line in reported)


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_verdict_finds_none_where_none_is(seed: int) -> None:
    """Lemma 6 follows the rate as well as the rate does, and nothing else."""
    rows, reported = conclusions(planted(seed, signal=0.0))
    assert not any(row["informative"] for row in rows)
    assert sum("no predictor tells the change" in line for line in reported) == 6
    alone = [
        line for line in reported if line.startswith("xi alone ranks the changes of the test error")
    ]
    assert any("as well as" in line and "lemma 6" in line for line in alone)
    assert not any(line.startswith("Better than xi") and "lemma 6" in line for line in reported)


@pytest.mark.long
def test_bounds_from_predictions_have_to_beat_the_errors_they_come_from() -> None:
    """A copy of the supersample's own gap is no theory, however well it does."""
    rng = np.random.default_rng(0)
    cells = planted(0, signal=0.0)
    for cell in cells:
        value = cell["changes"]["test error"][0] + 0.05 * rng.normal()
        cell["plain_changes"] = {"supersample gap": value, "supersample test error": rng.normal()}
        cell["bound_changes"] = {"ld-MI": value + 0.05 * rng.normal()}
    records = agreement.records_of(cells, [])
    names = agreement.predictors_in(records)
    options: dict[str, Any] = {"cluster": ("module", "layer"), "draws": 200}
    for estimated, expected in ((["ld-MI"], False), ([], True)):
        rows = agreement.analyse(records, names, estimated=estimated, **options)
        row = next(r for r in rows if r["predictor"] == "ld-MI")
        assert row["informative"] is expected
        plain = next(r for r in rows if r["predictor"] == "supersample gap")
        assert not plain["informative"]


SMALL = [
    *("--quick", "--layers", "2", "3", "--modules", "v_proj", "--rates", "0", "0.9", "0.99"),
    *("--seeds", "0", "1", "--validation-size", "20", "--test-size", "40"),
    *("--supersamples", "2", "--masks", "2", "--prompts", "3"),
]


@pytest.mark.long
def test_a_run_and_its_resumption(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main(EXPERIMENT, [*SMALL, "--out", str(out)]) == 0
    reported = capsys.readouterr().out
    assert "xi alone ranks" in reported
    assert questions.COPYING[:60] in reported
    result = restore(json.loads((out / "result.json").read_text()))
    cells = result["cells"]
    assert [(c["seed"], c["layer"], c["rate"]) for c in cells] == list(
        itertools.product((0, 1), (2, 3), (0.9, 0.99))
    )
    names = {"parameters removed", "energy removed", "condition number", "update norm"}
    names |= {"update norms, all layers", "jacobian norm", "jacobian norms, all layers"}
    names |= {f"{b}, {k}" for b in study.BOUNDS for k in study.SETTINGS}
    for cell in cells:
        assert set(cell["predictors"]) == names
        assert cell["predictors"]["lemma 6, as printed"] == math.inf
        bounds = cell["supersample"]["bounds"]
        assert {"f-CMI", "e-CMI", "ld-MI", "single loss", "binary KL"} <= set(bounds)
        assert {"bound", "information", "floor", "error"} == set(bounds["ld-MI"])
        assert {"validation", "test", "training", "gap", "changes"} <= set(cell)
        finite = (v for v in cell["predicted_changes"].values())
        assert all(math.isfinite(v) for v in finite)
    assert result["units"] == {"done": 10, "from_earlier_starts": 0}
    actual = result["studies"]["bundled"]
    assert actual["cluster"] == ["module", "layer"]
    assert actual["worth"]["theorem 2, as printed"]["infinite"] == 1
    # Cut down to its first units, the run goes on and ends the same.
    lines = (out / "records.jsonl").read_text().splitlines(keepends=True)
    (out / "records.jsonl").write_text("".join(lines[:6]) + lines[6][:40])
    (out / "result.json").unlink()
    options = parser(EXPERIMENT).parse_args([*SMALL, "--out", str(out), "--resume"])
    again = run(EXPERIMENT, options)
    assert again["units"]["from_earlier_starts"] == 6
    for name in ("cells", "untouched", "studies", "tasks"):
        assert str(again[name]) == str(result[name])  # NaN equals NaN in words
    assert (out / "agreement.png").stat().st_size > 10_000
    assert (out / "bounds.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--protocol", "scripts"], "clean only"),
        (["--rates", "0"], "at least one above 0"),
        (["--layers", "9"], "no layer 9"),
        (["--layers", "1", "--modules", "mlp"], "two pairs or more"),
        (["somewhere", "--model", "linear"], "leave MODEL out"),
        (["nowhere", "--model", "linear-functions"], "nowhere"),
        (["--model", "linear-functions"], "RUN"),
        (["--model", "linear", "--test-size", "9"], "--test-size is for language models"),
        (["--supersamples", "1"], "from 2 on"),
    ],
)
def test_refusals(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(EXPERIMENT, [*arguments, "--out", str(tmp_path / "run")]) == 2
    reported = capsys.readouterr().err
    assert message in reported
    assert reported.count("\n") == 1
    assert not (tmp_path / "run").exists()
