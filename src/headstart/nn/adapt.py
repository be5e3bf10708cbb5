"""Low-rank adaptation (LoRA): a frozen linear plus a small learned product.

Source: Hu et al. 2021, section 4.1. A wrapped linear keeps its base weights under the same names
(`weight`, `bias`), so checkpoints of the plain model stay valid.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LoRALinear(nn.Linear):
    """y = x W' + b + (alpha / rank) * (x A') B'; only A and B learn. B starts at zero."""

    def __init__(
        self, base: nn.Linear, *, rank: int, alpha: float, generator: torch.Generator | None = None
    ):
        nn.Module.__init__(self)
        self.in_features, self.out_features = base.in_features, base.out_features
        self.weight = base.weight
        self.bias = base.bias
        self.weight.requires_grad_(False)
        if self.bias is not None:
            self.bias.requires_grad_(False)
        self.rank, self.scale = rank, alpha / rank
        # drawn on the CPU in fp32 whatever the base is, so that a seed means the same everywhere
        down = torch.empty(rank, base.in_features)
        nn.init.kaiming_uniform_(down, a=math.sqrt(5), generator=generator)
        self.lora_down = nn.Parameter(down.to(self.weight))
        self.lora_up = nn.Parameter(torch.zeros(base.out_features, rank).to(self.weight))

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., in_features). Returns (..., out_features)."""
        small = F.linear(F.linear(x, self.lora_down), self.lora_up)
        return F.linear(x, self.weight, self.bias) + self.scale * small

    def merged(self) -> nn.Linear:
        """The plain linear that computes the same."""
        bias = self.bias is not None
        # no memory and no draw from the global generator: both weights are given below
        plain = nn.Linear(self.in_features, self.out_features, bias=bias, device="meta")
        plain.weight = nn.Parameter(self.weight + self.scale * self.lora_up @ self.lora_down)
        if self.bias is not None:
            plain.bias = nn.Parameter(self.bias.detach().clone())
        return plain


def add_lora(
    model: nn.Module, names: list[str], *, rank: int = 8, alpha: float = 32.0, seed: int = 0
) -> None:
    """Wrap the linears of these dotted names, in place; everything else is left as it is."""
    generator = torch.Generator().manual_seed(seed)
    for name in names:
        base = model.get_submodule(name)
        assert isinstance(base, nn.Linear), f"{name} is no linear layer"
        wrapped = LoRALinear(base, rank=rank, alpha=alpha, generator=generator)
        model.set_submodule(name, wrapped)


def merge_lora(model: nn.Module) -> None:
    """Fold every adapter into its base weight, in place."""
    for name, part in list(model.named_modules()):
        if isinstance(part, LoRALinear):
            model.set_submodule(name, part.merged())
