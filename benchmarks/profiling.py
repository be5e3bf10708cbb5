"""Where the time of a training step goes, by kinds of work that a reader knows.

torch's profiler gives each operation's own time. Operations inside a named piece of our code (the
attention products, the loss over the vocabulary, the optimiser, the data) count for that piece,
except that matrix products and copies inside attention are told apart; everything else counts by
the operation's name. What no operation accounts for is Python and bookkeeping.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from torch.profiler import ProfilerActivity, profile, record_function

from headstart.train import Trainer

Result = TypeVar("Result")

OPTIMISER, DATA = "headstart optimiser", "headstart data"
PIECES = {
    "_RowProducts": "attention",
    "_RowProductsBackward": "attention",
    "aten::scaled_dot_product_attention": "attention",
    "_TableLoss": "loss over the vocabulary",
    "_TableLossBackward": "loss over the vocabulary",
    OPTIMISER: "optimiser",
    DATA: "data",
}
KINDS = {
    "matrix products": "mm addmm bmm baddbmm matmul linear addmv mv dot",
    "norms": "layer_norm native_layer_norm native_layer_norm_backward rms_norm",
    "activation": "gelu gelu_backward silu silu_backward relu",
    "embedding": "embedding embedding_dense_backward embedding_backward index_select "
    "index_select_backward index_add index_add_",
    "copies": "copy_ _to_copy to clone contiguous cat stack narrow slice_backward select_backward "
    "index index_put_ _foreach_copy_ reshape transpose permute as_strided",
    "fills": "zero_ fill_ zeros zeros_like new_zeros full ones empty",
    "sums of bias gradients": "sum",
    "other element-wise": "add add_ mul mul_ sub div div_ masked_fill_ eq all where neg exp log",
}
KIND_OF = {f"aten::{name}": kind for kind, names in KINDS.items() for name in names.split()}


def marked(name: str, function: Callable[..., Result]) -> Callable[..., Result]:
    """The same function, whose time the profiler counts for a named piece."""

    def inside(*args: Any, **named: Any) -> Result:
        with record_function(name):
            return function(*args, **named)

    return inside


def trainer_shares(trainer: Trainer, *, warm: int, timed: int) -> dict[str, float]:
    """Shares of the time of our Trainer's step."""
    objective, source = trainer.objective, trainer.source
    objective.prepare = marked(DATA, objective.prepare)  # type: ignore[method-assign]
    source.batch = marked(DATA, source.batch)  # type: ignore[method-assign]
    for name in ("collect", "norm", "apply"):
        method = getattr(trainer.optimizer, name)
        setattr(trainer.optimizer, name, marked(OPTIMISER, method))
    with contextlib.closing(trainer.steps()) as steps:
        return shares(steps, warm=warm, timed=timed)


def shares(steps: Iterator[object], *, warm: int, timed: int) -> dict[str, float]:
    """Share of the wall time of the timed steps by kind of work; they add up to 1."""
    for _ in range(warm):
        next(steps)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        start = time.perf_counter()
        for _ in range(timed):
            next(steps)
        wall_us = (time.perf_counter() - start) * 1e6
    found: Counter[str] = Counter()
    for event in seen.events():
        found[_kind(event)] += event.self_cpu_time_total
    found["Python and bookkeeping"] += max(0.0, wall_us - sum(found.values()))
    total = sum(found.values())
    return {kind: amount / total for kind, amount in found.most_common()}


def _kind(event: Any) -> str:
    """The kind of work of one profiler event."""
    name, ancestor = event.name, event
    while ancestor is not None:
        piece = PIECES.get(ancestor.name)
        if piece == "attention":
            own = KIND_OF.get(name, "softmax and scaling")
            return f"attention: {own if own in ('matrix products', 'copies') else 'the rest'}"
        if piece is not None:
            return piece
        ancestor = ancestor.cpu_parent
    known = KIND_OF.get(name)
    if known is not None:
        return known
    return "Python and bookkeeping" if not name.startswith("aten::") else "other operations"
