"""Which weights of a network learn a task, in which order, and with what dropout.

In: a model, settings. Out: the same model with some of its weights free, or with low-rank adapters
beside them, and afterwards as its config describes it. For every task that trains a network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from headstart.data.loader import TokenBatches
from headstart.evaluate.transfer_settings import Method, TransferSettings
from headstart.families.model import Model
from headstart.nn import Transformer, add_lora, merge_lora
from headstart.nn.block import Block
from headstart.train import Learner

GRADUAL_SHARE = 0.5  # of the steps, in which blocks join one after another


@dataclass(frozen=True)
class Stage:
    """A stretch of training. top: how many top blocks train; None is all that the method allows."""

    top: int | None
    steps: int


def stages(
    method: Method, settings: TransferSettings, *, blocks: int, source: TokenBatches
) -> list[Stage]:
    """What trains for how many steps, one stage after another.

    Gradual: the head alone (unless it came from a probe), then one more block at a time from the
    top, in equal shares of half of the steps; the other half trains all.
    Source: Howard and Ruder 2018, section 3.3.
    """
    wanted = math.ceil(settings.passes * source.batches_per_epoch)
    total = max(1, min(max(wanted, settings.min_steps), settings.max_steps))
    if settings.unfreeze == "at_once":
        return [Stage(None, total)]
    most = min(settings.top_layers, blocks) if method == "partial" else blocks
    early = list(range(1 if settings.head_first else 0, most + (method == "full")))
    each = int(GRADUAL_SHARE * total / max(1, len(early)))
    if not each:
        return [Stage(None, total)]
    return [*(Stage(top, each) for top in early), Stage(None, total - each * len(early))]


def unfreeze_top(learner: Learner, top: int | None, *, stack: Transformer | None = None) -> None:
    """Let the head, the final norm and the top blocks train, nothing below; None: everything.

    stack: whose blocks; None: the model's first.
    """
    learner.requires_grad_(True)
    if top is None:
        return
    model = learner.model
    assert isinstance(model, Model), "a learner of this module holds a family's model"
    model.requires_grad_(False)
    upper = model.stack if stack is None else stack
    if top > 0:
        for block in upper.blocks[-top:]:
            block.requires_grad_(True)
        if upper.norm is not None:
            upper.norm.requires_grad_(True)


def top_of(method: Method, settings: TransferSettings, stage: Stage) -> int | None:
    """How many top blocks train in a stage; None: all."""
    return settings.top_layers if method == "partial" and stage.top is None else stage.top


def set_dropout(
    model: Model, stacks: Sequence[Transformer], share: float, *, attention: float
) -> None:
    """Dropout of the stacks' residual branches, and of attention weights: that is slow."""
    model.embed.dropout = share
    for block in (block for stack in stacks for block in stack.blocks):
        assert isinstance(block, Block), "a stack is made of blocks"
        block.dropout, block.attention.dropout = share, attention
        if block.cross is not None:
            block.cross.dropout = attention


def adapt(
    model: Model, stacks: Sequence[Transformer], settings: TransferSettings, *, seed: int
) -> None:
    """Freeze the model and put low-rank adapters beside every linear of these stacks."""
    model.requires_grad_(False)
    for stack in stacks:
        names = [name for name, part in stack.blocks.named_modules() if isinstance(part, nn.Linear)]
        add_lora(stack.blocks, names, rank=settings.rank, alpha=settings.alpha, seed=seed)


def settle(model: Model, stacks: Sequence[Transformer]) -> None:
    """Fold adapters in, and give everything back the dropout and freedom of its config."""
    model.requires_grad_(True)
    merge_lora(model)
    set_dropout(model, stacks, model.config.dropout, attention=model.config.attention_dropout)
