"""Attention of a Reformer: to tokens whose vectors hash alike ("lsh"), or to those near ("local").

Hashing turns vectors at random and asks which axis each lies nearest to; vectors that point the
same way mostly agree. Tokens sorted by that number are cut into chunks, so that the cost grows with
the length times the chunk, not with its square. Several rounds with other turns catch what one
misses. Queries and keys are the same vectors.

Source: Kitaev et al. 2020, arXiv:2001.04451, section 2; Andoni et al. 2015, arXiv:1509.02897.
Legend: as in `chunks.py`; P = C * L places.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from headstart.nn.chunks import Chunked, Grid, attend_chunks
from headstart.nn.config import TransformerConfig
from headstart.nn.long_range import LongRange

EPSILON = 1e-6  # of the mean square that keys are divided by


class LocalAttention(nn.Module):
    """Attention of each chunk to itself and its neighbours, with one fused projection."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        width = config.num_heads * config.head_dim
        self.num_heads = config.num_heads
        self.dropout = long_range(config).local.dropout
        self.qkv = nn.Linear(config.hidden_size, 3 * width, bias=False)
        self.out = nn.Linear(width, config.hidden_size, bias=False)

    def forward(self, x: Tensor, chunked: Chunked) -> Tensor:
        """x: (T, hidden). Returns the same shape."""
        grid = chunked.grid
        qkv = self.qkv(x).view(len(x), 3, self.num_heads, -1).index_select(0, grid.slots)
        parts = qkv.view(-1, grid.length, *qkv.shape[1:])  # C L 3 H D
        q, k, v = parts.permute(2, 3, 0, 1, 4).unbind(0)
        mixed, _ = attend_chunks(
            q,
            k * k.shape[-1] ** -0.5,
            v,
            positions=grid.positions.view(1, -1, grid.length),
            filled=grid.filled.view(1, -1, grid.length),
            near=chunked.near,
            causal=chunked.causal,
            shared=False,
            dropout=self.dropout if self.training else 0.0,
        )
        back = mixed.flatten(1, 2).index_select(1, grid.place)  # H T D
        out: Tensor = self.out(back.transpose(0, 1).flatten(1))
        return out


