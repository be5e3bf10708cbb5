"""Masked images: some patches are hidden, and their pixels are given back from the others.

MAE leaves the hidden patches out of the encoder, which then works on a quarter of the image; a
light decoder gives the pixels. SimMIM shows a learned vector in their place to the whole encoder,
and a linear map gives the pixels. Sources: He et al. 2022; Xie et al. 2022.

Legend: S images, P patches of an image, K of them kept, D numbers of a patch, N hidden patches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.batch import Batch, Sequences
from headstart.data.image_batches import PIXELS
from headstart.data.patches import PixelFrame, image_layout, lay_out_patches
from headstart.families.heads import make_head
from headstart.families.image_heads import MaskedPatchHead, PixelHead
from headstart.families.model import Model
from headstart.families.style import PatchDecoder
from headstart.nn import initialise
from headstart.objectives.objective import Loss, refuse_arrangement

NEEDS = frozenset({"image encoder"})


@dataclass(eq=False)
class MaskedAutoencoder:
    """Predict the pixels of hidden patches from the kept ones alone.

    decoder: the shape of the head; it also says how many patches are hidden, and whether the pixels
    of each are centred and scaled first. The loss is the mean squared error over hidden patches.
    """

    frame: PixelFrame
    decoder: PatchDecoder = field(default_factory=lambda: PatchDecoder(normalised=True))
    name: str = "mae"
    needs: frozenset[str] = NEEDS

    def refuse(self, model: Model) -> None:
        """Raise InputError if this model cannot do it."""
        refuse_arrangement(self.name, self.needs, model)

    def heads(
        self, model: Model, *, seed: int = 0, start: Mapping[str, nn.Module] | None = None
    ) -> nn.ModuleDict:
        """A fresh decoder, or the one that the checkpoint brings."""
        self.refuse(model)
        known = (start or {}).get(self.name)
        if isinstance(known, MaskedPatchHead) and known.shape == self.decoder:
            return nn.ModuleDict({self.name: known})
        head = MaskedPatchHead(model.config, self.decoder)
        initialise(head, generator=torch.Generator().manual_seed(seed))
        return nn.ModuleDict({self.name: head.to(model.embed.tokens.weight.dtype)})

    def prepare(
        self, sequences: Sequences, rng: np.random.Generator, progress: float = 0.0
    ) -> Batch:
        """The kept patches as the stream, the hidden ones as targets: a pure function."""
        patches = self.frame.patches(sequences)
        noise = rng.random(patches.shape[:2])
        kept, hidden = split_patches(noise, rate=self.decoder.mask_ratio)
        stream, layout = lay_out_patches(patches, kept=kept)
        whole = image_layout(np.broadcast_to(np.arange(patches.shape[1]), patches.shape[:2]))
        targets = np.take_along_axis(patches, hidden[:, :, None], 1)
        targets = pixels_last(targets.reshape(-1, targets.shape[-1]), self.frame.patch_size)
        if self.decoder.normalised:
            targets = normalised(targets)
        slots = whole.first[:, None] + 1 + torch.from_numpy(hidden)
        return Batch(
            {PIXELS: stream},
            {"tokens": layout, "whole": whole},
            {
                f"{self.name}.slots": slots.flatten(),
                f"{self.name}.pixels": torch.from_numpy(targets),
            },
            self.name,
        )

    def loss(self, model: Model, heads: Mapping[str, nn.Module], batch: Batch) -> Loss:
        """Mean squared error over the numbers of all hidden patches."""
        slots, pixels = batch.targets[f"{self.name}.slots"], batch.targets[f"{self.name}.pixels"]
        hidden = model.encode(batch)
        layouts = batch.layout
        found: Tensor = heads[self.name](hidden, layouts["tokens"], layouts["whole"], slots)
        return Loss(F.mse_loss(found.float(), pixels), len(slots))


@dataclass(eq=False)
class SimpleMaskedImage:
    """Predict the pixels of hidden patches with the whole encoder and one linear map.

    rate: share of the patches that is hidden, in squares of `unit` x `unit` patches.
    The loss is the mean absolute error over hidden patches.
    """

    frame: PixelFrame
    rate: float = 0.6
    unit: int = 1
    name: str = "simmim"
    needs: frozenset[str] = NEEDS

    def refuse(self, model: Model) -> None:
        """Raise InputError if this model cannot do it."""
        refuse_arrangement(self.name, self.needs, model)

    def heads(
        self, model: Model, *, seed: int = 0, start: Mapping[str, nn.Module] | None = None
    ) -> nn.ModuleDict:
        """A fresh head, or the one that the checkpoint brings."""
        self.refuse(model)
        known = (start or {}).get(self.name)
        head = known if isinstance(known, PixelHead) else make_head(model, "simmim", seed=seed)
        return nn.ModuleDict({self.name: head})

    def prepare(
        self, sequences: Sequences, rng: np.random.Generator, progress: float = 0.0
    ) -> Batch:
        """All patches as the stream, and which of them the model must not see."""
        patches = self.frame.patches(sequences)
        stream, layout = lay_out_patches(patches)
        rows = -(-self.frame.grid // self.unit)
        noise = rng.random((len(patches), rows * rows))
        shown = hidden_squares(noise, grid=self.frame.grid, unit=self.unit, rate=self.rate)
        slots = np.flatnonzero(np.pad(shown, ((0, 0), (1, 0))).ravel())
        hidden = torch.zeros(len(stream), dtype=torch.bool)
        hidden[slots] = True
        targets = {
            f"{self.name}.slots": torch.from_numpy(slots),
            f"{self.name}.hidden": hidden,
            f"{self.name}.pixels": stream[slots],
        }
        return Batch({PIXELS: stream}, {"tokens": layout}, targets, self.name)

    def loss(self, model: Model, heads: Mapping[str, nn.Module], batch: Batch) -> Loss:
        """Mean absolute error over the numbers of all hidden patches."""
        head, layout = heads[self.name], batch.layout["tokens"]
        assert isinstance(head, PixelHead), "the objective's head"
        hidden, slots = batch.targets[f"{self.name}.hidden"], batch.targets[f"{self.name}.slots"]
        x = model.embed(batch.inputs[PIXELS], layout, hidden=hidden, instead=head.mask_token[0, 0])
        states: Tensor = model.stack(x, layout)
        found = head(states.index_select(0, slots))
        return Loss(F.l1_loss(found.float(), batch.targets[f"{self.name}.pixels"]), len(slots))


def split_patches(noise: np.ndarray, *, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the kept (S, K) and the hidden (S, P - K) patches, ascending.

    noise: (S, P); the patches with the least noise are kept, P * (1 - rate) of them, rounded down
    but at least one.
    """
    patches = noise.shape[1]
    kept = max(1, int(patches * (1 - rate)))
    order = np.argsort(noise, axis=1, kind="stable")
    return np.sort(order[:, :kept], axis=1), np.sort(order[:, kept:], axis=1)


