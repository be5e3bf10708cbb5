"""What is predicted from unlabelled images: one or more parts over one pass of the network.

Each part shows images in its own way: MAE some of their patches, SimMIM and BEiT all with some
hidden, contrast two other views. Joint objectives lay what their parts show one after another into
one flat stream, which the network reads once; each part gets the states of its own slots.

Legend: S images, T slots of the stream, D numbers of a patch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from headstart.batch import Batch, Layout, Sequences
from headstart.data.image_batches import PIXELS
from headstart.data.patches import PixelFrame
from headstart.errors import InputError
from headstart.families.model import Model
from headstart.objectives.objective import Loss, refuse_arrangement, weighted

TOKENS = "tokens"


@dataclass(frozen=True)
class Shown:
    """What a part lets the network see of the images, and what it asks for.

    stream: (T, D) patches, an empty slot for each class token; layout: theirs. targets: under
    "<part's name>.<what>"; "<name>.hidden" (T,) says which slots show the head's `mask_token`
    instead of their patch. others: further layouts by name.
    """

    stream: Tensor
    layout: Layout
    targets: dict[str, Tensor]
    others: dict[str, Layout] = field(default_factory=dict)


class ImagePart(Protocol):
    """One prediction from images."""

    name: str
    weight: float
    needs: frozenset[str]  # which `Model.arrangement` can do it

    def head(self, model: Model, seed: int, known: nn.Module | None = None) -> nn.Module:
        """A fresh head, or `known`, which the checkpoint brings, if it is of the same shape."""
        ...

    def show(self, sequences: Sequences, frame: PixelFrame, rng: np.random.Generator) -> Shown:
        """Choose what is shown and asked for: a pure function of the arguments."""
        ...

    def loss(self, model: Model, head: nn.Module, hidden: Tensor, batch: Batch) -> Loss:
        """Loss from the last hidden states (T, hidden) of what this part showed.

        batch: as if this part were the only one.
        """
        ...


class ImagePretraining:
    """Parts over one pass of the network.

    frame: how images are cut into patches. Raises InputError for parts that cannot be together.
    """

    def __init__(self, parts: Sequence[ImagePart], frame: PixelFrame):
        names = [part.name for part in parts]
        if not parts or len(set(names)) < len(names):
            raise InputError(f"objective parts must differ, but are {', '.join(names) or 'none'}")
        self.parts, self.frame = tuple(parts), frame
        self.name = "+".join(names)
        self.needs = frozenset.intersection(*(part.needs for part in parts))

    def refuse(self, model: Model) -> None:
        """Raise InputError if this model cannot do it."""
        refuse_arrangement(self.name, self.needs, model)

    def heads(
        self, model: Model, *, seed: int = 0, start: Mapping[str, nn.Module] | None = None
    ) -> nn.ModuleDict:
        """Fresh heads, one a part, or those that the checkpoint brings."""
        self.refuse(model)
        known = start or {}
        return nn.ModuleDict(
            {part.name: part.head(model, seed, known.get(part.name)) for part in self.parts}
        )

    def prepare(
        self, sequences: Sequences, rng: np.random.Generator, progress: float = 0.0
    ) -> Batch:
        """What the parts show, one after another in one stream: a pure function."""
        shown = [part.show(sequences, self.frame, rng) for part in self.parts]
        stream = shown[0].stream if len(shown) == 1 else torch.cat([one.stream for one in shown])
        layouts = {TOKENS: joined([one.layout for one in shown])}
        targets: dict[str, Tensor] = {}
        for part, one in zip(self.parts, shown, strict=True):
            layouts |= {f"{part.name}.{TOKENS}": one.layout, **one.others}
            targets |= one.targets
        return Batch({PIXELS: stream}, layouts, targets, self.name)

    def loss(self, model: Model, heads: Mapping[str, nn.Module], batch: Batch) -> Loss:
        """Weighted sum of the parts' losses."""
        layouts = [batch.layout[f"{part.name}.{TOKENS}"] for part in self.parts]
        sizes = [len(layout.positions) for layout in layouts]
        streams = torch.split(batch.inputs[PIXELS], sizes)
        shown = [
            embedded(
                model, heads[part.name], stream, layout, batch.targets.get(f"{part.name}.hidden")
            )
            for part, stream, layout in zip(self.parts, streams, layouts, strict=True)
        ]
        x = shown[0] if len(shown) == 1 else torch.cat(shown)
        states: Tensor = model.stack(x, batch.layout[TOKENS])
        losses = [
            part.loss(
                model, heads[part.name], own, replace(batch, layout=batch.layout | {TOKENS: at})
            )
            for part, own, at in zip(self.parts, torch.split(states, sizes), layouts, strict=True)
        ]
        return weighted(self.parts, losses)


def embedded(
    model: Model, head: nn.Module, patches: Tensor, layout: Layout, hidden: Tensor | None
) -> Tensor:
    """What the stack is given, (T, hidden); hidden slots hold the head's mask token."""
    if hidden is None:
        plain: Tensor = model.embed(patches, layout)
        return plain
    token = head.mask_token
    assert isinstance(token, Tensor), "a head that hides patches has a vector in their place"
    out: Tensor = model.embed(patches, layout, hidden=hidden, instead=token[0, 0])
    return out


def joined(layouts: Sequence[Layout]) -> Layout:
    """The layout of streams laid one after another."""
    if len(layouts) == 1:
        return layouts[0]
    slots = np.cumsum([0, *(len(layout.positions) for layout in layouts)])
    before = np.cumsum([0, *(len(layout.lengths) for layout in layouts)])
    return Layout(
        lengths=torch.cat([layout.lengths for layout in layouts]),
        positions=torch.cat([layout.positions for layout in layouts]),
        sequence=torch.cat(
            [
                torch.where(layout.sequence < 0, -1, layout.sequence + int(n))
                for layout, n in zip(layouts, before, strict=False)
            ]
        ),
        first=torch.cat([layout.first + int(n) for layout, n in zip(layouts, slots, strict=False)]),
        rows=tuple(row for layout in layouts for row in layout.rows),
        packed=any(layout.packed for layout in layouts),
    )
