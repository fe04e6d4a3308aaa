"""GPT-J (Wang and Komatsuzaki, 2021): parallel attention and MLP, partial interleaved rotary."""

from jaxsvd.models.config import DecoderConfig, LayerKind
from jaxsvd.models.families.shared import ACTIVATION_NAMES, affine, equal_heads, in_blocks
from jaxsvd.models.hf_config import MOST_FEATURES, MOST_LAYERS, ConfigReader, Family
from jaxsvd.models.layout import Stored
from jaxsvd.models.matrices import ATTENTION
from jaxsvd.models.rotary import rotary_config


def read(reader: ConfigReader) -> DecoderConfig:
    """GPT-J's config.json; the defaults are those of transformers' ``GPTJConfig``."""
    width = reader.integer("n_embd", 4096, largest=MOST_FEATURES)
    heads = reader.integer("n_head", 16)
    head_width = equal_heads(reader, width, heads, ("n_embd", "n_head"))
    rotary_width = reader.integer("rotary_dim", 64)
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
        activation=reader.choice("activation_function", ACTIVATION_NAMES, "gelu_new"),
        norm="layer",
        norm_epsilon=reader.number("layer_norm_epsilon", 1e-5),
        gated=False,
        residual="parallel",
        biased=frozenset({"fc_in", "fc_out", "unembedding"}),
        tied=reader.flag("tie_word_embeddings", False),
        kinds=(LayerKind(rotary_config("default", 10_000.0, rotary_width, {}, "interleaved")),),
    )
    reader.fixed("n_ctx", config.context)
    return config


GPTJ = Family(
    name="gptj",
    architecture="GPTJForCausalLM",
    read=read,
    layout={
        "embedding.tokens": "transformer.wte.weight",
        **in_blocks(
            "transformer.h.{layer}.",
            {
                **affine("norm_attn", "ln_1"),
                **{f"attn.{name}.weight": Stored(f"attn.{name}.weight") for name in ATTENTION},
                **affine("mlp.fc_in", "mlp.fc_in"),
                **affine("mlp.fc_out", "mlp.fc_out"),
            },
        ),
        **affine("head.norm", "transformer.ln_f"),
        "head.unembedding": "lm_head.weight",
        "head.bias": "lm_head.bias",
    },
    buffers=(r"transformer\.h\.\d+\.attn\.(bias|masked_bias|embed_positions)",),
    description="parallel attention and MLP, partial interleaved rotary (GPT-J-6B)",
    example="EleutherAI/gpt-j-6b",
    safetensors_revision={"EleutherAI/gpt-j-6b": "refs/pr/40"},
)
