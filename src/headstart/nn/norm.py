"""LayerNorm and RMSNorm over the last axis, with or without a bias."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.nn.config import TransformerConfig


class Norm(nn.Module):
    """Normalises each token's features; the kind is the config's. width: default the hidden size.

    Source: Ba et al. 2016 (LayerNorm); Zhang and Sennrich 2019 (RMSNorm).
    """

    def __init__(self, config: TransformerConfig, *, width: int | None = None):
        super().__init__()
        width = width or config.hidden_size
        self.rms = config.norm == "rms"
        self.eps = config.norm_eps
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if config.norm_bias and not self.rms else None

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., hidden). Returns the same shape."""
        if self.rms and x.device.type == "cpu" and x.requires_grad:
            scaled: Tensor = _RMSNorm.apply(x, self.weight, self.eps)  # type: ignore[no-untyped-call]
            return scaled
        if self.rms:
            return F.rms_norm(x, self.weight.shape, self.weight, self.eps)
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


class _RMSNorm(torch.autograd.Function):
    """RMSNorm of (..., hidden), its gradient written out: torch takes twice as long on a CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:  # noqa: ANN401
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        square = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_()
        inverse = square.div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, inverse)
        found: Tensor = (wide * inverse).mul_(weight).to(x.dtype)
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:  # noqa: ANN401
        x, weight, inverse = ctx.saved_tensors
        even = x * inverse
        above = grads[0].to(even.dtype, copy=True)
        own = (above * even).flatten(0, -2).sum(0)
        above.mul_(weight)
        along = torch.linalg.vecdot(above, even)[..., None] / x.shape[-1]
        back = above.addcmul_(even, along, value=-1).mul_(inverse)
        return back.to(x.dtype), own.to(weight.dtype), None
