"""The published figures beside a run of the paper's own models, counted as the scripts count."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import jaxsvd
from jaxsvd.cli.published import paper_model, published_lines
from jaxsvd.model import Model
from jaxsvd.models import read_config
from jaxsvd.results.search import SearchResult
from jaxsvd.results.statistics import Accuracy

GPTJ_6B = read_config({"model_type": "gptj"}, "")[0]
LLAMA_2_7B = read_config({"model_type": "llama", "max_position_embeddings": 4096}, "")[0]


@pytest.fixture(scope="module")
def result() -> SearchResult:
    sizes = {"validation_size": 20, "test_size": 20}
    return jaxsvd.search(jaxsvd.load(), layer=0, rates=[0.0], **sizes)


def of_scripts(result: SearchResult, task: str, correct: int, total: int) -> SearchResult:
    scripts = dataclasses.replace(result.task, name=task, protocol="scripts")
    counted = Accuracy(correct, total)
    return dataclasses.replace(result, task=scripts, base=counted, pruned=counted)


def test_the_papers_models_are_known_by_shape(tiny: Callable[..., Model]) -> None:
    assert paper_model(GPTJ_6B) == "gpt-j-6b"
    assert paper_model(LLAMA_2_7B) == "llama-2-7b"
    assert paper_model(tiny("llama").config) is None


def test_rte_is_over_one_less(result: SearchResult) -> None:
    """157 of 277 are what the paper prints as .56884."""
    lines = published_lines(GPTJ_6B, of_scripts(result, "rte", 157, 277))
    assert "one example fewer than were scored" in lines[1]
    assert "0.56884 -> 0.57971" in lines[2]
    assert "0.56884 -> 0.56884" in lines[3]


def test_mrpc_is_over_all(result: SearchResult) -> None:
    """The script divides by n - 1, the published figure does not."""
    lines = published_lines(GPTJ_6B, of_scripts(result, "mrpc", 1147, 1725))
    assert "over all examples" in lines[1]
    assert "0.66493 (the script prints 0.66531)" in lines[3]


def test_other_runs_are_not_compared(result: SearchResult, tmp_path: Path) -> None:
    assert published_lines(GPTJ_6B, result) == []  # clean protocol
    scripts = of_scripts(result, "rte", 157, 277)
    assert published_lines(result_config(), scripts) == []
    assert published_lines(GPTJ_6B, dataclasses.replace(scripts, module="q_proj")) == []


def result_config() -> Any:
    return jaxsvd.load().config
