"""A model with fewer blocks, or with one more that takes the mean of all tokens.

Stock ViT classifiers stand on the class token. A head on the mean of all last states, normalised,
is the same function with one more block: its attention looks at every token alike (no queries, no
keys), takes over the normalised states as they are, and makes their mean so large that the class
token's own state vanishes beside it; the MLP gives nothing, and the final norm takes the size away
again. The factor is a power of two, so that fp32 and bf16 lose nothing; fp16 cannot hold it.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from headstart.families.heads import SequenceHead
from headstart.families.model import Model
from headstart.families.style import HeadStyle
from headstart.nn import Norm
from headstart.nn.attention import Attention
from headstart.nn.block import Block

LOUD = 2.0**30  # times the mean, beside which the class token's state is nothing


def shallower(model: Model, layers: int) -> Model:
    """The first `layers` blocks of a pre-norm model; the weights are shared.

    The norm at its end is fresh, as inner states were never normalised for reading; all blocks give
    the model itself.
    """
    if layers == len(model.stack.blocks):
        return model
    config = replace(model.config, num_layers=layers)
    with torch.device("meta"):
        cut = Model(config, family=model.family, style=model.style)
    state = model.state_dict()
    kept = {name: state[name] for name in cut.state_dict()}
    weight = state["stack.norm.weight"]
    kept["stack.norm.weight"] = torch.ones_like(weight)
    if "stack.norm.bias" in kept:
        kept["stack.norm.bias"] = torch.zeros_like(weight)
    cut.load_state_dict(kept, assign=True)
    return cut.requires_grad_(requires_grad=False).train(model.training)


def mean_style(style: HeadStyle, *, norm: bool) -> HeadStyle:
    """Mean pooling and a linear map, perhaps a norm between them."""
    plain = replace(style, pooling="mean", pool_activation=None, classifier_bias=True)
    return replace(plain, pool_norm=norm, classifier_pools=True) if norm else plain


def fits_a_block(model: Model, head: nn.Module | None) -> bool:
    """Whether a head on the normalised mean can be written as one more block."""
    return (
        model.family == "vit"
        and isinstance(head, SequenceHead)
        and head.pooler.pooling == "mean"
        and head.pooler.dense is None
        and head.pooler.norm is not None
    )


def with_mean_block(model: Model, head: SequenceHead) -> tuple[Model, SequenceHead]:
    """The same scores from a class token: one more block, and the family's own head."""
    layers, width = model.config.num_layers, model.config.hidden_size
    config = replace(model.config, num_layers=layers + 1)
    body = Model(config, family=model.family, style=model.style)
    stock = SequenceHead(config, model.style, outputs=head.classifier.out_features)
    last, norm, final = body.stack.blocks[-1], head.pooler.norm, model.stack.norm
    assert isinstance(last, Block), "a stack is made of blocks"
    assert isinstance(norm, Norm), "seen by fits_a_block"
    assert isinstance(final, Norm), "a pre-norm stack ends with one"
    assert isinstance(last.attention, Attention), "a ViT attends to everything"
    with torch.no_grad():
        for weight in last.parameters():
            weight.zero_()
        last.attention.qkv.weight[2 * width :] = torch.eye(width)
        last.attention.out.weight.copy_(LOUD * torch.eye(width))
        last.mlp_norm.weight.fill_(1.0)
    state = body.state_dict() | {
        name: value
        for name, value in model.state_dict().items()
        if not name.startswith("stack.norm")
    }
    for part in ("weight", "bias"):
        state[f"stack.blocks.{layers}.attention_norm.{part}"] = getattr(final, part)
        state[f"stack.norm.{part}"] = getattr(norm, part)
    body.load_state_dict(state)
    stock.classifier.load_state_dict(head.classifier.state_dict())
    return body.to(model.embed.tokens.weight.dtype), stock


def without_mean_block(model: Model, head: SequenceHead) -> tuple[Model, SequenceHead]:
    """The reverse: the body, and its head on the normalised mean."""
    layers = model.config.num_layers - 1
    last, final = model.stack.blocks[-1], model.stack.norm
    assert isinstance(last, Block), "a stack is made of blocks"
    assert isinstance(final, Norm), "a pre-norm stack ends with one"
    body = shallower(model, layers).requires_grad_(requires_grad=True)
    plain = SequenceHead(
        body.config, mean_style(model.style, norm=True), outputs=head.classifier.out_features
    )
    assert isinstance(body.stack.norm, Norm), "a pre-norm stack ends with one"
    assert plain.pooler.norm is not None, "the style asks for it"
    body.stack.norm.load_state_dict(last.attention_norm.state_dict())
    plain.pooler.norm.load_state_dict(final.state_dict())
    plain.classifier.load_state_dict(head.classifier.state_dict())
    return body, plain.eval()
