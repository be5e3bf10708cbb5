"""Starting weights."""

from __future__ import annotations

import math

import torch
from torch import nn

from headstart.nn.attention import Attention
from headstart.nn.cross import CrossAttention
from headstart.nn.lsh import LocalAttention, LSHAttention
from headstart.nn.mlp import MLP
from headstart.nn.patch_embed import PatchEmbedding
from headstart.nn.position import AxialPositions
from headstart.nn.stack import Transformer


def initialise(module: nn.Module, *, std: float = 0.02, generator: torch.Generator) -> None:
    """Fill all matrices with normal noise and all biases with zero, in place.

    The projections that write to a pre-norm residual stream start smaller by sqrt(2 * num_layers),
    so that the stream's variance does not grow with depth (Radford et al. 2019, section 2.3).
    """
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.Linear | nn.Embedding):
                part.weight.normal_(0.0, std, generator=generator)
            if isinstance(part, AxialPositions):
                part.rows.normal_(0.0, std, generator=generator)
                part.columns.normal_(0.0, std, generator=generator)
            if isinstance(part, nn.Linear) and part.bias is not None:
                part.bias.zero_()
            if isinstance(part, PatchEmbedding):
                part.initialise(std, generator)
        for stack in module.modules():
            if isinstance(stack, Transformer) and stack.config.norm_order == "pre":
                _shrink_writers(stack)


def _shrink_writers(stack: Transformer) -> None:
    factor = 1 / math.sqrt(2 * stack.config.num_layers)
    for part in stack.modules():
        if isinstance(part, Attention | CrossAttention | LocalAttention | LSHAttention):
            part.out.weight.mul_(factor)
        if isinstance(part, MLP):
            part.down.weight.mul_(factor)
