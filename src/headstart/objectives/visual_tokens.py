"""Masked visual tokens: blocks of patches are hidden, and their tokens in a code book predicted.

All patches go through the whole encoder, hidden ones as a learned vector; a linear map scores the
codes, at the hidden patches only. Source: Bao et al. 2022, "BEiT", sections 2.3 and 2.4.

Legend: S images, P patches of an image, G patches a side, N hidden patches, K codes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.batch import Batch, Sequences
from headstart.data.code_book import CodeBook
from headstart.data.patches import PixelFrame, lay_out_patches
from headstart.families.image_heads import CodeHead
from headstart.families.model import Model
from headstart.nn import initialise
from headstart.objectives.image_objective import Shown
from headstart.objectives.masked_image import NEEDS, hidden_slots
from headstart.objectives.objective import Loss

LEAST_BLOCK = 16 / 196  # of the patches: 16 of 14 x 14 in the paper
NARROWEST = 0.3  # a block's sides are at most in this ratio


@dataclass(eq=False)
class VisualTokens:
    """Predict the code of every hidden patch.

    codes: the code book. rate: share of the patches that is hidden, in blocks.
    The loss is the mean cross-entropy over hidden patches.
    """

    codes: CodeBook
    rate: float = 0.4
    weight: float = 1.0
    name: str = "beit"
    needs: frozenset[str] = NEEDS

    def head(self, model: Model, seed: int, known: nn.Module | None = None) -> nn.Module:
        """Always a fresh head: codes of another run mean something else."""
        head = CodeHead(model.config, codes=len(self.codes))
        initialise(head, generator=torch.Generator().manual_seed(seed))
        return head.to(model.embed.tokens.weight.dtype)

    def show(self, sequences: Sequences, frame: PixelFrame, rng: np.random.Generator) -> Shown:
        """All patches, which of them the model must not see, and the codes of these."""
        patches = frame.patches(sequences)
        chosen = block_masks(len(patches), grid=frame.grid, rate=self.rate, rng=rng)
        stream, layout = lay_out_patches(patches)
        slots, hidden = hidden_slots(chosen)
        labels = torch.from_numpy(self.codes.tokens(patches[chosen]))
        asked = {"slots": slots, "hidden": hidden, "labels": labels}
        return Shown(stream, layout, {f"{self.name}.{what}": t for what, t in asked.items()})

    def loss(self, model: Model, head: nn.Module, hidden: Tensor, batch: Batch) -> Loss:
        """Mean cross-entropy over all hidden patches."""
        slots, labels = batch.targets[f"{self.name}.slots"], batch.targets[f"{self.name}.labels"]
        scores = head(hidden.index_select(0, slots))
        return Loss(F.cross_entropy(scores.float(), labels), len(slots))


def block_masks(count: int, *, grid: int, rate: float, rng: np.random.Generator) -> np.ndarray:
    """(S, P) which patches are hidden: blocks of random size, shape and place, laid until enough.

    The same number in every image, `rate` of its patches; of a last block that would be too large,
    the first patches row by row. Source: Bao et al. 2022, algorithm 1.
    """
    patches = grid * grid
    wanted = min(max(1, round(rate * patches)), patches - 1) if patches > 1 else 1
    least = max(1.0, LEAST_BLOCK * patches)
    hidden = np.zeros((count, grid, grid), dtype=bool)
    short = np.arange(count)
    while len(short):
        missing = wanted - hidden[short].sum((1, 2))
        draws = rng.random((4, len(short)))
        size = least + (np.maximum(missing, least) - least) * draws[0]
        shape = np.exp(np.log(NARROWEST) * (2 * draws[1] - 1) / 2)
        inside = _between(size**0.5 * shape, draws[2], grid)[:, :, None]
        inside = inside & _between(size**0.5 / shape, draws[3], grid)[:, None, :]
        fresh = (inside & ~hidden[short]).reshape(len(short), -1)
        fresh &= fresh.cumsum(1) <= missing[:, None]
        hidden[short] |= fresh.reshape(-1, grid, grid)
        short = short[fresh.sum(1) < missing]
    return hidden.reshape(count, -1)


def _between(length: np.ndarray, place: np.ndarray, grid: int) -> np.ndarray:
    """(S, G) a stretch of about this length (S,), anywhere on a side; place: uniform numbers."""
    whole = np.clip(np.rint(length), 1, grid).astype(np.int64)
    begin = (place * (grid - whole + 1)).astype(np.int64)
    line = np.arange(grid)
    stretch: np.ndarray = (line >= begin[:, None]) & (line < (begin + whole)[:, None])
    return stretch
