"""The package's front door."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from jaxsvd import tasks
from jaxsvd.runtime.errors import UserError
from jaxsvd.tasks.built_in import PAPER

from .folders import folder, records

MORE = ("boolq", "wic", "multirc", "wsc", "trec", "hellaswag", "counterfact")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "sst-2"}, "unknown task 'sst-2'; known are sst2, agnews, emoc, mrpc, rte, cb"),
        ({"task": "."}, "unknown task '.'"),
        ({"task": Path("sst2")}, "unknown task 'sst2'"),
        ({"task": "squad"}, "squad has no labels to score"),
        ({"task": "sst2", "shots": -1}, "the shots is -1; it must be at least 0"),
        ({"task": "sst2", "seed": -1}, "the seed is -1; it must be at least 0"),
        ({"task": "sst2", "test_size": 0}, "the test size is 0; it must be at least 1"),
        ({"task": "sst2", "validation_size": -1}, "the validation size is -1"),
        ({"task": "bundled", "protocol": "scripts"}, "the bundled task has no scripts protocol"),
        ({"task": "bundled", "data": "."}, "the bundled task makes its own data"),
        ({"task": "my.toml", "protocol": "scripts"}, "only the paper's seven tasks"),
    ],
)
def test_refusals(arguments: dict, message: str, tmp_path: Path) -> None:
    """One line each."""
    with pytest.raises(UserError) as caught:
        tasks.prepare(**arguments)
    assert message in str(caught.value)


def test_protocols(tmp_path: Path) -> None:
    """The same data, two protocols; the seed counts in one of them."""
    data = folder(tmp_path, train=records("cb", 40), val=records("cb", 6, "val"))
    clean = tasks.prepare("cb", data=str(data))
    assert (clean.protocol, clean.seed, clean.rule, clean.shots) == ("clean", 0, "label", 15)
    assert clean.source == f"files: {data / 'train.jsonl'}, {data / 'val.jsonl'}"
    assert tasks.prepare("cb", data=data, seed=9).seed == 9
    scripts = tasks.prepare("cb", data=data, protocol="scripts")
    assert (scripts.protocol, scripts.seed, scripts.shots) == ("scripts", 66, 5)
    assert scripts.rule == "scripts-label"
    assert not any("unused" in notice for notice in scripts.notices)
    assert any(
        "unused" in n for n in tasks.prepare("cb", data=data, protocol="scripts", seed=0).notices
    )


def test_bundled_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the seed made explicit."""
    seen = []
    answer = tasks.Prepared("bundled", "", "clean", "label", ("a", "b"), 2, 0, 2, (), ())

    def prepare(**arguments: object) -> tasks.Prepared:
        seen.append(arguments)
        return answer

    module = ModuleType("jaxsvd.tasks.bundled")
    module.__dict__.update(vars(SimpleNamespace(prepare=prepare)))
    monkeypatch.setitem(sys.modules, "jaxsvd.tasks.bundled", module)
    assert tasks.prepare("bundled", shots=2, test_size=5) is answer
    assert seen == [{"shots": 2, "seed": 0, "validation_size": None, "test_size": 5}]


def test_describe() -> None:
    """The paper's seven with its sizes, then seven more."""
    every = {summary.name: summary for summary in tasks.describe()}
    assert list(every) == [*PAPER, *MORE]
    summaries = {name: every[name] for name in PAPER}
    sizes = {
        name: (s.shots, s.paper.validation, s.paper.test)
        for name, s in summaries.items()
        if s.paper
    }
    assert sizes == {
        "sst2": (10, 8_000, 59_339),
        "agnews": (8, 8_000, 7_600),
        "emoc": (10, 5_000, 5_509),
        "mrpc": (10, 408, 1_725),
        "rte": (10, 2_480, 277),
        "cb": (15, 235, 56),
        "copa": (10, 200, 100),
    }
    assert {name: summary.kind for name, summary in summaries.items() if name != "copa"} == (
        dict.fromkeys(("sst2", "agnews", "emoc", "mrpc", "rte", "cb"), "labels")
    )
    assert summaries["copa"].kind == "choices"
    assert summaries["mrpc"].source == "nyu-mll/glue/mrpc@main"
    assert summaries["emoc"].source == "SemEvalWorkshop/emo@refs/convert/parquet"
    assert all("\n" not in summary.description for summary in every.values())


def test_import_is_cheap() -> None:
    """Listing the tasks loads none of the heavy readers."""
    code = (
        "import sys; from jaxsvd import tasks; tasks.describe();"
        "print([m for m in ('datasets', 'pyarrow', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=True
    )
    assert done.stdout == "[]\n"
