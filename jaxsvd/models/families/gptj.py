"""GPT-J (Wang and Komatsuzaki, 2021): parallel attention and MLP, partial interleaved rotary."""

from jaxsvd.models.config import Activation, DecoderConfig
from jaxsvd.models.hf_config import MOST_FEATURES, MOST_LAYERS, ConfigReader, Family
from jaxsvd.models.rotary import rotary_config

ACTIVATION_NAMES: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_new",
    "gelu_pytorch_tanh": "gelu_new",
    "relu": "relu",
    "silu": "silu",
}


def read(reader: ConfigReader) -> DecoderConfig:
    """GPT-J's config.json; the defaults are those of transformers' ``GPTJConfig``."""
    width = reader.integer("n_embd", 4096, largest=MOST_FEATURES)
    heads = reader.integer("n_head", 16)
    head_width = width // heads
    rotary_width = reader.integer("rotary_dim", 64)
    reader.check(width % heads == 0, f"n_embd = {width} should be a multiple of n_head = {heads}")
    if rotary_width % 2 or rotary_width > head_width:
        reader.problems.append(
            f"rotary_dim = {rotary_width} should be even and at most n_embd / n_head = {head_width}"
        )
        rotary_width = 2
    reader.check(
        reader.raw.get("rotary_dim", rotary_width) is not None,
        "rotary_dim = None is not supported; give the rotated features of a head",
    )
    reader.fixed("rotary", True)
    reader.fixed("scale_attn_weights", True)
    config = DecoderConfig(
        family="gptj",
        vocabulary=reader.integer("vocab_size", 50400),
        layers=reader.integer("n_layer", 28, largest=MOST_LAYERS),
        width=width,
        heads=heads,
        key_value_heads=heads,
        head_width=head_width,
        mlp_width=reader.integer("n_inner", 4 * width),
        context=reader.integer("n_positions", 2048),
        rotary=rotary_config("default", 10_000.0, rotary_width, {}, "interleaved"),
        activation=reader.choice("activation_function", ACTIVATION_NAMES, "gelu_new"),
        norm="layer",
        norm_epsilon=reader.number("layer_norm_epsilon", 1e-5),
        gated=False,
        parallel=True,
        biased=frozenset({"fc_in", "fc_out", "unembedding"}),
        tied=reader.flag("tie_word_embeddings", False),
    )
    reader.fixed("n_ctx", config.context)
    return config


GPTJ = Family(
    name="gptj",
    read=read,
    names={
        "embedding": "transformer.wte.weight",
        "blocks.{layer}.norm_attn.weight": "transformer.h.{layer}.ln_1.weight",
        "blocks.{layer}.norm_attn.bias": "transformer.h.{layer}.ln_1.bias",
        "blocks.{layer}.attn.q_proj.weight": "transformer.h.{layer}.attn.q_proj.weight",
        "blocks.{layer}.attn.k_proj.weight": "transformer.h.{layer}.attn.k_proj.weight",
        "blocks.{layer}.attn.v_proj.weight": "transformer.h.{layer}.attn.v_proj.weight",
        "blocks.{layer}.attn.out_proj.weight": "transformer.h.{layer}.attn.out_proj.weight",
        "blocks.{layer}.mlp.fc_in.weight": "transformer.h.{layer}.mlp.fc_in.weight",
        "blocks.{layer}.mlp.fc_in.bias": "transformer.h.{layer}.mlp.fc_in.bias",
        "blocks.{layer}.mlp.fc_out.weight": "transformer.h.{layer}.mlp.fc_out.weight",
        "blocks.{layer}.mlp.fc_out.bias": "transformer.h.{layer}.mlp.fc_out.bias",
        "head.norm.weight": "transformer.ln_f.weight",
        "head.norm.bias": "transformer.ln_f.bias",
        "head.unembedding": "lm_head.weight",
        "head.bias": "lm_head.bias",
    },
    buffers=(r"transformer\.h\.\d+\.attn\.(bias|masked_bias|embed_positions)",),
    description="parallel attention and MLP, partial interleaved rotary (GPT-J-6B)",
    example="EleutherAI/gpt-j-6b",
    safetensors_revision={"EleutherAI/gpt-j-6b": "refs/pr/40"},
)
