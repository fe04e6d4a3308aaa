"""GGUF files: each family's tensors come back exactly, and what a file says is read strictly."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jaxsvd
from jaxsvd.checkpoints import fingerprint
from jaxsvd.checkpoints.gguf import config as gguf_config
from jaxsvd.checkpoints.gguf import header
from jaxsvd.checkpoints.tensors import open_tensors
from jaxsvd.models import FAMILIES, read_config
from jaxsvd.runtime.errors import UserError

gguf = pytest.importorskip("gguf", reason="needs the gguf library: install jaxsvd[gguf]")

from . import gguf_files  # noqa: E402
from .random_models import JSON_OF, padded_batch, weights, write_checkpoint  # noqa: E402
from .refusals import refusal  # noqa: E402
from .tiny_families import Json  # noqa: E402

DIFFERENT: dict[str, Json] = {
    # What a GGUF file cannot say otherwise: these are fixed by the architecture.
    "gemma2": {"query_pre_attn_scalar": 12},
    "gemma3_text": {"query_pre_attn_scalar": 12},
    "smollm3": {"no_rope_layer_interval": 4, "rope_theta": 10_000.0},
}


def tiny(family: str, **changes: Any) -> Json:
    return JSON_OF[family](**(DIFFERENT.get(family, {}) | changes))


def pair(tmp_path: Path, config: Json, **options: Any) -> tuple[Path, Path]:
    """The same model as a directory and as a file."""
    tensors = weights(config)
    return (
        write_checkpoint(tmp_path / "hf", config, tensors),
        gguf_files.write(tmp_path / "model.gguf", config, tensors, **options),
    )


@pytest.mark.parametrize("family", sorted(FAMILIES.keys() & gguf_files.ARCHITECTURES.keys()))
def test_every_family(tmp_path: Path, family: str) -> None:
    """The same decoder, to the last bit of a float32 that has had 1 added and taken away."""
    config = tiny(family)
    directory, path = pair(tmp_path, config)
    raw = gguf_config.config(header.read(path))
    expected, actual = read_config(config, "")[0], read_config(raw, "")[0]
    assert actual == expected
    with (
        open_tensors(directory, FAMILIES[family]) as theirs,
        open_tensors(path, FAMILIES[family]) as ours,
    ):
        assert ours.keys() == theirs.keys()
        for name, tensor in theirs.items():
            assert ours[name].shape == tensor.shape
            rounding = 2**-24 * 2 if family.startswith("gemma") else 0
            np.testing.assert_allclose(ours[name].read(), tensor.read(), rtol=0, atol=rounding)


GRID: dict[str, tuple[str, Json]] = {
    "llama untied, biased": ("llama", {"attention_bias": True}),
    "llama tied, odd heads": (
        "llama",
        {"tie_word_embeddings": True, "num_attention_heads": 2, "num_key_value_heads": 1},
    ),
    "llama scaled": ("llama", {"rope_scaling": {"rope_type": "linear", "factor": 3.0}}),
    "llama with own heads": ("llama", {"head_dim": 6}),
    "gpt2 untied": ("gpt2", {"tie_word_embeddings": False}),
}


@pytest.mark.parametrize("name", GRID)
def test_loading(tmp_path: Path, name: str) -> None:
    """As a file, and as a directory that holds one: the logits of the Hugging Face directory."""
    family, changes = GRID[name]
    config = tiny(family, **changes)
    directory, path = pair(tmp_path, config)
    ids, mask = padded_batch(config)
    expected = jaxsvd.load(directory).logits(ids, mask)
    (tmp_path / "there").mkdir()
    path.rename(tmp_path / "there" / path.name)
    for source in (tmp_path / "there" / path.name, tmp_path / "there"):
        model = jaxsvd.load(source)
        assert model.quantization is None
        np.testing.assert_array_equal(
            np.asarray(model.logits(ids, mask))[mask], np.asarray(expected)[mask]
        )


def test_quantised_weights(tmp_path: Path) -> None:
    """Dequantised as the library does, rows of q put back in order, the type recorded."""
    config = tiny("llama", hidden_size=64, intermediate_size=64)
    tensors = weights(config)
    kinds = {name: gguf.GGMLQuantizationType.Q8_0 for name, x in tensors.items() if x.ndim == 2}
    kinds["model.layers.0.mlp.up_proj.weight"] = gguf.GGMLQuantizationType.F16
    path = gguf_files.write(
        tmp_path / "m.gguf",
        config,
        tensors,
        quantize=kinds,
        metadata={"general.file_type": int(gguf.LlamaFileType.MOSTLY_Q8_0)},
    )
    with open_tensors(path, FAMILIES["llama"]) as actual:
        for name, value in tensors.items():
            kind = kinds.get(name)
            expected = value
            if kind is not None:
                expected = gguf.dequantize(gguf.quantize(value, kind), kind)
            np.testing.assert_array_equal(actual[name].read(), expected)
    notices: list[str] = []

    class Kept(jaxsvd.model.Progress):
        def notice(self, line: str) -> None:
            notices.append(line)

    model = jaxsvd.load(path, progress=Kept())
    assert model.quantization == "Q8_0"
    (line,) = notices
    assert "it is the dequantised weights that are truncated" in line


def test_parts_of_a_tensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any range of elements, some rows at a time: what is read in parts is what is read whole."""
    from jaxsvd.checkpoints.gguf import weights as gguf_weights

    monkeypatch.setattr(gguf_weights, "_PART", 70)
    _, path = pair(tmp_path, tiny("llama"))
    with open_tensors(path, FAMILIES["llama"]) as actual:
        for tensor in actual.values():
            whole = tensor.read().reshape(-1)
            for first, count in ((0, whole.size), (5, 1), (whole.size // 3, whole.size // 2)):
                out = np.empty(count, np.float32)
                assert tensor.into is not None
                tensor.into(first, out)
                np.testing.assert_array_equal(out, whole[first : first + count])


@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_rotary_factors_of_llama_3(tmp_path: Path, factor: float) -> None:
    """The file holds factors and not the rule: the parameters that give them are found."""
    config = tiny(
        "llama",
        rope_theta=500_000.0,
        head_dim=64,
        rope_scaling={
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    )
    expected = read_config(config, "")[0]
    plain = read_config(tiny("llama", rope_theta=500_000.0, head_dim=64), "")[0]
    factors = np.array(plain.kinds[0].rotary.inverse_frequencies) / np.array(
        expected.kinds[0].rotary.inverse_frequencies
    )
    tensors = weights(config)
    path = gguf_files.write(tmp_path / "m.gguf", config, tensors)
    assert read_config(gguf_config.config(header.read(path)), "")[0] == plain
    path = with_tensor(tmp_path / "n.gguf", config, factors)
    actual = read_config(gguf_config.config(header.read(path)), "")[0]
    np.testing.assert_allclose(
        actual.kinds[0].rotary.inverse_frequencies,
        expected.kinds[0].rotary.inverse_frequencies,
        rtol=1e-12,
    )
    with pytest.raises(UserError, match=r"rope_freqs\.weight is of no rule that is known"):
        gguf_config.config(header.read(with_tensor(tmp_path / "o.gguf", config, factors + 0.5)))


def with_tensor(path: Path, config: Json, factors: np.ndarray) -> Path:
    """A header alone: metadata, an embedding and rope_freqs.weight."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_key_length(config["head_dim"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_tensor(
        "token_embd.weight", np.zeros((config["vocab_size"], config["hidden_size"]), np.float32)
    )
    writer.add_tensor("rope_freqs.weight", factors.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


# --- what is refused ------------------------------------------------------------------------------


def test_more_than_one_file(tmp_path: Path) -> None:
    _, path = pair(tmp_path, tiny("llama"))
    (tmp_path / "d").mkdir()
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / "d" / name).write_bytes(path.read_bytes())
    assert "d holds 2 GGUF files; name one of them: a.gguf, b.gguf" in refusal(tmp_path / "d")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"llama.logit_scale": 2.0}, r"unknown metadata llama\.logit_scale = 2\.0; it may matter"),
        ({"llama.expert_count": 8}, "a mixture of experts is not supported"),
        ({"llama.attention.value_length": 4, "llama.attention.key_length": 8}, "keys of 8 and"),
        ({"llama.rope.scaling.type": "su"}, "rotary scaling 'su' is not supported"),
        ({"llama.attention.causal": False}, "not causal"),
    ],
)
def test_metadata_that_matters(tmp_path: Path, metadata: Json, message: str) -> None:
    config = tiny("llama")
    path = gguf_files.write(tmp_path / "m.gguf", config, weights(config), metadata=metadata)
    with pytest.raises(UserError, match=message):
        jaxsvd.load(path)


def test_a_missing_tensor_by_name(tmp_path: Path) -> None:
    config = tiny("llama")
    tensors = weights(config)
    tensors.pop("model.layers.1.mlp.up_proj.weight")
    path = gguf_files.write(tmp_path / "m.gguf", config, tensors)
    assert "missing model.layers.1.mlp.up_proj.weight" in refusal(path)


def test_damaged_files(tmp_path: Path) -> None:
    """Cut or changed anywhere in its header: one line, and no memory beyond the file's."""
    config = tiny("llama")
    _, path = pair(tmp_path, config)
    whole = path.read_bytes()
    end = header.read(path).tensors["token_embd.weight"].start
    random = np.random.default_rng(0)
    damaged = tmp_path / "damaged.gguf"
    for _ in range(60):
        content = bytearray(whole)
        if random.random() < 0.4:
            content = content[: random.integers(0, len(whole))]
        else:
            for _ in range(4):
                content[random.integers(4, end)] = random.integers(256)
        damaged.write_bytes(content)
        try:
            jaxsvd.load(damaged)
        except UserError as error:
            line = str(error)
            assert "\n" not in line
            assert "damaged.gguf" in line
    damaged.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert "a git-lfs pointer" in refusal(damaged)
    damaged.write_bytes(b"PK\3\4 something else")
    assert "no GGUF file" in refusal(damaged)


def test_the_fingerprint_is_the_files(tmp_path: Path) -> None:
    _, path = pair(tmp_path, tiny("llama"))
    before = fingerprint.of_model(path)
    assert fingerprint.of_model(path) == before
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    assert fingerprint.of_model(path) != before
