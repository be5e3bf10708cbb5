"""Write a text after another: the tokens of a target, given its source.

An encoder-decoder reads the source and writes the target. A decoder reads the source, its family's
end token as a separator, and goes on with the target. Only the target and its end are learnt.

A pair is one sequence, the source's tokens and then the target's; the field "source" says where one
ends and the other begins, and "whole" is false where a target was cut, whose end is then no end and
is not learnt.

Legend: S pairs, N tokens to be written, T slots of a stream.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from headstart.batch import Batch, Sequences, ragged_index
from headstart.data.pack import lay_out
from headstart.data.targets import lay_out_targets
from headstart.errors import InputError
from headstart.families.heads import CausalLanguageHead, make_head
from headstart.families.model import Model
from headstart.nn.rows import filled
from headstart.objectives.objective import Loss, Vocabulary
from headstart.objectives.table_loss import token_loss

SOURCE, WHOLE = "source", "whole"


@dataclass(frozen=True)
class Room:
    """Most tokens of a source and of a target, without any special tokens."""

    source: int
    target: int


@dataclass(frozen=True)
class TextPairs:
    """Sources and what is to be written after each: whole texts, without special tokens."""

    sources: Sequences
    targets: Sequences

    def __len__(self) -> int:
        return len(self.sources)

    def take(self, chosen: np.ndarray) -> TextPairs:
        """The chosen pairs, in the order given."""
        return TextPairs(self.sources.take(chosen), self.targets.take(chosen))

    def fitted(self, room: Room) -> Sequences:
        """One sequence a pair, see above; what is too long is cut at its end."""
        read = np.minimum(self.sources.lengths, room.source).astype(np.int64)
        kept = np.minimum(self.targets.lengths, room.target).astype(np.int64)
        tokens = np.empty(int((read + kept).sum()), dtype=np.int64)
        begin = np.cumsum(read + kept) - read - kept
        for part, sizes, place in ((self.sources, read, begin), (self.targets, kept, begin + read)):
            tokens[ragged_index(place, sizes)] = part.tokens[ragged_index(part.starts, sizes)]
        fields = {SOURCE: read, WHOLE: self.targets.lengths <= room.target}
        return Sequences(tokens, read + kept, np.arange(len(self)), fields)


class Write:
    """Cross-entropy of targets given their sources.

    vocabulary: how a source enters; its `sep` separates a decoder's source from the target, and
    ends every target. start: from which a decoder that has an encoder begins; None for one alone.
    """

    name = "write"
    needs = frozenset({"decoder", "encoder-decoder"})

    def __init__(self, vocabulary: Vocabulary, *, start: int | None):
        if vocabulary.sep is None:
            raise InputError(
                "texts to be written need a token that ends them, but the tokenizer has none of "
                "</s>, <|endoftext|> and [SEP]"
            )
        self.vocabulary, self.start, self.end = vocabulary, start, vocabulary.sep

    @classmethod
    def of(cls, model: Model, vocabulary: Vocabulary) -> Write:
        """The task for a model and its vocabulary."""
        return cls(vocabulary, start=None if model.decoder is None else model.style.start)

    def room(self, model: Model, *, max_length: int, target_length: int) -> Room:
        """What fits into the model. max_length, target_length: tokens, special ones included.

        Raises InputError if that is nothing.
        """
        around = (self.vocabulary.cls is not None) + 1
        source, config = max_length, model.config
        if config.position != "relative":
            left = config.max_positions - (target_length if self.start is None else 0)
            if target_length > config.max_positions or left <= around:
                raise InputError(
                    f"data.target_length {target_length} leaves no room for a source in the "
                    f"{config.max_positions} positions of this model: set it to at most "
                    f"{config.max_positions // 2}"
                )
            source = min(max_length, left)
        return Room(source - around, target_length - 1)

    def heads(
        self, model: Model, *, seed: int = 0, start: Mapping[str, nn.Module] | None = None
    ) -> nn.ModuleDict:
        """The checkpoint's next-token head, or a fresh one. start: heads of the checkpoint."""
        found = (start or {}).get("causal")
        if isinstance(found, CausalLanguageHead):
            return nn.ModuleDict({"causal": copy.deepcopy(found).to(model.embed.tokens.weight)})
        return nn.ModuleDict({"causal": make_head(model, "causal", seed=seed)})

    def prompts(self, sources: Sequences) -> list[list[int]]:
        """What is read before a text is written, special tokens included."""
        before = [] if self.vocabulary.cls is None else [self.vocabulary.cls]
        parts = np.split(sources.tokens, np.cumsum(sources.lengths)[:-1])
        return [[*before, *part.tolist(), self.end] for part in parts]

    def prepare(
        self, sequences: Sequences, rng: np.random.Generator | None = None, progress: float = 0.0
    ) -> Batch:
        """Pairs packed into the stream, or into the two streams of an encoder-decoder.

        Targets: "slots" (N,) of the stream that writes, "labels" (N,) what comes next there, and
        "owner" (N,) the pair. The random generator and progress are not used.
        """
        read = sequences.fields[SOURCE]
        kept = sequences.lengths - read
        known = self.vocabulary
        targets = _part(sequences, sequences.starts + read, kept)
        if self.start is None:
            sources = _parted(sequences, read, self.end)
            tokens, layout = lay_out(sources, prefix=known.cls, suffix=None, pad=known.pad)
            batch = Batch({"tokens": tokens}, {"tokens": layout}, {}, self.name)
            first = layout.first.numpy() + (known.cls is not None) + read
        else:
            sources = _part(sequences, sequences.starts, read)
            tokens, layout = lay_out(sources, prefix=known.cls, suffix=known.sep, pad=known.pad)
            written, _, place = lay_out_targets(
                targets, start=self.start, end=self.end, pad=known.pad
            )
            inputs = {"tokens": tokens, "decoder_tokens": written}
            batch = Batch(inputs, {"tokens": layout, "decoder_tokens": place}, {}, self.name)
            first = place.first.numpy()
        ends = kept + 1
        labels = np.full(int(ends.sum()), self.end, dtype=np.int64)
        labels[ragged_index(np.cumsum(ends) - ends, kept)] = targets.tokens
        learnt = np.ones(len(labels), dtype=bool)
        learnt[np.cumsum(ends) - 1] = sequences.fields[WHOLE]
        owner = np.repeat(np.arange(len(sequences)), ends)
        found = {"slots": ragged_index(first, ends), "labels": labels, "owner": owner}
        batch.targets |= {name: torch.from_numpy(some[learnt]) for name, some in found.items()}
        return batch

    def states(self, model: Model, batch: Batch) -> Tensor:
        """(N, hidden) at the targets of the stream that writes, filled up to an even size."""
        at = filled(batch.targets["slots"])
        if self.start is None:
            return model.encode(batch, at=at)
        return model.decode(batch, model.encode(batch), at=at)

    def loss(self, model: Model, heads: Mapping[str, nn.Module], batch: Batch) -> Loss:
        """Mean cross-entropy over all that is to be written."""
        states, labels = self.states(model, batch), batch.targets["labels"]
        return token_loss(model, heads["causal"], states, labels)


def _part(sequences: Sequences, starts: np.ndarray, lengths: np.ndarray) -> Sequences:
    """A stretch of each sequence."""
    return replace(
        sequences, tokens=sequences.tokens[ragged_index(starts, lengths)], lengths=lengths
    )


def _parted(sequences: Sequences, read: np.ndarray, separator: int) -> Sequences:
    """The sequences with a separator behind the first `read` tokens of each."""
    tokens = np.insert(sequences.tokens, sequences.starts + read, separator)
    return replace(sequences, tokens=tokens, lengths=sequences.lengths + 1)
