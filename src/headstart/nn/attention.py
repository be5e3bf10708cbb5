"""Multi-head self-attention over the flat stream; the one place that chooses a kernel.

On a CPU the backward pass of `scaled_dot_product_attention` is several times slower than batched
matrix products for short rows, so training uses those up to `PRODUCTS_BELOW`; everything else goes
through `scaled_dot_product_attention`.

Legend: T stream, R rows, W width, H heads, D head width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.nn.config import TransformerConfig
from headstart.nn.mask import RowMask
from headstart.nn.position import Rotation, rotate

PRODUCTS_BELOW = 320  # row width (tokens) up to which training on a CPU multiplies explicitly


class Attention(nn.Module):
    """Self-attention with one fused projection for queries, keys and values.

    Source: Vaswani et al. 2017, section 3.2.
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.num_heads = config.num_heads
        self.dropout = config.attention_dropout
        width = config.num_heads * config.head_dim
        self.qkv = nn.Linear(config.hidden_size, 3 * width, bias=config.bias)
        self.out = nn.Linear(width, config.hidden_size, bias=config.bias)

    def forward(self, x: Tensor, masks: tuple[RowMask, ...], turn: Rotation | None) -> Tensor:
        """x: (T, hidden); turn: rotary angles, if the positions are rotary. Returns (T, hidden)."""
        qkv = self.qkv(x).view(x.shape[0], 3, self.num_heads, -1)  # T 3 H D
        out: Tensor = self.out(attend(qkv, masks, turn, self.dropout if self.training else 0.0))
        return out


def attend(
    qkv: Tensor, masks: tuple[RowMask, ...], turn: Rotation | None = None, dropout: float = 0.0
) -> Tensor:
    """Attention within each row of each block.

    qkv: (T, 3, H, D), overwritten where it needs no gradient; masks: one a block, which together
    cover the stream; turn: rotary angles. Returns (T, H * D).
    """
    training = torch.is_grad_enabled() and qkv.requires_grad
    narrow = all(mask.width <= PRODUCTS_BELOW for mask in masks)
    if training and qkv.device.type == "cpu" and narrow and not dropout:
        cos, sin = (None, None) if turn is None else (turn.cos, turn.sin)
        mixed: Tensor = _RowProducts.apply(qkv, cos, sin, masks)  # type: ignore[no-untyped-call]
        return mixed
    if turn is not None and qkv.requires_grad:
        turned = rotate(qkv[:, :2].flatten(1, 2), turn).view(qkv[:, :2].shape)
        qkv = torch.cat([turned, qkv[:, 2:]], 1)
    elif turn is not None:
        half = qkv.shape[-1] // 2
        _turn(qkv[:, :2], turn.cos[:, None, :, half:], turn.sin[:, None, :, half:])
    blocks = torch.split(qkv, [mask.count * mask.width for mask in masks])
    parts = [_kernel(block, mask, dropout) for block, mask in zip(blocks, masks, strict=True)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _kernel(block: Tensor, mask: RowMask, dropout: float) -> Tensor:
    """One block by `scaled_dot_product_attention`: (R * W, 3, H, D) to (R * W, H * D)."""
    if mask.width == 1:
        return block[:, 2].flatten(1)
    q, k, v = block.view(mask.count, mask.width, *block.shape[1:]).permute(2, 0, 3, 1, 4).unbind(0)
    out = F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask.bias, dropout_p=dropout, is_causal=mask.causal
    )  # R H W D
    return out.transpose(1, 2).reshape(mask.count * mask.width, -1)


