"""T5: encoder-decoder with RMSNorm, relative position biases and no biases elsewhere.

Version 1.0 has a plain MLP with ReLU and decodes with the scaled token table; 1.1 has a gated MLP
and a decoder matrix of its own. The surprise: stock transformers 5 writes `tie_word_embeddings`
true for both; then `scale_decoder_outputs` tells them apart, and the file says whether the matrix
is its own.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from headstart.families.activations import ACTIVATION_WORDS, activation_from_hf, activation_to_hf
from headstart.families.family import Architecture, Family, HFConfig
from headstart.families.fields import Fields
from headstart.families.keys import Key, read, written
from headstart.families.names import Rule, Spelling, linear, stacked
from headstart.families.style import HeadStyle
from headstart.nn import TransformerConfig
from headstart.nn.config import Activation

ENCODER, DECODER = "stack.blocks.{n}", "decoder.blocks.{n}"
READER, WRITER = "encoder.block.{n}.layer", "decoder.block.{n}.layer"
BIAS = "block.0.layer.0.SelfAttention.relative_attention_bias.weight"
GATED_GELU = "gated-gelu"  # means the approximation by tanh
MATRIX, TABLE = "lm_head.weight", "shared.weight"


def _attention(theirs: str, ours: str) -> tuple[Rule, ...]:
    return (
        *stacked([f"{theirs}.0.SelfAttention.{part}" for part in "qkv"], f"{ours}.attention.qkv"),
        *linear(f"{theirs}.0.SelfAttention.o", f"{ours}.attention.out"),
        *linear(f"{theirs}.0.layer_norm", f"{ours}.attention_norm"),
    )


BODY = (
    Rule((TABLE,), "embed.tokens.weight"),
    *_attention(READER, ENCODER),
    *linear(f"{READER}.1.layer_norm", f"{ENCODER}.mlp_norm"),
    *linear(f"{READER}.1.DenseReluDense.wo", f"{ENCODER}.mlp.down"),
    Rule((f"encoder.{BIAS}",), "stack.relative.embedding.weight"),
    *linear("encoder.final_layer_norm", "stack.norm"),
    *_attention(WRITER, DECODER),
    *linear(f"{WRITER}.1.EncDecAttention.q", f"{DECODER}.cross.q"),
    *stacked([f"{WRITER}.1.EncDecAttention.{part}" for part in "kv"], f"{DECODER}.cross.kv"),
    *linear(f"{WRITER}.1.EncDecAttention.o", f"{DECODER}.cross.out"),
    *linear(f"{WRITER}.1.layer_norm", f"{DECODER}.cross_norm"),
    *linear(f"{WRITER}.2.layer_norm", f"{DECODER}.mlp_norm"),
    *linear(f"{WRITER}.2.DenseReluDense.wo", f"{DECODER}.mlp.down"),
    Rule((f"decoder.{BIAS}",), "decoder.relative.embedding.weight"),
    *linear("decoder.final_layer_norm", "decoder.norm"),
)


def variants(config: TransformerConfig) -> tuple[Rule, ...]:
    """The MLP's way in: one matrix, or two where it is gated."""
    found: list[Rule] = []
    for place, ours in ((f"{READER}.1", ENCODER), (f"{WRITER}.2", DECODER)):
        theirs = f"{place}.DenseReluDense.wi"
        parts = [f"{theirs}_0", f"{theirs}_1"] if config.gated else [theirs]
        found += stacked(parts, f"{ours}.mlp.up")
    return tuple(found)


KEYS = (
    Key("vocab_size", "vocab_size", 32128),
    Key("d_model", "hidden_size", 512),
    Key("num_layers", "num_layers", 6, high=1000),
    Key("num_heads", "num_heads", 8),
    Key("d_ff", "intermediate_size", 2048),
    Key("n_positions", "max_positions", 512),
    Key("layer_norm_epsilon", "norm_eps", 1e-6),
    Key("relative_attention_num_buckets", "relative_buckets", 32, low=4),
    Key("relative_attention_max_distance", "relative_distance", 128, low=2),
    Key("dropout_rate", "dropout", 0.1),
)


