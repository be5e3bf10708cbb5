"""Choosing slots of a stream.

Legend: T stream, N chosen slots.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from headstart.batch import even_size


def chosen(x: Tensor, at: Tensor | None) -> Tensor:
    """The rows `at` (N,) of x (T, ...); None: all of them."""
    return x if at is None else x.index_select(0, at)


def filled(places: Tensor) -> Tensor:
    """Places (N,) filled up to an even size with place 0; see `batch.even_size`."""
    return F.pad(places, (0, even_size(len(places)) - len(places)))
