"""ViT: pre-norm encoder over patches of an image, a class token before them, learned positions.

ViT-MAE is the same body with a decoder as its head; its files have a model type of their own.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from headstart.errors import InputError
from headstart.families.activations import ACTIVATION_WORDS, activation_from_hf, activation_to_hf
from headstart.families.family import Architecture, Family, HFConfig
from headstart.families.fields import Fields
from headstart.families.heads import HeadKind
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


def config_from_hf(hf: Fields) -> TransformerConfig:
    """Our config from ViT's; images and patches are square."""
    hf.must_be("qkv_bias", True)
    hf.must_be("pooler_act", "tanh", None)
    patches = Patches(
        image_size=side_of(hf, "image_size", 224),
        patch_size=side_of(hf, "patch_size", 16),
        channels=hf.whole("num_channels", 3, high=64),
    )
    hidden = hf.whole("hidden_size", 768)
    hf.must_be("pooler_output_size", hidden, None)
    return TransformerConfig(
        vocab_size=0,
        hidden_size=hidden,
        num_layers=hf.whole("num_hidden_layers", 12, high=1000),
        num_heads=hf.whole("num_attention_heads", 12),
        intermediate_size=hf.whole("intermediate_size", 3072),
        max_positions=patches.tokens,
        norm_eps=hf.number("layer_norm_eps", 1e-12, low=0, high=1),
        position="learned",
        patches=patches,
        activation=activation_from_hf(hf.word("hidden_act", "gelu", ACTIVATION_WORDS)),
        dropout=hf.number("hidden_dropout_prob", 0.0, low=0, high=1),
        attention_dropout=hf.number("attention_probs_dropout_prob", 0.0, low=0, high=1),
    )


def side_of(hf: Fields, key: str, default: int) -> int:
    """A size that is given as one number or as two equal ones."""
    value = hf.values.get(key)
    if isinstance(value, list) and len(value) == 2 and value[0] == value[1]:
        return Fields({key: value[0]}, hf.source).whole(key, high=100_000)
    return hf.whole(key, default, high=100_000)


def style_from_hf(hf: Fields) -> HeadStyle:
    """A linear classifier on the class token; MAE's decoder where the file describes one."""
    plain = PatchDecoder()
    decoder = PatchDecoder(
        hidden_size=hf.whole("decoder_hidden_size", plain.hidden_size),
        num_layers=hf.whole("decoder_num_hidden_layers", plain.num_layers, high=1000),
        num_heads=hf.whole("decoder_num_attention_heads", plain.num_heads),
        intermediate_size=hf.whole("decoder_intermediate_size", plain.intermediate_size),
        mask_ratio=hf.number("mask_ratio", plain.mask_ratio, low=0, high=1),
        normalised=hf.flag("norm_pix_loss", plain.normalised),
    )
    return replace(STYLE, patch_decoder=decoder)


def config_to_hf(config: TransformerConfig, style: HeadStyle) -> HFConfig:
    """ViT's config from ours."""
    patches, decoder = config.patches, style.patch_decoder
    assert patches is not None, "a ViT reads patches"
    values: HFConfig = {
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.intermediate_size,
        "layer_norm_eps": config.norm_eps,
        "hidden_act": activation_to_hf(config.activation),
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": config.attention_dropout,
        "image_size": patches.image_size,
        "patch_size": patches.patch_size,
        "num_channels": patches.channels,
        "encoder_stride": patches.patch_size,
        "qkv_bias": True,
    }
    if decoder != PatchDecoder():
        values |= {
            "decoder_hidden_size": decoder.hidden_size,
            "decoder_num_hidden_layers": decoder.num_layers,
            "decoder_num_attention_heads": decoder.num_heads,
            "decoder_intermediate_size": decoder.intermediate_size,
            "mask_ratio": decoder.mask_ratio,
            "norm_pix_loss": decoder.normalised,
        }
    return values


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
