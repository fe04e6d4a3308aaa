"""Models and data sets from a hub on the loopback, each asked for by a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from tokenizers.pre_tokenizers import ByteLevel

import jaxsvd
from jaxsvd.checkpoints.hub import BUNDLED
from tests.models.random_models import llama_json, weights, write_checkpoint

from .loopback_hub import TOKEN, Files, Hub, Repository, serving

MODEL, GATED, DATA = "someone/tiny", "someone/gated", "stanfordnlp/sst2"
WEIGHTS = "model.safetensors"


def folder(directory: Path) -> Files:
    """The files of a directory as a repository holds them."""
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Repository]:
    """The bundled model with a second revision, a gated copy, and SST-2's own layout."""
    root = tmp_path_factory.mktemp("repositories")
    small = write_checkpoint(root / "small", llama_json(), weights(llama_json()))
    tokenizer = {name: data for name, data in folder(BUNDLED).items() if "tokenizer" in name}
    main, other = folder(BUNDLED), folder(small) | tokenizer
    features = {"idx": Value("int32"), "sentence": Value("string")}
    features["label"] = ClassLabel(names=["negative", "positive"])
    rows = {
        "idx": list(range(40)),
        "sentence": [f"film {i}" for i in range(40)],
        "label": [i % 2 for i in range(40)],
    }
    Dataset.from_dict(rows, features=Features(features)).to_parquet(root / "train.parquet")
    data = {"data/train-00000-of-00001.parquet": (root / "train.parquet").read_bytes()}
    data["README.md"] = b"# SST-2\n"
    return {
        f"models/{MODEL}": Repository({"main": main, "other": other, "refs/pr/7": other}),
        f"models/{GATED}": Repository({"main": main}, gated=True),
        f"datasets/{DATA}": Repository({"main": data}),
    }


@pytest.fixture
def hub(repositories: dict[str, Repository]) -> Iterator[Hub]:
    with serving(Hub(repositories)) as served:
        yield served


def ask(home: Path, endpoint: str, *requested: dict[str, Any], **environment: str) -> list[Any]:
    """The answers of a fresh process whose hub is at ``endpoint`` and whose cache is ``home``."""
    clean = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    clean = {k: v for k, v in clean.items() if not k.startswith(("HF_", "HUGGING"))}
    built = clean | {"HF_ENDPOINT": endpoint, "HF_HOME": str(home)} | environment
    code = [sys.executable, "-m", "tests.reliability.hub_client", *map(json.dumps, requested)]
    root = Path(__file__).parents[2]
    done = subprocess.run(code, env=built, capture_output=True, text=True, timeout=120, cwd=root)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(requested)
    return answers


def expected(directory: Path) -> dict[str, Any]:
    """The answer for a model that is here."""
    model = jaxsvd.load(directory)
    embedding = np.asarray(model.decoder.embedding.tokens[...], np.float64)
    return {"sum": float(embedding.sum()), "tokens": len(model.tokenizer)}


def test_downloads_revisions_and_refusals(
    hub: Hub, tmp_path: Path, repositories: dict[str, Repository]
) -> None:
    """A model by branch, pull request and commit; what is not there, and what is gated."""
    commit = repositories[f"models/{MODEL}"].commit("main")
    plain, other, pull, pinned, revision, missing, gated, data = ask(
        tmp_path,
        hub.endpoint,
        {"model": MODEL},
        {"model": MODEL, "revision": "other"},
        {"model": MODEL, "revision": "refs/pr/7"},
        {"model": MODEL, "revision": commit},
        {"model": MODEL, "revision": "nowhere"},
        {"model": "someone/else"},
        {"model": GATED},
        {"task": "sst2"},
    )
    assert plain == pinned == expected(BUNDLED)
    assert other == pull
    assert other["sum"] != plain["sum"]
    assert revision == {"error": f"{MODEL} at nowhere: the hub has no such revision"}
    assert missing["error"].startswith("someone/else: no such directory here, and no such model")
    assert gated["error"].startswith(f"{GATED}: the hub wants you to accept this model's terms")
    assert "hf auth login" in gated["error"]
    assert "HF_TOKEN" in gated["error"]
    assert data["source"] == "hub: stanfordnlp/sst2@main"
    assert "text: film " in data["prompt"]
    assert len(hub.downloads(WEIGHTS)) == 2, "each version once"

    # Later without the hub: what is in the cache is there, what is not is told.
    answers = ask(
        tmp_path,
        "http://127.0.0.1:9",
        {"model": MODEL},
        {"model": MODEL, "revision": "other"},
        {"task": "sst2"},
        {"model": "someone/else"},
        {"task": "rte"},
        HF_HUB_OFFLINE="1",
    )
    assert answers[:2] == [plain, other]
    assert answers[2]["prompt"] == data["prompt"]
    assert "the hub cannot be reached (no network, or offline mode)" in answers[3]["error"]
    assert answers[4]["error"].startswith("can't load aps/super_glue/rte@main from the")
    assert answers[4]["error"].endswith("give local files with --data DIR")


