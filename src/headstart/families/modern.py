"""Modern encoder: pre-norm without biases, rotary positions, gated MLP; written as ModernBERT.

Our own recipe attends to the whole sequence in every layer; checkpoints with local windows and two
rotary bases (Warner et al. 2024, section 2.1) load and save as well.
"""

from __future__ import annotations

from dataclasses import replace

from headstart.families.activations import ACTIVATION_WORDS, activation_from_hf, activation_to_hf
from headstart.families.family import Architecture, Family, HFConfig
from headstart.families.fields import Fields
from headstart.families.heads import HeadKind
from headstart.families.names import Rule, Spelling, linear
from headstart.families.style import HeadStyle
from headstart.nn import TransformerConfig

BLOCK = "stack.blocks.{n}"
GLOBAL_THETA, LOCAL_THETA = 160_000.0, 10_000.0  # the published model's
KINDS = ("full_attention", "sliding_attention")

BODY = (
    Rule(("embeddings.tok_embeddings.weight",), "embed.tokens.weight"),
    *linear("embeddings.norm", "embed.norm"),
    *linear("layers.{n}.attn_norm", f"{BLOCK}.attention_norm"),
    *linear("layers.{n}.attn.Wqkv", f"{BLOCK}.attention.qkv"),
    *linear("layers.{n}.attn.Wo", f"{BLOCK}.attention.out"),
    *linear("layers.{n}.mlp_norm", f"{BLOCK}.mlp_norm"),
    *linear("layers.{n}.mlp.Wi", f"{BLOCK}.mlp.up"),
    *linear("layers.{n}.mlp.Wo", f"{BLOCK}.mlp.down"),
    *linear("final_norm", "stack.norm"),
)
HEADS: dict[HeadKind, tuple[Rule, ...]] = {
    "sequence": (
        *linear("head.dense", "pooler.dense"),
        *linear("head.norm", "pooler.norm"),
        *linear("classifier", "classifier"),
    ),
    "masked": (
        *linear("head.dense", "dense"),
        *linear("head.norm", "norm"),
        Rule(("decoder.bias",), "bias"),
    ),
}


def config_from_hf(hf: Fields) -> TransformerConfig:
    """Our config from ModernBERT's, in the old spelling of its keys or the new one."""
    bias = hf.flag("attention_bias", False)
    if hf.flag("mlp_bias", False) != bias:
        raise hf.refused("mlp_bias", not bias, "the same as attention_bias")
    layers = hf.whole("num_hidden_layers", 22, high=1000)
    every = _global_every(hf, layers)
    far, near = _thetas(hf)
    return TransformerConfig(
        vocab_size=hf.whole("vocab_size", 50368),
        hidden_size=hf.whole("hidden_size", 768),
        num_layers=layers,
        num_heads=hf.whole("num_attention_heads", 12),
        intermediate_size=hf.whole("intermediate_size", 1152),
        max_positions=hf.whole("max_position_embeddings", 8192),
        norm_eps=hf.number("norm_eps", 1e-5, low=0, high=1),
        norm_bias=hf.flag("norm_bias", False),
        rope_theta=far,
        local_rope_theta=near,
        embedding_norm=True,
        first_norm=False,
        activation=activation_from_hf(hf.word("hidden_activation", "gelu", ACTIVATION_WORDS)),
        gated=True,
        bias=bias,
        window=None if every == 1 else hf.whole("local_attention", 128),
        global_every=every,
        dropout=hf.number("mlp_dropout", 0.0, low=0, high=1),
        attention_dropout=hf.number("attention_dropout", 0.0, low=0, high=1),
    )


