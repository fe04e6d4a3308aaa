"""Saving a model, and the logits of any tokens."""

import json
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
from safetensors.numpy import load_file

import jaxsvd
from jaxsvd.checkpoints.load import summarise
from jaxsvd.model import Model
from jaxsvd.runtime.errors import UserError

from .random_models import (
    Uniform,
)
from .refusals import (
    embedding,
    tiny_checkpoint,
)

# --- saving -------------------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """A tiny model with files beside its weights."""
    tiny_checkpoint(tmp_path / "source", torch_dtype="float16", num_hidden_layers=1)
    for name in ("tokenizer.json", "generation_config.json", "notes.txt", "modeling_evil.py"):
        (tmp_path / "source" / name).write_text("{}")
    return jaxsvd.load(tmp_path / "source", dtype="bfloat16")


def test_saving_keeps_dtype_and_tokenizer_files(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "a" / "b")
    saved = tmp_path / "a" / "b"
    assert sorted(file.name for file in saved.iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    config = json.loads((saved / "config.json").read_text())
    assert config["dtype"] == "bfloat16"
    assert "torch_dtype" not in config
    assert all(v.dtype.name == "bfloat16" for v in load_file(saved / "model.safetensors").values())
    assert stat.S_IMODE(saved.stat().st_mode) == 0o755
    again = jaxsvd.load(saved, dtype="bfloat16")
    assert (embedding(again) == embedding(model)).all()


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch], ids=["directory", "file"])
def test_saving_over_something_is_refused(
    model: Model, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "out")
    before = (tmp_path / "out").stat()
    with pytest.raises(UserError, match=r"out exists already; choose a new directory"):
        model.save(str(tmp_path / "out"))
    assert (tmp_path / "out").stat() == before


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_saving_that_fails_leaves_nothing(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    seen = UserError if isinstance(error, OSError) else type(error)
    before = sorted(tmp_path.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr("jaxsvd.checkpoints.save.write_safetensors", fail)
        with pytest.raises(seen):
            model.save(tmp_path / "out")
        assert sorted(tmp_path.iterdir()) == before
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", fail)
        with pytest.raises(seen):
            model.save(tmp_path / "out")
        assert sorted(tmp_path.iterdir()) == before
    model.save(tmp_path / "out")


def test_chat_templates_go_along(model: Model, tmp_path: Path) -> None:
    """Where transformers keeps them, and any that lie beside; with the permissions of new files."""
    source = tmp_path / "with-templates"
    model.save(source)
    (source / "chat_template.jinja").write_text("{{ messages }}")
    (source / "chat_template.jinja").chmod(0o400)
    (source / "additional_chat_templates").mkdir()
    (source / "additional_chat_templates" / "tool.jinja").write_text("{{ tools }}")
    again = jaxsvd.load(source)
    again.save(tmp_path / "copy")
    for name in ("chat_template.jinja", "additional_chat_templates/tool.jinja"):
        assert (tmp_path / "copy" / name).read_text() == (source / name).read_text()
    assert (tmp_path / "copy" / "chat_template.jinja").stat().st_mode & stat.S_IWUSR


# --- logits -------------------------------------------------------------------------------------


def logits_refusal(model: Model, ids: Any) -> str:
    """The one line that asking for logits fails with."""
    with pytest.raises(UserError) as error:
        model.logits(ids)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_logits_of_tokens_that_do_not_exist(model: Model) -> None:
    for wrong in (61, 10_000, -1):
        line = logits_refusal(model, np.asarray([[0, wrong, 3]]))
        assert "token ids should be 0 to 60" in line
        assert str(wrong) in line


def test_logits_beyond_the_context(model: Model) -> None:
    model.logits(np.zeros((1, 12), np.int64))
    line = logits_refusal(model, np.zeros((1, 13), np.int64))
    assert "13 tokens are more than the model's context of 12" in line


def test_logits_are_float32_and_take_any_integers(model: Model) -> None:
    ids = Uniform(1).integers((2, 5), 61)
    mask = np.ones((2, 5), bool)
    first = model.logits(ids)
    assert first.dtype == np.float32
    assert first.shape == (2, 5, 61)
    for same in (ids.astype(np.int64), ids.astype(np.int8)):
        assert (model.logits(same) == first).all()
    assert (model.logits(ids, mask) == first).all()


@pytest.mark.parametrize(
    ("ids", "mask"),
    [
        (np.zeros(5, np.int32), None),
        (np.zeros((1, 5), np.float32), None),
        (np.zeros((1, 5), np.int32), np.ones((1, 4), bool)),
        (np.zeros((1, 5), np.int32), np.ones((2, 5), bool)),
        (np.zeros((1, 5), np.int32), np.ones((1, 5), np.int32)),
    ],
    ids=["rank", "float ids", "mask length", "mask rows", "integer mask"],
)
def test_logits_of_the_wrong_shape(model: Model, ids: np.ndarray, mask: np.ndarray | None) -> None:
    with pytest.raises((UserError, jaxtyping.TypeCheckError)):
        model.logits(ids, mask)


def test_names_are_folded_in_messages() -> None:
    names = ["a.0.w", "a.10.w", "a.2.w", "b.weight", "c.1.w"]
    assert summarise(names) == "a.{0,2,10}.w, b.weight, c.1.w"
    assert not re.search(r"\s\s", summarise(names))
