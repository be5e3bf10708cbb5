"""Patches of pixels to vectors: a linear map of each, a class token before them, and positions.

The stream is that of tokens: slots of images one after another, each image's class token first. Its
slot holds no pixels. A slot's position says which patch it is, so patches can be left out.

Legend: T slots, D numbers of a patch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.batch import Layout
from headstart.nn.config import TransformerConfig
from headstart.nn.dropout import drop
from headstart.nn.norm import Norm
from headstart.nn.patches import Patches, grid_sinusoids


class PatchProjection(nn.Module):
    """A linear map of patches, its weight in the shape of the convolution that it equals."""

    def __init__(self, shape: Patches, width: int):
        super().__init__()
        size = shape.patch_size
        self.weight = nn.Parameter(torch.empty(width, shape.channels, size, size))
        self.bias = nn.Parameter(torch.empty(width)) if shape.bias else None

    def forward(self, patches: Tensor) -> Tensor:
        """patches: (T, D), channel before row before column. Returns (T, hidden)."""
        return F.linear(patches.to(self.weight.dtype), self.weight.flatten(1), self.bias)


class PatchEmbedding(nn.Module):
    """The sum of a patch's projection and its position, perhaps normalised; a learned vector for
    the class token.

    Source: Dosovitskiy et al. 2021, equation 1.
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        assert config.patches is not None, "for a Transformer that reads images"
        self.grid = config.patches.grid
        self.tokens = PatchProjection(config.patches, config.hidden_size)
        # shapes as in Hugging Face's files
        self.first = nn.Parameter(torch.empty(1, 1, config.hidden_size))
        self.positions = nn.Parameter(torch.empty(1, config.patches.tokens, config.hidden_size))
        self.norm = Norm(config) if config.embedding_norm else None
        self.dropout = config.dropout

    def forward(
        self,
        patches: Tensor,
        layout: Layout,
        *,
        hidden: Tensor | None = None,
        instead: Tensor | None = None,
    ) -> Tensor:
        """patches: (T, D). Returns (T, hidden).

        hidden, instead: slots (T,) whose patch is not shown, and the vector (hidden,) in its place.
        """
        x = self.tokens(patches)
        if hidden is not None and instead is not None:
            x = torch.where(hidden[:, None], instead.to(x.dtype), x)
        x = torch.where((layout.positions == 0)[:, None], self.first[0], x)
        x = x + self.positions[0].index_select(0, layout.positions)
        if self.norm is not None:
            x = self.norm(x)
        return drop(x, self.dropout, self.training)

    def initialise(self, std: float, generator: torch.Generator) -> None:
        """Positions start as sines on the grid, the projection so wide that both weigh alike.

        Source: He et al. 2022, appendix A.1 (Xavier's noise for the projection as a linear map).
        """
        with torch.no_grad():
            nn.init.xavier_uniform_(
                self.tokens.weight.view(len(self.first[0, 0]), -1), generator=generator
            )
            if self.tokens.bias is not None:
                self.tokens.bias.zero_()
            self.first.normal_(0.0, std, generator=generator)
            self.positions.copy_(grid_sinusoids(self.grid, self.positions.shape[-1]))
