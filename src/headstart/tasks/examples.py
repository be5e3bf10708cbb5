"""Labelled texts or images as numbered examples: each one window of tokens, or several if long.

In: encoded texts and labels. Out: `Sequences` of windows whose field "document" says which example
each belongs to; windows of one example are never torn apart. A text with more windows than
`max_windows` keeps that many, spread evenly over its length, and is counted in `thinned`.

Legend: N examples, S windows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from tokenizers import Tokenizer

from headstart.batch import Sequences, ragged_index
from headstart.data.dataset import Labelled
from headstart.data.labels import Kind
from headstart.data.text import encode, frame_of, sentinel_ids, special_ids, word_starts
from headstart.objectives.objective import Vocabulary

MAX_WINDOWS = 8


class Examples:
    """Texts as windows, with labels if there are any; a source for `TokenBatches`.

    labels: (N,) or (N, C), see `data.dataset.Labelled`. lengths: (N,) tokens kept of each example.
    thinned: how many examples had more than `max_windows` windows.
    """

    def __init__(
        self,
        inputs: Sequences,
        *,
        window: int,
        labels: np.ndarray | None = None,
        max_windows: int = MAX_WINDOWS,
    ):
        """inputs: whole texts, without special tokens, or images. window: most tokens of one;
        an image always is one window.
        """
        if labels is not None and len(labels) != len(inputs):
            raise ValueError(f"{len(labels)} labels for {len(inputs)} texts: must be equal")
        self.inputs, self.labels = inputs, labels
        self.window, self.max_windows = window, max_windows
        needed = np.maximum(1, -(-inputs.lengths // window))
        self.windows = np.minimum(needed, max_windows)  # (N,)
        self.thinned = int((needed > max_windows).sum())
        self.starts, self.sizes = _cut(inputs, needed, self.windows)
        self.owner = np.repeat(np.arange(len(inputs)), self.windows)
        self.first = np.cumsum(self.windows) - self.windows
        # an empty text still takes a place in a batch
        kept = np.bincount(self.owner, self.sizes, len(inputs)).astype(np.int64)
        self.lengths = np.maximum(1, kept)

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, chosen: np.ndarray) -> Sequences:
        """All windows of the chosen examples; "document" is the example's number."""
        chosen = np.asarray(chosen, dtype=np.int64)
        at = ragged_index(self.first[chosen], self.windows[chosen])
        sizes, owner = self.sizes[at], self.owner[at]
        tokens = self.inputs.tokens[ragged_index(self.starts[at], sizes)].astype(np.int64)
        fields = {name: values[owner] for name, values in self.inputs.fields.items()}
        fields["document"] = owner
        if self.labels is not None:
            fields["labels"] = self.labels[owner]
        return Sequences(tokens, sizes, self.inputs.index[owner], fields)

    def subset(self, chosen: np.ndarray) -> Examples:
        """The chosen examples, numbered anew from 0."""
        labels = None if self.labels is None else self.labels[chosen]
        return Examples(
            self.inputs.take(np.asarray(chosen, dtype=np.int64)),
            window=self.window,
            labels=labels,
            max_windows=self.max_windows,
        )

    def in_batches(self, tokens_per_batch: int, *, special: int = 2) -> Iterator[np.ndarray]:
        """Example numbers in groups of about so many tokens, longest examples first.

        special: tokens that are put around each window.
        """
        order = np.argsort(-self.lengths, kind="stable")
        cost = self.lengths[order] + special * self.windows[order]
        group = (np.cumsum(cost) - cost) // max(1, tokens_per_batch)
        for part in np.split(order, np.flatnonzero(np.diff(group)) + 1):
            if len(part):
                yield part


@dataclass(frozen=True)
class LabelledTokens:
    """Encoded texts or images with their labels.

    inputs: whole, without special tokens. labels: see `data.dataset.Labelled`.
    classes: names by class number; for numbers there are none.
    """

    inputs: Sequences
    labels: np.ndarray
    kind: Kind
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def outputs(self) -> int:
        """Scores that a head gives."""
        return 1 if self.kind == "number" else len(self.classes)

    def take(self, chosen: np.ndarray) -> LabelledTokens:
        """The chosen rows, in the order given."""
        return replace(self, inputs=self.inputs.take(chosen), labels=self.labels[chosen])


def tokenized(labelled: Labelled, tokenizer: Tokenizer) -> LabelledTokens:
    """A labelled file with its texts encoded."""
    texts = encode(tokenizer, labelled.texts)
    return LabelledTokens(texts, labelled.labels, labelled.kind, tuple(labelled.classes))


def _cut(texts: Sequences, needed: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each kept window begins in the flat tokens, and its length."""
    parts, most = np.repeat(needed, kept), np.repeat(kept, kept)
    place = ragged_index(np.zeros(len(kept), np.int64), kept)
    # the kept windows of a long text are its first, its last, and others evenly between
    order = np.where(most > 1, place * (parts - 1) // np.maximum(most - 1, 1), 0)
    whole = np.repeat(texts.lengths, kept)
    begin = order * whole // parts
    return np.repeat(texts.starts, kept) + begin, (order + 1) * whole // parts - begin


def vocabulary_of(tokenizer: Tokenizer) -> Vocabulary:
    """What tasks and objectives must know of a tokenizer.

    A tokenizer with one special token for all roles (GPT) ends texts with it and begins none.
    """
    ids = special_ids(tokenizer)
    causal = ids.mask is None and ids.cls == ids.sep
    special = [n for n, token in tokenizer.get_added_tokens_decoder().items() if token.special]
    return Vocabulary(
        size=tokenizer.get_vocab_size(),
        pad=ids.pad if ids.pad is not None else 0,
        cls=None if causal else ids.cls,
        sep=ids.sep,
        mask=ids.mask,
        special=tuple(sorted(special)),
        word_starts=word_starts(tokenizer),
        sentinels=tuple(sentinel_ids(tokenizer).tolist()),
    )


def stock_vocabulary(tokenizer: Tokenizer) -> Vocabulary:
    """The same for answering as stock libraries do: around a text, what the tokenizer itself adds.

    It differs for GPT, whose tokenizer adds nothing unless its model learnt a task of ours.
    """
    known, frame = vocabulary_of(tokenizer), frame_of(tokenizer)
    return known if frame is None else replace(known, cls=frame[0], sep=frame[1])


def stand_in(vocabulary: Vocabulary) -> int | None:
    """The id that stands for a text without tokens; none is needed where there are some around."""
    return vocabulary.pad if vocabulary.cls is None and vocabulary.sep is None else None


def stratified(labels: np.ndarray, share: float, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers to learn from and to hold out, both sorted; classes keep their shares.

    labels: (N,) integers, floats, or (N, C). A class with a single row stays with the first part.
    """
    rng = np.random.default_rng([0x5A11, seed])
    count = len(labels)
    shuffled = rng.permutation(count)
    if labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer):
        held: list[int] = []
        for name in np.unique(labels):
            mine = shuffled[labels[shuffled] == name]
            take = int(share * len(mine) + rng.random())
            held += mine[: min(take, len(mine) - 1)].tolist()
    else:
        held = shuffled[: max(1, min(count - 1, round(share * count)))].tolist()
    chosen = np.zeros(count, dtype=bool)
    chosen[held] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)
