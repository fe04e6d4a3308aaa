"""Searches among many candidates: brute force, what they spend, a killed race, several draws."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jaxsvd
from jaxsvd.cli.main import main
from jaxsvd.edits.edit import Edits, as_edits, format_edits, parse_edits
from jaxsvd.model import Model
from jaxsvd.results.read import read_run
from jaxsvd.results.search import SearchResult
from jaxsvd.results.statistics import mcnemar
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.progress import Progress
from jaxsvd.selection.candidates import candidates, ruled_rank

BOUNDS: dict[str, Any] = {
    "layers": [0, 3],
    "modules": ["attn", "mlp"],
    "rates": (0.5, 0.95),
    "validation_size": 24,
    "test_size": 16,
    "shots": 4,
}
COUNT = 1 + 2 * 2 * 2


@pytest.fixture(scope="module")
def model() -> Model:
    return jaxsvd.load()


def accuracy(model: Model, edits: Edits, **options: Any) -> float:
    """Of an edited model on the validation questions of :data:`BOUNDS`, scored by itself."""
    edited = model.edited(edits) if edits else model
    actual = jaxsvd.sweep(
        edited,
        layers=[0],
        modules=["mlp"],
        rates=(0.0,),
        shots=[BOUNDS["shots"]],
        validation_size=BOUNDS["validation_size"],
        **options,
    )
    return actual.points[0].accuracy.value


@pytest.fixture(scope="module")
def exhaustive(model: Model, tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    out = tmp_path_factory.mktemp("runs") / "all"
    return jaxsvd.search(model, select="all", out=out, **BOUNDS)


def test_all_is_brute_force(model: Model, exhaustive: SearchResult) -> None:
    """Each candidate's score is that of its edited model; the first of the best is chosen."""
    actual = exhaustive.candidates
    assert actual is not None
    edited = candidates(model, [0, 3], ["attn", "mlp"], (0.5, 0.95))
    assert [one.edits for one in actual.tried] == [format_edits(edits) for edits in edited]
    scores = [accuracy(model, edits) for edits in edited]
    assert [one.score for one in actual.tried] == scores
    assert actual.chosen == format_edits(edited[int(np.argmax(scores))])
    assert actual.passes == actual.exhaustive == COUNT * 24
    assert exhaustive.validation[0].accuracy.value == scores[0]


