"""GPT-2 (Radford et al., 2019): learned positions, one fused and transposed matrix for q, k, v."""

from jaxsvd.models.config import DecoderConfig, LayerKind
from jaxsvd.models.families.shared import ACTIVATION_NAMES, affine, equal_heads, in_blocks
from jaxsvd.models.hf_config import MOST_FEATURES, MOST_LAYERS, ConfigReader, Family
from jaxsvd.models.layout import Stored
from jaxsvd.models.matrices import ATTENTION, MLP


def read(reader: ConfigReader) -> DecoderConfig:
    """GPT-2's config.json; the defaults are those of transformers' ``GPT2Config``."""
    width = reader.integer("n_embd", 768, largest=MOST_FEATURES)
    heads = reader.integer("n_head", 12)
    reader.fixed("scale_attn_weights", True)
    reader.fixed("scale_attn_by_inverse_layer_idx", False)
    reader.fixed("add_cross_attention", False)
    reader.flag("reorder_and_upcast_attn", False)  # the same numbers, in float32
    config = DecoderConfig(
        family="gpt2",
        vocabulary=reader.integer("vocab_size", 50257),
        layers=reader.integer("n_layer", 12, largest=MOST_LAYERS),
        width=width,
        heads=heads,
        key_value_heads=heads,
        head_width=equal_heads(reader, width, heads, ("n_embd", "n_head")),
        mlp_width=reader.integer("n_inner", 4 * width),
        context=reader.integer("n_positions", 1024),
        activation=reader.choice("activation_function", ACTIVATION_NAMES, "gelu_new"),
        norm="layer",
        norm_epsilon=reader.number("layer_norm_epsilon", 1e-5),
        gated=False,
        residual="pre",
        biased=frozenset((*ATTENTION, *MLP)),
        tied=reader.flag("tie_word_embeddings", True),
        kinds=(LayerKind(),),
        position_offset=0,
    )
    reader.fixed("n_ctx", config.context)
    return config


GPT2 = Family(
    name="gpt2",
    architecture="GPT2LMHeadModel",
    read=read,
    layout={
        "embedding.tokens": "transformer.wte.weight",
        "embedding.positions": "transformer.wpe.weight",
        **in_blocks(
            "transformer.h.{layer}.",
            {
                **affine("norm_attn", "ln_1"),
                **affine("norm_mlp", "ln_2"),
                **affine("attn.q_proj", "attn.c_attn", transposed=True),
                **affine("attn.k_proj", "attn.c_attn", transposed=True),
                **affine("attn.v_proj", "attn.c_attn", transposed=True),
                **affine("attn.out_proj", "attn.c_proj", transposed=True),
                **affine("mlp.fc_in", "mlp.c_fc", transposed=True),
                **affine("mlp.fc_out", "mlp.c_proj", transposed=True),
            },
        ),
        **affine("head.norm", "transformer.ln_f"),
        "head.unembedding": Stored("lm_head.weight"),
    },
    buffers=(r"transformer\.h\.\d+\.attn\.(bias|masked_bias)",),
    body="transformer.",
    description="learned positions, pre-norm, fused attention (GPT-2 and kin)",
    example="openai-community/gpt2",
)
