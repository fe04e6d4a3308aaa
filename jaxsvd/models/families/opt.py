"""OPT (Zhang et al., 2022): learned positions; OPT-350M is post-norm and narrow."""

from jaxsvd.models.config import DecoderConfig, LayerKind
from jaxsvd.models.families.shared import ACTIVATION_NAMES, affine, equal_heads, in_blocks
from jaxsvd.models.hf_config import MOST_FEATURES, MOST_LAYERS, ConfigReader, Family
from jaxsvd.models.matrices import ATTENTION


def read(reader: ConfigReader) -> DecoderConfig:
    """OPT's config.json; the defaults are those of transformers' ``OPTConfig``."""
    width = reader.integer("hidden_size", 768, largest=MOST_FEATURES)
    heads = reader.integer("num_attention_heads", 12)
    narrow = reader.integer("word_embed_proj_dim", width, largest=MOST_FEATURES)
    before = reader.flag("do_layer_norm_before", True)
    removed = reader.flag("_remove_final_layer_norm", False)
    reader.fixed("layer_norm_elementwise_affine", True)
    reader.unused("dropout", "activation_dropout", "layerdrop", "init_std")
    biased = (*ATTENTION, "fc_in", "fc_out") if reader.flag("enable_bias", True) else ()
    return DecoderConfig(
        family="opt",
        vocabulary=reader.integer("vocab_size", 50272),
        layers=reader.integer("num_hidden_layers", 12, largest=MOST_LAYERS),
        width=width,
        heads=heads,
        key_value_heads=heads,
        head_width=equal_heads(reader, width, heads, ("hidden_size", "num_attention_heads")),
        mlp_width=reader.integer("ffn_dim", 3072),
        context=reader.integer("max_position_embeddings", 2048),
        activation=reader.choice("activation_function", ACTIVATION_NAMES, "relu"),
        norm="layer",
        norm_epsilon=1e-5,
        gated=False,
        residual="pre" if before else "post",
        biased=frozenset(biased),
        tied=reader.flag("tie_word_embeddings", True),
        kinds=(LayerKind(),),
        embedding_width=None if narrow == width else narrow,
        position_offset=2,
        final_norm=before and not removed,
    )


OPT = Family(
    name="opt",
    architecture="OPTForCausalLM",
    read=read,
    layout={
        "embedding.tokens": "model.decoder.embed_tokens.weight",
        "embedding.positions": "model.decoder.embed_positions.weight",
        "embedding.project.weight": "model.decoder.project_in.weight",
        **in_blocks(
            "model.decoder.layers.{layer}.",
            {
                **affine("norm_attn", "self_attn_layer_norm"),
                **affine("norm_mlp", "final_layer_norm"),
                **affine("norm_attn_out", "self_attn_layer_norm"),
                **affine("norm_mlp_out", "final_layer_norm"),
                **affine("attn.q_proj", "self_attn.q_proj"),
                **affine("attn.k_proj", "self_attn.k_proj"),
                **affine("attn.v_proj", "self_attn.v_proj"),
                **affine("attn.out_proj", "self_attn.out_proj"),
                **affine("mlp.fc_in", "fc1"),
                **affine("mlp.fc_out", "fc2"),
            },
        ),
        **affine("head.norm", "model.decoder.final_layer_norm"),
        "head.project.weight": "model.decoder.project_out.weight",
        "head.unembedding": "lm_head.weight",
    },
    body="model.",
    buffers=(r"model\.decoder\.version",),
    description="learned positions, pre- or post-norm, ReLU (OPT)",
    example="facebook/opt-1.3b",
)
