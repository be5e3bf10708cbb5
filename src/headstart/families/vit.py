"""ViT: pre-norm encoder over patches of an image, a class token before them, learned positions.

ViT-MAE is the same body with a decoder as its head; its files have a model type of their own.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from headstart.errors import InputError
from headstart.families.family import Architecture, Family, HFConfig
from headstart.families.fields import Fields
from headstart.families.heads import HeadKind
from headstart.families.keys import Key, read, sizes, written
from headstart.families.model import Model
from headstart.families.names import Rule, Spelling, linear, stacked
from headstart.families.style import HeadStyle, PatchDecoder
from headstart.nn import Patches, TransformerConfig
from headstart.nn.patch_embed import PatchEmbedding
from headstart.nn.patches import interpolated


def _layers(theirs: str, ours: str) -> tuple[Rule, ...]:
    """Rules of the blocks, of the body and of MAE's decoder."""
    return (
        *stacked(
            [f"{theirs}.attention.attention.{part}" for part in ("query", "key", "value")],
            f"{ours}.attention.qkv",
        ),
        *linear(f"{theirs}.attention.output.dense", f"{ours}.attention.out"),
        *linear(f"{theirs}.layernorm_before", f"{ours}.attention_norm"),
        *linear(f"{theirs}.layernorm_after", f"{ours}.mlp_norm"),
        *linear(f"{theirs}.intermediate.dense", f"{ours}.mlp.up"),
        *linear(f"{theirs}.output.dense", f"{ours}.mlp.down"),
    )


BODY = (
    Rule(("embeddings.cls_token",), "embed.first"),
    Rule(("embeddings.position_embeddings",), "embed.positions"),
    *linear("embeddings.patch_embeddings.projection", "embed.tokens"),
    *_layers("encoder.layer.{n}", "stack.blocks.{n}"),
    *linear("layernorm", "stack.norm"),
)
HEADS: dict[HeadKind, tuple[Rule, ...]] = {
    "sequence": linear("classifier", "classifier"),
    "pooler": linear("pooler.dense", "dense"),
    "mae": (
        *linear("decoder.decoder_embed", "embed"),
        Rule(("decoder.mask_token",), "mask_token"),
        Rule(("decoder.decoder_pos_embed",), "positions"),
        *_layers("decoder.decoder_layers.{n}", "stack.blocks.{n}"),
        *linear("decoder.decoder_norm", "stack.norm"),
        *linear("decoder.decoder_pred", "predict"),
    ),
    "simmim": (
        Rule(("embeddings.mask_token",), "mask_token"),
        *linear("decoder.0", "predict"),
    ),
}
STYLE = HeadStyle(pooling="first", pool_activation="tanh", classifier_pools=False)

KEYS = (
    *sizes(768, 12, 12, 3072),
    Key("layer_norm_eps", "norm_eps", 1e-12),
    Key("hidden_act", "activation", "gelu"),
    Key("hidden_dropout_prob", "dropout", 0.0),
    Key("attention_probs_dropout_prob", "attention_dropout", 0.0),
)
DECODER_KEYS = (  # of MAE's decoder
    Key("decoder_hidden_size", "hidden_size", 512),
    Key("decoder_num_hidden_layers", "num_layers", 8, high=1000),
    Key("decoder_num_attention_heads", "num_heads", 16),
    Key("decoder_intermediate_size", "intermediate_size", 2048),
    Key("mask_ratio", "mask_ratio", 0.75),
    Key("norm_pix_loss", "normalised", False),
)


def config_from_hf(hf: Fields) -> TransformerConfig:
    """Our config from ViT's; images and patches are square."""
    hf.must_be("qkv_bias", True)
    hf.must_be("pooler_act", "tanh", None)
    values, patches = read(hf, KEYS), patches_of(hf, 16)
    hf.must_be("pooler_output_size", values["hidden_size"], None)
    return TransformerConfig(
        **values, vocab_size=0, max_positions=patches.tokens, position="learned", patches=patches
    )


