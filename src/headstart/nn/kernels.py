"""Attention from projected queries, keys and values; the one place that chooses a kernel.

On a CPU the backward pass of `scaled_dot_product_attention` is several times slower than batched
matrix products for short rows, so training uses those up to `PRODUCTS_BELOW`. Processors without
matrix tiles also answer faster by products and plain exponentials, unless there is little to
multiply. A GPU takes all runs of a stream at once, by the flash kernel for sequences of unlike
length (Dao 2023), in 16 bits. Everything else goes through `scaled_dot_product_attention`.

Legend: T stream, R rows, W width, M keys of a row, H heads, K heads of keys and values, D head
width.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from headstart.nn.mask import Crossings, Masks, RowMask, RunMask
from headstart.nn.position import Rotation, rotate

PRODUCTS_BELOW = 320  # row width (tokens) up to which training on a CPU multiplies explicitly
ANSWERS_BELOW = 512  # the same for answering, where the processor has no matrix tiles
NARROW = 32  # row width below which softmax of half-precision numbers is not vectorised
LEAST_SCORES = 2**12  # scores a head, up to which calling several products costs more than they do
SAFE_SUMS = (1e-20, 1e30)  # of exponentials; outside them bf16 and fp32 run out of numbers


def by_sequence(
    q: Tensor,
    sources: Sequence[tuple[Tensor, Tensor]],
    crossings: Crossings,
    *,
    scale: float | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Attention of each sequence to keys and values that lie elsewhere.

    q: (T, H, D); sources: keys and values, (R, K, M, D) each, of each group of sequences; where
    they are kept in a wider format than q has, the scores are computed in that.
    Returns (T, H * D).
    """
    found = []
    asked = [group.queries for group in crossings.groups if group.queries is not None]
    flat = q.flatten(1)
    if asked:  # at once: so is the gradient
        flat = flat.index_select(0, torch.cat([queries.flatten() for queries in asked]))
    parts = torch.split(flat, [queries.numel() for queries in asked] or [len(flat)])
    for group, part, (k, v) in zip(crossings.groups, parts, sources, strict=True):
        if group.queries is None:  # one of each sequence, in order
            rows = part.view(-1, *q.shape[1:])[:, :, None]
        else:
            rows = part.view(*group.queries.shape, *q.shape[1:]).transpose(1, 2)  # R H W D
        bias = None if group.bias is None else group.bias.to(k.dtype)
        mixed = _mix_rows(rows.to(k.dtype), k, v, bias, scale=scale, dropout=dropout)
        found.append(mixed.transpose(1, 2).reshape(-1, q.shape[1] * q.shape[2]).to(q.dtype))
    if crossings.back is None:
        return found[0]
    return torch.cat(found).index_select(0, crossings.back)


def _mix_rows(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, *, scale: float | None, dropout: float
) -> Tensor:
    """q: (R, H, W, D); k, v: (R, K, M, D); bias: (1 or R, 1 or H, 1 or W, M).

    Returns (R, H, W, D).
    """
    rows, heads, width, dim = q.shape
    group = heads // k.shape[1]
    if group > 1:  # a group's queries side by side, so that its keys are not copied
        assert bias is None or bias.shape[1] == 1, "shared heads have no biases of their own"
        q = q.reshape(rows, -1, group * width, dim)
        bias = bias if bias is None or bias.shape[2] == 1 else bias.repeat(1, 1, group, 1)
    training = torch.is_grad_enabled() and q.requires_grad
    if training and q.device.type == "cpu" and k.shape[2] <= PRODUCTS_BELOW and not dropout:
        scores = (q * (dim**-0.5 if scale is None else scale)) @ k.transpose(-1, -2)
        mixed = torch.softmax(scores if bias is None else scores + bias, -1) @ v
    else:
        mixed = F.scaled_dot_product_attention(
            q, k, v, attn_mask=bias, dropout_p=dropout, scale=scale
        )
    return mixed.reshape(rows, heads, width, dim)


