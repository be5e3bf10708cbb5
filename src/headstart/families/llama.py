"""Llama: pre-norm decoder with RMSNorm, rotary positions, grouped heads and a gated MLP."""

from __future__ import annotations

from headstart.families.family import Architecture, Family, HFConfig
from headstart.families.fields import Fields
from headstart.families.keys import Key, read, sizes, written
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
KEYS = (
    Key("vocab_size", "vocab_size", 32000),
    *sizes(4096, 32, 32, 11008),
    Key("max_position_embeddings", "max_positions", 2048),
    Key("rms_norm_eps", "norm_eps", 1e-6),
    Key("hidden_act", "activation", "silu"),
    Key("attention_bias", "bias", False),
    Key("hidden_dropout", "dropout", 0.0),  # stock models have none
    Key("attention_dropout", "attention_dropout", 0.0),
)


def variants(config: TransformerConfig) -> tuple[Rule, ...]:
    """The fused projection, whose parts are of unequal heights where heads are grouped."""
    parts = [f"{LAYER}.self_attn.{part}_proj" for part in "qkv"]
    shares = (config.num_heads, config.kv_heads, config.kv_heads)
    return stacked(parts, f"{BLOCK}.attention.qkv", shares=shares)


def config_from_hf(hf: Fields) -> TransformerConfig:
    """Our config from Llama's."""
    values = read(hf, KEYS)
    if hf.flag("mlp_bias", False) != values["bias"]:
        raise hf.refused("mlp_bias", not values["bias"], "the same as attention_bias")
    hf.must_be("pretraining_tp", 1, None)
    hidden, heads = values["hidden_size"], values["num_heads"]
    theta, scaling = read_rope(hf)
    width, shared = hf.whole("head_dim", hidden // heads), hf.whole("num_key_value_heads", heads)
    return TransformerConfig(
        **values,
        head_size=None if width * heads == hidden else width,
        num_kv_heads=None if shared == heads else shared,
        norm="rms",
        rope_theta=theta,
        rope_scaling=scaling,
        gated=True,
        causal=True,
    )


def style_from_hf(hf: Fields) -> HeadStyle:
    """The last token's state and one linear without bias; the decoder is tied or not."""
    tied = hf.flag("tie_word_embeddings", False)
    return HeadStyle(tied=tied, pooling="last", pool_activation=None, classifier_bias=False)


def config_to_hf(config: TransformerConfig, style: HeadStyle) -> HFConfig:
    """Llama's config from ours."""
    return {
        **written(config, KEYS),
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        **rope_to_hf(config),
        "mlp_bias": config.bias,
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
