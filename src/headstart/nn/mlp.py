"""The feed-forward half of a block: plain or gated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.nn.config import Activation, TransformerConfig


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU by its tanh approximation (Hendrycks and Gimpel 2016), as GPT-2 uses it."""
    return F.gelu(x, approximate="tanh")


def quick_gelu(x: Tensor) -> Tensor:
    """GELU by a sigmoid (Hendrycks and Gimpel 2016), as CLIP uses it."""
    return x * torch.sigmoid(1.702 * x)


def relu2(x: Tensor) -> Tensor:
    """Squared ReLU (So et al. 2021)."""
    return F.relu(x).square()


ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": gelu_tanh,
    "quick_gelu": quick_gelu,
    "relu": F.relu,
    "relu2": relu2,
    "silu": F.silu,
}


class MLP(nn.Module):
    """down(act(up(x))), or down(act(a) * b) with a, b = halves of up(x) where gated."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.gated = config.gated
        self.activation = ACTIVATIONS[config.activation]
        width = config.intermediate_size * (2 if config.gated else 1)
        self.up = nn.Linear(config.hidden_size, width, bias=config.bias)
        self.down = nn.Linear(config.intermediate_size, config.hidden_size, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x: (T, hidden). Returns the same shape."""
        out: Tensor = self.down(activated(self.up(x), self.activation, self.gated))
        return out


def activated(h: Tensor, activation: Callable[[Tensor], Tensor], gated: bool) -> Tensor:
    """act(h), or act(a) * b with a, b = halves of h (T, 2 * width) where gated."""
    if not gated:
        return activation(h)
    if activation is F.gelu and h.requires_grad:
        opened: Tensor = _GatedGelu.apply(h)  # type: ignore[no-untyped-call]
        return opened
    gate, value = torch.chunk(h, 2, -1)
    return activation(gate) * value


class _GatedGelu(torch.autograd.Function):
    """gelu(a) * b of the halves of (T, 2 * width), its gradient written into one tensor."""

    @staticmethod
    def forward(ctx: Any, h: Tensor) -> Tensor:  # noqa: ANN401
        gate, value = torch.chunk(h, 2, -1)
        opened = F.gelu(gate)
        ctx.save_for_backward(h, opened)
        return opened * value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:  # noqa: ANN401
        h, opened = ctx.saved_tensors
        gate, value = torch.chunk(h, 2, -1)
        back = torch.empty_like(h)
        below, beside = torch.chunk(back, 2, -1)
        torch.mul(grads[0], opened, out=beside)
        # half rows are computed far slower than copied
        below.copy_(torch.ops.aten.gelu_backward(grads[0] * value, gate.contiguous()))
        return back