@pytest.mark.long
def test_gguf_files_of_the_hub(tmp_path: Path) -> None:
    """By name, or alone in their repository; of several none is guessed."""
    pytest.importorskip("gguf")
    from tests.models import gguf_files

    config = llama_json(vocab_size=257)
    tokenizer = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": [*sorted(ByteLevel.alphabet()), "aa"],
        "tokenizer.ggml.merges": ["a a"],
    }
    path = gguf_files.write(tmp_path / "tiny-F32.gguf", config, weights(config), metadata=tokenizer)
    data = path.read_bytes()
    served = {
        "models/someone/one": Repository({"main": {path.name: data, "README.md": b"#"}}),
        "models/someone/two": Repository({"main": {"a.gguf": data, "b.gguf": data}}),
    }
    total = float(np.asarray(jaxsvd.load(path).decoder.embedding.tokens[...], np.float64).sum())
    with serving(Hub(served)) as hub:
        alone, named, several, missing = ask(
            tmp_path / "home",
            hub.endpoint,
            {"model": "someone/one"},
            {"model": "someone/two/b.gguf"},
            {"model": "someone/two"},
            {"model": "someone/two/c.gguf"},
        )
        assert len(hub.downloads("a.gguf")) == 0
    assert alone["sum"] == named["sum"] == total
    names = "someone/two/a.gguf, someone/two/b.gguf"
    assert several["error"] == f"someone/two holds 2 GGUF files; name one of them: {names}"
    assert missing["error"].startswith("someone/two/c.gguf: no such file here, and none in that")


@pytest.mark.long
def test_a_token_and_a_dropped_connection(
    tmp_path: Path, repositories: dict[str, Repository]
) -> None:
    """A gated model for who may have it; 30 MB of weights go on where the line broke, twice.

    The hub's client keeps what it has in pieces of 10 MB.
    """
    config = llama_json(vocab_size=118_000)
    tensors = weights(llama_json()) | {
        name: np.full((118_000, 32), value, np.float32)
        for name, value in (("model.embed_tokens.weight", 0.5), ("lm_head.weight", 0.25))
    }
    directory = write_checkpoint(tmp_path / "large", config, tensors)
    tokenizer = {k: v for k, v in folder(BUNDLED).items() if "tokenizer" in k}
    large = Repository({"main": folder(directory) | tokenizer})
    served = repositories | {f"models/{MODEL}": large}
    with serving(Hub(served, drops={WEIGHTS: [13_000_000, 12_000_000]})) as hub:
        answer, gated = ask(
            tmp_path, hub.endpoint, {"model": MODEL}, {"model": GATED}, HF_TOKEN=TOKEN
        )
    assert gated == expected(BUNDLED)
    assert answer["sum"] == 0.5 * 118_000 * 32
    assert hub.drops[WEIGHTS] == []
    first, second, third, _ = hub.downloads(WEIGHTS)
    assert first is None
    starts = [int(str(r).removeprefix("bytes=").split("-")[0]) for r in (second, third)]
    assert 0 < starts[0] <= 13_000_000 < starts[1] <= starts[0] + 12_000_000


@pytest.mark.long
def test_a_connection_that_stays_dead(hub: Hub, tmp_path: Path) -> None:
    """One line; what had arrived whole is not asked for again."""
    hub.drops[WEIGHTS] = [1000, *[0] * 20]
    [answer] = ask(tmp_path, hub.endpoint, {"model": MODEL})
    assert answer["error"].startswith(f"{MODEL}: download failed")
    hub.drops.clear()
    whole = len(hub.downloads("tokenizer.json"))
    [answer] = ask(tmp_path, hub.endpoint, {"model": MODEL})
    assert answer == expected(BUNDLED)
    assert len(hub.downloads("tokenizer.json")) == whole == 1


def test_a_hub_that_is_gone(tmp_path: Path) -> None:
    """Nobody listens, and nobody said so before: one line, soon."""
    model, data = ask(tmp_path, "http://127.0.0.1:9", {"model": MODEL}, {"task": "cb"})
    assert "the hub cannot be reached" in model["error"]
    assert data["error"].startswith("can't load aps/super_glue/cb@main from the Hugging Face hub")
