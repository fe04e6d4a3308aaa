"""What is plotted is what result.json says: read back from the artists of each figure."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import figure_runs
import numpy as np
import pytest
from matplotlib.figure import Figure

from experiments.common import style
from experiments.language.pooled import binomial_interval
from jaxsvd.tasks.published import figure_points, published
from paper_figures.marks import Drawn
from paper_figures.reading import find
from paper_figures.works import Works

Draw = Callable[..., Drawn]
RATES = figure_runs.RATES


@pytest.fixture
def draw() -> Iterator[Draw]:
    """Draws a figure of runs, without saving it."""
    with style.look():
        yield lambda name, *runs, tasks=None: Works(find(runs).sources, tasks).draw(name)


def artists(figure: Figure) -> dict[str, Any]:
    """By id; each id is of one artist only."""
    actual: dict[str, Any] = {}
    for artist in figure.findobj(lambda a: a.get_gid() not in (None, "not run")):
        assert artist.get_gid() not in actual
        actual[artist.get_gid()] = artist
    return actual


def heights(artist: Any) -> list[float]:
    return [float(y) for y in artist.get_ydata()]


def ends(artist: Any) -> list[tuple[float, float]]:
    """Of error bars."""
    return [tuple(float(y) for _, y in segment) for segment in artist.get_segments()]


def close(a: Any, b: Any) -> bool:
    first, second = np.asarray(a, float), np.asarray(b, float)
    return first.shape == second.shape and np.allclose(first, second, 0, 1e-12, equal_nan=True)


@pytest.mark.parametrize("name", ["fig1", "fig2"])
def test_accuracies(tmp_path: Path, draw: Draw, name: str) -> None:
    """Means, intervals and single seeds of every curve, and chance."""
    shots = {"fig1": (10,), "fig2": (0, 4, 10)}[name]
    experiment = {"fig1": "depth_sweep", "fig2": "shots_sweep"}[name]
    tasks = ("sst2", "agnews") if name == "fig1" else ("sst2",)
    run = figure_runs.sweep_experiment(tmp_path / "run", experiment, tasks=tasks, shots=shots)
    result, shown = figure_runs.read(run), artists(draw(name, run).figure)
    curves = 0
    for task in tasks:
        for n in shots:
            for module in ("mlp", "attn"):
                panel = f"tiny|{task}|{n}|{module}"
                chance = result["tasks"][task]["chance"]
                assert set(heights(shown[f"{panel}|chance"])) == {chance}
                for layer in (0, 1, 4, 5):
                    at = {"task": task, "shots": n, "module": module, "layer": layer}
                    points, cells = (
                        [c for c in result[key] if at.items() <= c.items()]
                        for key in ("points", "cells")
                    )
                    points.sort(key=lambda point: point["rate"])
                    key = f"{panel}|{layer}"
                    assert heights(shown[f"{key}|mean"]) == [p["mean"] for p in points]
                    assert close(
                        ends(shown[f"{key}|interval"]), [tuple(p["interval"]) for p in points]
                    )
                    assert sorted(heights(shown[f"{key}|seeds"])) == sorted(
                        c["accuracy"] for c in cells
                    )
                    assert f"{key}|missing" not in shown
                    curves += 1
    assert sum(gid.endswith("|mean") for gid in shown) == curves


def test_the_place_of_a_rate(tmp_path: Path, draw: Draw) -> None:
    """Ticks name the rates; points stand at theirs, a little beside by layer."""
    run = figure_runs.sweep_experiment(
        tmp_path / "run", "depth_sweep", tasks=("rte",), rates=RATES[::2]
    )
    figure = draw("fig1", run, tasks=["rte"]).figure
    axes = figure.axes[0]
    ticks = dict(
        zip((t.get_text() for t in axes.get_xticklabels()), axes.get_xticks(), strict=True)
    )
    assert list(ticks) == [f"{rate:g}" for rate in RATES] + ["GPT-J-6B", "Llama-2-7B"]
    line = artists(figure)["tiny|rte|10|mlp|4|mean"]
    places = [x for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True) if y == y]
    expected = [ticks[f"{rate:g}"] for rate in RATES[::2]]
    assert all(abs(x - tick) < 0.3 for x, tick in zip(places, expected, strict=True))
    crosses = artists(figure)["tiny|rte|10|mlp|4|missing"].get_xdata()
    expected = [ticks[f"{rate:g}"] for rate in RATES[1::2]]
    assert all(abs(x - tick) < 0.3 for x, tick in zip(crosses, expected, strict=True))


def test_other_layers(tmp_path: Path, draw: Draw) -> None:
    """A sweep of all layers shows all, the middle ones in grey."""
    run = figure_runs.sweep_experiment(
        tmp_path / "run", "depth_sweep", tasks=("sst2",), layers=range(6), seeds=(0,)
    )
    drawn = draw("fig1", run, tasks=["sst2"])
    shown, result = artists(drawn.figure), figure_runs.read(run)
    for layer in range(6):
        at = {"module": "attn", "layer": layer}
        expected = [p["mean"] for p in result["points"] if at.items() <= p.items()]
        line = shown[f"tiny|sst2|10|attn|{layer}|mean"]
        assert heights(line) == expected
        assert (line.get_color() == "#bbbbbb") == (layer in (2, 3))
    assert not drawn.missing


def test_a_plain_sweep(tmp_path: Path, draw: Draw) -> None:
    """``jaxsvd sweep`` is pooled here: the mean over its seeds."""
    run = figure_runs.plain_sweep(tmp_path / "run")
    drawn = draw("fig1", run, tasks=["sst2"])
    shown, cells = artists(drawn.figure), figure_runs.read(run)["cells"]
    for i, rate in enumerate(RATES):
        at = {"module": "mlp", "layer": 5, "rate": rate}
        values = [c["accuracy"] for c in cells if at.items() <= c.items()]
        assert len(values) == 2
        assert heights(shown["tiny|sst2|10|mlp|5|mean"])[i] == pytest.approx(sum(values) / 2)
    assert drawn.missing == [
        f"SST-2, 10 shots, {module}, tiny: layer 1, layer n-2" for module in ("MLP", "ATTN")
    ]


def test_condition_numbers(tmp_path: Path, draw: Draw) -> None:
    """Every matrix, the largest of each module, infinite ones apart."""
    run = figure_runs.condition_numbers(tmp_path / "run", infinite=[3])
    result, shown = figure_runs.read(run), artists(draw("fig3", run).figure)
    for module in ("mlp", "attn"):
        rows = sorted(
            (r for r in result["modules"] if r["module"] == module), key=lambda r: r["layer"]
        )
        values = [float(row["condition_number"]) for row in rows]
        finite = [value if math.isfinite(value) else math.nan for value in values]
        assert close(heights(shown[f"tiny|{module}|largest"]), finite)
        assert list(shown[f"tiny|{module}|largest"].get_xdata()) == [r["layer"] for r in rows]
        matrices = {
            (n["layer"], float(n["condition_number"]))
            for n in result["numbers"]
            if n["matrix"].startswith("fc") == (module == "mlp") and n["condition_number"] != "inf"
        }
        points = shown[f"tiny|{module}|matrices"]
        assert set(zip(points.get_xdata(), points.get_ydata(), strict=True)) == matrices
    assert list(shown["tiny|attn|infinite"].get_xdata()) == [3]
    assert "tiny|mlp|infinite" not in shown


def test_changes(tmp_path: Path, draw: Draw) -> None:
    """Accuracies, differences and their intervals, pooled and seed by seed."""
    run = figure_runs.algorithm1(tmp_path / "run")
    result, shown = figure_runs.read(run), artists(draw("fig4", run).figure)
    assert result["summary"]
    for row in result["summary"]:
        key = f"tiny|{row['module']}|{row['task']}"
        at = {name: row[name] for name in ("task", "module")}
        tests = [s["test"] for s in result["searches"] if at.items() <= s.items()]
        for name in ("base", "pruned"):
            assert close(heights(shown[f"{key}|{name}|mean"]), [row[f"{name}_mean"]])
            expected = [test[name]["accuracy"] for test in tests]
            assert heights(shown[f"{key}|{name}|seeds"]) == expected
            counts = ([test[name][what] for test in tests] for what in ("correct", "total"))
            assert close(ends(shown[f"{key}|{name}|interval"]), [binomial_interval(*counts)])
        assert close(heights(shown[f"{key}|difference|pooled"]), [row["difference_mean"]])
        assert heights(shown[f"{key}|difference|mean"]) == [t["difference"] for t in tests]
        intervals = [tuple(test["interval"]) for test in tests]
        assert close(ends(shown[f"{key}|difference|interval"]), intervals)


def test_linear_functions(tmp_path: Path, draw: Draw) -> None:
    """Curves, baselines, and the last points under truncation."""
    run = figure_runs.linear_functions(tmp_path / "run")
    result, shown = figure_runs.read(run), artists(draw("fig5", run).figure)
    name = "d = 5, 4 layers of width 64"
    lines = {f"{name}|{curve['steps']}": curve for curve in result["curves"]}
    lines |= {f"{name}|{baseline}": curve for baseline, curve in result["baselines"].items()}
    assert len(lines) == 7
    for gid, curve in lines.items():
        assert heights(shown[gid]) == curve["error"]
        assert list(shown[gid].get_xdata()) == curve["examples"]
    for layer in range(4):
        for module in ("mlp", "attn"):
            at = {"layer": layer, "module": module}
            cells = [c for c in result["truncation"] if at.items() <= c.items()]
            key = f"{name}|{module}|{layer}"
            assert heights(shown[f"{key}|mean"]) == [c["error"][-1] for c in cells]
            bars = [
                tuple(c["error"][-1] + s * 1.96 * c["standard_error"][-1] for s in (-1, 1))
                for c in cells
            ]
            assert close(ends(shown[f"{key}|interval"]), bars)


def test_published_points(tmp_path: Path, draw: Draw) -> None:
    """Hollow markers equal the data files, in the figures that have them, run or not."""
    names = {0: "FIRST", 1: "SECOND", -2: "LAST_BUT_ONE", -1: "LAST"}
    layers = {"gpt-j-6b": 28, "llama-2-7b": 32}
    run = figure_runs.condition_numbers(tmp_path / "run")
    for name, shots in (("fig1", {1}), ("fig2", {2})):
        shown = artists(draw(name, run).figure)
        for point in figure_points():
            if point["figure"] not in shots:
                continue
            layer = (
                point["layer"] if point["layer"] < 2 else point["layer"] - layers[point["model"]]
            )
            gid = "|".join(
                ["published", *(str(point[k]) for k in ("task", "shots", "module", "model"))]
            )
            marker = shown[f"{gid}|{names[layer]}"]
            assert heights(marker) == [point["accuracy"]]
            assert marker.get_markerfacecolor() == "white"
    shown = artists(draw("fig4", run).figure)
    for gid, artist in shown.items():
        kind, task, module, model, what = gid.split("|")
        assert kind == "published"
        result = published(model, task, module)  # pyright: ignore[reportArgumentType]
        assert result is not None
        values = {"before": result.before, "after": result.after}
        values["difference"] = result.after - result.before
        assert heights(artist) == [values[what]]
    assert len(shown) == 7 * 2 * 2 * 3


def test_published_ranges(tmp_path: Path, draw: Draw) -> None:
    """Those of Figure 3, and Figure 5's points at multiples of one's own dimension."""
    shown = artists(draw("fig3", figure_runs.condition_numbers(tmp_path / "run")).figure)
    assert heights(shown["published|gpt-j-6b|mlp"]) == [100, 500]
    assert heights(shown["published|gpt-j-6b|attn"]) == [3.5e6]
    assert heights(shown["published|llama-2-7b|mlp"]) == [200]
    assert heights(shown["published|llama-2-7b|attn"]) == [1e7]
    shown = artists(draw("fig5", figure_runs.linear_functions(tmp_path / "linear", d=8)).figure)
    expected = {"least squares": 0.0, "trained": 0.02, "zero": 1.0}
    for name, error in expected.items():
        assert heights(shown[f"published|{name}"]) == [error]
        assert list(shown[f"published|{name}"].get_xdata()) == [8.0]


def test_fewer_than_four_layers(tmp_path: Path, draw: Draw) -> None:
    """A layer is never drawn twice, and none that a small model lacks is called missing."""
    for layers in (1, 2, 3):
        run = figure_runs.sweep_experiment(
            tmp_path / str(layers),
            "depth_sweep",
            of=figure_runs.model(layers=layers),
            layers=range(layers),
            tasks=("sst2",),
        )
        drawn = draw("fig1", run, tasks=["sst2"])
        curves = [g for g in artists(drawn.figure) if "|mlp|" in g and g.endswith("|mean")]
        assert len(curves) == layers
        assert not drawn.missing
