"""The study's statistics against closed forms and simulation; its records and pages from units."""

import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.special import log_softmax

from experiments.study import design, drawing, repeated
from experiments.study.answer import markdown
from experiments.study.answers import algorithm1, answers, gain
from experiments.study.choice import choose, correct
from experiments.study.estimates import holm, of_answers, of_values
from experiments.study.records import StudyRecord
from experiments.study.scores import Scores
from experiments.study.summary import record_of, write_setting
from experiments.study.units import Unit
from jaxsvd.edits.edit import format_edits
from jaxsvd.results import calibration
from paper_figures import study as pages

SST2 = design.TASKS[0]
LAYERS = 6


def turned(rng: np.random.Generator, change: float, size: int) -> np.ndarray:
    """Examples that turn with probability 0.2, for the better as often as ``change`` says."""
    up = 0.1 + change / 2
    return rng.choice([-1, 0, 1], size, p=[0.2 - up, 0.8, up])


# --- estimates ----------------------------------------------------------------------------------


def test_one_draw_has_the_interval_of_a_paired_difference() -> None:
    """Normal theory: the standard error of a mean of -1, 0 and 1."""
    values = turned(np.random.default_rng(0), 0.05, 2000)
    estimate = of_answers([values], shared=False)
    error = values.std() / np.sqrt(len(values))
    assert estimate.mean == pytest.approx(values.mean())
    # 10,000 resamples: quantiles of 95 % are known to about 0.03 standard errors, 4 of these.
    np.testing.assert_allclose(
        estimate.interval, values.mean() + 1.96 * error * np.array([-1, 1]), atol=0.12 * error
    )
    assert estimate.sd is None
    assert estimate.t_interval is None


def test_nothing_turned_is_no_change() -> None:
    estimate = of_answers([np.zeros(100, int)] * 5, shared=True)
    assert (estimate.mean, estimate.interval, estimate.p_value) == (0.0, (0.0, 0.0), 1.0)


def test_the_same_examples_in_all_draws_leave_more_doubt() -> None:
    """Five copies of one draw: resampled apart they look like five times the examples."""
    values = turned(np.random.default_rng(1), 0.05, 1000)
    estimate = of_answers([values] * 5, shared=True)
    alone = of_answers([values], shared=True)
    assert estimate.crossed is not None
    assert alone.crossed is not None
    width = np.subtract(*alone.crossed)
    assert np.subtract(*estimate.crossed) == pytest.approx(width, rel=0.1)
    assert np.subtract(*estimate.interval) == pytest.approx(width / np.sqrt(5), rel=0.1)


def test_values_with_errors() -> None:
    """Draws alike: only the errors within them are left."""
    estimate = of_values([0.1] * 4, [0.02] * 4)
    np.testing.assert_allclose(
        estimate.interval, 0.1 + 1.96 * 0.01 * np.array([-1, 1]), atol=0.12 * 0.01
    )
    assert estimate.sign == 1
    assert estimate.p_value < 0.01


@pytest.mark.long
def test_coverage_over_draws_and_examples() -> None:
    """Draws differ by 3 points: with 20 draws the bootstrap holds, with 5 it is known to be short.

    Of 1,000 data sets the share of intervals that hold the true mean has a standard error of .007.
    The t interval is exact for normal draws.
    """
    rng = np.random.default_rng(2)
    held = {(draws, kind): 0 for draws in (5, 20) for kind in ("bootstrap", "t")}
    for _ in range(1000):
        for draws in (5, 20):
            data = [turned(rng, change, 500) for change in rng.normal(0.02, 0.03, draws)]
            estimate = of_answers(data, shared=False)
            assert estimate.t_interval is not None
            for kind, (low, high) in (
                ("bootstrap", estimate.interval),
                ("t", estimate.t_interval),
            ):
                held[draws, kind] += low <= 0.02 <= high
    assert 930 <= held[5, "t"] <= 970
    assert 930 <= held[20, "t"] <= 970
    assert held[20, "bootstrap"] >= 920
    assert 850 <= held[5, "bootstrap"] <= 970


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])


# --- from units to a page -----------------------------------------------------------------------


