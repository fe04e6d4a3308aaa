"""A picture shows the numbers of result.json, and nothing else."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

import jaxsvd
from jaxsvd.cli import explanation_picture, pictures, sweep_picture
from jaxsvd.results.explanation import Control
from jaxsvd.results.label_counts import LabelCounts
from jaxsvd.results.points import Point
from jaxsvd.results.records import ModelRecord, TaskRecord
from jaxsvd.results.search import LayerChoice, SearchResult
from jaxsvd.results.search_draw import RateScore
from jaxsvd.results.statistics import Accuracy, paired_difference
from jaxsvd.results.sweep import SweepResult


@pytest.fixture(scope="module")
def result() -> SearchResult:
    sizes = {"validation_size": 40, "test_size": 30}
    return jaxsvd.search(jaxsvd.load(), layer=0, rates=[0.0, 0.9], **sizes)


@pytest.mark.long
def test_search_picture(result: SearchResult, tmp_path: Path, monkeypatch: Any) -> None:
    """Points and intervals read back from the drawn figure."""
    record: Any = json.loads(json.dumps(result.to_json()))
    drawn: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *a, **k: (drawn.append(self), save(self, *a, **k))
    )
    path = pictures.search_picture(result, tmp_path / "search.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    axes = drawn[0].axes[0]
    shown = [c for c in axes.containers if isinstance(c, ErrorbarContainer)]
    expected = [record["validation"], [record["test"]["base"]], [record["test"]["pruned"]]]
    for container, points in zip(shown, expected, strict=True):
        line, _, (bars,) = container
        assert list(line.get_ydata()) == [point["accuracy"] for point in points]
        ends = [[y for _, y in segment] for segment in bars.get_segments()]
        for end, point in zip(ends, points, strict=True):
            assert end == pytest.approx(point["interval"])
    labels = [text.get_text() for text in axes.get_xticklabels()]
    assert labels == [f"{point['rate']:g}" for point in record["validation"]]


NAME = "a $100 model at $5, \\$ and $\\frac{"
"""With dollars in pairs: between them matplotlib would read a formula, and this is none."""

MODEL = ModelRecord(f"made/{NAME}", "gptj", 8, 1000, "float32")


def task(**changes: Any) -> TaskRecord:
    """Of a name that cannot be a formula."""
    values: dict[str, Any] = {"name": NAME, "source": "made", "shots": 8, "seed": 0}
    values |= {"validation_size": 40, "test_size": 30, "labels": ("$a$_{", "b"), "chance": 0.5}
    return TaskRecord(**(values | changes))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Every figure that is saved."""
    figures: list[Figure] = []
    save = Figure.savefig

    def saved(self: Figure, *args: Any, **options: Any) -> None:
        figures.append(self)
        save(self, *args, **options)

    monkeypatch.setattr(Figure, "savefig", saved)
    return figures


def texts(figure: Figure) -> list[str]:
    """All that is written on it."""
    from matplotlib.text import Text

    return [actual.get_text() for actual in figure.findobj(Text)]  # type: ignore[arg-type]


def made_search() -> SearchResult:
    """A search whose every name has dollars, with an explanation and answers."""
    from jaxsvd.results.calibration import explain

    rng = np.random.default_rng(0)
    gold = rng.integers(0, 2, 200)
    after = np.stack([np.zeros(200), 2.0 * gold - 1 + rng.normal(size=200)], axis=1)
    before = after + np.array([2.0, 0.0])
    answers = before.argmax(axis=1), after.argmax(axis=1)
    right = [said == gold for said in answers]
    explanation = explain((before, after), gold, (before, after), gold)
    controls = (Control("noise", 3, 0.6, 0.02, 0.7, 0.01), Control("removed-part", 1, 0.5, None))
    accuracies = [Accuracy.of(half) for half in right]
    return SearchResult(
        model=MODEL,
        task=task(),
        layer=7,
        module="mlp",
        choice=LayerChoice(7),
        validation=(
            RateScore(0.0, None, accuracies[0]),
            RateScore(0.9, 2, accuracies[1]),
        ),
        best_rate=0.9,
        base=accuracies[0],
        pruned=accuracies[1],
        paired=paired_difference(*right),
        label_counts=LabelCounts.of(("$a$_{", "b"), gold, *answers),
        explanation=replace(explanation, controls=controls),
    )


