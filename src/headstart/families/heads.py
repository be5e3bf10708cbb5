"""Heads: what stands on a model's hidden states for an objective or a task.

Each takes hidden states of chosen tokens (or one vector a sequence) and gives scores. Which parts a
family's head has is said by a `HeadStyle`, so that no family needs a head of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.batch import Layout
from headstart.nn import Norm, TransformerConfig
from headstart.nn.config import Activation
from headstart.nn.mlp import ACTIVATIONS

Pooling = Literal["first", "mean", "last"]


@dataclass(frozen=True, kw_only=True)
class HeadStyle:
    """How a family builds its heads.

    transform_bias, transform_norm: of the dense layer before the masked-LM decoder.
    activation: of that dense layer. decoder_bias: of the tied decoder.
    pooling: which vector stands for a sequence. pool_activation: of the dense layer between it and
    the classifier; None for no such layer; pool_bias, pool_norm belong to that layer.
    """

    activation: Activation = "gelu"
    transform_bias: bool = True
    decoder_bias: bool = True
    pooling: Pooling = "first"
    pool_activation: Literal["tanh", "gelu"] | None = "tanh"
    pool_bias: bool = True
    pool_norm: bool = False
    classifier_bias: bool = True


class MaskedLanguageHead(nn.Module):
    """Scores over the vocabulary for chosen tokens, with the token table as decoder.

    Source: Devlin et al. 2019, section 3.1 and the released code's transform layer.
    """

    def __init__(self, config: TransformerConfig, style: HeadStyle):
        super().__init__()
        width = config.hidden_size
        self.dense = nn.Linear(width, width, bias=style.transform_bias)
        self.activation = ACTIVATIONS[style.activation]
        self.norm = Norm(config)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size)) if style.decoder_bias else None

    def forward(self, hidden: Tensor, table: Tensor) -> Tensor:
        """hidden: (N, hidden) of the chosen tokens; table: (vocab, hidden). Returns (N, vocab)."""
        return F.linear(self.norm(self.activation(self.dense(hidden))), table, self.bias)


class Pooler(nn.Module):
    """One vector a sequence: first token, last token or mean, then perhaps a dense layer."""

    def __init__(self, config: TransformerConfig, style: HeadStyle):
        super().__init__()
        width = config.hidden_size
        self.pooling = style.pooling
        self.activation = style.pool_activation
        dense = style.pool_activation is not None
        self.dense = nn.Linear(width, width, bias=style.pool_bias) if dense else None
        self.norm = Norm(config) if style.pool_norm else None

    def forward(self, hidden: Tensor, layout: Layout) -> Tensor:
        """hidden: (T, hidden). Returns (S, hidden)."""
        x = pool(hidden, layout, self.pooling)
        if self.dense is not None:
            x = self.dense(x)
            x = torch.tanh(x) if self.activation == "tanh" else F.gelu(x)
        return x if self.norm is None else self.norm(x)


class SequenceHead(nn.Module):
    """Pooler, dropout and a linear classifier: (S, outputs) scores."""

    def __init__(self, config: TransformerConfig, style: HeadStyle, *, outputs: int):
        super().__init__()
        self.pooler = Pooler(config, style)
        self.dropout = config.dropout
        self.classifier = nn.Linear(config.hidden_size, outputs, bias=style.classifier_bias)

    def forward(self, hidden: Tensor, layout: Layout) -> Tensor:
        """hidden: (T, hidden). Returns (S, outputs)."""
        x = F.dropout(self.pooler(hidden, layout), self.dropout, self.training)
        scores: Tensor = self.classifier(x)
        return scores


def pool(hidden: Tensor, layout: Layout, pooling: Pooling) -> Tensor:
    """One vector a sequence, (S, hidden), from a stream (T, hidden); padding never counts."""
    if pooling == "first":
        return hidden.index_select(0, layout.first)
    if pooling == "last":
        return hidden.index_select(0, layout.first + layout.lengths - 1)
    count = len(layout.lengths)
    # padding goes to one extra row, which is cut off
    owner = torch.where(layout.sequence < 0, count, layout.sequence)
    total = hidden.new_zeros(count + 1, hidden.shape[1], dtype=torch.float32)
    total = total.index_add(0, owner, hidden.float())[:count]
    return (total / layout.lengths[:, None]).to(hidden.dtype)
