"""What a model needs, from config.json alone."""

import json
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import jaxsvd
from jaxsvd.cli.main import main
from jaxsvd.commands.models import config_of, plan
from jaxsvd.devices.sharding import ONE, Axes
from jaxsvd.edits.edit import Edit
from jaxsvd.edits.replacement import all_replacements
from jaxsvd.engine import kernels, memory
from jaxsvd.engine.limits import Limits
from jaxsvd.model import Model
from jaxsvd.models import read_config
from jaxsvd.models.attention import KeyValues, Places, Prefix
from jaxsvd.models.config import DecoderConfig
from jaxsvd.runtime.errors import UserError

# The published config.json of EleutherAI/gpt-j-6b and meta-llama/Llama-2-7b-hf, what matters here.
GPT_J_6B = {
    "model_type": "gptj",
    "n_embd": 4096,
    "n_head": 16,
    "n_layer": 28,
    "n_positions": 2048,
    "rotary_dim": 64,
    "vocab_size": 50400,
    "tie_word_embeddings": False,
}
LLAMA_2_7B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "vocab_size": 32000,
    "tie_word_embeddings": False,
}
LARGE = {"gpt-j-6b": (GPT_J_6B, 6_050_882_784), "llama-2-7b": (LLAMA_2_7B, 6_738_415_616)}


def read(raw: dict[str, object]) -> DecoderConfig:
    return read_config(raw, "config.json")[0]


@pytest.mark.parametrize("name", LARGE)
def test_parameters_as_published(name: str) -> None:
    """The counts that the two models are known by, and their bytes in both dtypes."""
    raw, count = LARGE[name]
    config = read(raw)
    assert memory.parameters(config) == count
    assert memory.weight_bytes(config, "float32") == 4 * count
    assert memory.weight_bytes(config, "bfloat16") == 2 * count


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("model", [1, 2, 4, 8, 16])
def test_shares_of_large_models(name: str, model: int) -> None:
    """Each device's share is within 15 % of an even one; here within half a percent."""
    config = read(LARGE[name][0])
    share = memory.weight_bytes(config, "bfloat16", model)
    even = memory.weight_bytes(config, "bfloat16") / model
    assert even <= share < 1.005 * even


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_bytes_of_a_loaded_model(
    tiny: Callable[..., Model], tmp_path: Path, dtype: str
) -> None:
    tiny("llama").save(tmp_path / "model")
    model = jaxsvd.load(tmp_path / "model", dtype=dtype)
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(nnx.state(model.decoder)))
    assert memory.weight_bytes(model.config, dtype) == held


@pytest.mark.parametrize("family", ["gptj", "llama"])
@pytest.mark.parametrize("module", ["mlp", "attn", "q_proj"])
def test_the_bytes_of_a_truncated_layer(
    tiny: Callable[..., Model], family: str, module: str
) -> None:
    """Every array that the engine holds for a layer at the paper's rates, each counted once."""
    engine = tiny(family).engine
    built = all_replacements(engine, [(Edit(1, module, rate),) for rate in jaxsvd.svd.RATES])
    own = {id(x): x for low in built.values() for x in jax.tree.leaves(low) if x.ndim == 2}
    model = {id(engine.matrix(1, edit.module)) for edit in built}
    held = sum(x.nbytes for key, x in own.items() if key not in model)
    expected = memory.expected(engine.config, "float32", ONE, Limits(512, 2**20), module)
    assert expected.factors == held


def test_what_a_layer_takes_is_near_what_xla_plans() -> None:
    """The estimate of a batch against XLA's own plan for the same layer on this device."""
    config = read(
        {
            "model_type": "llama",
            "hidden_size": 512,
            "intermediate_size": 1408,
            "num_hidden_layers": 2,
            "num_attention_heads": 8,
            "max_position_embeddings": 1024,
            "vocab_size": 100,
        }
    )
    rows, tokens, prefix = 16, 128, 1024

    def array(*shape: int, dtype: object = jnp.float32) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype)

    def weights() -> kernels.Weights:
        from jaxsvd.models.decoder import Block

        return nnx.to_pure_dict(nnx.state(Block(config, dtype=jnp.float32, rngs=nnx.Rngs(0))))

    states = KeyValues(*[array(prefix, 8, 64)] * 2)
    places = jax.eval_shape(lambda: Places.in_order(config, rows, tokens))
    compiled = kernels.layer.lower(
        config,
        config.kind(0),
        jax.eval_shape(weights),
        array(rows, tokens, 512),
        kernels.TokenRows(places, array(rows, 4, dtype=jnp.int32)),
        Prefix(states, array(prefix, dtype=jnp.bool_)),
    ).compile()
    plan = compiled.memory_analysis()
    planned = plan.temp_size_in_bytes + plan.output_size_in_bytes
    limits = Limits(rows * tokens, 0, workers=1)
    estimate = memory.expected(config, "float32", ONE, limits).batch
    assert 0.5 * planned < estimate < 2 * planned


