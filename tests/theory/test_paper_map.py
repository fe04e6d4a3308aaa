"""The page that maps the paper to code names only what is there."""

import importlib
import re
from pathlib import Path

import theory

MAP = Path(theory.__file__).with_name("paper_map.md").read_text(encoding="utf-8")
TESTS = Path(__file__).parent


def test_functions_exist() -> None:
    modules = "implicit|noise|bounds|pruning|softmax|cmi|agreement|reference|regression"
    modules += "|bayes|blocks|first_order|preconditioning"
    named = re.findall(rf"`({modules})\.(\w+)", MAP)
    assert len(named) > 60
    for module, name in named:
        assert hasattr(importlib.import_module(f"theory.{module}"), name), f"{module}.{name}"


def test_tests_exist() -> None:
    files = set(re.findall(r"(test_\w+\.py)", MAP))
    text = "".join((TESTS / name).read_text(encoding="utf-8") for name in files)
    named = set(re.findall(r"`(?:test_\w+\.py::)?(test_\w+)`", MAP))
    assert len(named) > 60
    for name in named:
        assert f"def {name}(" in text, name


def test_experiments_exist() -> None:
    for name in set(re.findall(r"python -m experiments\.(\w+)", MAP)):
        assert (TESTS.parents[1] / "experiments" / name / "__main__.py").exists(), name