def _global_every(hf: Fields, layers: int) -> int:
    kinds = hf.words("layer_types")
    if not kinds:
        return hf.whole("global_attn_every_n_layers", 3)
    wide = [n for n, kind in enumerate(kinds) if kind == KINDS[0]]
    every = hf.whole("global_attn_every_n_layers", wide[1] if len(wide) > 1 else max(2, layers))
    expected = [KINDS[0] if n % every == 0 else KINDS[1] for n in range(layers)]
    if layers == 1 and kinds == expected:
        return 1
    if kinds != expected:
        raise hf.refused(
            "layer_types", list(kinds), f"{layers} of full_attention at every n-th layer from 0 on"
        )
    return every


def _thetas(hf: Fields) -> tuple[float, float]:
    hf.must_be("rope_scaling", None)
    rope = hf.inner("rope_parameters")
    found = []
    for kind, old, default in zip(
        KINDS, ("global_rope_theta", "local_rope_theta"), (GLOBAL_THETA, LOCAL_THETA), strict=True
    ):
        fields = rope.inner(kind) if rope else None
        if fields is not None:
            fields.must_be("rope_type", "default")
        given = hf.number(old, default, low=1, high=1e12)
        found.append(fields.number("rope_theta", given, low=1, high=1e12) if fields else given)
    return found[0], found[1]


def style_from_hf(hf: Fields) -> HeadStyle:
    """Masked-LM and classification share the dense layer's kind."""
    activation = activation_from_hf(hf.word("classifier_activation", "gelu", ACTIVATION_WORDS))
    bias = hf.flag("classifier_bias", False)
    return HeadStyle(
        activation=activation,
        transform_bias=bias,
        decoder_bias=hf.flag("decoder_bias", True),
        pooling="mean"
        if hf.word("classifier_pooling", "cls", ("cls", "mean")) == "mean"
        else "first",
        pool_activation=activation,
        pool_bias=bias,
        pool_norm=True,
    )


def config_to_hf(config: TransformerConfig, style: HeadStyle) -> HFConfig:
    """ModernBERT's config from ours, in the spelling that every version of transformers reads."""
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.intermediate_size,
        "max_position_embeddings": config.max_positions,
        "norm_eps": config.norm_eps,
        "norm_bias": config.norm_bias,
        "global_rope_theta": config.rope_theta,
        "local_rope_theta": config.local_rope_theta,
        "global_attn_every_n_layers": config.global_every,
        "local_attention": config.window or 128,
        "hidden_activation": activation_to_hf(config.activation),
        "attention_bias": config.bias,
        "mlp_bias": config.bias,
        "embedding_dropout": config.dropout,
        "mlp_dropout": config.dropout,
        "attention_dropout": config.attention_dropout,
        "classifier_activation": activation_to_hf(style.activation),
        "classifier_bias": style.transform_bias,
        "classifier_pooling": "mean" if style.pooling == "mean" else "cls",
        "decoder_bias": style.decoder_bias,
        **dict.fromkeys(f"{name}_token_id" for name in ("pad", "cls", "sep", "bos", "eos")),
    }


DEFAULTS = Fields({"global_attn_every_n_layers": 1}, "the modern encoder's defaults")
MODERN = Family(
    name="modern",
    title="ModernBERT",
    paper="Warner et al. 2024, https://arxiv.org/abs/2412.13663",
    model_types=("modernbert",),
    special_tokens="bert",
    template=replace(config_from_hf(DEFAULTS), rope_theta=LOCAL_THETA),
    style=style_from_hf(Fields({"classifier_pooling": "mean"}, "the modern encoder's defaults")),
    widening=8 / 3,
    config_from_hf=config_from_hf,
    style_from_hf=style_from_hf,
    config_to_hf=config_to_hf,
    architectures=(
        Architecture("ModernBertModel", ()),
        Architecture("ModernBertForMaskedLM", ("masked",)),
        Architecture("ModernBertForSequenceClassification", ("sequence",)),
    ),
    body=BODY,
    heads=HEADS,
    spelling=Spelling(
        prefixes=("model.",), tied=(("decoder.weight", "embeddings.tok_embeddings.weight"),)
    ),
)
build = MODERN.build
