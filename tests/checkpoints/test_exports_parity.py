"""Exported models read by transformers, adapters by peft: their logits are the edited model's."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jaxsvd
from jaxsvd.model import Model
from tests.models.random_models import (
    JSON_OF,
    TOLERANCE,
    padded_batch,
    relative_error,
    weights,
    write_checkpoint,
    write_sharded,
)
from tests.models.tiny_families import NAMES

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
torch_logits = pytest.importorskip("tests.models.live").torch_logits

LAYOUTS = ("gptj", "llama", "gpt2", "gpt_neox", "phi3", "opt", "gemma3_text")
"""A family of each way in which parameters stand in a file, and the one with most norms."""


def source_of(directory: Path, family: str) -> Path:
    config = JSON_OF[family]()
    return write_checkpoint(directory, config, weights(config))


def load_theirs(directory: Path) -> Any:
    """As transformers reads it; nothing is missing or too much."""
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        directory, attn_implementation="eager", output_loading_info=True
    )
    assert not any(report.values()), report
    return model.eval()


def assert_equal(model: Model, theirs: Any, family: str) -> None:
    """At the real tokens of a padded batch."""
    ids, mask = padded_batch(JSON_OF[family]())
    ours = np.asarray(model.logits(ids, mask))[mask]
    assert relative_error(ours, torch_logits(theirs, ids, mask)[mask]) <= TOLERANCE


@pytest.mark.parametrize("family", NAMES)
def test_dense(tmp_path: Path, family: str) -> None:
    """In float32 as the source is; and the edits change the logits."""
    source = source_of(tmp_path / "source", family)
    model = jaxsvd.load(source)
    edited = model.edited("0:all:0.5+-1:mlp:0.9")
    edited.save(tmp_path / "out")
    theirs = load_theirs(tmp_path / "out")
    assert theirs.dtype == torch.float32
    assert_equal(edited, theirs, family)
    ids, mask = padded_batch(JSON_OF[family]())
    change = relative_error(
        np.asarray(model.logits(ids, mask)), np.asarray(edited.logits(ids, mask))
    )
    assert change > 1e-3


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_narrow_sources(tmp_path: Path, dtype: str) -> None:
    """The files are of the source's dtype, and the logits those of the rounded weights."""
    config = JSON_OF["llama"](torch_dtype=dtype)
    narrow = {
        name: torch.from_numpy(value).to(getattr(torch, dtype))
        for name, value in weights(config).items()
    }
    source = tmp_path / "source"
    write_sharded(source, config, weights(config), shards=2)
    from safetensors.torch import save_file

    index = json.loads((source / "model.safetensors.index.json").read_text())["weight_map"]
    for file in set(index.values()):
        part = {name: narrow[name] for name, where in index.items() if where == file}
        save_file(part, source / file, metadata={"format": "pt"})
    edited = jaxsvd.load(source).edited("0:mlp:0.5+1:attn:0.3")
    edited.save(tmp_path / "out")
    theirs = load_theirs(tmp_path / "out")
    assert theirs.dtype == getattr(torch, dtype)
    assert len(list((tmp_path / "out").glob("model-*.safetensors"))) == 2
    assert_equal(jaxsvd.load(tmp_path / "out"), theirs.float(), "llama")
    # Rounding the edited matrices moves the logits by about their unit roundoff, no more than
    # a few layers' worth of it.
    ids, mask = padded_batch(config)
    ours = np.asarray(edited.logits(ids, mask))[mask]
    actual = torch_logits(theirs.float(), ids, mask)[mask]
    unit = {"float16": 2.0**-11, "bfloat16": 2.0**-8}[dtype]
    assert relative_error(ours, actual) <= 10 * unit


def test_the_tokenizer_and_its_template_come_along(tmp_path: Path) -> None:
    model = jaxsvd.load().edited("0:mlp:0.5")
    model.save(tmp_path / "out")
    (tmp_path / "out" / "chat_template.jinja").write_text("{{ messages[0].content }}")
    jaxsvd.load(tmp_path / "out").edited("1:mlp:0.5").save(tmp_path / "again")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "again")
    text = "text: a good film\n"
    assert theirs(text)["input_ids"] == model.tokenizer(text)["input_ids"]
    message = [{"role": "user", "content": "hello"}]
    assert theirs.apply_chat_template(message, tokenize=False) == "hello"


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft's own
@pytest.mark.parametrize("family", LAYOUTS)
@pytest.mark.parametrize(
    "edits", ["0:mlp:0.1", "0:mlp:0.25+1:attn:0.1", "1:q_proj:0.3+1:v_proj:0.2"]
)
def test_peft_reads_the_adapter(tmp_path: Path, family: str, edits: str) -> None:
    """Beside the source's weights, and merged into them."""
    peft = pytest.importorskip("peft", reason="peft is not installed (make parity installs it)")
    source = source_of(tmp_path / "source", family)
    edited = jaxsvd.load(source).edited(edits)
    edited.save(tmp_path / "out", format="lora")
    theirs = peft.PeftModel.from_pretrained(load_theirs(source), tmp_path / "out").eval()
    assert_equal(edited, theirs, family)
    assert_equal(edited, theirs.merge_and_unload(), family)
    again = peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path / "out")
    assert_equal(edited, again.eval(), family)
