"""Heads: what stands on a model's hidden states for an objective or a task.

Each takes hidden states of chosen tokens (or one vector a sequence) and gives scores. Which parts a
family's head has is said by a `HeadStyle`. `make_head` is the way to a new one. The key of
a head in a dict of heads is its kind, and files are written and read under these kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.batch import Batch, Layout
from headstart.families.image_heads import MaskedPatchHead, PixelHead
from headstart.families.model import Model
from headstart.families.pair_head import PairHead
from headstart.families.pooler import Pooler
from headstart.families.style import HeadStyle
from headstart.nn import Norm, TransformerConfig, initialise
from headstart.nn.dropout import drop
from headstart.nn.mlp import ACTIVATIONS

HeadKind = Literal[
    "masked", "next_sentence", "sequence", "causal", "pooler", "mae", "simmim", "pair"
]


class LanguageHead(nn.Module):
    """Scores over the vocabulary for chosen tokens, with the token table or a matrix of its own."""

    def __init__(self, config: TransformerConfig, style: HeadStyle, *, width: int, bias: bool):
        super().__init__()
        self.decoder = None if style.tied else nn.Linear(width, config.vocab_size, bias=False)
        self.bias: Tensor | None
        if style.fixed_bias:
            self.register_buffer("bias", torch.zeros(config.vocab_size))
        else:
            self.bias = nn.Parameter(torch.zeros(config.vocab_size)) if bias else None

    def forward(self, hidden: Tensor, table: Tensor) -> Tensor:
        """hidden: (N, hidden) of the chosen tokens; table: of tokens, (vocab, hidden).

        Returns (N, vocab).
        """
        features = self.features(hidden)
        return F.linear(features, self.table(table), self.added(features))

    def features(self, hidden: Tensor) -> Tensor:
        """What the decoder sees, (N, width): for losses that never form all the scores."""
        return hidden

    def table(self, tokens: Tensor) -> Tensor:
        """(vocab, width) what decodes, where the token table is `tokens`."""
        return tokens if self.decoder is None else self.decoder.weight

    def added(self, features: Tensor) -> Tensor | None:
        """The decoder's bias (vocab,), in the features' format."""
        return None if self.bias is None else self.bias.to(features.dtype)


class MaskedLanguageHead(LanguageHead):
    """Scores of masked tokens.

    Source: Devlin et al. 2019, section 3.1 and the released code's transform layer.
    """

    def __init__(self, config: TransformerConfig, style: HeadStyle):
        width = config.hidden_size if style.transform else config.output_size
        super().__init__(config, style, width=width, bias=style.decoder_bias)
        bias, on = style.transform_bias, style.transform
        self.dense = nn.Linear(config.output_size, width, bias=bias) if on else None
        self.activation = ACTIVATIONS[style.activation]
        self.norm = Norm(config) if on else None

    def features(self, hidden: Tensor) -> Tensor:
        """The transform layer's output (N, hidden), or the hidden states themselves."""
        if self.dense is None or self.norm is None:
            return hidden
        out: Tensor = self.norm(self.activation(self.dense(hidden)))
        return out


class CausalLanguageHead(LanguageHead):
    """Scores of next tokens; where the token table decodes, it has no weights of its own."""

    def __init__(self, config: TransformerConfig, style: HeadStyle):
        super().__init__(config, style, width=config.output_size, bias=False)
        self.factor = config.hidden_size**-0.5 if style.scaled else None

    def features(self, hidden: Tensor) -> Tensor:
        """The hidden states (N, width), perhaps scaled."""
        return hidden if self.factor is None else hidden * self.factor


class SequenceHead(nn.Module):
    """Pooler, dropout and a linear classifier: (S, outputs) scores."""

    def __init__(self, config: TransformerConfig, style: HeadStyle, *, outputs: int):
        super().__init__()
        self.pooler = Pooler(config, style.in_classifier)
        self.dropout = config.dropout
        self.classifier = nn.Linear(self.pooler.width, outputs, bias=style.classifier_bias)

    def forward(self, hidden: Tensor, layout: Layout) -> Tensor:
        """hidden: (T, hidden). Returns (S, outputs)."""
        x = drop(self.pooler(hidden, layout), self.dropout, self.training)
        scores: Tensor = self.classifier(x)
        return scores


