"""GPT-NeoX (Black et al., 2022) and Pythia: parallel with two norms, q, k, v fused head by head."""

from jaxsvd.models.config import DecoderConfig, LayerKind
from jaxsvd.models.families.shared import (
    ACTIVATION_NAMES,
    affine,
    equal_heads,
    in_blocks,
    read_rotary,
)
from jaxsvd.models.hf_config import MOST_FEATURES, MOST_LAYERS, ConfigReader, Family
from jaxsvd.models.layout import Stored
from jaxsvd.models.matrices import ATTENTION


def read(reader: ConfigReader) -> DecoderConfig:
    """GPT-NeoX's config.json; the defaults are those of transformers' ``GPTNeoXConfig``."""
    width = reader.integer("hidden_size", 6144, largest=MOST_FEATURES)
    heads = reader.integer("num_attention_heads", 64)
    head_width = equal_heads(reader, width, heads, ("hidden_size", "num_attention_heads"))
    context = reader.integer("max_position_embeddings", 2048)
    rotary = read_rotary(
        reader, head_width, context, theta="rotary_emb_base", partial=("rotary_pct", 0.25)
    )
    reader.unused("hidden_dropout", "classifier_dropout")
    biased = {"fc_in", "fc_out"}
    if reader.flag("attention_bias", True):
        biased |= {*ATTENTION}
    return DecoderConfig(
        family="gpt_neox",
        vocabulary=reader.integer("vocab_size", 50432),
        layers=reader.integer("num_hidden_layers", 44, largest=MOST_LAYERS),
        width=width,
        heads=heads,
        key_value_heads=heads,
        head_width=head_width,
        mlp_width=reader.integer("intermediate_size", 24576),
        context=context,
        activation=reader.choice("hidden_act", ACTIVATION_NAMES, "gelu"),
        norm="layer",
        norm_epsilon=reader.number("layer_norm_eps", 1e-5),
        gated=False,
        residual="parallel-two" if reader.flag("use_parallel_residual", True) else "pre",
        biased=frozenset(biased),
        tied=reader.flag("tie_word_embeddings", False),
        kinds=(LayerKind(rotary),),
    )


GPT_NEOX = Family(
    name="gpt_neox",
    architecture="GPTNeoXForCausalLM",
    read=read,
    layout={
        "embedding.tokens": "gpt_neox.embed_in.weight",
        **in_blocks(
            "gpt_neox.layers.{layer}.",
            {
                **affine("norm_attn", "input_layernorm"),
                **affine("norm_mlp", "post_attention_layernorm"),
                **affine("attn.q_proj", "attention.query_key_value", by_heads=True),
                **affine("attn.k_proj", "attention.query_key_value", by_heads=True),
                **affine("attn.v_proj", "attention.query_key_value", by_heads=True),
                **affine("attn.out_proj", "attention.dense"),
                **affine("mlp.fc_in", "mlp.dense_h_to_4h"),
                **affine("mlp.fc_out", "mlp.dense_4h_to_h"),
            },
        ),
        **affine("head.norm", "gpt_neox.final_layer_norm"),
        "head.unembedding": Stored("embed_out.weight"),
    },
    buffers=(
        r"gpt_neox\.layers\.\d+\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)",
        r"gpt_neox\.rotary_emb\.inv_freq",
    ),
    aliases={"lm_head.weight": "embed_out.weight"},  # what transformers calls it in memory
    body="gpt_neox.",
    description="parallel attention and MLP with two norms, partial rotary (GPT-NeoX, Pythia)",
    example="EleutherAI/pythia-410m",
)
