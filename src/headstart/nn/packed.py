"""Blocks that only answer: weights laid out once as oneDNN wants them, residuals added on the way.

In: a trained block in bf16 on a CPU. Out: one that gives the same within the precision of bf16, a
quarter to a third faster, and cannot learn. Plain linears bring their weights into that layout
anew at every call.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from headstart.nn.attention import Attention
from headstart.nn.block import Block
from headstart.nn.cache import Past
from headstart.nn.cross import Seen
from headstart.nn.mask import RowMask
from headstart.nn.mlp import activated
from headstart.nn.position import Rotation
from headstart.nn.stack import Transformer

ROWS = 4096  # tokens for which oneDNN is asked to choose a layout; any number can be answered


def can_pack(stack: Transformer) -> bool:
    """Whether this machine has what packing needs, and the stack is plain and in bf16."""
    weight = next(stack.parameters())
    made = hasattr(torch.ops.mkldnn, "_linear_pointwise")
    made = made and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    here = weight.device.type == "cpu" and weight.dtype == torch.bfloat16
    config = stack.config
    plain = config.long_range is None and not config.cross
    plain = plain and all(isinstance(block, Block) for block in stack.blocks)
    return bool(plain and made and here)


def pack(stack: Transformer) -> None:
    """Replace the blocks of a stack, in place. Its weights can no longer be read or trained."""
    stack.blocks = nn.ModuleList(PackedBlock(block) for block in stack.blocks)


class PackedLinear:
    """x W' + b, perhaps with a residual added on the way out."""

    def __init__(self, plain: nn.Linear):
        self.weight = torch.ops.mkldnn._reorder_linear_weight(plain.weight.detach(), ROWS)
        self.bias = None if plain.bias is None else plain.bias.detach()

    def __call__(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        """x: (T, in); onto: (T, out). Returns (T, out)."""
        product = torch.ops.mkldnn._linear_pointwise
        out: Tensor
        if onto is None:
            out = product(x, self.weight, self.bias, "none", [], "")
        else:
            out = product.binary(x, onto, self.weight, self.bias, "add")
        return out


class PackedBlock(nn.Module):
    """A `Block` for answering."""

    def __init__(self, block: nn.Module):
        super().__init__()
        assert isinstance(block, Block), "a stack is made of blocks"
        assert isinstance(block.attention, Attention), "chunked attention is not packed"
        self.pre, self.heads = block.pre, block.attention.heads
        self.attention_norm, self.mlp_norm = block.attention_norm, block.mlp_norm
        self.qkv, self.out = PackedLinear(block.attention.qkv), PackedLinear(block.attention.out)
        self.up, self.down = PackedLinear(block.mlp.up), PackedLinear(block.mlp.down)
        self.gated, self.activation = block.mlp.gated, block.mlp.activation

    def forward(
        self,
        x: Tensor,
        masks: tuple[RowMask, ...],
        turn: Rotation | None,
        past: Past | None = None,
        seen: Seen | None = None,
    ) -> Tensor:
        """x: (T, hidden). Returns the same shape; see `Block`."""
        qkv = self.qkv(self.attention_norm(x) if self.pre else x)
        x = self.out(self.heads.mix(qkv, masks, turn, past), x)
        if not self.pre:
            x = self.attention_norm(x)
        h = activated(self.up(self.mlp_norm(x) if self.pre else x), self.activation, self.gated)
        x = self.down(h, x)
        return x if self.pre else torch.as_tensor(self.mlp_norm(x))
