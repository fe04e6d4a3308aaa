"""lm-evaluation-harness with our backend: against its own in torch, its cache, its command line.

They need the extra ``lm-eval``, and the comparison torch besides.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import jaxsvd

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("default")]
pytest.importorskip("lm_eval")

from tests.lm_eval_harness.local_tasks import TASKS, write_tasks  # noqa: E402

STORIES = Path(__file__).resolve().parents[3] / "shared" / "models" / "stories260K"
EDITS = "2:mlp:0.9+4:attn:0.5"
NAMED = os.environ.get("JAXSVD_LM_EVAL_MODEL")
"""A checkpoint of the user's own to compare on too."""


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))


def evaluated(model: Any, tasks: Path, **more: Any) -> dict[str, Any]:
    """The harness's results; its seeds are fixed, so demonstrations are the same."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(tasks), include_defaults=False)
    actual = simple_evaluate(
        model, tasks=list(TASKS), task_manager=manager, log_samples=True, bootstrap_iters=0, **more
    )
    assert actual is not None
    return actual


def compared(ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    """Every request: log-likelihoods to 1e-4, greedy flags and texts equal; the largest gap."""
    largest, requests = 0.0, 0
    for task in TASKS:
        a, b = ours["samples"][task], theirs["samples"][task]
        assert len(a) == len(b) > 0
        for one, other in zip(a, b, strict=True):
            assert one["arguments"] == other["arguments"]
            for x, y in zip(one["resps"], other["resps"], strict=True):
                requests += 1
                if task == "writing":
                    assert x == y
                    continue
                gap = abs(float(x[0][0] if task != "rolling" else x[0]) -
                          float(y[0][0] if task != "rolling" else y[0]))  # fmt: skip
                # Of a sum, float32's rounding grows with it.
                scale = max(1.0, abs(float(y[0][0] if task != "rolling" else y[0])) / 100)
                assert gap <= 1e-4 * scale
                largest = max(largest, gap)
                if task != "rolling":
                    assert x[0][1] == y[0][1]
    print(f"{requests} requests, largest gap {largest:.2g}")
    return largest


def saved(directory: Path, source: str | None, edits: str | None) -> Path:
    """A checkpoint, edited, in Hugging Face layout for the harness's own backend."""
    model = jaxsvd.load(source)
    (model.edited(edits) if edits else model).save(directory / "saved")
    return directory / "saved"


@pytest.mark.parametrize("edits", [None, EDITS], ids=["untouched", "edited"])
@pytest.mark.parametrize("source", [STORIES, NAMED], ids=["stories", "named"])
def test_every_request_is_as_in_torch(
    tmp_path: Path, source: str | Path | None, edits: str | None
) -> None:
    if source is None or not Path(source).exists():
        pytest.skip("no such checkpoint here; JAXSVD_LM_EVAL_MODEL names another")
    pytest.importorskip("torch")
    from lm_eval.models.huggingface import HFLM

    from jaxsvd.lm_eval import JaxsvdLM

    tasks = write_tasks(tmp_path)
    theirs = HFLM(
        pretrained=str(saved(tmp_path, str(source), edits)), dtype="float32", device="cpu"
    )
    ours = JaxsvdLM(pretrained=str(source), edits=edits, max_length=theirs.max_length)
    actual = evaluated(ours, tasks)
    compared(actual, evaluated(theirs, tasks))
    assert actual["config"]["model_edits"] == (edits or "")


def test_a_cache_is_refused_when_the_edit_changes(tmp_path: Path) -> None:
    pytest.importorskip("sqlitedict")
    from jaxsvd.lm_eval import JaxsvdLM
    from jaxsvd.runtime.errors import UserError

    tasks, cache = write_tasks(tmp_path, documents=6), str(tmp_path / "answers")
    source = str(STORIES if STORIES.exists() else jaxsvd.load().directory)
    model = JaxsvdLM(pretrained=source)
    first = evaluated(model, tasks, use_cache=cache)
    again = evaluated(JaxsvdLM(pretrained=source), tasks, use_cache=cache)
    assert again["results"] == first["results"]
    for other in ({"edits": "1:mlp:0.9"}, {"dtype": "bfloat16"}, {"max_length": 64}):
        with pytest.raises(UserError, match="answers of another checkpoint, edit or dtype"):
            evaluated(JaxsvdLM(pretrained=source, **other), tasks, use_cache=cache)


def test_command_line(tmp_path: Path) -> None:
    """Commas part model_args, plusses edits."""
    tasks = write_tasks(tmp_path, documents=6)
    source = STORIES if STORIES.exists() else jaxsvd.load().directory
    model_args = f"pretrained={source},edits=1:mlp:0.9+1:attn:0.5,dtype=float32"
    command = [sys.executable, "-m", "jaxsvd", "lm-eval", "run", "--model", "jaxsvd"]
    command += ["--model_args", model_args, "--tasks", "first_choice", "--include_path", tasks]
    command += ["--output_path", tmp_path / "out", "--log_samples"]
    subprocess.run([str(word) for word in command], check=True, capture_output=True, timeout=300)
    [results] = (tmp_path / "out").rglob("results_*.json")
    config = json.loads(results.read_text("utf-8"))["config"]
    assert config["model_edits"] == "1:mlp:0.9+1:attn:0.5"
