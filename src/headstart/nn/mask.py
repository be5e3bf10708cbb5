"""Who may attend to whom: the only place, with positions, that reads a `Layout`.

Legend: R rows, W width of a row block.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from headstart.batch import Layout


@dataclass(frozen=True)
class RowMask:
    """One block of rows of the stream and its additive attention bias.

    start: index of the block's first token. bias: (R, 1, W, W) of 0 and -inf, (R, 1, 1, W) where it
    is the same for every token of a row, or None where every token may see every other. causal: no
    bias, but only earlier tokens are seen.
    """

    start: int
    count: int
    width: int
    bias: Tensor | None
    causal: bool


def row_masks(
    layout: Layout, *, causal: bool, window: int | None, dtype: torch.dtype
) -> tuple[RowMask, ...]:
    """The masks of all row blocks.

    A token sees the tokens of its own sequence: all, or the earlier ones (causal), or those at most
    `window // 2` away. No row of scores is empty: padding sees padding, or in rows of one sequence
    what that sequence sees.
    """
    masks = []
    start = 0
    for count, width in layout.rows:
        sequence = layout.sequence[start : start + count * width].view(count, width)
        plain = bool((sequence == sequence[:, :1]).all()) and (
            window is None or window // 2 >= width
        )
        bias = None
        if not plain and not layout.packed and not causal and window is None:
            bias = torch.zeros(sequence.shape, dtype=dtype, device=sequence.device)
            bias = bias.masked_fill_(sequence < 0, float("-inf"))[:, None, None]
        elif not plain:
            bias = _bias(sequence, causal=causal, window=window, dtype=dtype)
        masks.append(RowMask(start, count, width, bias, causal and plain))
        start += count * width
    return tuple(masks)


def _bias(sequence: Tensor, *, causal: bool, window: int | None, dtype: torch.dtype) -> Tensor:
    allowed = sequence[:, :, None] == sequence[:, None, :]  # R W W
    if causal or window is not None:
        here = torch.arange(sequence.shape[1], device=sequence.device)
        ahead = here[None, :] - here[:, None]  # how far the key lies after the query
        if causal:
            allowed = allowed & (ahead <= 0)
        if window is not None:
            allowed = allowed & (ahead.abs() <= window // 2)
    bias = torch.zeros(allowed.shape, dtype=dtype, device=sequence.device)
    return bias.masked_fill_(~allowed, float("-inf"))[:, None]