def test_its_p_values_are_those_of_the_predictions(exhaustive: SearchResult) -> None:
    assert exhaustive.out is not None
    assert exhaustive.candidates is not None
    right: dict[str, dict[int, bool]] = {}
    for line in (exhaustive.out / "predictions.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record["split"] == "validation":
            module, layer, rate = record["module"], record["layer"], record["rate"]
            name = f"{layer}:{module}:{rate:g}" if module else ""
            right.setdefault(name, {})[record["index"]] = record["gold"] == record["prediction"]
    assert len(right) == COUNT
    for one in exhaustive.candidates.tried:
        pairs = [(right[""][i], right[one.edits][i]) for i in right[""]]
        gained = sum(after > before for before, after in pairs)
        lost = sum(after < before for before, after in pairs)
        assert one.p_value == (mcnemar(gained, lost) if one.edits else None)


def test_it_is_read_as_it_was_written(exhaustive: SearchResult) -> None:
    assert exhaustive.out is not None
    assert read_run(exhaustive.out).result == exhaustive
    assert jaxsvd.report(exhaustive.out).is_file()


@pytest.mark.long
def test_methods_are_candidates_on_one_footing(model: Model, tmp_path: Path) -> None:
    """Each is scored as its edited model is; calibrated ones with the statistics of that search."""
    methods = ["exact", "whitened", "magnitude", "dropped"]
    bounds = BOUNDS | {"layers": [0], "rates": (0.5,), "modules": ["attn"]}
    result = jaxsvd.search(model, select="all", methods=methods, out=tmp_path / "run", **bounds)
    assert result.candidates is not None
    edited = candidates(model, [0], ["attn"], (0.5,), methods=methods)
    assert [one.edits for one in result.candidates.tried] == [format_edits(e) for e in edited]
    assert format_edits(edited[-1]) == "0:attn:dropped"
    for one, edits in zip(result.candidates.tried, edited, strict=True):
        if "whitened" not in one.edits:
            assert one.score == accuracy(model, edits)
    scores = [one.score for one in result.candidates.tried]
    assert result.candidates.chosen == result.candidates.tried[int(np.argmax(scores))].edits
    assert read_run(tmp_path / "run").result == result


@pytest.mark.parametrize(
    ("select", "methods", "reason"),
    [
        ("condition", ["whitened"], "Algorithm 1 truncates by an SVD"),
        ("gradient", ["exact", "dropped"], "not dropped"),
        ("all", ["exactly"], "'exactly' should be one of exact, randomized"),
        ("all", [], "no methods"),
    ],
)
def test_methods_that_cannot_be(model: Model, select: Any, methods: list[str], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        jaxsvd.search(model, select=select, methods=methods)


def test_gradient_scores_what_it_proposes(model: Model) -> None:
    actual = jaxsvd.search(model, select="gradient", proposals=3, **BOUNDS).candidates
    assert actual is not None
    assert actual.tried[0].edits == ""
    assert len(actual.tried) == 4
    predicted = [one.predicted for one in actual.tried[1:]]
    assert predicted == sorted(p for p in predicted if p is not None)
    assert actual.passes == 3 * 24 + 4 * 24
    assert actual.gradient_examples == 24


@pytest.mark.long
def test_greedy_adds_what_is_best_together(model: Model) -> None:
    """By brute force: no single addition to what was chosen would have been better."""
    result = jaxsvd.search(model, select="greedy", margin=0.0, most_edits=2, **BOUNDS)
    actual = result.candidates
    assert actual is not None
    chosen = parse_edits(actual.chosen) if actual.chosen else ()
    first = candidates(model, [0, 3], ["attn", "mlp"], (0.5, 0.95))
    scores = [accuracy(model, edits) for edits in first]
    if not chosen:
        assert scores[0] == max(scores)
        return
    assert scores[first.index(chosen[:1])] == max(scores)
    assert next(one.score for one in actual.tried if one.edits == actual.chosen) == accuracy(
        model, chosen
    )
    assert [edit.module for edit in result.edits] == [edit.module for edit in chosen]
    if len(chosen) == 2:
        assert accuracy(model, chosen) > max(scores)
        assert result.composed


class Killed(Progress):
    """Stops after so many examples."""

    def __init__(self, after: int) -> None:
        self.left = after

    def notice(self, text: str) -> None:
        pass

    def bar(self, title: str, total: int, unit: str) -> Any:
        import contextlib

        def advance(steps: int) -> None:
            self.left -= steps if title.startswith("scoring") else 0
            if self.left < 0:
                raise KeyboardInterrupt

        return contextlib.nullcontext(advance)


@pytest.mark.long
def test_a_killed_race_goes_on(model: Model, tmp_path: Path) -> None:
    """And ends as one that nothing stopped; its winner is as good as it says."""
    options = BOUNDS | {"validation_size": 80}
    whole = jaxsvd.search(model, select="race", epsilon=0.3, out=tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        jaxsvd.search(
            model, select="race", epsilon=0.3, out=tmp_path / "run", progress=Killed(300), **options
        )
    again = jaxsvd.search(
        model, select="race", epsilon=0.3, out=tmp_path / "run", resume=True, **options
    )
    assert again.candidates == whole.candidates
    names = ("predictions.jsonl",)
    assert all(
        (tmp_path / "run" / n).read_text() == (tmp_path / "whole" / n).read_text() for n in names
    )
    actual = whole.candidates
    assert actual is not None
    assert actual.epsilon is not None
    assert actual.passes < actual.exhaustive
    assert sum(one.examples for one in actual.tried) == actual.passes


@pytest.mark.long
def test_several_draws(model: Model) -> None:
    """The choice is on the mean of the draws, in an exhaustive search and in a race."""
    few = BOUNDS | {"layers": [0], "modules": ["attn"], "validation_size": 16}
    both = jaxsvd.search(model, select="all", seeds=[0, 1], **few)
    assert both.candidates is not None
    for one in both.candidates.tried:
        edits = as_edits(one.edits) if one.edits else ()
        options = few | {"validation_size": 16}
        alone = [
            jaxsvd.sweep(
                model.edited(edits) if edits else model,
                layers=[0],
                modules=["mlp"],
                rates=(0.0,),
                shots=[options["shots"]],
                seeds=[seed],
                validation_size=16,
            ).points[0]
            for seed in (0, 1)
        ]
        assert one.score == pytest.approx(np.mean([p.accuracy.value for p in alone]), abs=1e-12)
    raced = jaxsvd.search(model, select="race", epsilon=0.9, seeds=[0, 1], **few)
    assert raced.candidates is not None
    assert {draw.seed for draw in raced.draws} == {0, 1}


def test_ranks_by_rule(tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three strong directions in noise are found by both rules, whatever the matrix's size."""
    model = tiny("llama")
    rows, columns = model.engine.matrix(0, "fc_in").shape
    rng = np.random.default_rng(0)
    u, v = (
        np.linalg.qr(rng.normal(size=(rows, 3)))[0],
        np.linalg.qr(rng.normal(size=(columns, 3)))[0],
    )
    noise = 0.1 * rng.normal(size=(rows, columns))
    planted = (noise + (u * [30.0, 25.0, 20.0]) @ v.T).astype(np.float32)
    monkeypatch.setattr(type(model.engine), "matrix", lambda self, layer, name: planted)
    assert ruled_rank(model, (0, "fc_in"), "mp") == (3, min(rows, columns))
    assert ruled_rank(model, (0, "fc_in"), "gd") == (3, min(rows, columns))
    with pytest.raises(UserError, match="or mp or gd"):
        ruled_rank(model, (0, "fc_in"), "best")


@pytest.mark.long
def test_algorithm_1_takes_ranks_by_rule(model: Model) -> None:
    few = {"validation_size": 12, "test_size": 8, "shots": 2}
    actual = jaxsvd.search(model, layer=0, module="mlp", rates=("mp", "gd", 0.5), **few).candidates
    assert actual is not None
    assert {one.edits.count("+") for one in actual.tried} <= {0, 1}
    assert any("r" in one.edits for one in actual.tried)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--layers 0", "--layers bounds the candidates"),
        ("--modules mlp", "--modules bounds the candidates"),
        ("--select all --layers all 0", "all, or indices, not both"),
        ("--select all --layers 9", "no layer 9"),
        ("--select race --epsilon 2", "epsilon = 2 should be between 0 and 1"),
        ("--select race --score nll", "a race goes by accuracy"),
        ("--select greedy --margin -1", "margin = -1"),
        ("--rates best", "should be numbers in"),
    ],
)
def test_mistakes(
    words: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ["--validation-size", "8", "--test-size", "8", "--out", str(tmp_path / "run")]
    try:
        status = main(["search", *words.split(), *sizes])
    except SystemExit as ended:
        status = ended.code
    assert status == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run" / "result.json").exists()
