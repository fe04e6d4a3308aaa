"""What the damaged files brought to light, each by itself."""

import dataclasses
import json
import time
from pathlib import Path

import jax.numpy as jnp
import pyarrow
import pyarrow.parquet
import pytest
from flax import nnx

import jaxsvd
from jaxsvd.checkpoints import fingerprint
from jaxsvd.checkpoints.hub import BUNDLED
from jaxsvd.checkpoints.load import fill, parameter_shapes
from jaxsvd.encoded_task import encode_task
from jaxsvd.model import load_tokenizer
from jaxsvd.models import read_config
from jaxsvd.models.decoder import Decoder
from jaxsvd.runs.directory import PREDICTIONS
from jaxsvd.runs.request_diff import differences
from jaxsvd.runtime.errors import UserError
from jaxsvd.tasks import sources
from jaxsvd.tasks.built_in import SPECS
from tests.models.random_models import JSON_OF, llama_json, weights, write_checkpoint

from .data_targets import RECORDS, write_parquet


def test_a_message_is_one_printable_line() -> None:
    """Whatever names from files bring with them, a terminal is not told what to do."""
    error = UserError("a\n\tb \u2028 c \x1b[31m\x00\u202e\ud800 naïve 你好 " + "long " * 2000)
    line = str(error)
    assert line.startswith(r"a b c \x1b[31m\x00\u202e\ud800 naïve 你好 long")
    assert len(line) < 4100
    assert line.isprintable()
    line.encode()


@pytest.mark.parametrize("family", JSON_OF)
def test_shapes_are_those_of_the_decoder(family: str) -> None:
    """Found from one block, they are those of the whole; so is the structure that is filled."""
    config, _ = read_config(
        JSON_OF[family](**{"llama": {"num_hidden_layers": 11}}.get(family, {})), ""
    )
    whole = nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0)))
    flat = {".".join(map(str, p)): leaf for p, leaf in nnx.to_flat_state(nnx.state(whole))}
    assert parameter_shapes(config) == {p: leaf.shape for p, leaf in flat.items()}
    arrays = {path: jnp.zeros(leaf.shape) for path, leaf in flat.items()}
    filled = fill(config, arrays, jnp.float32)
    assert nnx.split(filled)[0] == nnx.split(whole)[0]


def test_a_thousand_layers_are_refused_soon(tmp_path: Path) -> None:
    """A damaged number of layers took hours to trace."""
    write_checkpoint(tmp_path, llama_json(num_hidden_layers=1000), weights(llama_json()))
    began = time.perf_counter()
    with pytest.raises(UserError, match=r"missing model\.layers"):
        jaxsvd.load(tmp_path)
    assert time.perf_counter() - began < 10


def test_a_page_of_parquet_with_a_wrong_checksum(tmp_path: Path) -> None:
    """Bytes of a text that still are a text: only the checksum tells."""
    path = tmp_path / "train.parquet"
    write_parquet(path, checksums=True)
    text = RECORDS[3]["sentence"].encode()
    data = path.read_bytes()
    assert data.count(text) >= 1
    path.write_bytes(data.replace(text, text.swapcase()))
    with pytest.raises(UserError, match="can't be read as parquet"):
        sources.load(SPECS["sst2"], tmp_path)


def test_values_that_python_has_not(tmp_path: Path) -> None:
    """A time beyond the year 9999 as a label."""
    times = pyarrow.array([2**60], pyarrow.timestamp("ms"))
    table = pyarrow.table({"sentence": ["a"], "label": times})
    pyarrow.parquet.write_table(table, tmp_path / "train.parquet")
    with pytest.raises(UserError, match="row 1: "):
        sources.load(SPECS["sst2"], tmp_path)


def renumbered(directory: Path, word: str, number: int) -> Path:
    """The bundled tokenizer with another number for one word."""
    directory.mkdir()
    for file in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (directory / file).write_bytes((BUNDLED / file).read_bytes())
    raw = json.loads((directory / "tokenizer.json").read_text("utf-8"))
    vocabulary = raw["model"]["vocab"]
    vocabulary[word] = number
    (directory / "tokenizer.json").write_text(json.dumps(raw), "utf-8")
    return directory


