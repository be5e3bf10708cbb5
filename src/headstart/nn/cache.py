"""Keys and values of what was decoded so far, so that one more token costs one more token.

A `Cache` is made by who decodes, with room for all it will hold, and handed down as an argument; no
module keeps it. Sequences are of any lengths, are given any number of tokens at a time, and can be
chosen, repeated and dropped between two calls (beams). It answers only: nothing in it is learnt.

Legend: T stream, N tokens in it, S sequences, W most new tokens of one, L most tokens of one, M
tokens of the longest memory, K heads of keys and values, D head width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.types import Device

from headstart.batch import Layout
from headstart.nn.config import TransformerConfig
from headstart.nn.mask import Crossing, Crossings, back, slots


@dataclass(frozen=True)
class Step:
    """The new tokens of one call.

    slots: (N,) of the stream that hold one; owner, place: (N,) its sequence and its position there.
    crossings: the queries of each sequence against what it holds: all in one group.
    longest: L, with the new tokens.
    """

    slots: Tensor
    owner: Tensor
    place: Tensor
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
        plain = config.window is None and config.long_range is None
        assert plain, "a cache has no local windows and no chunks"
        shape = (config.num_layers, sequences, room, 2, config.kv_heads, config.head_dim)
        self.store = torch.zeros(shape, dtype=dtype, device=device)
        self.lengths = torch.zeros(sequences, dtype=torch.long, device=device)
        self.memory: list[Tensor] = []  # of each layer, (S, M, 2, K, D)
        self.memory_bias: Tensor | None = None  # (S, 1, 1, M)
        self.source = torch.arange(sequences, device=device)  # whose memory each sequence has

    @property
    def room(self) -> int:
        """Most tokens of one sequence."""
        return int(self.store.shape[2])

    def continued(self, layout: Layout) -> Layout:
        """The layout of new tokens with their positions in the whole sequences."""
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

        layout: `continued`. relative: gives the bias of distances, (S, W, L) to (S, H, W, L).
        Raises ValueError where there is no room for them.
        """
        total = self.lengths + layout.lengths
        longest = int(total.max())
        if longest > self.room:
            raise ValueError(f"the cache has room for {self.room} tokens, but {longest} are needed")
        held = torch.nonzero(layout.sequence >= 0).flatten()
        queries = slots(layout.first, layout.lengths)
        position = layout.positions[queries]  # S W
        ahead = torch.arange(longest, device=position.device) - position[..., None]  # S W L
        bias = None
        if relative is not None or bool((ahead > 0).any()):
            bias = torch.zeros(ahead.shape, dtype=self.store.dtype, device=ahead.device)
            bias = bias.masked_fill_(ahead > 0, float("-inf"))[:, None]
            bias = bias if relative is None else bias + relative(ahead)
        base = queries.shape[1] * torch.arange(len(queries), device=queries.device)
        group = Crossing(queries, queries, bias)
        return Step(
            held,
            layout.sequence[held],
            layout.positions[held],
            Crossings((group,), back(layout, base)),
            longest,
        )

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

    def select(self, which: Tensor) -> None:
        """Go on with these sequences (S',), in this order, each as often as it is named."""
        used = int(self.lengths.max()) if len(self.lengths) else 0
        kept = self.store[:, which, :used]
        if len(which) != len(self.lengths):
            shape = list(self.store.shape)
            shape[1] = len(which)
            self.store = self.store.new_zeros(shape)
        self.store[:, :, :used] = kept
        self.lengths, source = self.lengths[which], self.source[which]
        if self.memory and not torch.equal(source, self.source):  # beams of one text share it
            self.memory = [layer[which] for layer in self.memory]
            self.memory_bias = None if self.memory_bias is None else self.memory_bias[which]
        self.source = source


@dataclass(frozen=True)
class Past:
    """One layer's part of a cache, in one call."""

    cache: Cache
    step: Step
    layer: int

    def extend(self, new: Tensor) -> Tensor:
        """Keep the new tokens' keys and values (T, 2, K, D). Returns all, (S, L, 2, K, D)."""
        step, held = self.step, self.cache.store[self.layer]
        held[step.owner, step.place] = new[step.slots]
        return held[:, : step.longest]

    def memory(self) -> Tensor | None:
        """The memory's keys and values, (S, M, 2, K, D), if this layer has met it before."""
        known = self.cache.memory
        return known[self.layer] if self.layer < len(known) else None

    def remember(self, memory: Tensor, bias: Tensor | None) -> None:
        """Keep them, with the bias (S, 1, 1, M) that hides what is behind their ends."""
        assert len(self.cache.memory) == self.layer, "layers come in order"
        self.cache.memory.append(memory)
        self.cache.memory_bias = bias
