"""What is predicted from unlabelled sequences: one or more parts over one shared encoding.

In: ragged windows of documents. Out: a batch with its targets, and the loss. A single objective is
a list of one part; joint ones (masked language + next sentence) are longer lists. Nothing here
knows files, optimisers or labels.

Legend: S sequences, T slots of the stream, N targets, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol, get_args

import numpy as np
import torch
from torch import Tensor, nn

from headstart.abilities import ObjectiveName
from headstart.batch import Batch, Layout, Sequences
from headstart.data.pack import lay_out
from headstart.errors import InputError
from headstart.families.model import Model
from headstart.nn.rows import chosen


@dataclass(frozen=True)
class Loss:
    """A mean over `count` targets, and its named parts for the log."""

    value: Tensor
    count: int
    parts: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """What an objective must know of the tokenizer.

    size: V. pad, cls, sep, mask: ids; cls and sep may be missing (GPT). special: all control ids.
    word_starts: (V,) whether a token begins a word. sentinels: ids that stand for hidden spans, in
    their order (T5); most tokenizers have none.
    """

    size: int
    pad: int
    cls: int | None
    sep: int | None
    mask: int | None
    special: tuple[int, ...]
    word_starts: np.ndarray
    sentinels: tuple[int, ...] = ()

    def room(self, max_positions: int, max_length: int) -> int:
        """Tokens of text that fit in one window, besides the special tokens around them."""
        special = (self.cls is not None) + (self.sep is not None)
        fits = min(max_length, max_positions) - special
        if fits < 1:
            raise InputError(
                f"max_length {max_length} leaves no room for text beside {special} special tokens: "
                "set it to at least 8"
            )
        return fits

    def lay_out(
        self, sequences: Sequences, *, pack: bool = True
    ) -> tuple[dict[str, Tensor], Layout]:
        """What a model takes of these windows, special tokens around each; pack: short ones may
        share a row.
        """
        tokens, layout = lay_out(
            sequences, prefix=self.cls, suffix=self.sep, pad=self.pad, pack=pack
        )
        return {"tokens": tokens}, layout

    @property
    def ordinary(self) -> np.ndarray:
        """Ids that are no control tokens."""
        return np.setdiff1d(np.arange(self.size), np.asarray(self.special, dtype=np.int64))


class Part(Protocol):
    """One prediction. Its targets are kept in the batch under "<name>.<what>"."""

    name: str
    weight: float
    needs: frozenset[str]  # which `Model.arrangement` can do it
    views: int  # how often each sequence enters the batch
    pairs: bool  # whether a sequence is shown as two segments

    def head(self, model: Model, seed: int) -> nn.Module:
        """A fresh head."""
        ...

    def mark(
        self, batch: Batch, sequences: Sequences, rng: np.random.Generator, progress: float
    ) -> None:
        """Choose the targets and write them into the batch; may change the inputs."""
        ...

    def asked(self, batch: Batch) -> Tensor | None:
        """Slots (N,) whose last states the loss takes; None: all of the stream."""
        ...

    def loss(self, model: Model, head: nn.Module, hidden: Tensor, batch: Batch) -> Loss:
        """Loss from what it asked for, (N, hidden): the decoder's if it has its own stream."""
        ...


