"""LayerNorm and RMSNorm over the last axis, with or without a bias."""

from __future__ import annotations

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
        if self.rms:
            return F.rms_norm(x, self.weight.shape, self.weight, self.eps)
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)