def made_sweep(layers: int, seeds: int) -> SweepResult:
    """Truncation costs layer 0 much and gains deep layers little."""
    points = []
    for layer in range(layers):
        for rate in (0.0, 0.5, 0.9):
            for seed in range(seeds):
                right = 30 + (0 if rate == 0 else 1 - 8 * (layer == 0)) + seed
                rank = None if rate == 0 else 3
                accuracy = Accuracy.of(np.arange(40) < right)
                points.append(Point("validation", "mlp", layer, rate, rank, 8, seed, accuracy))
    several = tuple(range(seeds)) if seeds > 1 else 0
    return SweepResult(model=MODEL, task=task(seed=several), points=tuple(points))


@pytest.mark.parametrize(
    ("draw", "result"),
    [
        (pictures.search_picture, made_search),
        (explanation_picture.explanation_picture, made_search),
        (sweep_picture.sweep_picture, lambda: made_sweep(5, 2)),
        (sweep_picture.sweep_picture, lambda: made_sweep(1, 1)),
    ],
)
def test_dollars_in_names_are_drawn_as_they_are(
    draw: Callable[[Any, Path], Path],
    result: Callable[[], Any],
    drawn: list[Figure],
    tmp_path: Path,
) -> None:
    draw(result(), tmp_path / "picture.png")
    (figure,) = drawn
    assert any(pictures.plain(NAME, 24) in text for text in texts(figure))
    for text in figure.findobj(lambda artist: hasattr(artist, "get_text")):
        assert text.get_text().count("$") == text.get_text().count(r"\$")  # type: ignore[attr-defined]


def test_a_map_is_as_dark_for_a_gain_as_for_a_loss(drawn: list[Figure], tmp_path: Path) -> None:
    """One scale, symmetric, of changes against the untouched model of each draw."""
    sweep_picture.sweep_picture(made_sweep(5, 2), tmp_path / "sweep.png")
    (image,) = drawn[0].axes[0].images
    shown = np.asarray(image.get_array(), float)
    expected = np.full((5, 2), 1 / 40)
    expected[0] = -7 / 40
    np.testing.assert_allclose(shown, expected, rtol=0, atol=1e-12)
    assert (image.norm.vmin, image.norm.vmax) == pytest.approx((-7 / 40, 7 / 40))
    heading = " ".join(texts(drawn[0]))
    assert "n = 40 validation examples a draw" in heading
    assert "seeds 0, 1" in heading


def test_curves_of_few_layers(drawn: list[Figure], tmp_path: Path) -> None:
    """Means over draws; bars from the lowest to the highest."""
    sweep_picture.sweep_picture(made_sweep(1, 2), tmp_path / "sweep.png")
    (container,) = [c for c in drawn[0].axes[0].containers if isinstance(c, ErrorbarContainer)]
    line, _, (bars,) = container
    np.testing.assert_allclose(
        np.asarray(line.get_ydata(), float), [30.5 / 40, 23.5 / 40, 23.5 / 40]
    )
    ends = [sorted(y for _, y in segment) for segment in bars.get_segments()]
    np.testing.assert_allclose(ends, [[0.75, 31 / 40], [23 / 40, 0.6], [23 / 40, 0.6]])


def test_legends_hide_no_error_bar(drawn: list[Figure], tmp_path: Path) -> None:
    """They stand below the axes."""
    pictures.search_picture(made_search(), tmp_path / "search.png")
    sweep_picture.sweep_picture(made_sweep(1, 2), tmp_path / "sweep.png")
    explanation_picture.explanation_picture(made_search(), tmp_path / "explanation.png")
    for figure in drawn:
        figure.draw_without_rendering()
        legends = [axes.get_legend() for axes in figure.axes if axes.get_legend()]
        assert legends
        for legend in legends:
            box = legend.get_window_extent()
            for axes in figure.axes:
                inside = axes.get_window_extent()
                assert not inside.overlaps(box)


def test_what_a_search_found_is_in_its_picture(drawn: list[Figure], tmp_path: Path) -> None:
    """Label counts, majority, balanced accuracy, and the change read in four ways."""
    result = made_search()
    counts, explanation = result.label_counts, result.explanation
    assert counts is not None
    assert explanation is not None
    pictures.search_picture(result, tmp_path / "search.png")
    _, change, answers = drawn[0].axes
    assert [list(line.get_xdata()) for line in answers.lines] == [
        list(counts.gold.values()),
        list(counts.untouched.values()),
        list((counts.truncated or {}).values()),
    ]
    shown = [c[0].get_xdata()[0] for c in change.containers if isinstance(c, ErrorbarContainer)]
    readings = ("raw", "batch_calibrated", "fitted_prior")
    assert shown[:3] == [explanation.accuracy[name].difference for name in readings]
    said = " ".join(texts(drawn[0]))
    assert f"commonest label {counts.majority:.3f}" in said
    assert f"balanced accuracy {counts.balanced_untouched:.3f} to" in said
