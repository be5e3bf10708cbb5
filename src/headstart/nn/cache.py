"""Keys and values of what was decoded so far, so that one more token costs one more token.

A `Cache` is made by who decodes, with room for all it will hold, and handed down as an argument; no
module keeps it. Sequences are of any lengths, are given any number of tokens at a time, and can be
chosen, repeated and dropped between two calls (beams). It answers only: nothing in it is learnt.

Each head's keys lie one after another, because reading them is what a step spends its time on. One
new token of every sequence, the step that is taken over and over, has short ways of its own.

Legend: T stream, N tokens in it, S sequences, W most new tokens of one, L most tokens of one, M
tokens of the longest memory, H heads, K heads of keys and values, D head width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.types import Device

from headstart.batch import Layout
from headstart.nn.config import TransformerConfig
from headstart.nn.mask import Crossing, Crossings, back, hiding, slots


@dataclass(frozen=True)
class Step:
    """The new tokens of one call.

    rows: (N * K,) of the store, (sequence, head, place) counted through, that take them, or None
    where the new tokens are one of each sequence, in order and at the same place. slots: (N,) of
    the stream that hold them; None: all. crossings: the queries of each sequence against what it
    holds, all in one group. longest: L, with the new tokens.
    """

    rows: Tensor | None
    slots: Tensor | None
    crossings: Crossings
    longest: int


class Cache:
    """What the layers of one stack have seen of S sequences.

    config: of the stack that decodes. room: most tokens of one sequence.
    lengths: (S,) tokens that each sequence has.
    """

    def __init__(
        self,
        config: TransformerConfig,
        *,
        sequences: int,
        room: int,
        dtype: torch.dtype = torch.float32,
        device: Device = "cpu",
    ):
        assert config.can_cache, "a cache has no local windows and no chunks"
        shape = (config.num_layers, 2, sequences, config.kv_heads, room, config.head_dim)
        self.store = torch.zeros(shape, dtype=dtype, device=device)
        self.lengths = torch.zeros(sequences, dtype=torch.long, device=device)
        self.memory: list[Tensor] = []  # of each layer, (2, S, K, M, D)
        self.memory_bias: Tensor | None = None  # (S, 1, 1, M)
        self.source = torch.arange(sequences, device=device)  # whose memory each sequence has
        self._distances: Tensor | None = None  # (H, room), see `_bias`
        self._heads = torch.arange(config.kv_heads, device=device)

    @property
    def room(self) -> int:
        """Most tokens of one sequence."""
        return int(self.store.shape[4])

    def continued(self, layout: Layout) -> Layout:
        """The layout of new tokens with their positions in the whole sequences."""
        if layout.one_each:
            return replace(layout, positions=self.lengths)
        before = self.lengths[layout.sequence.clamp(min=0)]
        filled = layout.sequence >= 0
        return replace(layout, positions=torch.where(filled, layout.positions + before, 0))

    def step(
        self,
        layout: Layout,
        *,
        relative: Callable[[Tensor], Tensor] | None = None,
    ) -> Step:
        """Where the new tokens go and what they may see.

        layout: `continued`. relative: gives the bias of distances, (..., W, L) to (..., H, W, L).
        Raises ValueError where there is no room for them.
        """
        total = self.lengths + layout.lengths
        shortest, longest = (int(end) for end in total.aminmax())
        if longest > self.room:
            raise ValueError(f"the cache has room for {self.room} tokens, but {longest} are needed")
        even = shortest == longest
        if layout.one_each:
            bias = None
            if not even or relative is not None:
                bias = self._bias(self.lengths[: 1 if even else None, None], longest, relative)
            group = Crossing(None, None, bias)
            rows = None if even else self._rows(layout.sequence, layout.positions)
            return Step(rows, None, Crossings((group,), None), longest)
        held = torch.nonzero(layout.sequence >= 0).flatten()
        queries = slots(layout.first, layout.lengths)
        position = layout.positions[queries]  # S W
        if bool((position == position[:1]).all()):
            position = position[:1]  # one bias serves all
        base = queries.shape[1] * torch.arange(len(queries), device=queries.device)
        group = Crossing(queries, queries, self._bias(position, longest, relative))
        rows = self._rows(layout.sequence[held], layout.positions[held])
        return Step(rows, held, Crossings((group,), back(layout, base)), longest)

    def _rows(self, owner: Tensor, place: Tensor) -> Tensor:
        """(N * K,) where keys of these places (N,) of their sequences lie."""
        head = owner[:, None] * len(self._heads) + self._heads
        return (head * self.room + place[:, None]).flatten()

    def _bias(
        self, position: Tensor, longest: int, relative: Callable[[Tensor], Tensor] | None
    ) -> Tensor:
        """(S, 1 or H, W, L) of what tokens at these positions (S, W) see of L keys."""
        ahead = torch.arange(longest, device=position.device) - position[..., None]  # S W L
        bias = hiding(ahead > 0, dtype=self.store.dtype)[:, None]
        if relative is None:
            return bias
        if self._distances is None:  # every distance there will be, looked up once
            every = -torch.arange(self.room, device=ahead.device)
            self._distances = relative(every[None])[:, 0].to(self.store.dtype)
        return bias + self._distances[:, (-ahead).clamp(min=0)].transpose(0, 1)

    def met(self, step: Step) -> Crossings | None:
        """How the new tokens see the memory, if an earlier call brought one."""
        if not self.memory:
            return None
        queries = step.crossings.groups[0].queries
        group = Crossing(queries, queries, self.memory_bias)  # its keys are kept by sequence
        return Crossings((group,), step.crossings.back)

    def advance(self, layout: Layout) -> None:
        """Count the tokens of a call, after all layers have seen them."""
        self.lengths = self.lengths + layout.lengths

    def select(self, which: Tensor, *, common: int = 0) -> None:
        """Go on with these sequences (S',), in this order, each as often as it is named.

        common: the first so many tokens are the same in every sequence and the one that takes its
        place, so they may stay. Only sequences that change their place are copied.
        """
        count = len(which)
        used = int(self.lengths.max()) if len(self.lengths) else 0
        if count > len(self.lengths):
            shape = list(self.store.shape)
            shape[2] = count
            kept = self.store[:, :, which, :, :used]
            self.store = self.store.new_zeros(shape)
            self.store[..., :used, :] = kept
        else:
            here = torch.arange(count, device=which.device)
            moved = torch.nonzero(which != here).flatten()
            kept = self.store[:, :, which[moved], :, common:used]
            self.store = self.store[:, :, :count]
            if len(moved) and common < used:
                self.store[:, :, moved, :, common:used] = kept
        self.lengths, source = self.lengths[which], self.source[which]
        if self.memory and not torch.equal(source, self.source):  # beams of one text share it
            self.memory = [layer[:, which] for layer in self.memory]
            self.memory_bias = None if self.memory_bias is None else self.memory_bias[which]
        self.source = source


@dataclass(frozen=True)
class Past:
    """One layer's part of a cache, in one call."""

    cache: Cache
    step: Step
    layer: int

    def extend(self, new: Tensor) -> tuple[Tensor, Tensor]:
        """Keep the new tokens' keys and values (T, 2, K, D). Returns all, (S, K, L, D) each."""
        step, held = self.step, self.cache.store[self.layer]
        if step.slots is not None:
            new = new[step.slots]
        new = new.transpose(0, 1)  # 2 N K D
        if step.rows is None:
            held[:, :, :, step.longest - 1] = new
        else:
            flat = held.view(2, -1, held.shape[-1])
            flat.index_copy_(1, step.rows, new.to(held.dtype).reshape(2, len(step.rows), -1))
        return held[0, :, :, : step.longest], held[1, :, :, : step.longest]

    def memory(self) -> tuple[Tensor, Tensor] | None:
        """The memory's keys and values, (S, K, M, D), if this layer has met it before."""
        known = self.cache.memory
        if self.layer >= len(known):
            return None
        return known[self.layer][0], known[self.layer][1]

    def remember(self, keys: Tensor, values: Tensor, bias: Tensor | None) -> None:
        """Keep them (S, K, M, D), with the bias (S, 1, 1, M) that hides what lies behind ends."""
        assert len(self.cache.memory) == self.layer, "layers come in order"
        self.cache.memory.append(torch.stack([keys, values]).to(self.cache.store.dtype))
        dtype = self.cache.store.dtype
        self.cache.memory_bias = None if bias is None else bias.to(dtype)