class ProjectionHead(nn.Module):
    """One vector a sequence to a smaller one, in which a contrastive loss compares them.

    It takes what the loss forces the vectors to forget, so that the body need not.
    Source: Chen et al. 2020, section 4.2.
    """

    WIDTH = 128

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.up = nn.Linear(config.output_size, config.hidden_size)
        self.down = nn.Linear(config.hidden_size, self.WIDTH, bias=False)

    def forward(self, vectors: Tensor) -> Tensor:
        """vectors: (S, hidden). Returns (S, WIDTH)."""
        out: Tensor = self.down(F.relu(self.up(vectors)))
        return out


Head = (
    MaskedLanguageHead
    | CausalLanguageHead
    | SequenceHead
    | Pooler
    | MaskedPatchHead
    | PixelHead
    | PairHead
)


def make_head(
    model: Model,
    kind: HeadKind,
    *,
    outputs: int = 2,
    start: Mapping[str, nn.Module] | None = None,
    seed: int = 0,
) -> Head:
    """A new head for a model, in the model's family style and dtype.

    kind: "masked" (scores over the vocabulary of masked tokens), "causal" (of the next token),
        "next_sentence" and "sequence" (scores of a whole sequence), "pooler" (its vector), "mae"
        and "simmim" (pixels of hidden patches), "pair" (vectors of texts and images).
    outputs: scores of a "sequence" head; "next_sentence" always has 2.
    start: heads of the checkpoint the model came from; a pooler among them, which learned in
        pretraining, is copied into the new head. A pair head takes one for each tower.
    """
    head = plain_head(model.config, model.style, kind, outputs=outputs)
    initialise(head, generator=torch.Generator().manual_seed(seed))
    learned = find_pooler(start or {})
    if isinstance(head, SequenceHead | Pooler) and learned is not None:
        _learn(head.pooler if isinstance(head, SequenceHead) else head, learned)
    if isinstance(head, PairHead):
        for name, mine in head.poolers():
            _learn(mine, (start or {}).get(name))
    return head.to(model.embed.tokens.weight.dtype)


def _learn(pooler: Pooler, learned: nn.Module | None) -> None:
    """Take over what another pooler has learnt, if it is built alike."""
    if learned is not None and pooler.state_dict().keys() == learned.state_dict().keys():
        pooler.load_state_dict(learned.state_dict())


def plain_head(
    config: TransformerConfig, style: HeadStyle, kind: HeadKind, *, outputs: int = 2
) -> Head:
    """A head whose weights are still to be filled in, from a file or by `initialise`."""
    makers: dict[HeadKind, Callable[[], Head]] = {
        "masked": lambda: MaskedLanguageHead(config, style),
        "causal": lambda: CausalLanguageHead(config, style),
        "pooler": lambda: Pooler(config, style),
        "mae": lambda: MaskedPatchHead(config, style.patch_decoder),
        "simmim": lambda: PixelHead(config),
        "pair": lambda: PairHead(config, style),
        "next_sentence": lambda: SequenceHead(config, style, outputs=2),
        "sequence": lambda: SequenceHead(config, style, outputs=outputs),
    }
    return makers[kind]()


def find_pooler(heads: Mapping[str, nn.Module]) -> Pooler | None:
    """The pooler that some head of these brings along, if any."""
    for head in heads.values():
        if isinstance(head, Pooler):
            return head
        if isinstance(head, SequenceHead):
            return head.pooler
    return None


def is_own(head: SequenceHead, style: HeadStyle) -> bool:
    """Whether a head is built as the family's stock classifier is."""
    pooler, style = head.pooler, style.in_classifier
    return (
        pooler.pooling == style.pooling
        and (pooler.dense is not None) == (style.pool_activation is not None)
        and (pooler.norm is not None) == style.pool_norm
        and (head.classifier.bias is not None) == style.classifier_bias
    )


def states_for(head: nn.Module, model: Model, batch: Batch) -> Tensor:
    """The states (T, hidden) on which a sequence head stands: an encoder-decoder's own is read out
    of the decoder, any other out of the encoder.
    """
    own = isinstance(head, SequenceHead) and is_own(head, model.style)
    return model.read(batch) if own else model.encode(batch)