def attend(
    qkv: Tensor,
    masks: Masks,
    turn: Rotation | None = None,
    dropout: float = 0.0,
    scale: float | None = None,
) -> Tensor:
    """Attention within each row of each block.

    qkv: (T, 3, H, D), overwritten where it needs no gradient; masks: one a block, which together
    cover the stream; turn: rotary angles; scale: of the scores, None: 1 / sqrt(D).
    Returns (T, H * D).
    """
    if isinstance(masks, RunMask):
        return _by_runs(_turned(qkv, turn), masks, dropout, scale)
    biased = any(mask.relative is not None for mask in masks)  # it is learnt, then
    learns = torch.is_grad_enabled() and (qkv.requires_grad or biased)
    if qkv.device.type == "cpu" and not dropout:
        if not learns:
            return _answers(qkv, masks, turn, scale)
        if max((mask.width for mask in masks), default=0) <= PRODUCTS_BELOW:
            cos, sin = (None, None) if turn is None else (turn.cos, turn.sin)
            near = [mask.relative for mask in masks if mask.relative is not None]
            mixed: Tensor = _RowProducts.apply(qkv, cos, sin, masks, scale, *near)  # type: ignore[no-untyped-call]
            return mixed
    qkv = _turned(qkv, turn)
    parts = []
    for mask in masks:
        rows = _rows(qkv, mask)
        found = rows[2] if mask.width == 1 else _fused(rows, mask, dropout, scale)
        parts.append(found.transpose(1, 2).reshape(mask.count * mask.width, -1))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _turned(qkv: Tensor, turn: Rotation | None) -> Tensor:
    """Queries and keys turned by their positions, in place where no gradient is needed."""
    if turn is not None and torch.is_grad_enabled() and qkv.requires_grad:
        turned = rotate(qkv[:, :2].flatten(1, 2), turn).view(qkv[:, :2].shape)
        return torch.cat([turned, qkv[:, 2:]], 1)
    if turn is not None:
        _turn_stream(qkv, turn)
    return qkv


def takes_runs(dtype: torch.dtype, head_dim: int) -> bool:
    """Whether the flash kernel computes in this format and with heads of this width."""
    return dtype in (torch.bfloat16, torch.float16) and head_dim % 8 == 0 and head_dim <= 256


def _by_runs(qkv: Tensor, mask: RunMask, dropout: float, scale: float | None) -> Tensor:
    """All runs at once on a GPU: (T, 3, H, D) to (T, H * D)."""
    q, k, v = qkv.unbind(1)
    ends, longest = mask.runs.ends, mask.runs.longest
    causal = mask.after == 0 and mask.before < 0
    sides = {} if causal else {"window_size_left": mask.before, "window_size_right": mask.after}
    out: Tensor = torch.ops.aten._flash_attention_forward(
        q, k, v, ends, ends, longest, longest, dropout, causal, False, scale=scale, **sides
    )[0]
    return out.flatten(1)


def _answers(
    qkv: Tensor, masks: tuple[RowMask, ...], turn: Rotation | None, scale: float | None
) -> Tensor:
    """`attend` on a CPU without gradients."""
    if turn is not None:
        _turn_stream(qkv, turn)
    out = qkv.new_empty(qkv.shape[0], *qkv.shape[2:])
    for mask in masks:
        rows = _rows(qkv, mask)
        into = out[_span(mask)].view(mask.count, mask.width, *out.shape[1:]).transpose(1, 2)
        if mask.width == 1:
            into.copy_(rows[2])
        elif has_tiles():
            into.copy_(_fused(rows, mask, 0.0, scale))
        elif mask.width > ANSWERS_BELOW or mask.count * mask.width**2 <= LEAST_SCORES:
            wide = rows.float() if rows.element_size() < 4 else rows  # in bf16 it is slower
            into.copy_(_fused(wide, mask, 0.0, scale))
        else:
            _multiply(rows, mask, scale, into)
    return out.flatten(1)


