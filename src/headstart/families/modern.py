"""Modern encoder: pre-norm without biases, rotary positions, gated MLP; written as ModernBERT.

Our own recipe attends to the whole sequence in every layer; checkpoints with local windows and two
rotary bases (Warner et al. 2024, section 2.1) load and save as well.
"""

from __future__ import annotations

from dataclasses import replace

from headstart.families.family import Architecture, Family, HFConfig
from headstart.families.fields import Fields
from headstart.families.heads import HeadKind
from headstart.families.keys import Key, read, sizes, written
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

KEYS = (
    Key("vocab_size", "vocab_size", 50368),
    *sizes(768, 22, 12, 1152),
    Key("max_position_embeddings", "max_positions", 8192),
    Key("norm_eps", "norm_eps", 1e-5),
    Key("norm_bias", "norm_bias", False),
    Key("hidden_activation", "activation", "gelu"),
    Key("attention_bias", "bias", False),
    Key("mlp_dropout", "dropout", 0.0),
    Key("attention_dropout", "attention_dropout", 0.0),
)
# of both heads: masked-LM and classification share the dense layer's kind
HEAD_KEYS = (
    Key("classifier_activation", "activation", "gelu"),
    Key("classifier_bias", "transform_bias", False),
    Key("decoder_bias", "decoder_bias", True),
)


def config_from_hf(hf: Fields) -> TransformerConfig:
    """Our config from ModernBERT's, in the old spelling of its keys or the new one."""
    values = read(hf, KEYS)
    if hf.flag("mlp_bias", False) != values["bias"]:
        raise hf.refused("mlp_bias", not values["bias"], "the same as attention_bias")
    every = _global_every(hf, values["num_layers"])
    far, near = _thetas(hf)
    return TransformerConfig(
        **values,
        rope_theta=far,
        local_rope_theta=near,
        embedding_norm=True,
        first_norm=False,
        gated=True,
        window=None if every == 1 else hf.whole("local_attention", 128),
        global_every=every,
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
    """The dense layer of both heads is of one kind."""
    values = read(hf, HEAD_KEYS)
    mean = hf.word("classifier_pooling", "cls", ("cls", "mean")) == "mean"
    return HeadStyle(
        **values,
        pooling="mean" if mean else "first",
        pool_activation=values["activation"],
        pool_bias=values["transform_bias"],
        pool_norm=True,
    )


def config_to_hf(config: TransformerConfig, style: HeadStyle) -> HFConfig:
    """ModernBERT's config from ours, in the spelling that every version of transformers reads."""
    return {
        **written(config, KEYS),
        **written(style, HEAD_KEYS),
        "global_rope_theta": config.rope_theta,
        "local_rope_theta": config.local_rope_theta,
        "global_attn_every_n_layers": config.global_every,
        "local_attention": config.window or 128,
        "mlp_bias": config.bias,
        "embedding_dropout": config.dropout,
        "classifier_pooling": "mean" if style.pooling == "mean" else "cls",
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