def test_a_tokenizer_of_another_model(tmp_path: Path) -> None:
    """Numbers beyond the embedding were looked up as its last row."""
    word = load_tokenizer(BUNDLED).convert_ids_to_tokens(
        load_tokenizer(BUNDLED)("text: lion")["input_ids"][0]
    )
    model = jaxsvd.load()
    other = dataclasses.replace(model, directory=renumbered(tmp_path / "a", str(word), 5000))
    with pytest.raises(UserError, match=r"the number 5000, and the model has 863 .*not belong"):
        encode_task(other, "bundled", ("test",), test_size=4)
    with pytest.raises(UserError, match="a token has the number 4000000000"):
        load_tokenizer(renumbered(tmp_path / "b", str(word), 4_000_000_000))


def test_a_panic_of_the_tokenizers_library(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A merge that is shorter than the prefix of continued words: no Exception, and not silent."""
    vocabulary = {"ab": 0, "a": 1, "b": 2}
    model = {"type": "BPE", "vocab": vocabulary, "merges": [["a", "b"]]}
    model["continuing_subword_prefix"] = "a long prefix"
    (tmp_path / "tokenizer.json").write_text(
        json.dumps({"version": "1.0", "added_tokens": [], "model": model})
    )
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "TokenizersBackend"}')
    with pytest.raises(UserError, match=r"no usable tokenizer .PanicException: "):
        load_tokenizer(tmp_path)
    assert capfd.readouterr().err == ""


# --- what a run was asked -----------------------------------------------------------------------


def test_the_difference_in_words(tmp_path: Path) -> None:
    """Another model, other data, another command, other options: each says which."""
    directory = write_checkpoint(tmp_path / "m", llama_json(), weights(llama_json()))
    before = {
        "command": "sweep",
        "model": {"source": "a", "contents": fingerprint.of_model(directory)},
        "task": {"name": "sst2", "validation_size": 40},
        "asked": {"validation_size": 40},
        "questions": "1",
    }
    write_checkpoint(directory, llama_json(), weights(llama_json(), seed=1))
    contents = {"source": "a", "contents": fingerprint.of_model(directory)}
    other = {"source": "b", "contents": fingerprint.of_model(directory)}
    for change, words in (
        ({"model": contents}, ["the model's files have changed"]),
        ({"model": other}, ["model source was 'a', is 'b'"]),
        ({"questions": "2"}, ["the data has changed: it gives other examples"]),
        ({"command": "search"}, ["command was 'sweep', is 'search'"]),
        (
            {"task": {"name": "sst2", "validation_size": 50}, "questions": "2"},
            ["task validation size was 40, is 50"],
        ),
        ({"asked": {"validation_size": 50}}, ["validation size was 40, is 50"]),
        ({"layers": [1]}, ["layers was not recorded, is [1]"]),
        ({}, []),
    ):
        assert differences(before, before | change) == words


def test_changed_weights_and_changed_data_are_told(tmp_path: Path) -> None:
    """On the whole path: the same command after a file was exchanged."""
    directory = tmp_path / "model"
    jaxsvd.load().save(directory)
    options = {"shots": 2, "test_size": 4, "out": tmp_path / "run"}
    jaxsvd.evaluate(jaxsvd.load(directory), **options)
    file = directory / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(UserError, match="another command: the model's files have changed"):
        jaxsvd.evaluate(jaxsvd.load(directory), resume=True, **options)


def test_lines_that_somebody_else_wrote(tmp_path: Path) -> None:
    """Lines of predictions.jsonl that are not ours are scored again, not believed."""
    options = {"shots": 2, "test_size": 6, "out": tmp_path / "run"}
    model = jaxsvd.load()
    jaxsvd.evaluate(model, **options)
    file = tmp_path / "run" / PREDICTIONS
    good = file.read_bytes()
    lines = [json.loads(line) for line in good.splitlines()]
    del lines[0]["prediction"]
    lines[1]["rate"] = [0.0]
    lines[2]["scores"] = None
    lines[3] = {}
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    jaxsvd.evaluate(model, resume=True, **options)
    assert file.read_bytes() == good