def make_unit(run: Path, seed: int, split: str, part: str, size: int) -> Scores:
    """Scores in which truncating the MLP of layer 4 by half moves the prior and nothing else."""
    rng = np.random.default_rng([seed, split == "test"])
    gold = rng.integers(2, size=size)
    signal = np.where(gold == 1, 1.0, -1.0) + rng.normal(size=size)
    places = [place for p in design.PARTS for place in design.places(p, LAYERS, {"mlp": 4})]
    edits = [format_edits(edits) for edits in design.grid(places)]
    if split == "test":
        edits = ["", "4:mlp:0.5"]
    values = []
    for edit in edits:
        prior = 0.0 if edit == "4:mlp:0.5" else 2.5
        sense = 1 if edit in ("", "4:mlp:0.5") else -1  # all other cells answer the opposite
        difference = sense * signal + prior
        values.append(np.stack([-difference / 2, difference / 2], axis=1))
    scores = Scores(
        tuple(edits),
        np.array(values, np.float32),
        gold,
        np.arange(size),
        (" bad", " good"),
    )
    Unit(SST2, SST2.shots, seed, split, part).path(run).parent.mkdir(exist_ok=True, parents=True)
    scores.save(Unit(SST2, SST2.shots, seed, split, part).path(run))
    return scores


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three draws."""
    path = tmp_path_factory.mktemp("study")
    write_setting(path, StudyRecord("made-up", LAYERS, {"mlp": 4, "attn": 4}, (), ()))
    for seed in range(3):
        make_unit(path, seed, "validation", "deep", 200)
        make_unit(path, seed, "test", "deep", 300)
    return path


def test_units_are_read_as_they_were_written(run: Path, tmp_path: Path) -> None:
    unit = Unit(SST2, 10, 1, "test", "deep")
    built = make_unit(tmp_path, 1, "test", "deep", 300)
    read = unit.scores(run)
    np.testing.assert_array_equal(read.scores, built.scores)
    assert (read.edits, read.labels) == (built.edits, built.labels)


def test_validation_chooses_the_best_mean_and_the_smallest_of_equals(run: Path) -> None:
    draws = [Unit(SST2, 10, seed, "validation", "deep").scores(run) for seed in range(3)]
    assert choose(draws, 4, "mlp").rate == 0.5
    assert choose(draws, 4, "attn").rate == 0.0
    same = [Scores(d.edits, d.scores[:1].repeat(len(d.edits), 0), d.gold, d.index, d.labels)
            for d in draws]  # fmt: skip
    assert choose(same, 4, "mlp").rate == 0.0


def test_a_shift_of_the_prior_is_one(run: Path) -> None:
    """Recomputed from the scores; calibrated, nothing is left of the gain."""
    record = record_of(run)
    (cell,) = algorithm1(record)
    assert cell.edit == "4:mlp:0.5"
    raw, fitted = [], []
    for seed in range(3):
        known, test = (
            Unit(SST2, 10, seed, split, "deep").scores(run) for split in ("validation", "test")
        )
        right = [correct(test, edit) for edit in ("", cell.edit)]
        raw.append(right[1].mean() - right[0].mean())
        right = [
            (
                log_softmax(test.of(e).astype(float), axis=1)
                + calibration.fitted_offsets(known.of(e).astype(float), known.gold)
            ).argmax(axis=1)
            == test.gold
            for e in ("", cell.edit)
        ]
        fitted.append(right[1].mean() - right[0].mean())
    np.testing.assert_allclose(cell.changes["raw"].draws, raw, rtol=1e-12)
    np.testing.assert_allclose(cell.changes["fitted_prior"].draws, fitted, rtol=1e-12, atol=1e-12)
    assert cell.changes["raw"].sign == 1
    assert cell.changes["fitted_prior"].sign == 0
    assert cell.changes["auc"].mean == pytest.approx(0.0, abs=1e-6)  # scores are float32
    notes = gain(record, "raw").notes
    assert "Holm over 10" in notes[0]
    assert "sst2 attn" in notes[1]


def test_a_record_is_read_as_it_was_written(run: Path) -> None:
    record = record_of(run)
    written = json.loads(json.dumps(record.to_json()))
    assert StudyRecord.from_json(written).to_json() == written
    pages_of = markdown("made-up", list(answers(record)))
    assert pages_of == markdown("made-up", list(answers(record)))


def test_texts_and_predictions_join_the_record(run: Path, tmp_path: Path) -> None:
    """A prediction that is the measured loss ranks it perfectly, its negative the other way."""
    path = tmp_path / "run"
    shutil.copytree(run, path)
    scores = Unit(SST2, 10, 0, "validation", "deep").scores(path)
    at = np.arange(len(scores.gold)), scores.gold
    losses = {e: -log_softmax(scores.of(e).astype(float), axis=1)[at].mean() for e in scores.edits}
    changes = {edit: losses[""] - loss for edit, loss in losses.items()}
    (path / "predictions").mkdir()
    (path / "texts").mkdir()
    known = {"task": SST2.name, "seed": 0, "changes": changes}
    (path / "predictions" / "sst2-seed-0.json").write_text(json.dumps(known))
    text = {"text": "novel", "edit": "4:mlp:0.5", "tokens": 100, "untouched": 10.0, "edited": 20.0}
    text |= {"difference": math.log(2), "interval": [math.log(1.5), math.log(2.5)]}
    (path / "texts" / "novel.json").write_text(json.dumps(text))
    record = record_of(path)
    written = json.loads(json.dumps(record.to_json()))
    assert StudyRecord.from_json(written).to_json() == written
    for cell in record.predicted:
        assert cell.loss == pytest.approx(losses[cell.edit] - losses[""], abs=1e-12)
    page = markdown("made-up", list(answers(record)))
    assert "| 4:mlp:0.5 on novel | 10.0 | 20.0 | 2.00 [1.50, 2.50] | 100 |" in page
    assert "| sst2 (draw 0), gradient | -1.00 |" in page


def test_pictures_show_the_cells(run: Path) -> None:
    record = record_of(run)
    (axis,) = drawing.plane([record]).axes
    shown = {
        tuple(np.round(line.get_xydata()[0], 6))
        for line in axis.lines
        if len(line.get_xydata()) == 1
    }  # type: ignore[index]
    for cell in record.own_tests():
        x, y = (100 * cell.changes[name].mean for name in ("raw", "fitted_prior"))
        assert (round(x, 6), round(y, 6)) in shown
    assert drawing.shots(record) is None


# --- what is published --------------------------------------------------------------------------


@pytest.mark.skipif(not list(pages.RECORDS.glob("*.json")), reason="no records are published yet")
def test_published_pages_come_from_the_published_records() -> None:
    """Every number of docs/study/*.md is one of a record."""
    for name, text in pages.pages(pages.read([pages.RECORDS])).items():
        assert (pages.RECORDS / name).read_text("utf-8") == text, f"{name}: make it again"


@pytest.mark.skipif(not list(pages.RECORDS.glob("*.json")), reason="no records are published yet")
def test_every_change_in_the_text_is_one_of_a_table() -> None:
    """Changes with a sign, in points, in the results of docs/study.md and the README's opening."""
    tables = "".join(path.read_text("utf-8") for path in pages.RECORDS.glob("*.md"))
    docs = pages.RECORDS.parent
    results = (docs / "study.md").read_text("utf-8").split("# Results", 1)[1]
    readme = (docs.parent / "README.md").read_text("utf-8").split("## ", 1)[0]
    changes = re.findall(r"(?<![\d.])[+-]\d+\.\d\b", results + readme)
    assert changes
    assert [change for change in changes if change not in tables] == []


@pytest.mark.skipif(not list(pages.RECORDS.glob("*.json")), reason="no records are published yet")
def test_the_first_runs_repeated_are_those_of_the_record() -> None:
    """The table of docs/explain.md, line by line; its sizes are the designed ones, or all."""
    record = pages.read([pages.RECORDS])["smollm2-135m"]
    page = (pages.RECORDS.parent / "explain.md").read_text("utf-8").splitlines()
    for line in repeated.table(record):
        assert line in page
    sizes = {c.task: (len(set(c.seeds)), max(c.examples)) for c in repeated.cells(record)}
    assert sizes == {"sst2": (5, 1000), "agnews": (5, 1000), "copa": (5, 100), "rte": (5, 277)}
    validation = {c.task: c.examples for c in record.grid}
    assert validation == {"sst2": 400, "agnews": 400, "copa": 200, "rte": 400, "trec": 400}
