"""Heads for hidden patches: MAE's decoder, SimMIM's map to pixels, BEiT's map to visual tokens.

Legend: T slots of the stream, N hidden patches, D numbers of a patch.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.batch import Layout
from headstart.families.style import PatchDecoder
from headstart.nn import Patches, Transformer, TransformerConfig
from headstart.nn.patches import grid_sinusoids


class MaskedPatchHead(nn.Module):
    """MAE's decoder: a small Transformer that sees the kept patches' states and the others' places.

    Its positions are fixed sines. Source: He et al. 2022, section 3.
    """

    positions: Tensor

    def __init__(self, config: TransformerConfig, shape: PatchDecoder):
        super().__init__()
        patches = config.patches
        assert patches is not None, "for a model that reads images"
        self.shape = shape
        width = shape.hidden_size
        self.embed = nn.Linear(config.hidden_size, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.register_buffer("positions", grid_sinusoids(patches.grid, width)[None])
        self.stack = Transformer(decoder_config(config, shape))
        self.predict = nn.Linear(width, patches.size)

    def forward(self, hidden: Tensor, layout: Layout, whole: Layout, slots: Tensor) -> Tensor:
        """What the patches at `slots` look like, (N, D).

        hidden: (T, hidden) of the kept tokens; layout: theirs. whole: the layout of all patches of
        the same images; slots: (N,) of its stream. A patch's numbers are row before column before
        channel.
        """
        kept = self.embed(hidden)
        place = whole.first[layout.sequence] + layout.positions
        filler = self.mask_token.to(kept.dtype)[0].expand(len(whole.positions), -1)
        x = filler.index_copy(0, place, kept)
        x = x + self.positions[0].to(kept.dtype).index_select(0, whole.positions)
        out: Tensor = self.predict(self.stack(x, whole, at=slots))
        return out


def decoder_config(config: TransformerConfig, shape: PatchDecoder) -> TransformerConfig:
    """The decoder's Transformer: like the body, of another size."""
    return replace(
        config,
        hidden_size=shape.hidden_size,
        num_layers=shape.num_layers,
        num_heads=shape.num_heads,
        intermediate_size=shape.intermediate_size,
        patches=None,
    )


class PixelHead(nn.Module):
    """SimMIM's head: hidden patches are a learned vector in the input; a linear map gives pixels.

    Source: Xie et al. 2022, section 3.
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        patches = config.patches
        assert patches is not None, "for a model that reads images"
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        self.predict = PixelProjection(patches, config.hidden_size)

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden: (N, hidden) of patches. Returns (N, D), channel before row before column."""
        out: Tensor = self.predict(hidden)
        return out


class CodeHead(nn.Module):
    """BEiT's head: hidden patches are a learned vector in the input; a linear map scores the codes.

    Source: Bao et al. 2022, section 2.3.
    """

    def __init__(self, config: TransformerConfig, *, codes: int):
        super().__init__()
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        self.predict = nn.Linear(config.hidden_size, codes)

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden: (N, hidden) of patches. Returns scores (N, codes)."""
        out: Tensor = self.predict(hidden)
        return out


class PixelProjection(nn.Module):
    """A linear map to pixels, its weight in the shape of the convolution that it equals."""

    def __init__(self, patches: Patches, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(patches.size, width, 1, 1))
        self.bias = nn.Parameter(torch.zeros(patches.size))

    def forward(self, hidden: Tensor) -> Tensor:
        """(N, hidden) to (N, D)."""
        return F.linear(hidden, self.weight.flatten(1), self.bias)
