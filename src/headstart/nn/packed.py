"""Blocks that only answer: weights laid out once as oneDNN wants them, residuals added on the way.

In: a trained block on a CPU. Out: one that gives the same within the precision of its format and
cannot learn. Plain linears bring their weights into that layout anew at every call: in bf16 packed
ones are a quarter to a third faster for many tokens, and for one token, where reading the weights
is all the work, twice as fast as plain bf16 and three times as fast as plain fp32.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.nn.adapt import LoRALinear
from headstart.nn.attention import Attention
from headstart.nn.block import Block
from headstart.nn.cache import Past
from headstart.nn.cross import Seen
from headstart.nn.kernels import has_tiles
from headstart.nn.mask import Masks
from headstart.nn.mlp import activated
from headstart.nn.position import Rotation
from headstart.nn.rows import chosen
from headstart.nn.stack import Transformer

FORMATS = (torch.bfloat16, torch.float32)
ROWS = 4096  # tokens for which oneDNN is asked to choose a layout; any number can be answered


def can_pack(stack: Transformer) -> bool:
    """Whether this machine has what packing needs, and the stack is plain and in such a format."""
    weight = next(stack.parameters(), None)
    plain = stack.config.long_range is None
    plain = plain and all(isinstance(block, Block) for block in stack.blocks)
    return plain and weight is not None and can_pack_weight(weight)


def can_pack_weight(weight: Tensor) -> bool:
    """Whether this machine can pack a matrix, and it is in such a format."""
    if weight.device.type != "cpu" or weight.dtype not in FORMATS:
        return False
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    half = weight.dtype == torch.bfloat16
    return not half or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def pack(stack: Transformer) -> None:
    """Replace the blocks of a stack, in place. Its weights can no longer be read or trained."""
    stack.blocks = nn.ModuleList(PackedBlock(block) for block in stack.blocks)


class PackedLinear(nn.Module):
    """x W' + b, perhaps activated or with a residual added on the way out."""

    def __init__(self, weight: Tensor, bias: Tensor | None):
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), ROWS)
        self.bias = None if bias is None else bias.detach()
        self._plain = torch.ops.mkldnn._linear_pointwise.default
        self._onto = torch.ops.mkldnn._linear_pointwise.binary

    @staticmethod
    def of(plain: nn.Module) -> PackedLinear:
        """The same as a linear gives, with its adapters if it has any."""
        if isinstance(plain, LoRALinear):
            plain = plain.merged()
        assert isinstance(plain, nn.Linear), "only linears are packed"
        return PackedLinear(plain.weight, plain.bias)

    def forward(self, x: Tensor, onto: Tensor | None = None, *, gelu: bool = False) -> Tensor:
        """x: (T, in); onto: (T, out); gelu: whether the exact GELU follows. Returns (T, out)."""
        out: Tensor
        if onto is None:
            out = self._plain(x, self.weight, self.bias, "gelu" if gelu else "none", [], "none")
        else:
            out = self._onto(x, onto, self.weight, self.bias, "add")
        return out


class PackedBlock(nn.Module):
    """A `Block` for answering."""

    def __init__(self, block: nn.Module):
        super().__init__()
        assert isinstance(block, Block), "a stack is made of blocks"
        assert isinstance(block.attention, Attention), "chunked attention is not packed"
        self.pre, self.heads = block.pre, block.attention.heads
        self.attention_norm, self.mlp_norm = block.attention_norm, block.mlp_norm
        self.cross, self.cross_norm = block.cross, block.cross_norm
        self.qkv = PackedLinear.of(block.attention.qkv)
        self.out = PackedLinear.of(block.attention.out)
        self.up, self.down = PackedLinear.of(block.mlp.up), PackedLinear.of(block.mlp.down)
        self.cross_out = None
        if self.cross is not None:
            self.cross_out = PackedLinear.of(self.cross.out)
            self.cross.q = PackedLinear.of(self.cross.q)
            self.cross.kv = PackedLinear.of(self.cross.kv)
            del self.cross.out  # its weights are in `cross_out`
        self.gated, self.activation = block.mlp.gated, block.mlp.activation
        # with matrix tiles the product waits for it: apart, it takes a quarter of the time
        self.fused = self.activation is F.gelu and not self.gated and not has_tiles()
        parts = (self.attention_norm, self.qkv, self.out, self.mlp_norm, self.up, self.down)
        # found and called without a module's detours, which take as long as a small product
        self._calls: tuple[Callable[..., Tensor], ...] = tuple(part.forward for part in parts)

    def forward(
        self,
        x: Tensor,
        masks: Masks,
        turn: Rotation | None,
        past: Past | None = None,
        seen: Seen | None = None,
        at: Tensor | None = None,
    ) -> Tensor:
        """x: (T, hidden). Returns the same shape, or (N, hidden) at some slots; see `Block`."""
        norm, qkv, out, mlp_norm, up, down = self._calls
        here = at if self.cross is None else None
        mixed = self.heads.mix(qkv(norm(x) if self.pre else x), masks, turn, past)
        x = out(chosen(mixed, here), chosen(x, here))
        if not self.pre:
            x = norm(x)
        if self.cross is not None and self.cross_out is not None:
            assert seen is not None, "cross-attention needs a memory"
            mixed = self.cross.mix(self.cross_norm(x) if self.pre else x, seen, past)
            x = self.cross_out(chosen(mixed, at), chosen(x, at))
            x = x if self.pre else self.cross_norm(x)
        y = mlp_norm(x) if self.pre else x
        h = up(y, gelu=True) if self.fused else activated(up(y), self.activation, self.gated)
        x = down(h, x)
        return x if self.pre else torch.as_tensor(mlp_norm(x))
