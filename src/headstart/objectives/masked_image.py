"""Masked images: some patches are hidden, and their pixels are given back from the others.

MAE leaves the hidden patches out of the encoder, which then works on a quarter of the image; a
light decoder gives the pixels. SimMIM shows a learned vector in their place to the whole encoder,
and a linear map gives the pixels. Sources: He et al. 2022; Xie et al. 2022.

Legend: S images, P patches of an image, K of them kept, D numbers of a patch, N hidden patches.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.batch import Batch, Sequences
from headstart.data.patches import PixelFrame, image_layout, lay_out_patches, of_each
from headstart.families.heads import make_head
from headstart.families.image_heads import MaskedPatchHead, PixelHead
from headstart.families.model import Model
from headstart.families.style import PatchDecoder
from headstart.nn import initialise
from headstart.objectives.image_objective import Shown
from headstart.objectives.objective import Loss

NEEDS = frozenset({"image encoder"})


@dataclass(eq=False)
class MaskedAutoencoder:
    """Predict the pixels of hidden patches from the kept ones alone.

    decoder: the shape of the head; it also says how many patches are hidden, and whether the pixels
    of each are centred and scaled first. The loss is the mean squared error over hidden patches.
    """

    decoder: PatchDecoder = field(default_factory=lambda: PatchDecoder(normalised=True))
    weight: float = 1.0
    name: str = "mae"
    needs: frozenset[str] = NEEDS

    def head(self, model: Model, seed: int, known: nn.Module | None = None) -> nn.Module:
        """A fresh decoder, or the one that the checkpoint brings."""
        if isinstance(known, MaskedPatchHead) and known.shape == self.decoder:
            return known
        head = MaskedPatchHead(model.config, self.decoder)
        initialise(head, generator=torch.Generator().manual_seed(seed))
        return head.to(model.embed.tokens.weight.dtype)

    def show(self, sequences: Sequences, frame: PixelFrame, rng: np.random.Generator) -> Shown:
        """The kept patches; the hidden ones are the targets."""
        patches = frame.patches(sequences)
        noise = rng.random(patches.shape[:2])
        kept, hidden = split_patches(noise, rate=self.decoder.mask_ratio)
        stream, layout = lay_out_patches(patches, kept=kept)
        whole = image_layout(np.broadcast_to(np.arange(patches.shape[1]), patches.shape[:2]))
        targets = of_each(patches, hidden).reshape(-1, patches.shape[-1])
        targets = pixels_last(targets, frame.patch_size)
        if self.decoder.normalised:
            targets = normalised(targets)
        slots = whole.first[:, None] + 1 + torch.from_numpy(hidden)
        asked = {"slots": slots.flatten(), "pixels": torch.from_numpy(targets)}
        own = {f"{self.name}.{what}": tensor for what, tensor in asked.items()}
        return Shown(stream, layout, own, {f"{self.name}.whole": whole})

    def loss(self, model: Model, head: nn.Module, hidden: Tensor, batch: Batch) -> Loss:
        """Mean squared error over the numbers of all hidden patches."""
        slots, pixels = batch.targets[f"{self.name}.slots"], batch.targets[f"{self.name}.pixels"]
        layouts = batch.layout
        found: Tensor = head(hidden, layouts["tokens"], layouts[f"{self.name}.whole"], slots)
        return Loss(F.mse_loss(found.float(), pixels), len(slots))


@dataclass(eq=False)
class SimpleMaskedImage:
    """Predict the pixels of hidden patches with the whole encoder and one linear map.

    rate: share of the patches that is hidden, in squares of `unit` x `unit` patches.
    The loss is the mean absolute error over hidden patches.
    """

    rate: float = 0.6
    unit: int = 1
    weight: float = 1.0
    name: str = "simmim"
    needs: frozenset[str] = NEEDS

    def head(self, model: Model, seed: int, known: nn.Module | None = None) -> nn.Module:
        """A fresh head, or the one that the checkpoint brings."""
        return known if isinstance(known, PixelHead) else make_head(model, "simmim", seed=seed)

    def show(self, sequences: Sequences, frame: PixelFrame, rng: np.random.Generator) -> Shown:
        """All patches, and which of them the model must not see."""
        stream, layout = lay_out_patches(frame.patches(sequences))
        rows = -(-frame.grid // self.unit)
        noise = rng.random((len(sequences), rows * rows))
        chosen = hidden_squares(noise, grid=frame.grid, unit=self.unit, rate=self.rate)
        slots, hidden = hidden_slots(chosen)
        asked = {"slots": slots, "hidden": hidden, "pixels": stream[slots]}
        own = {f"{self.name}.{what}": tensor for what, tensor in asked.items()}
        return Shown(stream, layout, own)

    def loss(self, model: Model, head: nn.Module, hidden: Tensor, batch: Batch) -> Loss:
        """Mean absolute error over the numbers of all hidden patches."""
        slots, pixels = batch.targets[f"{self.name}.slots"], batch.targets[f"{self.name}.pixels"]
        found = head(hidden.index_select(0, slots))
        return Loss(F.l1_loss(found.float(), pixels), len(slots))


def hidden_slots(chosen: np.ndarray) -> tuple[Tensor, Tensor]:
    """Slots (N,) of the chosen patches in a stream of whole images, and (T,) which slots they are.

    chosen: (S, P).
    """
    hidden = np.pad(chosen, ((0, 0), (1, 0))).ravel()
    return torch.from_numpy(np.flatnonzero(hidden)), torch.from_numpy(hidden)


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
    scaled: np.ndarray = patches - patches.mean(1, keepdims=True)
    variance = np.square(scaled).sum(1, keepdims=True) / (patches.shape[1] - 1)
    scaled /= np.sqrt(variance + 1e-6)
    return scaled