def _multiply(rows: Tensor, mask: RowMask, scale: float | None, into: Tensor) -> None:
    """Attention of one block by batched products: rows (3, R, H, W, D), into (R, H, W, D).

    Exponentials of plain scores, divided by their sum, are what softmax gives, and cost a fraction
    of it. The sum comes as one more column of the values, where hidden keys are 0. Where a row's
    sum is out of range, softmax, which takes away each row's largest score first, does it again.
    """
    _, count, heads, width, dim = rows.shape
    q, k = rows[:2].reshape(2, -1, width, dim).unbind(0)  # R * H, W, D each
    q.mul_(dim**-0.5 if scale is None else scale)
    values = F.pad(rows[2], (0, 1), value=1.0)  # R H W D + 1
    bias = mask.whole()
    if mask.causal and bias is None:
        bias = _bias(mask, q)
    for_keys = bias is not None and bias.shape[-2] == 1
    if bias is not None and for_keys:
        values.mul_(bias.transpose(-1, -2).exp())
    scores = torch.bmm(q, k.transpose(1, 2))
    if bias is not None and not for_keys:
        scores.view(count, heads, width, width).add_(bias)
    mixed = torch.bmm(scores.exp_(), values.view(-1, width, dim + 1)).view(values.shape)
    sums = mixed[..., dim:]
    least, most = torch.aminmax(sums)
    if SAFE_SUMS[0] <= least and most <= SAFE_SUMS[1]:
        torch.div(mixed[..., :dim], sums, out=into)
        return
    scores = torch.bmm(q, k.transpose(1, 2)).view(count, heads, width, width)
    weights = softmax_(scores if bias is None else scores.add_(bias))
    into.copy_(weights @ rows[2])


@cache
def has_tiles() -> bool:
    """Whether the processor multiplies matrices in tiles (AMX), as the fused kernel then does."""
    return bool(torch.cpu._is_amx_tile_supported())


def _fused(rows: Tensor, mask: RowMask, dropout: float, scale: float | None) -> Tensor:
    """One block by `scaled_dot_product_attention`: (3, R, H, W, D) to (R, H, W, D)."""
    q, k, v = rows.unbind(0)
    bias = mask.whole()
    causal = mask.causal and bias is None
    bias = None if bias is None else bias.to(q.dtype)
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=bias, dropout_p=dropout, is_causal=causal, scale=scale
    )


