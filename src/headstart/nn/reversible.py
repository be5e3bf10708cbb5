"""A residual stream that can be run backwards, so that its memory does not grow with depth.

Two streams take turns: (a, b) becomes (b, a + branch(b)), with attention and MLP as the branches.
The step can be undone, so training keeps the last two streams only, and the backward pass finds the
earlier ones again by taking away what was added. Each branch is computed twice for that.

The surprises: while gradients are wanted the streams are float64 numbers on a grid, so that adding
and taking away are exact and what is found again is what was, to the bit; a branch is computed in
the model's own precision. And a branch that draws random numbers draws the same ones both times.

Source: Gomez et al. 2017, "The Reversible Residual Network", arXiv:1707.04585, section 3; Kitaev et
al. 2020, arXiv:2001.04451, section 3.
Legend: T stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from headstart.batch import Layout
from headstart.nn.block import Block
from headstart.nn.chunks import Chunked, cut
from headstart.nn.config import TransformerConfig
from headstart.nn.dropout import drop
from headstart.nn.lsh import LSHAttention, long_range

SEEDS = 2**62

# Adding and taking away 1.5 * 2**n rounds float64 to multiples of 2**(n - 52). Sums of those are
# exact as long as they stay below 2**(n + 1); beyond that they are as exact as float64 is.
GRID = 1.5 * 2.0**12
FINE_GRID = 1.5 * 2.0**6  # for a model that computes in float64 itself


@dataclass(frozen=True, eq=False)
class Branch:
    """What is added to one stream, as a function of the other: (T, hidden) to (T, hidden).

    compute: the function; it must not keep anything. modules: whose weights it uses.
    piece: tokens that may be computed at a time, each for itself; 0: only all together.
    seed: of the random numbers it draws; None if it draws none.
    """

    compute: Callable[[Tensor], Tensor]
    modules: tuple[nn.Module, ...]
    piece: int = 0
    seed: int | None = None

    @property
    def weights(self) -> list[nn.Parameter]:
        """The parameters that are to be learnt."""
        return [w for part in self.modules for w in part.parameters() if w.requires_grad]

    def __call__(self, x: Tensor) -> Tensor:
        """x: (T, hidden). Returns the same shape."""
        with _seeded(self.seed, x.device):
            return torch.cat([self.compute(part) for part in self._pieces(x)])

    def gradient(self, x: Tensor, above: Tensor) -> tuple[Tensor, Tensor, list[Tensor | None]]:
        """The branch once more, now with its gradient.

        x: (T, hidden) input; above: gradient of the output.
        Returns the output, the gradient of x and those of the weights.
        """
        weights = self.weights
        outs: list[Tensor] = []
        belows: list[Tensor] = []
        total: list[Tensor | None] = [None] * len(weights)
        with _seeded(self.seed, x.device):
            for part, back in zip(self._pieces(x), self._pieces(above), strict=True):
                with torch.enable_grad():
                    leaf = part.detach().requires_grad_()
                    out = self.compute(leaf)
                found = torch.autograd.grad(out, (leaf, *weights), back, allow_unused=True)
                outs.append(out.detach())
                belows.append(torch.zeros_like(leaf) if found[0] is None else found[0])
                total = [_sum(a, b) for a, b in zip(total, found[1:], strict=True)]
        return torch.cat(outs), torch.cat(belows), total

    def _pieces(self, x: Tensor) -> tuple[Tensor, ...]:
        return torch.split(x, self.piece) if self.piece and len(x) else (x,)


def run(x: Tensor, branches: Sequence[Branch]) -> Tensor:
    """Both streams, (T, 2 * hidden), after all branches; both begin as x (T, hidden).

    Where gradients are wanted, nothing but the result is kept for them.
    """
    weights = [w for branch in branches for w in branch.weights]
    if torch.is_grad_enabled() and (x.requires_grad or weights):
        out: Tensor = _Reversible.apply(x, branches, *weights)  # type: ignore[no-untyped-call]
        return out
    a = b = x
    for a, b in states(x, branches):  # noqa: B007
        pass
    return torch.cat([a, b], -1)


def states(x: Tensor, branches: Sequence[Branch]) -> Iterator[tuple[Tensor, Tensor]]:
    """The two streams after each branch, without any trick: gradients take the usual way."""
    a = b = x
    for branch in branches:
        a, b = b, a + branch(b)
        yield a, b


def branches_of(
    blocks: nn.ModuleList, config: TransformerConfig, layout: Layout, *, causal: bool | None = None
) -> list[Branch]:
    """Attention and MLP of each block in turn, for the sequences of this layout.

    causal: whether tokens see only what came before; None: as the config has it. Where the blocks
    draw random numbers (dropout, hashing), their seeds are drawn here.
    """
    settings = long_range(config)
    ordered = config.causal if causal is None else causal
    chunked = {kind: cut(layout, settings, kind, causal=ordered) for kind in settings.kinds}
    found: list[Branch] = []
    for layer, block in enumerate(blocks):
        assert isinstance(block, Block), "a stack is made of blocks"
        found += _branches(block, chunked[settings.attn_layers[layer]], piece=settings.mlp_chunk)
    return found


def _branches(block: Block, chunked: Chunked, *, piece: int) -> list[Branch]:
    def attend(x: Tensor) -> Tensor:
        mixed = block.attention(block.attention_norm(x), chunked)
        return drop(mixed, block.dropout, block.training)

    def think(x: Tensor) -> Tensor:
        return drop(block.mlp(block.mlp_norm(x)), block.dropout, block.training)

    attention = block.attention
    hashes = isinstance(attention, LSHAttention) and attention.settings.hash_seed is None
    draws = block.training and bool(block.dropout or attention.dropout or hashes)
    seeds = torch.randint(SEEDS, (2,)).tolist() if draws else (None, None)
    return [
        Branch(attend, (block.attention_norm, attention), seed=seeds[0]),
        Branch(think, (block.mlp_norm, block.mlp), piece=piece, seed=seeds[1]),
    ]


class _Reversible(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        x: Tensor,
        branches: Sequence[Branch],
        *weights: Tensor,
    ) -> Tensor:
        a = b = _exact(x)
        for branch in branches:
            a, b = b, a + _exact(branch(b.to(x.dtype)))
        ctx.save_for_backward(a, b)
        ctx.branches, ctx.format = branches, x.dtype
        return torch.cat([a, b], -1).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        a, b = ctx.saved_tensors
        wide = torch.promote_types(ctx.format, torch.float32)
        of_a, of_b = grads[0].to(wide).chunk(2, -1)
        lowest = 0
        if not ctx.needs_input_grad[0]:  # frozen parts below need no gradient
            lowest = next(n for n, branch in enumerate(ctx.branches) if branch.weights)
        found: list[Tensor | None] = []
        for branch in reversed(ctx.branches[lowest:]):
            out, below, mine = branch.gradient(a.to(ctx.format), of_b.to(ctx.format))
            a, b = b - _exact(out), a
            of_a, of_b = of_b, of_a + below
            found = [*mine, *found]
        start = (of_a + of_b).to(ctx.format) if ctx.needs_input_grad[0] else None
        return start, None, *found


def _exact(x: Tensor) -> Tensor:
    """The same numbers on the grid.

    Where there is no float64 the streams are float32, and exact up to rounding.
    """
    if x.device.type == "mps":
        return x.float()
    grid = FINE_GRID if x.dtype == torch.float64 else GRID
    return x.to(torch.float64, copy=True).add_(grid).sub_(grid)


@contextmanager
def _seeded(seed: int | None, device: torch.device) -> Iterator[None]:
    """Within it, random numbers are those of the seed; afterwards they go on as before."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    if a is None or b is None:
        return b if a is None else a
    return a + b
