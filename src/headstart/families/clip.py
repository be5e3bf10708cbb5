"""CLIP: a causal text tower read at the end token beside a ViT, both mapped to one space.

The vision tower normalises its embeddings, and its patches' projection has no bias. A folder of one
tower with its projection is read too, as a model of text or of images alone.
"""

from __future__ import annotations

from dataclasses import replace

from headstart.errors import InputError
from headstart.families.family import Architecture, Family, HFConfig
from headstart.families.fields import Fields
from headstart.families.heads import HeadKind
from headstart.families.keys import Key, read, sizes, written
from headstart.families.names import Rule, Spelling, linear, stacked
from headstart.families.style import HeadStyle
from headstart.families.vit import patches_of, patches_to_hf
from headstart.nn import Patches, TransformerConfig

STYLE = HeadStyle(
    pooling="last",
    pool_activation=None,
    images=HeadStyle(pooling="first", pool_activation=None),
)
TEXT_TYPE, IMAGE_TYPE = "clip_text_model", "clip_vision_model"


def _layers(theirs: str, ours: str) -> tuple[Rule, ...]:
    """Rules of the blocks, alike in both towers."""
    return (
        *stacked(
            [f"{theirs}.self_attn.{part}_proj" for part in ("q", "k", "v")], f"{ours}.attention.qkv"
        ),
        *linear(f"{theirs}.self_attn.out_proj", f"{ours}.attention.out"),
        *linear(f"{theirs}.layer_norm1", f"{ours}.attention_norm"),
        *linear(f"{theirs}.mlp.fc1", f"{ours}.mlp.up"),
        *linear(f"{theirs}.mlp.fc2", f"{ours}.mlp.down"),
        *linear(f"{theirs}.layer_norm2", f"{ours}.mlp_norm"),
    )


TEXTS = (
    Rule(("text_model.embeddings.token_embedding.weight",), "embed.tokens.weight"),
    Rule(("text_model.embeddings.position_embedding.weight",), "embed.positions.weight"),
    *_layers("text_model.encoder.layers.{n}", "stack.blocks.{n}"),
    *linear("text_model.final_layer_norm", "stack.norm"),
)
IMAGES = (
    Rule(("vision_model.embeddings.class_embedding",), "embed.first", lone=-2),
    Rule(("vision_model.embeddings.patch_embedding.weight",), "embed.tokens.weight"),
    Rule(("vision_model.embeddings.position_embedding.weight",), "embed.positions", lone=-1),
    *linear("vision_model.pre_layrnorm", "embed.norm"),
    *_layers("vision_model.encoder.layers.{n}", "stack.blocks.{n}"),
    *linear("vision_model.post_layernorm", "stack.norm"),
)
HEADS: dict[HeadKind, tuple[Rule, ...]] = {
    "pair": (
        Rule(("text_projection.weight",), "texts.weight"),
        Rule(("visual_projection.weight",), "images.weight"),
        Rule(("logit_scale",), "scale", lone=-1),
    ),
}

BOTH_KEYS = (  # stock CLIP knows no dropout but that of attention
    Key("layer_norm_eps", "norm_eps", 1e-5),
    Key("hidden_act", "activation", "quick_gelu"),
    Key("dropout", "dropout", 0.0),
    Key("attention_dropout", "attention_dropout", 0.0),
)
TEXT_KEYS = (
    Key("vocab_size", "vocab_size", 49408),
    *sizes(512, 12, 8, 2048),
    Key("max_position_embeddings", "max_positions", 77),
    *BOTH_KEYS,
)
IMAGE_KEYS = (*sizes(768, 12, 12, 3072), *BOTH_KEYS)


def rules_of(config: TransformerConfig) -> tuple[Rule, ...]:
    """Names of both towers' weights, or of the one that there is."""
    if config.images is not None:
        return (*TEXTS, *(replace(rule, ours=f"images.{rule.ours}") for rule in IMAGES))
    return TEXTS if config.patches is None else IMAGES


def config_from_hf(hf: Fields) -> TransformerConfig:
    """Our config from CLIP's, or from that of one of its towers."""
    kind = hf.word("model_type", "clip", ("clip", TEXT_TYPE, IMAGE_TYPE))
    if kind == TEXT_TYPE:
        return text_config(hf, hf.whole("projection_dim", 512))
    if kind == IMAGE_TYPE:
        return image_config(hf, hf.whole("projection_dim", 512))
    shared = hf.whole("projection_dim", 512)
    text, image = inner_of(hf, "text_config"), inner_of(hf, "vision_config")
    return replace(text_config(text, shared), images=image_config(image, shared))


