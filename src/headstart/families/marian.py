"""The Transformer of 2017: post-norm encoder-decoder with sinusoids and one table for all.

Hugging Face's stock type of this shape is Marian, in which the OPUS-MT translation models are
published. Its next-token scores have a bias that is read and written, but never learnt.
"""

from __future__ import annotations

from headstart.families.family import Architecture, Family, HFConfig
from headstart.families.fields import Fields
from headstart.families.keys import Key, read, written
from headstart.families.names import Rule, Spelling, linear, stacked
from headstart.families.style import HeadStyle
from headstart.nn import TransformerConfig

ENCODER, DECODER = "stack.blocks.{n}", "decoder.blocks.{n}"
TABLE = "shared.weight"


def _layer(theirs: str, ours: str) -> tuple[Rule, ...]:
    parts = [f"{theirs}.self_attn.{part}_proj" for part in "qkv"]
    return (
        *stacked(parts, f"{ours}.attention.qkv"),
        *linear(f"{theirs}.self_attn.out_proj", f"{ours}.attention.out"),
        *linear(f"{theirs}.self_attn_layer_norm", f"{ours}.attention_norm"),
        *linear(f"{theirs}.fc1", f"{ours}.mlp.up"),
        *linear(f"{theirs}.fc2", f"{ours}.mlp.down"),
        *linear(f"{theirs}.final_layer_norm", f"{ours}.mlp_norm"),
    )


LOOKING = "decoder.layers.{n}.encoder_attn"
BODY = (
    Rule((TABLE,), "embed.tokens.weight"),
    *_layer("encoder.layers.{n}", ENCODER),
    *_layer("decoder.layers.{n}", DECODER),
    *linear(f"{LOOKING}.q_proj", f"{DECODER}.cross.q"),
    *stacked([f"{LOOKING}.{part}_proj" for part in "kv"], f"{DECODER}.cross.kv"),
    *linear(f"{LOOKING}.out_proj", f"{DECODER}.cross.out"),
    *linear(f"{LOOKING}_layer_norm", f"{DECODER}.cross_norm"),
)

KEYS = (
    Key("vocab_size", "vocab_size", 58101),
    Key("d_model", "hidden_size", 1024),
    Key("encoder_layers", "num_layers", 12, high=1000),
    Key("decoder_layers", "decoder_layers", 12, high=1000),
    Key("encoder_attention_heads", "num_heads", 16),
    Key("encoder_ffn_dim", "intermediate_size", 4096),
    Key("max_position_embeddings", "max_positions", 1024),
    Key("scale_embedding", "scaled_embedding", False),
    Key("activation_function", "activation", "gelu"),
    Key("dropout", "dropout", 0.1),
    Key("attention_dropout", "attention_dropout", 0.0),
)
# what the decoder must have in common with the encoder
SAME = {
    "decoder_vocab_size": "vocab_size",
    "decoder_attention_heads": "num_heads",
    "decoder_ffn_dim": "intermediate_size",
}


def config_from_hf(hf: Fields) -> TransformerConfig:
    """Our config from Marian's; two vocabularies or stacks of two shapes are refused."""
    hf.must_be("share_encoder_decoder_embeddings", True, None)
    values = read(hf, KEYS)
    for theirs, ours in SAME.items():
        hf.must_be(theirs, values[ours], None)
    return TransformerConfig(**values, norm_order="post", position="sinusoidal")


def style_from_hf(hf: Fields) -> HeadStyle:
    """Next tokens by the token table and a fixed bias."""
    hf.must_be("tie_word_embeddings", True, None)
    return HeadStyle(fixed_bias=True, start=hf.whole("decoder_start_token_id", 58100, low=0))


def config_to_hf(config: TransformerConfig, style: HeadStyle) -> HFConfig:
    """Marian's config from ours."""
    return {
        **written(config, KEYS),
        **{theirs: getattr(config, ours) for theirs, ours in SAME.items()},
        "share_encoder_decoder_embeddings": True,
        "is_encoder_decoder": True,
        "tie_word_embeddings": True,
        "decoder_start_token_id": style.start,
        "pad_token_id": style.start,
    }


# as the paper has it: ReLU, and token vectors times the root of the width
ORIGINAL = Fields(
    {"activation_function": "relu", "scale_embedding": True, "decoder_start_token_id": 0},
    "the original Transformer's defaults",
)
MARIAN = Family(
    name="marian",
    title="Marian",
    paper="Vaswani et al. 2017, https://arxiv.org/abs/1706.03762",
    model_types=("marian",),
    special_tokens="t5",
    template=config_from_hf(ORIGINAL),
    style=style_from_hf(ORIGINAL),
    config_from_hf=config_from_hf,
    style_from_hf=style_from_hf,
    config_to_hf=config_to_hf,
    architectures=(
        Architecture("MarianModel", ()),
        Architecture("MarianMTModel", ("causal",)),
    ),
    body=BODY,
    heads={"causal": (Rule(("final_logits_bias",), "bias", lone=1),)},
    spelling=Spelling(
        prefixes=("model.",),
        dropped=(r"(en|de)coder\.embed_positions\.weight",),
        tied=(
            ("encoder.embed_tokens.weight", TABLE),
            ("decoder.embed_tokens.weight", TABLE),
            ("lm_head.weight", TABLE),
        ),
    ),
)
build = MARIAN.build
