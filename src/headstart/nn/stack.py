"""The one Transformer: (T, hidden) in and out, for every family, as encoder or decoder.

A cache for decoding will be one more argument of `forward`, made and kept by the caller.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from headstart.batch import Layout
from headstart.nn.block import Block
from headstart.nn.config import TransformerConfig
from headstart.nn.mask import row_masks
from headstart.nn.norm import Norm
from headstart.nn.position import rotation
from headstart.nn.reversible import branches_of, run, states


class Transformer(nn.Module):
    """A stack of blocks over a flat stream of tokens."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(Block(config, layer=n) for n in range(config.num_layers))
        ends = config.norm_order == "pre" and config.final_norm
        self.norm = Norm(config, width=config.output_size) if ends else None

    def forward(self, x: Tensor, layout: Layout, *, causal: bool | None = None) -> Tensor:
        """x: (T, hidden). Returns the last hidden states, (T, hidden); twice as wide if reversible.

        causal: whether tokens see only what came before; None: as the config has it.
        """
        if self.config.long_range is not None:
            x = run(x, branches_of(self.blocks, self.config, layout, causal=causal))
            return x if self.norm is None else torch.as_tensor(self.norm(x))
        for state in self._states(x, layout, causal):
            x = state  # the one before is let go: its memory serves the next block
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

    def _states(self, x: Tensor, layout: Layout, causal: bool | None) -> Iterator[Tensor]:
        config = self.config
        ordered = config.causal if causal is None else causal
        full = row_masks(layout, causal=ordered, window=None, dtype=x.dtype)
        local = full
        if config.window is not None:
            local = row_masks(layout, causal=ordered, window=config.window, dtype=x.dtype)
        turn = near = None
        if config.position == "rotary":
            position, width = layout.positions, config.head_dim
            turn = near = rotation(position, width, theta=config.rope_theta, dtype=x.dtype)
            if config.window is not None and config.local_rope_theta != config.rope_theta:
                near = rotation(position, width, theta=config.local_rope_theta, dtype=x.dtype)
        last = len(self.blocks) - 1
        for layer, block in enumerate(self.blocks):
            wide = config.is_global(layer)
            x = block(x, full if wide else local, turn if wide else near)
            if layer == last and self.norm is not None:
                x = self.norm(x)
            yield x