class _RowProducts(torch.autograd.Function):
    """softmax(q k' / sqrt(D) + bias) v by batched products, with the gradient written out.

    Rotary turning happens here too, in place on the copies that the products need anyway; its
    gradient is the turn backwards.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        qkv: Tensor,
        cos: Tensor | None,
        sin: Tensor | None,
        masks: tuple[RowMask, ...],
    ) -> Tensor:
        _, _, heads, dim = qkv.shape
        out = qkv.new_empty(qkv.shape[0], heads, dim)
        saved: list[Tensor] = []
        for mask in masks:
            span, rows = _span(mask), (mask.count, mask.width)
            if mask.width == 1:
                out[span] = qkv[span, 2]
                saved += [qkv, qkv]
                continue
            split = qkv[span].view(*rows, 3, heads, dim).permute(2, 0, 3, 1, 4).contiguous()
            if cos is not None and sin is not None:
                _turn(split[:2], *_angles(cos, sin, mask))
            split[0].mul_(dim**-0.5)
            q, k, v = split.view(3, -1, mask.width, dim).unbind(0)  # R * H, W, D each
            scores = torch.bmm(q, k.transpose(1, 2))
            bias = _bias(mask, scores)
            if bias is not None:
                scores.view(mask.count, heads, mask.width, mask.width).add_(bias)
            weights = softmax_(scores)
            mixed = torch.bmm(weights, v).view(mask.count, heads, mask.width, dim)
            out[span].view(*rows, heads, dim).copy_(mixed.transpose(1, 2))
            saved += [split, weights]
        ctx.save_for_backward(*saved)
        ctx.masks, ctx.cos, ctx.sin, ctx.shape = masks, cos, sin, qkv.shape
        return out.flatten(1)

    @staticmethod
    def backward(
        ctx: Any,  # noqa: ANN401
        *grads: Tensor,
    ) -> tuple[Tensor, None, None, None]:
        _, _, heads, dim = ctx.shape
        above = grads[0].contiguous().view(-1, heads, dim)
        back = above.new_empty(ctx.shape)
        for number, mask in enumerate(ctx.masks):
            split, weights = ctx.saved_tensors[2 * number : 2 * number + 2]
            span, rows = _span(mask), (mask.count, mask.width)
            if mask.width == 1:
                back[span, :2] = 0
                back[span, 2] = above[span]
                continue
            grad = above[span].view(*rows, heads, dim).transpose(1, 2)
            grad = grad.reshape(-1, mask.width, dim)
            q, k, v = split.view(3, -1, mask.width, dim).unbind(0)
            through = torch.bmm(grad, v.transpose(1, 2))
            scores = torch._softmax_backward_data(through, weights, -1, weights.dtype)
            out = torch.empty_like(split)
            flat = out.view(3, -1, mask.width, dim)
            torch.bmm(scores, k, out=flat[0]).mul_(dim**-0.5)  # q was saved with its scale
            torch.bmm(scores.transpose(1, 2), q, out=flat[1])
            torch.bmm(weights.transpose(1, 2), grad, out=flat[2])
            if ctx.cos is not None:
                cos, sin = _angles(ctx.cos, ctx.sin, mask)
                _turn(out[:2], cos, -sin)
            back[span].view(*rows, 3, heads, dim).copy_(out.permute(1, 3, 0, 2, 4))
        return back, None, None, None


def softmax_(scores: Tensor) -> Tensor:
    """Softmax over the last axis, written over its argument: fresh memory costs more than it."""
    return torch.ops.aten._softmax.out(scores, -1, False, out=scores)  # type: ignore[no-any-return]


def _span(mask: RowMask) -> slice:
    return slice(mask.start, mask.start + mask.count * mask.width)


def _bias(mask: RowMask, scores: Tensor) -> Tensor | None:
    if mask.causal and mask.bias is None:
        full = torch.full((mask.width, mask.width), float("-inf"), dtype=scores.dtype)
        return full.triu_(1)
    return mask.bias


def _angles(cos: Tensor, sin: Tensor, mask: RowMask) -> tuple[Tensor, Tensor]:
    """Cosines and sines of one block, (R, 1, W, D / 2) each; see `position.Rotation`."""
    half = cos.shape[-1] // 2
    shape = (mask.count, 1, mask.width, half)
    span = _span(mask)
    return cos[span, 0, half:].reshape(shape), sin[span, 0, half:].reshape(shape)


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> None:
    """Turn x (..., R, H, W, D) by the angles, in place."""
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    turned = torch.addcmul(second * cos, first, sin)
    first.mul_(cos).addcmul_(second, sin, value=-1)
    second.copy_(turned)
