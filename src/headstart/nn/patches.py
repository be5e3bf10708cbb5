"""What makes a Transformer read images, as values, and the tables of positions on a grid.

`patch_embed.py` computes with them. A position table has the class token's row first, then one for
every patch, row by row of the grid.

Legend: G patches a side, P = G * G, C hidden.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from headstart.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Patches:
    """A square image cut into square patches (Dosovitskiy et al. 2021, section 3.1).

    image_size, patch_size: pixels a side. channels: colours of a pixel. bias: whether the
    projection of a patch has one.
    Raises InputError unless the patches fill the image.
    """

    image_size: int = 224
    patch_size: int = 16
    channels: int = 3
    bias: bool = True

    def __post_init__(self) -> None:
        if self.image_size % self.patch_size:
            raise InputError(
                f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}: "
                f"{self.image_size // self.patch_size * self.patch_size} would be"
            )

    @property
    def grid(self) -> int:
        """G, patches a side."""
        return self.image_size // self.patch_size

    @property
    def tokens(self) -> int:
        """1 + P: tokens that a model makes of one image, the class token included."""
        return 1 + self.grid**2

    @property
    def size(self) -> int:
        """Numbers in one patch."""
        return self.channels * self.patch_size**2


def interpolated(positions: Tensor, grid: tuple[int, int]) -> Tensor:
    """A table (..., 1 + P, C) for another grid (rows, columns): bicubic, as stock ViT does it.

    The class token's row stays. Source: Dosovitskiy et al. 2021, section 3.2.
    """
    first, rest = positions[..., :1, :], positions[..., 1:, :]
    side = round(rest.shape[-2] ** 0.5)
    if (side, side) == grid:
        return positions
    square = rest.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    wide = F.interpolate(square.float(), size=grid, mode="bicubic", align_corners=False)
    flat = wide.permute(0, 2, 3, 1).reshape(*rest.shape[:-2], grid[0] * grid[1], -1)
    return torch.cat([first, flat.to(first.dtype)], -2)


def grid_sinusoids(grid: int, width: int) -> Tensor:
    """Fixed table (1 + P, C): sines and cosines of the column in the first half, of the row in the
    second, nothing for the class token.

    Raises InputError unless `width` is a multiple of 4. Source: He et al. 2022, section 3, and
    their released code.
    """
    if width % 4:
        raise InputError(
            f"sine positions on a grid need a hidden size that is a multiple of 4, not {width}"
        )
    rates = 1e4 ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    angles = torch.arange(grid, dtype=torch.float64)[:, None] * rates  # G C/4
    line = torch.cat([angles.sin(), angles.cos()], -1)  # G C/2
    column = line[None].expand(grid, grid, -1)
    row = line[:, None].expand(grid, grid, -1)
    table = torch.cat([column, row], -1).reshape(grid * grid, width)
    return torch.cat([table.new_zeros(1, width), table]).float()
