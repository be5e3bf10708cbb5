"""What two towers give, as vectors that can be compared: their projections, and a scale.

Legend: T slots of a stream, S texts or images, C numbers of a shared vector.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.batch import Layout
from headstart.families.pooler import Pooler, States
from headstart.families.style import HeadStyle
from headstart.nn import TransformerConfig

SCALE = math.log(1 / 0.07)  # of cosines at the start, as a logarithm (Radford et al. 2021, 2.5)
MOST_SCALE = math.log(100.0)


class PairHead(nn.Module):
    """Where texts and images are read, their projections to one space, and the scale of cosines.

    A model of one tower has its part alone. Source: Radford et al. 2021, figure 3.
    """

    def __init__(self, config: TransformerConfig, style: HeadStyle):
        super().__init__()
        images = config if config.patches is not None else config.images
        texts = None if config.patches is not None else config
        self.text_pooler = None if texts is None else Pooler(texts, style)
        self.image_pooler = None if images is None else Pooler(images, style.images or style)
        self.texts = None if texts is None else _projection(texts)
        self.images = None if images is None else _projection(images)
        both = texts is not None and images is not None
        self.scale = nn.Parameter(torch.tensor([SCALE])) if both else None

    def of_texts(self, states: States, layout: Layout) -> Tensor:
        """Last states of texts to (S, C) vectors of length 1, fp32."""
        assert self.texts is not None, "a model that reads texts"
        assert self.text_pooler is not None, "a model that reads texts"
        return _unit(self.texts(self.text_pooler.read(states, layout)))

    def of_images(self, states: States, layout: Layout) -> Tensor:
        """Last states of images to (S, C) vectors of length 1, fp32."""
        assert self.images is not None, "a model that reads images"
        assert self.image_pooler is not None, "a model that reads images"
        return _unit(self.images(self.image_pooler.read(states, layout)))

    def poolers(self) -> list[tuple[str, Pooler]]:
        """Those that there are, by name."""
        both = (("text_pooler", self.text_pooler), ("image_pooler", self.image_pooler))
        return [(name, pooler) for name, pooler in both if pooler is not None]

    def factor(self) -> Tensor:
        """(1,) what cosines are multiplied by: at most 100 (Radford et al. 2021, 2.5)."""
        assert self.scale is not None, "a model of two towers"
        wide = torch.promote_types(self.scale.dtype, torch.float32)
        return self.scale.to(wide).clamp(max=MOST_SCALE).exp()


class PairBias(nn.Module):
    """A number added to all scores of pairs that are judged one by one (Zhai et al. 2023)."""

    def __init__(self, start: float):
        super().__init__()
        self.value = nn.Parameter(torch.tensor([start]))


def _projection(config: TransformerConfig) -> nn.Linear:
    return nn.Linear(config.output_size, config.shared_size, bias=False)


def _unit(vectors: Tensor) -> Tensor:
    wide = torch.promote_types(vectors.dtype, torch.float32)
    return F.normalize(vectors.to(wide), dim=-1)
