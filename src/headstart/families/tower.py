"""Models that stand as the towers of a new model of two: its texts' half from one, its images' from
another. What is put in computes what it did; how it is read is said by what it is (`dual`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from headstart.families import dual
from headstart.families.heads import find_pooler
from headstart.families.load import Loaded
from headstart.families.model import Model
from headstart.families.pair_head import PairHead
from headstart.families.pooler import Pooler
from headstart.families.vit import at_size
from headstart.nn import TransformerConfig

OF_TEXTS = ("bert", "roberta", "gpt", "clip", "dual")  # whose models can be a tower of texts
OF_IMAGES = ("vit", "clip", "dual")


@dataclass(frozen=True, eq=False)
class Tower:
    """One half of a model of two towers.

    pooler: what it was read with, if that has learnt anything.
    """

    config: TransformerConfig
    state: Mapping[str, Tensor]
    pooler: Pooler | None = None

    @classmethod
    def of_texts(cls, model: Model, pooler: Pooler | None = None) -> Tower:
        """A model of texts, or that half of a model of two towers."""
        state = {n: w for n, w in model.state_dict().items() if not n.startswith("images.")}
        return cls(replace(model.config, images=None, shared_size=0), state, pooler)

    @classmethod
    def of_images(cls, model: Model, pooler: Pooler | None = None) -> Tower:
        """A model of images, or that half of a model of two towers."""
        half = model.images or model
        return cls(replace(half.config, shared_size=0), half.state_dict(), pooler)


def text_tower(loaded: Loaded) -> Tower | None:
    """The model as a tower of texts, or the one that it has; None if it cannot be one."""
    model = loaded.model
    if model.family not in OF_TEXTS or model.config.patches is not None:
        return None
    return Tower.of_texts(model, _pooler(loaded, "text_pooler"))


def image_tower(loaded: Loaded, *, size: int | None = None) -> Tower | None:
    """The model as a tower of images, or the one that it has; None if it cannot be one.

    size: of the images, to which positions are interpolated; None: the model's.
    Raises InputError if its patches do not fill that size.
    """
    model = loaded.model.images or loaded.model
    patches = model.config.patches
    if model.family not in OF_IMAGES or patches is None:
        return None
    resized = at_size(model, size or patches.image_size)
    return Tower.of_images(resized, _pooler(loaded, "image_pooler"))


def _pooler(loaded: Loaded, name: str) -> Pooler | None:
    """A pooler with weights that the folder has for this half."""
    pair = loaded.heads.get("pair")
    found = find_pooler(loaded.heads)
    if isinstance(pair, PairHead):
        found = dict(pair.poolers()).get(name)
    return None if found is None or found.dense is None else found


def joined(texts: Tower, images: Tower, *, end: int | None) -> Model:
    """A model of both, whose shared space is as wide as the tower of texts.

    end: id at which texts are read, for a tower that only sees what came before.
    """
    shared = texts.config.hidden_size
    inner = replace(images.config, shared_size=shared)
    config = replace(texts.config, images=inner, shared_size=shared)
    style = dual.style_of(config, end=end or 0)
    with torch.device("meta"):
        model = Model(config, family=dual.family_of(config), style=style)
    state = {**texts.state, **{f"images.{name}": w for name, w in images.state.items()}}
    model.load_state_dict(state, assign=True)
    return model
