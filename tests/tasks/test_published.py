"""The published numbers, against the paper's tables as they are printed."""

import pytest

from jaxsvd.tasks.built_in import PAPER
from jaxsvd.tasks.published import PublishedResult, figure_points, published


def result(model: str, task: str, module: str) -> PublishedResult:
    """A result that must be there."""
    found = published(model, task, module)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("model", "task", "module", "expected"),
    [
        ("gpt-j-6b", "sst2", "mlp", (26, 0.95, 0.7527, 0.8437)),
        ("gpt-j-6b", "agnews", "attn", (27, 0.95, 0.76434, 0.77026)),
        ("llama-2-7b", "agnews", "mlp", (30, 0.995, 0.77026, 0.84881)),
        ("gpt-j-6b", "emoc", "mlp", (26, 0.1, 0.69032, 0.74278)),
        ("llama-2-7b", "mrpc", "mlp", (30, 0.5, 0.66666, 0.67536)),
        ("gpt-j-6b", "rte", "attn", (27, 0.0, 0.56884, 0.56884)),
        ("llama-2-7b", "cb", "attn", (30, 0.99, 0.83636, 0.87272)),
        ("llama-2-7b", "copa", "attn", (30, 0.99, 0.57, 0.56)),
    ],
)
def test_tables(model: str, task: str, module: str, expected: tuple[float, ...]) -> None:
    """Layer, rate, before and after."""
    found = result(model, task, module)
    assert (found.layer, found.rate, found.before, found.after) == expected


def test_every_cell_is_there() -> None:
    """Seven tasks, two models, two modules, and nothing else."""
    for task in PAPER:
        for model in ("gpt-j-6b", "llama-2-7b"):
            for module in ("mlp", "attn"):
                found = result(model, task, module)
                assert 0 <= found.rate < 1
                assert 0.5 < found.before < 1
    assert published("gpt-j-6b", "squad", "mlp") is None


@pytest.mark.parametrize(
    ("model", "task", "correct", "total"),
    [
        ("gpt-j-6b", "agnews", 5_809, 7_600),
        ("gpt-j-6b", "emoc", 3_803, 5_509),
        ("gpt-j-6b", "mrpc", 1_147, 1_725),
        ("llama-2-7b", "mrpc", 1_150, 1_725),
        ("gpt-j-6b", "rte", 157, 277),
        ("gpt-j-6b", "cb", 32, 56),
        ("llama-2-7b", "cb", 46, 56),
        ("gpt-j-6b", "copa", 58, 100),
    ],
)
def test_counts_behind_the_figures(model: str, task: str, correct: int, total: int) -> None:
    """A count by the figures' own rule gives the published digits, which are cut."""
    found = result(model, task, "mlp")
    assert int(found.comparable_figure(correct, total) * 1e5 + 1e-6) == round(found.before * 1e5)


def test_denominators() -> None:
    """The scripts of MRPC, RTE and CB divide by n - 1; MRPC's figures are over n all the same."""
    rules = {
        task: (found.denominator, found.figure_denominator)
        for task in PAPER
        for found in [result("gpt-j-6b", task, "mlp")]
    }
    assert rules == {
        "sst2": ("n", "n"),
        "agnews": ("n", "n"),
        "emoc": ("n", "n"),
        "mrpc": ("n-1", "n"),
        "rte": ("n-1", "n-1"),
        "cb": ("n-1", "n-1"),
        "copa": ("n", "n"),
    }
    assert result("gpt-j-6b", "mrpc", "mlp").script_figure(862, 1_725) == 0.5
    assert result("gpt-j-6b", "rte", "mlp").script_figure(138, 277) == 0.5
    assert result("gpt-j-6b", "sst2", "mlp").script_figure(5, 10) == 0.5


@pytest.mark.parametrize(("correct", "total"), [(1, 1), (3, 2), (-1, 5)])
def test_no_accuracy_of_nothing(correct: int, total: int) -> None:
    """With n - 1, two examples are needed."""
    with pytest.raises(ValueError, match="no accuracy"):
        result("gpt-j-6b", "rte", "mlp").script_figure(correct, total)


def test_figures() -> None:
    """Best points of Figures 1 and 2, by curve and layer."""
    points = {
        (p["figure"], p["task"], p["shots"], p["model"], p["module"], p["layer"]): p["accuracy"]
        for p in figure_points()
    }
    assert len(points) == 20 * 4
    assert points[1, "sst2", 10, "gpt-j-6b", "mlp", 26] == 0.8598
    assert points[1, "rte", 10, "llama-2-7b", "attn", 0] == 0.6115
    assert points[1, "copa", 10, "gpt-j-6b", "mlp", 27] == 0.61
    assert points[2, "sst2", 4, "gpt-j-6b", "attn", 1] == 0.853
    assert points[2, "sst2", 0, "llama-2-7b", "mlp", 31] == 0.7482
    assert points[2, "sst2", 0, "gpt-j-6b", "attn", 27] == 0.5025