def test_the_plan_of_a_mesh() -> None:
    """More devices on the model axis: less of everything that is cut, on each."""
    config = read(GPT_J_6B)
    one, four = (
        plan(config, axes, device_bytes=80 * 10**9).devices["bfloat16"]
        for axes in (ONE, Axes(1, 4))
    )
    assert four.weights < 0.26 * one.weights
    assert four.factors < one.factors
    assert four.prefix < 0.5 * one.prefix
    rows = plan(config, Axes(4, 1), device_bytes=80 * 10**9).devices["bfloat16"]
    assert (rows.weights, rows.prefix, rows.stream) == (one.weights, one.prefix, one.stream)
    assert rows.batch == one.batch // 2  # one thread instead of two


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("size", [16, 24, 40, 80])
def test_batches_shrink_to_the_device(name: str, size: int) -> None:
    """To at most a quarter of its memory for what is computed, and never below a few lines."""
    config = read(LARGE[name][0])
    actual = plan(config, ONE, device_bytes=size * 10**9)
    assert actual.devices["bfloat16"].batch <= size * 10**9 / 4
    assert 256 <= actual.batch_tokens <= 16_384
    short = Limits.of_accelerator(size * 10**9).fitted(config, 200)
    assert short.batch_tokens >= actual.batch_tokens


# --- refusals -----------------------------------------------------------------------------------


def refusal(raw: dict[str, object], dtype: str, axes: Axes = ONE) -> str:
    with pytest.raises(UserError) as error:
        memory.check(read(raw), dtype, axes, "some/model")
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def gigabytes(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Tells the check how much memory there is: no machine has a chosen size."""

    def tell(size: float) -> None:
        monkeypatch.setattr(memory, "device_memory", lambda device=None: int(size * 1e9))

    return tell


def test_weights_that_do_not_fit(
    gigabytes: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line names what is needed, what is there and what would do."""
    gigabytes(16)
    line = refusal(GPT_J_6B, "float32")
    assert "some/model in float32 needs 24.2 GB for its weights; cpu has 16.0 GB" in line
    assert line.endswith("--dtype bfloat16 needs 12.1 GB")
    memory.check(read(GPT_J_6B), "bfloat16", ONE, "some/model")
    monkeypatch.setattr(memory, "_needed", memory.weight_bytes)  # memories of their own
    ways = refusal(GPT_J_6B, "float32").split("; ")[-1]
    bfloat16, float32 = ways.split(" or ")
    assert bfloat16 == "--dtype bfloat16 needs 12.1 GB"
    assert float32 == "--dtype float32 --mesh model=2 needs 12.1 GB"
    monkeypatch.undo()
    gigabytes(8)
    assert "a larger machine is needed" in refusal(GPT_J_6B, "bfloat16")  # CPUs share their memory


def test_loading_is_refused_before_a_weight_is_read(
    gigabytes: Callable[[float], None], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(GPT_J_6B))
    gigabytes(16)
    with pytest.raises(UserError, match=r"needs 24\.2 GB for its weights"):
        jaxsvd.load(tmp_path)
    with pytest.raises(UserError, match="no weights there"):
        jaxsvd.load(tmp_path, dtype="bfloat16")


def test_this_machine_is_known() -> None:
    size = memory.host_memory()
    assert size is not None
    assert 10**8 < size < 10**14
    assert memory.device_memory() == size


# --- the command --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LARGE)
def test_the_table(capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str) -> None:
    """Of a directory with nothing but config.json."""
    raw, count = LARGE[name]
    (tmp_path / "config.json").write_text(json.dumps(raw))
    requested = ["models", str(tmp_path), "--memory", "--device-memory", "80", "--mesh", "model=2"]
    assert main(requested) == 0
    printed = capsys.readouterr().out
    assert f"{count:,} parameters on each of 2 devices, mesh data=1,model=2" in printed
    actual = plan(config_of(tmp_path), Axes(1, 2), device_bytes=80 * 10**9)
    cells = {line.split("  ")[0]: line for line in printed.splitlines()}
    for dtype in ("float32", "bfloat16"):
        need = actual.devices[dtype]
        assert memory.gigabytes(need.weights) in cells["weights"]
        assert memory.gigabytes(need.peak) in cells["peak on each device"]
        working = need.factors + need.stream + need.batch + need.prefix
        assert need.peak == need.weights + max(working, need.loading)


def test_the_bundled_model_and_one_line_of_any(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--memory"]) == 0
    count = jaxsvd.load().parameters
    assert f"{count:,} parameters on one device" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--mesh", "model=3"], "model=3 does not divide width 128"),
        (["--mesh", "rows=3"], "mesh 'rows=3' should be like data=4,model=2"),
        (["--mesh", "model=0"], "should be like data=4,model=2"),
        (["--mesh", "model=2,model=2"], "should be like data=4,model=2"),
        (["--device-memory", "much"], "'much' should be a number of GB"),
        (["--module", "fc_up"], "gptj has no module 'fc_up'"),
        (["/no/such/place"], "no such directory"),
    ],
)
def test_mistakes(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    assert main(["models", "--memory", *arguments]) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert said in line
    assert captured.out == ""