def inner_of(hf: Fields, key: str) -> Fields:
    """A tower's values. Old files have some of them under a second key, which counts more."""
    parts = [found.values for k in (key, f"{key}_dict") if (found := hf.inner(k)) is not None]
    return Fields({k: v for values in parts for k, v in values.items()}, f"{hf.source}, {key}")


def text_config(hf: Fields, shared: int) -> TransformerConfig:
    """Of the tower of texts."""
    return TransformerConfig(
        **read(hf, TEXT_KEYS), position="learned", causal=True, shared_size=shared
    )


def image_config(hf: Fields, shared: int) -> TransformerConfig:
    """Of the tower of images."""
    patches = patches_of(hf, 32, bias=False)
    return TransformerConfig(
        **read(hf, IMAGE_KEYS),
        vocab_size=0,
        max_positions=patches.tokens,
        position="learned",
        embedding_norm=True,
        patches=patches,
        shared_size=shared,
    )


def style_from_hf(hf: Fields) -> HeadStyle:
    """Texts are read at their end token; `logit_bias` is ours, stock libraries leave it aside."""
    text = hf if hf.values.get("model_type") == TEXT_TYPE else inner_of(hf, "text_config")
    end = text.whole("eos_token_id", 49407, low=0)
    return replace(STYLE, end=end, pair_bias=pair_bias(hf))


def pair_bias(hf: Fields) -> float | None:
    """Added to the scores of pairs, where the file has it."""
    given = hf.values.get("logit_bias") is not None
    return hf.number("logit_bias", low=-1e4, high=1e4) if given else None


def config_to_hf(config: TransformerConfig, style: HeadStyle) -> HFConfig:
    """CLIP's config from ours. Raises InputError for one tower alone."""
    images = config.images
    if images is None:
        raise InputError("one tower of a CLIP is read, but not written: save the whole model")
    return towers_to_hf(config, style, text_to_hf(config, style), image_to_hf(images))


def towers_to_hf(
    config: TransformerConfig, style: HeadStyle, texts: HFConfig, images: HFConfig
) -> HFConfig:
    """The configs of two towers in one."""
    values: HFConfig = {
        "projection_dim": config.shared_size,
        "tie_word_embeddings": False,
        "text_config": texts,
        "vision_config": images,
    }
    return values if style.pair_bias is None else {**values, "logit_bias": style.pair_bias}


def text_to_hf(config: TransformerConfig, style: HeadStyle) -> HFConfig:
    """What a folder says of the tower of texts."""
    return {
        "model_type": TEXT_TYPE,
        "eos_token_id": style.end,
        "projection_dim": config.shared_size,
        **written(config, TEXT_KEYS),
    }


def image_to_hf(config: TransformerConfig) -> HFConfig:
    """What a folder says of the tower of images."""
    return {
        "model_type": IMAGE_TYPE,
        "projection_dim": config.shared_size,
        **patches_to_hf(config.patches),
        **written(config, IMAGE_KEYS),
    }


def fit(config: TransformerConfig) -> TransformerConfig:
    """A fresh model's vision tower has the sizes of its text tower, and so has the shared space."""
    assert config.images is not None, "a template of two towers"
    bias = config.images.patches is not None and config.images.patches.bias
    patches = replace(config.patches or Patches(), bias=bias)
    images = replace(
        config.images,
        hidden_size=config.hidden_size,
        num_layers=config.num_layers,
        num_heads=config.num_heads,
        intermediate_size=config.intermediate_size,
        dropout=config.dropout,
        attention_dropout=config.attention_dropout,
        patches=patches,
        max_positions=patches.tokens,
        shared_size=config.hidden_size,
    )
    return replace(config, patches=None, images=images, shared_size=config.hidden_size)


CLIP = Family(
    name="clip",
    title="CLIP",
    paper="Radford et al. 2021, https://arxiv.org/abs/2103.00020",
    model_types=("clip", TEXT_TYPE, IMAGE_TYPE),
    special_tokens="clip",
    template=config_from_hf(Fields({"text_config": {}, "vision_config": {}}, "CLIP's defaults")),
    style=STYLE,
    config_from_hf=config_from_hf,
    style_from_hf=style_from_hf,
    config_to_hf=config_to_hf,
    fit=fit,
    architectures=(
        Architecture("CLIPModel", ("pair",), prefix=""),
        Architecture("CLIPTextModelWithProjection", ("pair",), model_type=TEXT_TYPE),
        Architecture("CLIPVisionModelWithProjection", ("pair",), model_type=IMAGE_TYPE),
    ),
    body=(),
    variants=rules_of,
    heads=HEADS,
    spelling=Spelling(prefixes=("",), dropped=(r".*\.embeddings\.position_ids",)),
)
build = CLIP.build