def hidden_squares(noise: np.ndarray, *, grid: int, unit: int, rate: float) -> np.ndarray:
    """(S, P) whether each patch is hidden: whole squares of unit x unit, `rate` of them rounded up.

    noise: (S, U), one number a square, row by row.
    """
    count = noise.shape[1]
    rows = round(count**0.5)
    chosen = np.zeros(noise.shape, dtype=bool)
    order = np.argsort(noise, axis=1, kind="stable")[:, : int(np.ceil(count * rate))]
    np.put_along_axis(chosen, order, True, axis=1)
    squares = chosen.reshape(-1, rows, rows).repeat(unit, axis=1).repeat(unit, axis=2)
    return np.ascontiguousarray(squares[:, :grid, :grid]).reshape(len(noise), -1)


def pixels_last(patches: np.ndarray, patch: int) -> np.ndarray:
    """(N, D) with channel before row before column, to row before column before channel."""
    grid = patches.reshape(len(patches), -1, patch, patch)
    return np.ascontiguousarray(grid.transpose(0, 2, 3, 1)).reshape(len(patches), -1)


def normalised(patches: np.ndarray) -> np.ndarray:
    """(N, D) with mean 0 and variance 1 each. Source: He et al. 2022, section 3."""
    mean = patches.mean(1, keepdims=True)
    variance = patches.var(1, ddof=1, keepdims=True)
    scaled: np.ndarray = (patches - mean) / np.sqrt(variance + 1e-6)
    return scaled
