"""Positions: sinusoids, rotary angles, axial tables. Plain learned tables are in embed.py."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.nn.long_range import Axial


def sinusoids(max_positions: int, hidden_size: int) -> Tensor:
    """Fixed position table (max_positions, hidden): sines in the first half, cosines in the second.

    Source: Vaswani et al. 2017, section 3.5; halves instead of interleaved, as Marian stores it.
    """
    half = hidden_size // 2
    rate = torch.exp(
        torch.arange(half, dtype=torch.float64)
        * (-2 / hidden_size)
        * torch.log(torch.tensor(1e4, dtype=torch.float64))
    )
    angle = torch.arange(max_positions, dtype=torch.float64)[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], -1).float()


@dataclass(frozen=True)
class Rotation:
    """Cosines and signed sines by which queries and keys are turned: each (T, 1, head_dim).

    The sine's first half carries the minus sign, so turning is x * cos + swap_halves(x) * sin.
    """

    cos: Tensor
    sin: Tensor


def rotation(positions: Tensor, head_dim: int, *, theta: float, dtype: torch.dtype) -> Rotation:
    """Angles for each token of the stream.

    positions: (T,). Source: Su et al. 2021, section 3.2.2; halves rotate together as in GPT-NeoX.
    """
    exponents = (
        torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32) / head_dim
    )
    angle = positions[:, None].float() / theta**exponents  # T D/2
    cos, sin = angle.cos(), angle.sin()
    return Rotation(
        torch.cat([cos, cos], -1).to(dtype)[:, None], torch.cat([-sin, sin], -1).to(dtype)[:, None]
    )


def rotate(x: Tensor, by: Rotation) -> Tensor:
    """Turn queries or keys x (T, heads, head_dim) by their positions."""
    half = x.shape[-1] // 2
    swapped = torch.cat([x[..., half:], x[..., :half]], -1)
    return x * by.cos + swapped * by.sin


class AxialPositions(nn.Module):
    """Two small learned tables instead of one of every position: that of rows and that of columns.

    Source: Kitaev et al. 2020, arXiv:2001.04451, section 4.
    """

    def __init__(self, axial: Axial):
        super().__init__()
        self.rows = nn.Parameter(torch.empty(axial.shape[0], 1, axial.widths[0]))
        self.columns = nn.Parameter(torch.empty(1, axial.shape[1], axial.widths[1]))

    def forward(self, positions: Tensor) -> Tensor:
        """positions: (T,). Returns (T, sum of widths)."""
        columns = self.columns.shape[1]
        row = F.embedding(positions // columns, self.rows[:, 0])
        return torch.cat([row, F.embedding(positions % columns, self.columns[0])], -1)
