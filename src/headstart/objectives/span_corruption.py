"""Span corruption: spans of a text are hidden from the encoder and written by the decoder.

Each hidden span is one sentinel token in what the encoder sees; the decoder writes every sentinel
and behind it what it stands for.

Source: Raffel et al. 2020, section 3.1.4 (15 %, mean length 3 in 3.3.4), and the code released with
it: a text begins with kept tokens and ends with a hidden span.

Legend: S sequences, N tokens of all of them, P spans of all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from headstart.batch import Batch, Sequences, ragged_index
from headstart.data.pack import lay_out
from headstart.data.targets import lay_out_targets
from headstart.errors import InputError
from headstart.families.heads import make_head
from headstart.families.model import Model
from headstart.nn.rows import filled
from headstart.objectives.objective import Loss, Vocabulary
from headstart.objectives.table_loss import token_loss


@dataclass(eq=False)
class SpanCorruption:
    """Write the hidden spans of a text of which the rest is read.

    rate: share of the tokens that is hidden; rate_end: share at the end of the run, reached in a
    straight line. span_length: mean length of a span (tokens). start: from which a decoder begins.
    """

    vocabulary: Vocabulary
    rate: float = 0.15
    rate_end: float | None = None
    span_length: float = 3.0
    start: int = 0
    weight: float = 1.0
    name: str = "span_corruption"
    needs: frozenset[str] = frozenset({"encoder-decoder"})
    views: int = 1
    pairs: bool = False

    def __post_init__(self) -> None:
        if not self.vocabulary.sentinels or self.vocabulary.sep is None:
            raise InputError(
                "span_corruption needs the tokens <extra_id_0>, <extra_id_1>, ... and </s>, but "
                "the tokenizer lacks them: train one in the style 't5' (families t5 and marian)"
            )

    def head(self, model: Model, seed: int) -> nn.Module:
        """The decoder's next-token head."""
        return make_head(model, "causal", seed=seed)

    def mark(
        self, batch: Batch, sequences: Sequences, rng: np.random.Generator, progress: float
    ) -> None:
        """Hide spans: both streams are laid out anew."""
        end = self.rate if self.rate_end is None else self.rate_end
        known = self.vocabulary
        assert known.sep is not None, "seen when this was made"
        hidden = hidden_tokens(
            sequences.lengths,
            rate=self.rate + (end - self.rate) * progress,
            span_length=self.span_length,
            most=len(known.sentinels),
            rng=rng,
        )
        shown, targets = corrupt(sequences, hidden, sentinels=np.asarray(known.sentinels))
        tokens, layout = lay_out(shown, prefix=known.cls, suffix=known.sep, pad=known.pad)
        written, labels, place = lay_out_targets(
            targets, start=self.start, end=known.sep, pad=known.pad
        )
        batch.inputs |= {"tokens": tokens, "decoder_tokens": written}
        batch.layout |= {"tokens": layout, "decoder_tokens": place}
        slots = torch.nonzero(place.sequence >= 0).flatten()
        batch.targets[f"{self.name}.slots"] = slots
        batch.targets[f"{self.name}.labels"] = labels[slots]

    def asked(self, batch: Batch) -> Tensor:
        """The decoder's tokens, filled up to an even size."""
        return filled(batch.targets[f"{self.name}.slots"])

    def loss(self, model: Model, head: nn.Module, hidden: Tensor, batch: Batch) -> Loss:
        """Mean cross-entropy over all that is to be written."""
        return token_loss(model, head, hidden, batch.targets[f"{self.name}.labels"])


def hidden_tokens(
    lengths: np.ndarray, *, rate: float, span_length: float, most: int, rng: np.random.Generator
) -> np.ndarray:
    """(N,) which tokens of the sequences are hidden, in spans with kept tokens between them.

    lengths: (S,). most: spans of one sequence. At least one token is hidden, and one kept if there
    are two.
    """
    gone = np.clip(np.round(rate * lengths), 1, np.maximum(lengths - 1, 1)).astype(np.int64)
    fitting = np.minimum(np.minimum(gone, lengths - gone), most)
    spans = np.clip(np.round(gone / span_length), 1, np.maximum(fitting, 1)).astype(np.int64)
    kept = divide(lengths - gone, spans, rng)
    sizes = np.stack([kept, divide(gone, spans, rng)], 1).ravel()
    hidden: np.ndarray = np.repeat(np.arange(len(sizes)) % 2 == 1, sizes)
    return hidden


def divide(totals: np.ndarray, parts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sizes (P,) of `parts` pieces of each total, every division as likely as any other.

    totals, parts: (S,); every piece is at least 1, but one piece of 0 is 0.
    """
    gaps = np.maximum(totals - 1, 0)
    owner = np.repeat(np.arange(len(totals)), gaps)
    order = np.lexsort((rng.random(len(owner)), owner))
    rank = ragged_index(np.zeros_like(gaps), gaps)
    cut = np.zeros(len(owner), dtype=bool)
    cut[order] = rank < (parts - 1)[owner]
    # the first unit of a total begins its first piece, each cut begins a further one
    units = np.repeat(np.arange(len(totals)), totals)
    begins = np.zeros(len(units), dtype=np.int64)
    first = np.cumsum(totals) - totals
    begins[np.delete(np.arange(len(units)), first[totals > 0])] = cut
    before = np.concatenate([[0], np.cumsum(begins)])
    piece = (np.cumsum(parts) - parts)[units] + before[1:] - before[first[units]]
    return np.bincount(piece, minlength=int(parts.sum()))


def corrupt(
    sequences: Sequences, hidden: np.ndarray, *, sentinels: np.ndarray
) -> tuple[Sequences, Sequences]:
    """What is shown of the sequences, and what is to be written of them.

    hidden: (N,) which tokens are hidden; sentinels: ids, that of each sequence's first span first.
    """
    lengths = sequences.lengths
    owner = np.repeat(np.arange(len(lengths)), lengths)
    before = np.concatenate([[False], hidden])[:-1]
    before[sequences.starts[lengths > 0]] = False
    first = hidden & ~before
    count = np.concatenate([[0], np.cumsum(first)])
    number = count[1:] - 1 - count[sequences.starts[owner]]
    mark = sentinels[np.maximum(number, 0)]
    shown = ~hidden | first
    inputs = np.where(first, mark, sequences.tokens)[shown]
    times = hidden.astype(np.int64) + first  # a span's first token has its sentinel before it
    source = np.repeat(np.arange(len(owner)), times)
    leads = first[source] & np.concatenate([[True], source[1:] != source[:-1]])[: len(source)]
    written = np.where(leads, mark[source], sequences.tokens[source])
    return (
        _ragged(sequences, inputs, owner[shown]),
        _ragged(sequences, written, owner[source]),
    )


def _ragged(like: Sequences, tokens: np.ndarray, owner: np.ndarray) -> Sequences:
    lengths = np.bincount(owner, minlength=len(like))
    return Sequences(tokens, lengths, like.index, like.fields)
