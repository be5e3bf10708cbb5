"""GPT-2: pre-norm decoder with learned positions; its linears are stored input x output."""

from __future__ import annotations

from dataclasses import replace

from headstart.families.family import Architecture, Family, HFConfig
from headstart.families.fields import Fields
from headstart.families.keys import Key, read, written
from headstart.families.names import Rule, Spelling, linear
from headstart.families.style import HeadStyle
from headstart.nn import TransformerConfig

BLOCK = "stack.blocks.{n}"

BODY = (
    Rule(("wte.weight",), "embed.tokens.weight"),
    Rule(("wpe.weight",), "embed.positions.weight"),
    *linear("h.{n}.ln_1", f"{BLOCK}.attention_norm"),
    *linear("h.{n}.attn.c_attn", f"{BLOCK}.attention.qkv", transposed=True),
    *linear("h.{n}.attn.c_proj", f"{BLOCK}.attention.out", transposed=True),
    *linear("h.{n}.ln_2", f"{BLOCK}.mlp_norm"),
    *linear("h.{n}.mlp.c_fc", f"{BLOCK}.mlp.up", transposed=True),
    *linear("h.{n}.mlp.c_proj", f"{BLOCK}.mlp.down", transposed=True),
    *linear("ln_f", "stack.norm"),
)
STYLE = HeadStyle(pooling="last", pool_activation=None, classifier_bias=False)

KEYS = (
    Key("vocab_size", "vocab_size", 50257),
    Key("n_embd", "hidden_size", 768),
    Key("n_layer", "num_layers", 12, high=1000),
    Key("n_head", "num_heads", 12),
    Key("n_positions", "max_positions", 1024),
    Key("layer_norm_epsilon", "norm_eps", 1e-5),
    Key("activation_function", "activation", "gelu_new"),
    Key("resid_pdrop", "dropout", 0.1),
    Key("attn_pdrop", "attention_dropout", 0.1),
)


def config_from_hf(hf: Fields) -> TransformerConfig:
    """Our config from GPT-2's; unusual attention scalings are refused."""
    hf.must_be("scale_attn_weights", True)
    hf.must_be("scale_attn_by_inverse_layer_idx", False)
    hf.must_be("add_cross_attention", False)
    values = read(hf, KEYS)
    inner = hf.whole("n_inner", 4 * values["hidden_size"])
    return TransformerConfig(**values, intermediate_size=inner, position="learned", causal=True)


def style_from_hf(hf: Fields) -> HeadStyle:
    """The last token's state and one linear without bias."""
    return STYLE


def config_to_hf(config: TransformerConfig, style: HeadStyle) -> HFConfig:
    """GPT-2's config from ours."""
    return {
        **written(config, KEYS),
        "n_inner": config.intermediate_size,
        "embd_pdrop": config.dropout,
        **dict.fromkeys(f"{name}_token_id" for name in ("pad", "bos", "eos")),
    }


def fit(config: TransformerConfig) -> TransformerConfig:
    """The exact GELU for fresh models: it costs a third of the approximation by tanh on CPUs."""
    return replace(config, activation="gelu")


GPT = Family(
    name="gpt",
    title="GPT-2",
    paper="Radford et al. 2019, Language Models are Unsupervised Multitask Learners",
    model_types=("gpt2",),
    special_tokens="gpt",
    template=config_from_hf(Fields({}, "GPT-2's defaults")),
    style=STYLE,
    config_from_hf=config_from_hf,
    style_from_hf=style_from_hf,
    config_to_hf=config_to_hf,
    fit=fit,
    architectures=(
        Architecture("GPT2Model", ()),
        Architecture("GPT2LMHeadModel", ("causal",)),
        Architecture("GPT2ForSequenceClassification", ("sequence",)),
    ),
    body=BODY,
    heads={"causal": (), "sequence": linear("score", "classifier")},
    spelling=Spelling(
        prefixes=("transformer.",),
        dropped=(r"h\.\d+\.attn\.(masked_)?bias",),
        tied=(("lm_head.weight", "wte.weight"),),
    ),
)
build = GPT.build
