"""Positions: sinusoids, rotary angles, axial tables, biases of distances.

Plain learned tables are in embed.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.nn.long_range import Axial
from headstart.nn.rotary_scaling import RotaryScaling


def sinusoids(max_positions: int, hidden_size: int) -> Tensor:
    """Fixed position table (max_positions, hidden): sines in the first half, cosines in the second.

    Source: Vaswani et al. 2017, section 3.5; halves instead of interleaved, as Marian stores it.
    """
    half = hidden_size // 2
    # on the CPU even where a model is laid out without memory: no file holds this table
    place, pair = (
        torch.arange(count, dtype=torch.float64, device="cpu") for count in (max_positions, half)
    )
    angle = place[:, None] * torch.exp(pair * (-2 * math.log(1e4) / hidden_size))
    return torch.cat([angle.sin(), angle.cos()], -1).float()


@dataclass(frozen=True)
class Rotation:
    """Cosines and signed sines by which queries and keys are turned: each (T, 1, head_dim).

    The sine's first half carries the minus sign, so turning is x * cos + swap_halves(x) * sin.
    """

    cos: Tensor
    sin: Tensor


def rotation(
    positions: Tensor,
    head_dim: int,
    *,
    theta: float,
    dtype: torch.dtype,
    scaling: RotaryScaling | None = None,
) -> Rotation:
    """Angles for each token of the stream.

    positions: (T,). Source: Su et al. 2021, section 3.2.2; halves rotate together as in GPT-NeoX.
    """
    exponents = (
        torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32) / head_dim
    )
    if scaling is None:
        angle = positions[:, None].float() / theta**exponents  # T D/2
        cos, sin = angle.cos(), angle.sin()
    else:
        angle = positions[:, None].float() * scaling.slowed(1 / theta**exponents, theta=theta)
        cos, sin = angle.cos() * scaling.attention, angle.sin() * scaling.attention
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


class RelativeBias(nn.Module):
    """A learned number for each kind of distance and each head, added to attention scores."""

    def __init__(self, *, buckets: int, farthest: int, num_heads: int, causal: bool):
        super().__init__()
        self.buckets, self.farthest, self.causal = buckets, farthest, causal
        empty = torch.empty(buckets, num_heads)
        self.embedding = nn.Embedding(buckets, num_heads, _weight=empty)

    def forward(self, ahead: Tensor) -> Tensor:
        """ahead: (..., queries, keys), see `relative_buckets`. Returns (..., H, queries, keys)."""
        kinds = relative_buckets(
            ahead, buckets=self.buckets, farthest=self.farthest, causal=self.causal
        )
        # scores are added to it row by row: laid out otherwise that takes ten times as long
        return torch.as_tensor(self.embedding(kinds)).movedim(-1, -3).contiguous()

    def square(self, width: int) -> Tensor:
        """(1, H, width, width) for a row of tokens that follow one another."""
        here = torch.arange(width, device=self.embedding.weight.device)
        bias: Tensor = self(here[None, :] - here[:, None])
        return bias[None]


def relative_buckets(ahead: Tensor, *, buckets: int, farthest: int, causal: bool) -> Tensor:
    """Number of the kind of each distance, from 0 to buckets - 1.

    The first half of the kinds are one distance each; the others widen logarithmically up to
    `farthest`, from where on all distances are of the last kind.

    ahead: how many tokens keys lie after queries; negative: before. causal: all kinds are for keys
        before; otherwise the upper half of them is for keys after.
    Source: Raffel et al. 2020, section 2.1, and the code released with it.
    """
    side = torch.zeros_like(ahead)
    if causal:
        far = (-ahead).clamp(min=0)
    else:
        buckets //= 2
        side, far = (ahead > 0).long() * buckets, ahead.abs()
    exact = buckets // 2
    # in fp32 like the released code: rounding decides where a kind begins
    growth = torch.log(far.clamp(min=1).float() / exact) / math.log(farthest / exact)
    wide = (exact + (growth * (buckets - exact)).long()).clamp(max=buckets - 1)
    return side + torch.where(far < exact, far, wide)