class _RowProducts(torch.autograd.Function):
    """softmax(q k' / sqrt(D) + bias) v by batched products, with the gradient written out.

    Rotary turning happens here too, in place on the copies that the products need anyway; its
    gradient is the turn backwards. `relative` are the masks' biases of distances, one a block or
    none at all; only they have a gradient among the biases.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        qkv: Tensor,
        cos: Tensor | None,
        sin: Tensor | None,
        masks: tuple[RowMask, ...],
        scale: float | None,
        *relative: Tensor,
    ) -> Tensor:
        _, _, heads, dim = qkv.shape
        factor = dim**-0.5 if scale is None else scale
        out = qkv.new_empty(qkv.shape[0], heads, dim)
        saved: list[Tensor] = []
        for number, mask in enumerate(masks):
            span, rows = _span(mask), (mask.count, mask.width)
            if mask.width == 1:
                out[span] = qkv[span, 2]
                saved += [qkv.new_empty(0)] * 2  # nothing to remember
                continue
            split = qkv[span].view(*rows, 3, heads, dim).permute(2, 0, 3, 1, 4).contiguous()
            if cos is not None and sin is not None:
                _turn(split[:2], *_angles(cos, sin, mask))
            split[0].mul_(factor)
            q, k, v = split.view(3, -1, mask.width, dim).unbind(0)  # R * H, W, D each
            scores = torch.bmm(q, k.transpose(1, 2))
            for bias in (_bias(mask, scores), *relative[number : number + 1]):
                if bias is not None:
                    scores.view(mask.count, heads, mask.width, mask.width).add_(bias)
            weights = _shares(scores)
            mixed = torch.bmm(weights, v).view(mask.count, heads, mask.width, dim)
            out[span].view(*rows, heads, dim).copy_(mixed.transpose(1, 2))
            saved += [split, weights]
        ctx.save_for_backward(*saved)
        ctx.masks, ctx.cos, ctx.sin, ctx.shape = masks, cos, sin, qkv.shape
        ctx.factor, ctx.near = factor, bool(relative)
        return out.flatten(1)

    @staticmethod
    def backward(
        ctx: Any,  # noqa: ANN401
        *grads: Tensor,
    ) -> tuple[Tensor | None, ...]:
        _, _, heads, dim = ctx.shape
        above = grads[0].contiguous().view(-1, heads, dim)
        back = above.new_empty(ctx.shape)
        near: list[Tensor] = []
        saved = ctx.saved_tensors  # asked for once: where activations are made anew, twice fails
        for number, mask in enumerate(ctx.masks):
            split, weights = saved[2 * number : 2 * number + 2]
            span, rows = _span(mask), (mask.count, mask.width)
            if mask.width == 1:
                back[span, :2] = 0
                back[span, 2] = above[span]
                if ctx.near:  # a lone token takes its own value whatever the bias
                    near.append(above.new_zeros(1, heads, 1, 1))
                continue
            grad = above[span].view(*rows, heads, dim).transpose(1, 2)
            grad = grad.reshape(-1, mask.width, dim)
            q, k, v = split.view(3, -1, mask.width, dim).unbind(0)
            through = torch.bmm(grad, v.transpose(1, 2))
            scores = _scores_gradient(through, weights)
            if ctx.near:
                square = scores.view(mask.count, heads, mask.width, mask.width)
                near.append(square.sum(0, keepdim=True))
            out = torch.empty_like(split)
            flat = out.view(3, -1, mask.width, dim)
            torch.bmm(scores, k, out=flat[0]).mul_(ctx.factor)  # q was saved with its scale
            torch.bmm(scores.transpose(1, 2), q, out=flat[1])
            torch.bmm(weights.transpose(1, 2), grad, out=flat[2])
            if ctx.cos is not None:
                cos, sin = _angles(ctx.cos, ctx.sin, mask)
                _turn(out[:2], cos, -sin)
            back[span].view(*rows, 3, heads, dim).copy_(out.permute(1, 3, 0, 2, 4))
        return back, None, None, None, None, *near


def softmax_(scores: Tensor) -> Tensor:
    """Softmax over the last axis, written over its argument: fresh memory costs more than it."""
    return torch.ops.aten._softmax.out(scores, -1, False, out=scores)  # type: ignore[no-any-return]


def _shares(scores: Tensor) -> Tensor:
    """Softmax over the last axis, perhaps written over its argument."""
    if scores.shape[-1] < NARROW:
        wide = torch.promote_types(scores.dtype, torch.float32)
        return torch.softmax(scores, -1, dtype=wide).to(scores.dtype)
    return softmax_(scores)


def _scores_gradient(above: Tensor, shares: Tensor) -> Tensor:
    """Gradient of the scores, from that of their softmax (`above`) and the softmax itself."""
    wide = shares.dtype
    if shares.shape[-1] < NARROW:
        wide = torch.promote_types(shares.dtype, torch.float32)
    found: Tensor = torch._softmax_backward_data(above.to(wide), shares.to(wide), -1, wide)
    return found.to(shares.dtype)


def _span(mask: RowMask) -> slice:
    return slice(mask.start, mask.start + mask.count * mask.width)


def _rows(qkv: Tensor, mask: RowMask) -> Tensor:
    """Queries, keys and values of one block: a view (3, R, H, W, D)."""
    block = qkv[_span(mask)].view(mask.count, mask.width, *qkv.shape[1:])
    return block.permute(2, 0, 3, 1, 4)


def _bias(mask: RowMask, scores: Tensor) -> Tensor | None:
    if mask.causal and mask.bias is None:
        full = torch.full((mask.width, mask.width), float("-inf"), dtype=scores.dtype)
        return full.triu_(1)
    return mask.bias


def _angles(cos: Tensor, sin: Tensor, mask: RowMask) -> tuple[Tensor, Tensor]:
    """Cosines and sines of one block, (R, 1, W, D / 2) each; see `position.Rotation`."""
    half = cos.shape[-1] // 2
    shape = (mask.count, 1, mask.width, half)
    span = _span(mask)
    return cos[span, 0, half:].reshape(shape), sin[span, 0, half:].reshape(shape)


def _turn_stream(qkv: Tensor, turn: Rotation) -> None:
    """Turn the queries and keys of a stream (T, 3, H, D), in place."""
    half = qkv.shape[-1] // 2
    _turn(qkv[:, :2], turn.cos[:, None, :, half:], turn.sin[:, None, :, half:])


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> None:
    """Turn x (..., R, H, W, D) by the angles, in place."""
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    turned = torch.addcmul(second * cos, first, sin)
    first.mul_(cos).addcmul_(second, sin, value=-1)
    second.copy_(turned)
