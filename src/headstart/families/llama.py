"""Llama: pre-norm decoder with RMSNorm, rotary positions, grouped heads and a gated MLP."""

from __future__ import annotations

from headstart.families.activations import ACTIVATION_WORDS, activation_from_hf, activation_to_hf
from headstart.families.family import Architecture, Family, HFConfig
from headstart.families.fields import Fields
from headstart.families.names import Rule, Spelling, linear, stacked
from headstart.families.rope import read_rope, rope_to_hf
from headstart.families.style import HeadStyle
from headstart.nn import TransformerConfig

BLOCK = "stack.blocks.{n}"
LAYER = "layers.{n}"

BODY = (
    Rule(("embed_tokens.weight",), "embed.tokens.weight"),
    *linear(f"{LAYER}.self_attn.o_proj", f"{BLOCK}.attention.out"),
    *linear(f"{LAYER}.input_layernorm", f"{BLOCK}.attention_norm"),
    *stacked([f"{LAYER}.mlp.gate_proj", f"{LAYER}.mlp.up_proj"], f"{BLOCK}.mlp.up"),
    *linear(f"{LAYER}.mlp.down_proj", f"{BLOCK}.mlp.down"),
    *linear(f"{LAYER}.post_attention_layernorm", f"{BLOCK}.mlp_norm"),
    *linear("norm", "stack.norm"),
)


def variants(config: TransformerConfig) -> tuple[Rule, ...]:
    """The fused projection, whose parts are of unequal heights where heads are grouped."""
    parts = [f"{LAYER}.self_attn.{part}_proj" for part in "qkv"]
    shares = (config.num_heads, config.kv_heads, config.kv_heads)
    return stacked(parts, f"{BLOCK}.attention.qkv", shares=shares)


def config_from_hf(hf: Fields) -> TransformerConfig:
    """Our config from Llama's."""
    bias = hf.flag("attention_bias", False)
    if hf.flag("mlp_bias", False) != bias:
        raise hf.refused("mlp_bias", not bias, "the same as attention_bias")
    hf.must_be("pretraining_tp", 1, None)
    hidden, heads = hf.whole("hidden_size", 4096), hf.whole("num_attention_heads", 32)
    theta, scaling = read_rope(hf)
    width, shared = hf.whole("head_dim", hidden // heads), hf.whole("num_key_value_heads", heads)
    return TransformerConfig(
        vocab_size=hf.whole("vocab_size", 32000),
        hidden_size=hidden,
        num_layers=hf.whole("num_hidden_layers", 32, high=1000),
        num_heads=heads,
        head_size=None if width * heads == hidden else width,
        num_kv_heads=None if shared == heads else shared,
        intermediate_size=hf.whole("intermediate_size", 11008),
        max_positions=hf.whole("max_position_embeddings", 2048),
        norm="rms",
        norm_eps=hf.number("rms_norm_eps", 1e-6, low=0, high=1),
        rope_theta=theta,
        rope_scaling=scaling,
        activation=activation_from_hf(hf.word("hidden_act", "silu", ACTIVATION_WORDS)),
        gated=True,
        bias=bias,
        causal=True,
        dropout=hf.number("hidden_dropout", 0.0, low=0, high=1),  # stock models have none
        attention_dropout=hf.number("attention_dropout", 0.0, low=0, high=1),
    )


def style_from_hf(hf: Fields) -> HeadStyle:
    """The last token's state and one linear without bias; the decoder is tied or not."""
    tied = hf.flag("tie_word_embeddings", False)
    return HeadStyle(tied=tied, pooling="last", pool_activation=None, classifier_bias=False)


def config_to_hf(config: TransformerConfig, style: HeadStyle) -> HFConfig:
    """Llama's config from ours."""
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.intermediate_size,
        "max_position_embeddings": config.max_positions,
        "rms_norm_eps": config.norm_eps,
        **rope_to_hf(config),
        "hidden_act": activation_to_hf(config.activation),
        "attention_bias": config.bias,
        "mlp_bias": config.bias,
        "hidden_dropout": config.dropout,
        "attention_dropout": config.attention_dropout,
        "tie_word_embeddings": style.tied,
        **dict.fromkeys(f"{name}_token_id" for name in ("pad", "bos", "eos")),
    }


LLAMA = Family(
    name="llama",
    title="Llama",
    paper="Touvron et al. 2023, https://arxiv.org/abs/2302.13971",
    model_types=("llama",),
    special_tokens="gpt",
    template=config_from_hf(Fields({}, "Llama's defaults")),
    style=style_from_hf(Fields({"tie_word_embeddings": True}, "our Llama's defaults")),
    widening=8 / 3,
    config_from_hf=config_from_hf,
    style_from_hf=style_from_hf,
    config_to_hf=config_to_hf,
    architectures=(
        Architecture("LlamaModel", ()),
        Architecture("LlamaForCausalLM", ("causal",)),
        Architecture("LlamaForSequenceClassification", ("sequence",)),
    ),
    body=BODY,
    variants=variants,
    heads={
        "causal": (Rule(("lm_head.weight",), "decoder.weight"),),
        "sequence": linear("score", "classifier"),
    },
    spelling=Spelling(
        prefixes=("model.",),
        dropped=(r"layers\.\d+\.self_attn\.rotary_emb\.inv_freq",),
        tied=(("lm_head.weight", "embed_tokens.weight"),),
    ),
)
build = LLAMA.build