class LSHAttention(nn.Module):
    """Attention of each token to tokens whose shared query-key vectors hash alike."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        width = config.num_heads * config.head_dim
        self.num_heads = config.num_heads
        self.settings = long_range(config)
        self.dropout = self.settings.lsh.dropout
        self.qk = nn.Linear(config.hidden_size, width, bias=False)
        self.value = nn.Linear(config.hidden_size, width, bias=False)
        self.out = nn.Linear(width, config.hidden_size, bias=False)

    def forward(self, x: Tensor, chunked: Chunked, rotations: Tensor | None = None) -> Tensor:
        """x: (T, hidden). rotations: see `draw_rotations`; drawn here if not given.

        Returns the same shape as x.
        """
        qk = self.qk(x).view(len(x), self.num_heads, -1)
        value = self.value(x).view(qk.shape)
        if rotations is None:
            rotations = self.draw_rotations()
        out: Tensor = self.out(
            attend_alike(
                qk,
                value,
                chunked,
                rotations,
                self.settings.num_buckets,
                self.dropout if self.training else 0.0,
            )
        )
        return out

    def draw_rotations(self) -> Tensor:
        """(H, D, R, sum of buckets / 2) normal noise on the CPU, the same for every device."""
        settings = self.settings
        dim = self.qk.out_features // self.num_heads
        shape = (self.num_heads, dim, settings.num_hashes, sum(settings.num_buckets) // 2)
        if settings.hash_seed is None and self.training:
            return torch.randn(shape, dtype=torch.float32, device="cpu")
        generator = torch.Generator().manual_seed(settings.hash_seed or 0)
        return torch.randn(shape, dtype=torch.float32, device="cpu", generator=generator)


def attend_alike(
    qk: Tensor,
    value: Tensor,
    chunked: Chunked,
    rotations: Tensor,
    num_buckets: tuple[int, ...],
    dropout: float = 0.0,
) -> Tensor:
    """Attention among tokens sorted by the bucket they hash to, averaged over the rounds.

    qk, value: (T, H, D). rotations: (H, D, R, sum of buckets / 2). Returns (T, H * D).
    A round counts by the sum of its weights, as if all its keys stood in one softmax.
    """
    grid, heads, rounds = chunked.grid, qk.shape[1], rotations.shape[2]
    buckets = hash_vectors(qk.detach(), rotations, num_buckets)
    order = sort_places(buckets, grid, count=math.prod(num_buckets))  # H R P
    shape = (heads, rounds * len(grid.first), grid.length)
    source = grid.slots[order].flatten(1)  # H R*P, slots of the stream
    query, values = (_rows(x.transpose(0, 1), source).view(*shape, -1) for x in (qk, value))
    mixed, total = attend_chunks(
        query,
        unit(query) * query.shape[-1] ** -0.5,
        values,
        positions=grid.positions[order].view(shape),
        filled=grid.filled[order].view(shape),
        near=chunked.near,
        causal=chunked.causal,
        shared=True,
        dropout=dropout,
    )
    places = torch.arange(order.shape[-1], device=order.device).expand_as(order)
    back = torch.empty_like(order).scatter_(-1, order, places)  # where each place was sorted to
    at = back[..., grid.place]  # H R T, places in the sorted round
    at = at + order.shape[-1] * torch.arange(rounds, device=at.device)[:, None]
    at = at.flatten(1)
    found = _rows(mixed.flatten(1, 2), at).view(heads, rounds, len(qk), -1)
    total = total.flatten(1).gather(1, at).view(heads, rounds, len(qk))
    # no softmax: where a token sees only itself, fp32 rounds this as checkpoints were trained with
    share = (total - total.logsumexp(1, keepdim=True)).exp()
    alone = grid.count[grid.place // grid.length] == 1  # all rounds are the same
    share = share.masked_fill(alone, 1 / rounds)
    return (found * share[..., None].to(found)).sum(1).transpose(0, 1).flatten(1)


def hash_vectors(x: Tensor, rotations: Tensor, num_buckets: tuple[int, ...]) -> Tensor:
    """(H, R, T) buckets of vectors x (T, H, D): which axis, with its sign, each turned one is near.

    Two factors of `num_buckets` give one number each, of which the second counts the first's times.
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    turned = torch.einsum("thd,hdrb->hrtb", x.to(wide), rotations.to(x.device, wide))
    bucket = torch.zeros(turned.shape[:-1], dtype=torch.int64, device=x.device)
    times = 1
    parts = torch.split(turned, [size // 2 for size in num_buckets], -1)
    for size, part in zip(num_buckets, parts, strict=True):
        bucket += times * torch.cat([part, -part], -1).argmax(-1)
        times *= size
    return bucket


def sort_places(buckets: Tensor, grid: Grid, *, count: int) -> Tensor:
    """(H, R, P) places by sequence, then bucket, then position; a sequence's free places last.

    buckets: (H, R, T) below `count`. Sequences keep their chunks.
    """
    bucket = buckets[..., grid.slots].masked_fill(~grid.filled, count)
    return torch.argsort(grid.sequence * (count + 1) + bucket, dim=-1, stable=True)


def unit(x: Tensor) -> Tensor:
    """Vectors of mean square 1: keys are queries without their length (section 2 of the paper)."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + EPSILON)).to(x.dtype)


def long_range(config: TransformerConfig) -> LongRange:
    """The part of the config that these layers are built from."""
    assert config.long_range is not None, "chunked attention belongs to a long_range config"
    return config.long_range


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """Rows of x (H, T, D) at index (H, N) of its second axis: (H, N, D)."""
    heads, count = x.shape[:2]
    start = count * torch.arange(heads, device=index.device)[:, None]
    return x.flatten(0, 1).index_select(0, (start + index).flatten()).view(heads, -1, x.shape[-1])
