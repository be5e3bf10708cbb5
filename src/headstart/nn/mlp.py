"""The feed-forward half of a block: plain or gated."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.nn.config import Activation, TransformerConfig


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU by its tanh approximation (Hendrycks and Gimpel 2016), as GPT-2 uses it."""
    return F.gelu(x, approximate="tanh")


def relu2(x: Tensor) -> Tensor:
    """Squared ReLU (So et al. 2021)."""
    return F.relu(x).square()


ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": gelu_tanh,
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
        h = self.up(x)
        if self.gated:
            gate, value = torch.chunk(h, 2, -1)
            h = self.activation(gate) * value
        else:
            h = self.activation(h)
        out: Tensor = self.down(h)
        return out
