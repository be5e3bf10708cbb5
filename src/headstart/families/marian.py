"""The Transformer of 2017: post-norm encoder-decoder with sinusoids and one table for all.

Hugging Face's stock type of this shape is Marian, in which the OPUS-MT translation models are
published. Its next-token scores have a bias that is read and written, but never learnt.
"""

from __future__ import annotations

from headstart.families.activations import ACTIVATION_WORDS, activation_from_hf, activation_to_hf
from headstart.families.family import Architecture, Family, HFConfig
from headstart.families.fields import Fields
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


def config_from_hf(hf: Fields) -> TransformerConfig:
    """Our config from Marian's; two vocabularies or stacks of two shapes are refused."""
    hf.must_be("share_encoder_decoder_embeddings", True, None)
    vocabulary, heads = hf.whole("vocab_size", 58101), hf.whole("encoder_attention_heads", 16)
    inner = hf.whole("encoder_ffn_dim", 4096)
    hf.must_be("decoder_vocab_size", vocabulary, None)
    hf.must_be("decoder_attention_heads", heads, None)
    hf.must_be("decoder_ffn_dim", inner, None)
    return TransformerConfig(
        vocab_size=vocabulary,
        hidden_size=hf.whole("d_model", 1024),
        num_layers=hf.whole("encoder_layers", 12, high=1000),
        decoder_layers=hf.whole("decoder_layers", 12, high=1000),
        num_heads=heads,
        intermediate_size=inner,
        max_positions=hf.whole("max_position_embeddings", 1024),
        norm_order="post",
        position="sinusoidal",
        scaled_embedding=hf.flag("scale_embedding", False),
        activation=activation_from_hf(hf.word("activation_function", "gelu", ACTIVATION_WORDS)),
        dropout=hf.number("dropout", 0.1, low=0, high=1),
        attention_dropout=hf.number("attention_dropout", 0.0, low=0, high=1),
    )


def style_from_hf(hf: Fields) -> HeadStyle:
    """Next tokens by the token table and a fixed bias."""
    hf.must_be("tie_word_embeddings", True, None)
    return HeadStyle(fixed_bias=True, start=hf.whole("decoder_start_token_id", 58100, low=0))


def config_to_hf(config: TransformerConfig, style: HeadStyle) -> HFConfig:
    """Marian's config from ours."""
    values: HFConfig = {
        "vocab_size": config.vocab_size,
        "decoder_vocab_size": config.vocab_size,
        "share_encoder_decoder_embeddings": True,
        "d_model": config.hidden_size,
        "max_position_embeddings": config.max_positions,
        "scale_embedding": config.scaled_embedding,
        "activation_function": activation_to_hf(config.activation),
        "dropout": config.dropout,
        "attention_dropout": config.attention_dropout,
        "is_encoder_decoder": True,
        "tie_word_embeddings": True,
        "decoder_start_token_id": style.start,
        "pad_token_id": style.start,
    }
    for side, layers in (("encoder", config.num_layers), ("decoder", config.decoder_layers)):
        values[f"{side}_layers"] = layers
        values[f"{side}_attention_heads"] = config.num_heads
        values[f"{side}_ffn_dim"] = config.intermediate_size
    return values


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
