"""A picture shows the numbers of result.json, and nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

import jaxsvd
from jaxsvd.cli import pictures
from jaxsvd.results.search import SearchResult


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
    (axes,) = drawn[0].axes
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
