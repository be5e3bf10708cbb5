"""The one Transformer: (T, hidden) in and out, for every family, as encoder or decoder.

What it attends to besides its own stream comes as arguments: states of another stream (`Memory`),
and earlier tokens of the same sequences (`Cache`), made and kept by the caller.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from headstart.batch import Layout
from headstart.errors import InputError
from headstart.nn.block import Block
from headstart.nn.cache import Cache, Past, Step
from headstart.nn.config import TransformerConfig
from headstart.nn.cross import Memory, Seen
from headstart.nn.kernels import takes_runs
from headstart.nn.mask import Masks, crossings, row_masks, run_mask
from headstart.nn.norm import Norm
from headstart.nn.position import RelativeBias, rotation
from headstart.nn.reversible import branches_of, run, states
from headstart.nn.rows import chosen, filled

FEW = 0.75  # share of the slots up to which choosing them before the last block's MLP saves time


class Transformer(nn.Module):
    """A stack of blocks over a flat stream of tokens."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(Block(config, layer=n) for n in range(config.num_layers))
        ends = config.norm_order == "pre" and config.final_norm
        self.norm = Norm(config, width=config.output_size) if ends else None
        self.relative = None
        if config.position == "relative":
            self.relative = RelativeBias(
                buckets=config.relative_buckets,
                farthest=config.relative_distance,
                num_heads=config.num_heads,
                causal=config.causal,
            )

    def forward(
        self,
        x: Tensor,
        layout: Layout,
        *,
        causal: bool | None = None,
        memory: Memory | None = None,
        cache: Cache | None = None,
        at: Tensor | None = None,
    ) -> Tensor:
        """x: (T, hidden). Returns the last hidden states, (T, hidden); twice as wide if reversible.

        causal: whether tokens see only what came before; None: as the config has it.
        memory: what cross-attention sees; may be left out once the cache has met it.
        cache: holds earlier tokens and keeps these; `layout` is then `cache.continued`, and each
            token sees its sequence up to itself. Without gradients only.
        at: slots (N,) whose last states alone are wanted, (N, hidden): the last block then computes
            nothing for the others but what these attend to.
        """
        if self.config.long_range is not None:
            if cache is not None:
                raise InputError(
                    "a Reformer has no cache for decoding: encode the whole text for each token"
                )
            x = chosen(run(x, branches_of(self.blocks, self.config, layout, causal=causal)), at)
            return x if self.norm is None else torch.as_tensor(self.norm(x))
        for state in self._states(x, layout, causal, memory, cache, at):
            x = state  # the one before is let go: its memory serves the next block
        if cache is not None:
            cache.advance(layout)
        return x

    def hidden_states(
        self, x: Tensor, layout: Layout, *, causal: bool | None = None
    ) -> list[Tensor]:
        """The states after the embedding and after each block; the last one is normalised."""
        if self.config.long_range is not None:
            branches = branches_of(self.blocks, self.config, layout, causal=causal)
            pairs = [(x, x), *list(states(x, branches))[1::2]]  # a block has two branches
            found = [torch.cat(pair, -1) for pair in pairs]
            return found if self.norm is None else [*found[:-1], self.norm(found[-1])]
        return [x, *self._states(x, layout, causal)]

    def _states(
        self,
        x: Tensor,
        layout: Layout,
        causal: bool | None,
        memory: Memory | None = None,
        cache: Cache | None = None,
        at: Tensor | None = None,
    ) -> Iterator[Tensor]:
        config = self.config
        ordered = config.causal if causal is None else causal
        full: Masks = ()
        step = None
        if cache is None:
            full = self._masks(layout, causal=ordered, window=None, dtype=x.dtype)
        else:
            assert not torch.is_grad_enabled(), "a cache is for answering"
            step = cache.step(layout, relative=self.relative)
        local = full
        if config.window is not None:
            local = self._masks(layout, causal=ordered, window=config.window, dtype=x.dtype)
        seen = self._seen(layout, memory, cache, step, dtype=x.dtype)
        turn = near = None
        if config.position == "rotary":
            position, width = layout.positions, config.head_dim
            turn = near = rotation(
                position,
                width,
                theta=config.rope_theta,
                dtype=x.dtype,
                scaling=config.rope_scaling,
            )
            other = config.rope_scaling is not None or config.local_rope_theta != config.rope_theta
            if config.window is not None and other:
                near = rotation(position, width, theta=config.local_rope_theta, dtype=x.dtype)
        last = len(self.blocks) - 1
        few = at is not None and len(at) < FEW * len(x)
        for layer, block in enumerate(self.blocks):
            wide = config.is_global(layer)
            past = None if cache is None or step is None else Past(cache, step, layer)
            early = filled(at) if few and at is not None and layer == last else None
            x = block(x, full if wide else local, turn if wide else near, past, seen, early)
            if at is not None and layer == last:
                x = x[: len(at)] if few else chosen(x, at)
            if layer == last and self.norm is not None:
                x = self.norm(x)
            yield x

    def _masks(
        self, layout: Layout, *, causal: bool, window: int | None, dtype: torch.dtype
    ) -> Masks:
        if self.relative is None and takes_runs(dtype, self.config.head_dim):
            whole = run_mask(layout, causal=causal, window=window)
            if whole is not None:
                return whole
        masks = row_masks(layout, causal=causal, window=window, dtype=dtype)
        if self.relative is None:
            return masks
        squares = {width: self.relative.square(width) for width in {m.width for m in masks}}
        return tuple(mask.plus(squares[mask.width]) for mask in masks)

    def _seen(
        self,
        layout: Layout,
        memory: Memory | None,
        cache: Cache | None,
        step: Step | None,
        *,
        dtype: torch.dtype,
    ) -> Seen | None:
        """What cross-attention sees, if this stack has any."""
        if not self.config.cross:
            return None
        met = None if cache is None or step is None else cache.met(step)
        if met is not None:
            return Seen(None, met)
        assert memory is not None, "a stack with cross-attention needs a memory"
        together = cache is not None
        found = crossings(layout, memory.layout, dtype=dtype, together=together)
        return Seen(memory.states, found)
