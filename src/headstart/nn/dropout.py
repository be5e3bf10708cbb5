"""Dropout whose random numbers do not cost more than a layer's products.

On a CPU the library draws one number of a generator that cannot be vectorised for every element.
Here a draw of 64 bits serves four elements, and what is kept is found by one comparison.
Source: Srivastava et al. 2014, section 4.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

LEVELS = 2**16  # a share of elements is rounded to 1 / LEVELS
_DRAWS_A_WORD = 4  # of 16 bits, in 64


def drop(x: Tensor, share: float, training: bool) -> Tensor:
    """Set this share of the elements to 0 and scale the others so that the mean stays.

    Gives x itself where nothing trains or nothing is dropped. Draws from torch's global generator.
    """
    if not training or not share:
        return x
    least = round(share * LEVELS)
    if x.device.type != "cpu" or not 0 < least < LEVELS:
        return F.dropout(x, share, training)
    dropped: Tensor = _Drop.apply(x, least)  # type: ignore[no-untyped-call]
    return dropped


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, least: int) -> Tensor:  # noqa: ANN401
        words = torch.empty(-(-x.numel() // _DRAWS_A_WORD), dtype=torch.int64)
        words.random_(-(2**63), None)  # all 64 bits
        draws = words.view(torch.int16)[: x.numel()].view(x.shape)
        factor = torch.empty_like(x, memory_format=torch.contiguous_format)
        torch.ge(draws, least - LEVELS // 2, out=factor)
        factor.mul_(LEVELS / (LEVELS - least))
        ctx.save_for_backward(factor)
        return x * factor

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        (factor,) = ctx.saved_tensors
        return grads[0] * factor, None
