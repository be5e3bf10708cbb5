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
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=config.bias)
        self.out = nn.Linear(config.hidden_size, config.hidden_size, bias=config.bias)

    def forward(self, x: Tensor, masks: tuple[RowMask, ...], turn: Rotation | None) -> Tensor:
        """x: (T, hidden); turn: rotary angles, if the positions are rotary. Returns (T, hidden)."""
        qkv = self.qkv(x).view(x.shape[0], 3, self.num_heads, -1)  # T 3 H D
        if turn is not None:
            turned = rotate(qkv[:, :2].flatten(1, 2), turn).view(qkv[:, :2].shape)
            qkv = torch.cat([turned, qkv[:, 2:]], 1)
        dropout = self.dropout if self.training else 0.0
        mixed = [attend(_rows(qkv, mask), mask, dropout) for mask in masks]
        out: Tensor = self.out(mixed[0] if len(mixed) == 1 else torch.cat(mixed))
        return out


def _rows(qkv: Tensor, mask: RowMask) -> Tensor:
    rows = qkv[mask.start : mask.start + mask.count * mask.width]
    return rows.view(mask.count, mask.width, *qkv.shape[1:])


def attend(qkv: Tensor, mask: RowMask, dropout: float = 0.0) -> Tensor:
    """Attention within each row.

    qkv: (R, W, 3, H, D). Returns (R * W, H * D).
    """
    if mask.width == 1:
        return qkv[:, 0, 2].flatten(1)
    training = torch.is_grad_enabled() and qkv.requires_grad
    if training and qkv.device.type == "cpu" and mask.width <= PRODUCTS_BELOW and not dropout:
        bias = mask.bias
        if mask.causal and bias is None:
            bias = torch.full((mask.width, mask.width), float("-inf"), dtype=qkv.dtype).triu_(1)
        mixed: Tensor = _RowProducts.apply(qkv, bias)  # type: ignore[no-untyped-call]
        return mixed
    q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # R H W D each
    out = F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask.bias, dropout_p=dropout, is_causal=mask.causal
    )
    return out.transpose(1, 2).reshape(mask.count * mask.width, -1)


class _RowProducts(torch.autograd.Function):
    """softmax(q k' / sqrt(D) + bias) v by batched products, with the gradient written out."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, bias: Tensor | None) -> Tensor:  # noqa: ANN401
        count, width, _, heads, dim = qkv.shape
        split = qkv.permute(2, 0, 3, 1, 4).reshape(3, count * heads, width, dim)
        q, k, v = split.unbind(0)
        scores = torch.bmm(q * dim**-0.5, k.transpose(1, 2))
        if bias is not None:
            scores.view(count, heads, width, width).add_(bias)
        weights = torch.softmax(scores, -1)
        ctx.save_for_backward(split, weights)
        ctx.shape = qkv.shape
        mixed = torch.bmm(weights, v).view(count, heads, width, dim)
        return mixed.transpose(1, 2).reshape(count * width, heads * dim)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        split, weights = ctx.saved_tensors
        count, width, _, heads, dim = ctx.shape
        q, k, v = split.unbind(0)
        grad = grads[0].view(count, width, heads, dim).transpose(1, 2)
        grad = grad.reshape(count * heads, width, dim)
        out = torch.empty_like(split)
        torch.bmm(weights.transpose(1, 2), grad, out=out[2])
        through = torch.bmm(grad, v.transpose(1, 2))
        scores = torch._softmax_backward_data(through, weights, -1, weights.dtype)
        torch.bmm(scores, k, out=out[0])
        torch.bmm(scores.transpose(1, 2), q, out=out[1])
        out[:2].mul_(dim**-0.5)
        back = out.view(3, count, heads, width, dim).permute(1, 3, 0, 2, 4)
        return back.contiguous(), None