def patches_of(hf: Fields, side: int, *, bias: bool = True) -> Patches:
    """How images are cut up. side: pixels of a patch where the file does not say."""
    return Patches(
        image_size=side_of(hf, "image_size", 224),
        patch_size=side_of(hf, "patch_size", side),
        channels=hf.whole("num_channels", 3, high=64),
        bias=bias,
    )


def patches_to_hf(patches: Patches | None) -> HFConfig:
    """The same as the file says it."""
    assert patches is not None, "a model that reads images"
    return {
        "image_size": patches.image_size,
        "patch_size": patches.patch_size,
        "num_channels": patches.channels,
    }


def side_of(hf: Fields, key: str, default: int) -> int:
    """A size that is given as one number or as two equal ones."""
    value = hf.values.get(key)
    if isinstance(value, list) and len(value) == 2 and value[0] == value[1]:
        return Fields({key: value[0]}, hf.source).whole(key, high=100_000)
    return hf.whole(key, default, high=100_000)


def style_from_hf(hf: Fields) -> HeadStyle:
    """A linear classifier on the class token; MAE's decoder where the file describes one."""
    return replace(STYLE, patch_decoder=PatchDecoder(**read(hf, DECODER_KEYS)))


def config_to_hf(config: TransformerConfig, style: HeadStyle) -> HFConfig:
    """ViT's config from ours."""
    images, decoder = patches_to_hf(config.patches), style.patch_decoder
    stride = images["patch_size"]
    values = {**written(config, KEYS), **images, "encoder_stride": stride, "qkv_bias": True}
    return values if decoder == PatchDecoder() else values | written(decoder, DECODER_KEYS)


def fit(config: TransformerConfig) -> TransformerConfig:
    """A fresh model has no vocabulary, and as many positions as its image has patches."""
    patches = config.patches or Patches()
    return replace(config, vocab_size=0, max_positions=patches.tokens, patches=patches)


def at_size(model: Model, image_size: int) -> Model:
    """The same network for images of another size: positions are interpolated, the rest is shared.

    Raises InputError if the model reads no images, or its patches do not fill the size.
    """
    patches, embed = model.config.patches, model.embed
    if patches is None or not isinstance(embed, PatchEmbedding):
        raise InputError(f"family {model.family} reads text, so it has no image size")
    if image_size == patches.image_size:
        return model
    wanted = replace(patches, image_size=image_size)
    config = replace(model.config, patches=wanted, max_positions=wanted.tokens)
    with torch.device("meta"):
        resized = Model(config, family=model.family, style=model.style)
    state = model.state_dict()
    table = interpolated(embed.positions.detach(), (wanted.grid, wanted.grid))
    resized.load_state_dict({**state, "embed.positions": table}, assign=True)
    return resized.train(model.training)


VIT = Family(
    name="vit",
    title="ViT",
    paper="Dosovitskiy et al. 2021, https://arxiv.org/abs/2010.11929",
    model_types=("vit", "vit_mae"),
    special_tokens="bert",
    template=config_from_hf(Fields({}, "ViT's defaults")),
    style=STYLE,
    config_from_hf=config_from_hf,
    style_from_hf=style_from_hf,
    config_to_hf=config_to_hf,
    fit=fit,
    architectures=(
        Architecture("ViTModel", ()),
        Architecture("ViTModel", ("pooler",)),
        Architecture("ViTForImageClassification", ("sequence",)),
        Architecture("ViTForMaskedImageModeling", ("simmim",)),
        Architecture("ViTMAEForPreTraining", ("mae",), model_type="vit_mae"),
    ),
    body=BODY,
    heads=HEADS,
    spelling=Spelling(
        prefixes=("vit.",),
        # what transformers 5 makes of its own names when it saves
        renamed=((r"^decoder\.decoder_encoder\.layer\.", "decoder.decoder_layers."),),
        inside=("pooler.", "embeddings."),
    ),
)
build = VIT.build