def config_from_hf(hf: Fields) -> TransformerConfig:
    """Our config from T5's."""
    hf.must_be("is_decoder", False)
    hf.must_be("is_encoder_decoder", True, None)
    gated, activation = _mlp(hf)
    values = read(hf, KEYS)
    width = hf.whole("d_kv", 64)
    fills = width * values["num_heads"] == values["hidden_size"]
    return TransformerConfig(
        **values,
        decoder_layers=hf.whole("num_decoder_layers", values["num_layers"], high=1000),
        head_size=None if fills else width,
        scaled_attention=False,
        norm="rms",
        position="relative",
        activation=activation,
        gated=gated,
        bias=False,
        attention_dropout=hf.number("attention_dropout", values["dropout"], low=0, high=1),
    )


def _mlp(hf: Fields) -> tuple[bool, Activation]:
    """Whether it is gated, and its activation."""
    words = [*ACTIVATION_WORDS, *(f"gated-{word}" for word in ACTIVATION_WORDS)]
    word = hf.word("feed_forward_proj", "relu", words)
    if word == GATED_GELU:
        return True, "gelu_tanh"
    return word.startswith("gated-"), activation_from_hf(word.removeprefix("gated-"))


def style_from_hf(hf: Fields) -> HeadStyle:
    """The last token's state through a dense layer; next tokens by the table or by a matrix."""
    tied = hf.flag("tie_word_embeddings", True)
    return HeadStyle(
        tied=tied,
        scaled=hf.flag("scale_decoder_outputs", tied),
        pooling="last",
        start=hf.whole("decoder_start_token_id", 0, low=0),
    )


def settle(style: HeadStyle, names: Collection[str]) -> HeadStyle:
    """Unscaled states are decoded by a matrix of their own where the file has one."""
    own = MATRIX in names and not style.scaled
    return replace(style, tied=False) if own else style


def config_to_hf(config: TransformerConfig, style: HeadStyle) -> HFConfig:
    """T5's config from ours."""
    word = activation_to_hf(config.activation)
    if config.gated:
        word = GATED_GELU if config.activation == "gelu_tanh" else f"gated-{word}"
    return {
        **written(config, KEYS),
        "num_decoder_layers": config.decoder_layers,
        "d_kv": config.head_dim,
        "feed_forward_proj": word,
        "attention_dropout": config.attention_dropout,
        "is_encoder_decoder": True,
        "tie_word_embeddings": style.tied,
        "scale_decoder_outputs": style.scaled,
        "decoder_start_token_id": style.start,
        "pad_token_id": 0,
        "eos_token_id": 1,
    }


DEFAULTS = Fields(
    {"feed_forward_proj": GATED_GELU, "tie_word_embeddings": False}, "T5 1.1's defaults"
)
T5 = Family(
    name="t5",
    title="T5",
    paper="Raffel et al. 2020, https://arxiv.org/abs/1910.10683",
    model_types=("t5",),
    special_tokens="t5",
    template=config_from_hf(DEFAULTS),
    style=style_from_hf(DEFAULTS),
    widening=8 / 3,
    config_from_hf=config_from_hf,
    style_from_hf=style_from_hf,
    settle=settle,
    config_to_hf=config_to_hf,
    architectures=(
        Architecture("T5Model", ()),
        Architecture("T5ForConditionalGeneration", ("causal",), prefix=""),
        Architecture("T5ForSequenceClassification", ("sequence",)),
    ),
    body=BODY,
    variants=variants,
    heads={
        "causal": (Rule((MATRIX,), "decoder.weight"),),
        "sequence": (
            *linear("classification_head.dense", "pooler.dense"),
            *linear("classification_head.out_proj", "classifier"),
        ),
    },
    spelling=Spelling(
        prefixes=("transformer.",),
        dropped=(r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",),
        tied=(
            ("encoder.embed_tokens.weight", TABLE),
            ("decoder.embed_tokens.weight", TABLE),
            (MATRIX, TABLE),
        ),
    ),
)
build = T5.build