class Pretraining:
    """Parts over one encoding of the same sequences.

    begins: whether some texts get a token to begin with, because the vocabulary has none for all.

    Raises InputError for a combination or a model that cannot work, before any data is read.
    """

    SEGMENT: ClassVar[str] = "segments"

    def __init__(self, parts: Sequence[Part], vocabulary: Vocabulary, *, segments: bool = False):
        if not parts:
            raise InputError("an objective needs at least one part")
        names = [part.name for part in parts]
        if len(set(names)) < len(names):
            raise InputError(f"objective parts must differ, but are {', '.join(names)}")
        if not frozenset.intersection(*(part.needs for part in parts)):
            raise InputError(
                f"objective {'+'.join(names)}: no model can do all of it, because "
                + " and ".join(f"{p.name} needs {' or '.join(sorted(p.needs))}" for p in parts)
            )
        if {"hybrid", "nsp"} <= set(names):
            able = [
                name for name in get_args(ObjectiveName) if {"hybrid", "nsp"} & {*name.split("+")}
            ]
            raise InputError(
                f"objective {'+'.join(names)}: nsp answers from the first token, which in hybrid's "
                f"causal batches sees nothing after it; choose one of {', '.join(able)}"
            )
        self.parts = tuple(parts)
        self.vocabulary = vocabulary
        self.segments = segments
        self.name = "+".join(names)
        self.needs = frozenset.intersection(*(part.needs for part in parts))
        self.views = max(part.views for part in parts)
        self.pairs = any(part.pairs for part in parts)
        writes = any(part.name == "causal" for part in parts)
        self.begins = writes and vocabulary.cls is None and vocabulary.sep is not None

    @property
    def extra(self) -> int:
        """Tokens that a sequence may get beside those that stand around each."""
        return int(self.pairs) + int(self.begins)

    def refuse(self, model: Model) -> None:
        """Raise InputError if this model cannot do it."""
        refuse_arrangement(self.name, self.needs, model)

    def heads(self, model: Model, *, seed: int = 0) -> nn.ModuleDict:
        """Fresh heads, one a part."""
        self.refuse(model)
        return nn.ModuleDict({part.name: part.head(model, seed) for part in self.parts})

    def prepare(
        self, sequences: Sequences, rng: np.random.Generator, progress: float = 0.0
    ) -> Batch:
        """The batch of these sequences: a pure function of the arguments.

        progress: share of the run that is done, for schedules.
        """
        if self.views > 1:
            sequences = sequences.take(np.tile(np.arange(len(sequences)), self.views))
        targets: dict[str, Tensor] = {}
        segments: np.ndarray | None = None
        if self.pairs:
            sequences, segments, follows = self._pair(sequences, rng)
            targets["pairs.follows"] = torch.from_numpy(follows)
        if self.begins:
            sequences = self._begun(sequences, rng)
        inputs, layout = self.vocabulary.lay_out(sequences)
        if segments is not None and self.segments:
            inputs["segments"] = _second(layout.positions, layout.sequence, segments)
        batch = Batch(inputs, {"tokens": layout}, targets, self.name)
        for part in self.parts:
            part.mark(batch, sequences, rng, progress)
        return batch

    def _begun(self, sequences: Sequences, rng: np.random.Generator) -> Sequences:
        """Half of the first windows of documents, drawn anew each time, with a token before them.

        It is the one that ends texts (GPT). So a model learns to begin a text by itself, as after
        the end of another one, and to go on with words that nothing stands before.
        """
        sep, order = self.vocabulary.sep, sequences.fields.get("order")
        assert sep is not None, "what begins texts is what ends them"
        if order is None:
            return sequences
        chosen = (order == 0) & (rng.random(len(sequences)) < 0.5)
        tokens = np.insert(sequences.tokens, sequences.starts[chosen], sep)
        return replace(sequences, tokens=tokens, lengths=sequences.lengths + chosen)

    def _pair(
        self, sequences: Sequences, rng: np.random.Generator
    ) -> tuple[Sequences, np.ndarray, np.ndarray]:
        """Each sequence as its first half, a separator, and the second half of itself or another.

        Returns the new sequences, where each second segment begins (position, first special token
        counted), and whether it follows (1) or is from another document (0).
        """
        count, starts = len(sequences), sequences.starts
        half = sequences.lengths // 2
        swapped = np.flatnonzero(rng.random(count) < 0.5)
        partner = np.arange(count)
        partner[swapped] = np.roll(swapped, 1)
        own = sequences.fields.get("document", sequences.index)
        partner = np.where(own[partner] == own, np.arange(count), partner)
        sep = self.vocabulary.sep
        assert sep is not None, "pairs need a separator token"
        pieces = []
        for s in range(count):
            p = partner[s]
            first = sequences.tokens[starts[s] : starts[s] + half[s]]
            second = sequences.tokens[starts[p] + half[p] : starts[p] + sequences.lengths[p]]
            pieces.append(np.concatenate([first, [sep], second]))
        paired = Sequences(
            np.concatenate(pieces),
            np.array([len(piece) for piece in pieces]),
            sequences.index,
            sequences.fields,
        )
        before = 1 if self.vocabulary.cls is not None else 0
        return paired, half + 1 + before, (partner == np.arange(count)).astype(np.int64)

    def loss(self, model: Model, heads: Mapping[str, nn.Module], batch: Batch) -> Loss:
        """Weighted sum of the parts' losses."""
        causal = True if batch.task == "causal" else None

        def states(at: Tensor | None) -> Tensor:
            if "decoder_tokens" in batch.inputs:
                return model.decode(batch, model.encode(batch), at=at)
            return model.encode(batch, causal=causal, at=at)

        found = states_at([part.asked(batch) for part in self.parts], states)
        losses = [
            part.loss(model, heads[part.name], hidden, batch)
            for part, hidden in zip(self.parts, found, strict=True)
        ]
        return weighted(self.parts, losses)


def states_at(
    asked: Sequence[Tensor | None], states: Callable[[Tensor | None], Tensor]
) -> list[Tensor]:
    """The states that each part asked for, (N, hidden), from one pass of the network.

    asked: slots, or None for all. states: computes those at these slots.
    """
    slots = [some for some in asked if some is not None]
    if len(slots) < len(asked):
        whole = states(None)
        return [chosen(whole, some) for some in asked]
    return list(torch.split(states(torch.cat(slots)), [len(some) for some in slots]))


class Weighted(Protocol):
    """A part's name, and what its loss counts beside others."""

    name: str
    weight: float


def weighted(parts: Sequence[Weighted], losses: Sequence[Loss]) -> Loss:
    """The sum of the parts' losses by their weights; the count is the largest."""
    if len(losses) == 1:
        return losses[0]
    total = sum(
        (part.weight * loss.value for part, loss in zip(parts, losses, strict=True)),
        start=losses[0].value.new_zeros((), dtype=torch.float32),
    )
    named = {part.name: loss.value.detach() for part, loss in zip(parts, losses, strict=True)}
    return Loss(total, max(loss.count for loss in losses), named)


def refuse_arrangement(name: str, needs: frozenset[str], model: Model) -> None:
    """Raise InputError if a model is of none of the arrangements that an objective needs."""
    if model.arrangement not in needs:
        raise InputError(
            f"objective {name} needs {' or '.join(sorted(needs))}, but family "
            f"{model.family} is {_a(model.arrangement)}: choose another family or objective"
        )


def _a(noun: str) -> str:
    if noun.endswith("s"):
        return noun
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def _second(positions: Tensor, sequence: Tensor, begins: np.ndarray) -> Tensor:
    """Segment ids (T,): 1 from where each sequence's second segment begins."""
    begin = torch.from_numpy(begins)[sequence.clamp(min=0)]
    return ((positions >= begin) & (sequence >= 0)).long()


def ordinary_slots(batch: Batch, vocabulary: Vocabulary) -> np.ndarray:
    """Slots of the stream that hold ordinary tokens: no padding, no control tokens."""
    tokens = batch.inputs["tokens"].numpy()
    filled = batch.layout["tokens"].sequence.numpy() >= 0
    control = np.zeros(vocabulary.size, dtype=bool)
    control[list(vocabulary.special)] = True
    return np.flatnonzero(filled & ~control[tokens])
