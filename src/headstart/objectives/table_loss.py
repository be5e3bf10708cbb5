"""Cross-entropy against a large table of outputs, without keeping the scores of the vocabulary.

The scores of all targets over all outputs are the largest tensor of a language model's step. Here
they exist for some hundred targets at a time, and their gradient is taken while they do.

Legend: N rows, C hidden, V outputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from headstart.families.heads import LanguageHead
from headstart.families.model import Model
from headstart.nn.kernels import softmax_
from headstart.objectives.objective import Loss

SCORES_AT_ONCE = 2**24  # scores (targets x outputs) held at a time on a CPU
ELSEWHERE = 4  # times as many on other devices
WORTH_TURNING = 3  # parts from which on it pays to lay the table out by columns, too
MOST_PARTS = 64  # each rounds the sum of the table's gradient once more


def table_loss(
    hidden: Tensor,
    table: Tensor,
    bias: Tensor | None,
    target: Tensor,
    share: Tensor | None = None,
    *,
    count: int | None = None,
) -> Tensor:
    """Mean cross-entropy of softmax(hidden table' + bias) against its targets, in fp32.

    hidden: (N, C). table: (V, C). bias: (V,). count: how many rows of `hidden` have targets; the
    rest is filling (`nn.rows.filled`). None: all.
    target: (count,) the right output of each; or, for spread targets, (2, M): rows of `hidden` and
    outputs, with `share` (M,) the probability that falls on each; a row's shares add up to 1.
    """
    count = len(hidden) if count is None else count
    if share is None:
        rows = torch.arange(count, device=hidden.device)
        target = torch.stack([rows, target])
        share = torch.ones(count, dtype=torch.float32, device=hidden.device)
    loss: Tensor = _TableLoss.apply(hidden, table, bias, target, share, count)  # type: ignore[no-untyped-call]
    return loss


def token_loss(model: Model, head: nn.Module, hidden: Tensor, labels: Tensor) -> Loss:
    """Mean cross-entropy of a language head's tokens (N,); hidden: as `nn.rows.filled` asks."""
    if not len(labels):
        return Loss(hidden.sum().float() * 0, 0)
    assert isinstance(head, LanguageHead), "a head that scores tokens"
    features = head.features(hidden)
    table = head.table(model.embed.tokens.weight)
    value = table_loss(features, table, head.added(features), labels, count=len(labels))
    return Loss(value, len(labels))


class _TableLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        hidden: Tensor,
        table: Tensor,
        bias: Tensor | None,
        target: Tensor,
        share: Tensor,
        count: int,
    ) -> Tensor:
        rows, outputs = len(hidden), len(table)
        most = SCORES_AT_ONCE * (1 if hidden.device.type == "cpu" else ELSEWHERE)
        step = max(1, most // outputs, rows // MOST_PARTS)
        mean = 1 / max(1, count)
        order = torch.argsort(target[0], stable=True)
        target, share = target[:, order], share[order]
        grad_hidden = torch.empty_like(hidden)
        grad_table = torch.zeros_like(table)
        grad_bias = None if bias is None else torch.zeros_like(bias)
        total = hidden.new_zeros((), dtype=torch.float32)
        starts = list(range(0, rows, step))
        bounds = torch.searchsorted(
            target[0].contiguous(), torch.tensor([*starts, rows], device=target.device)
        ).tolist()
        across = table
        if hidden.device.type == "cpu" and len(starts) >= WORTH_TURNING:
            across = table.t().contiguous().t()  # products with it are a seventh faster
        for number, start in enumerate(starts):
            some = slice(start, min(rows, start + step))
            mine = slice(bounds[number], bounds[number + 1])
            at = (target[0, mine] - start, target[1, mine])
            chosen = hidden[some]
            scores = chosen @ table.t() if bias is None else torch.addmm(bias, chosen, table.t())
            # softmax is computed in fp32 inside, whatever its input and output are
            chance = softmax_(scores)
            total -= (share[mine] * chance[at].float().clamp_min(1e-30).log()).sum()
            chance.index_put_(at, -share[mine].to(chance.dtype), accumulate=True)
            chance[max(0, count - start) :] = 0  # filling has no gradient
            grad_hidden[some] = (chance @ across).mul_(mean)
            grad_table.addmm_(chance.t(), chosen, alpha=mean)
            if grad_bias is not None:
                ones = chance.new_ones(1, len(chosen))
                grad_bias.add_((ones @ chance)[0], alpha=mean)  # faster than a sum over rows
        ctx.save_for_backward(grad_hidden, grad_table, grad_bias)
        return total * mean

    @staticmethod
    def backward(
        ctx: Any,  # noqa: ANN401
        *grads: Tensor,
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None, None]:
        scale = float(grads[0])  # as a tensor it would be rounded to the gradients' format
        if scale == 1.0:
            return (*ctx.saved_tensors, None, None, None)
        hidden, table, bias = (None if g is None else g * scale for g in ctx.saved_tensors)
        return hidden, table, bias, None, None, None
