"""How probable a language model finds texts: log-probabilities, from which come bits per byte,
perplexity and choices between sentences.

In: a model with a language head, encoded texts. Out: for each text the sum of its tokens' natural
log-probabilities, and how many tokens were counted. A causal model gives each token its chance
after those before it; a masked one hides each token in turn and gives it its chance among all the
others, whose sum is no probability of the text but ranks texts well.

Sources: Salazar et al. 2020, "Masked Language Model Scoring" (pseudo-log-likelihood).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from headstart.batch import Batch, Sequences, ragged_index
from headstart.data.pack import lay_out
from headstart.errors import InputError
from headstart.evaluate.features import Precision, for_inference, frozen
from headstart.families import Loaded
from headstart.families.heads import LanguageHead
from headstart.families.model import Model
from headstart.objectives.objective import Vocabulary

Reading = Literal["causal", "masked"]
TOKENS_PER_BATCH = 4096
SCORES_AT_ONCE = 2**24  # of tokens x vocabulary, held at a time


@dataclass(frozen=True)
class Likelihood:
    """sums: (N,) natural log-probabilities of the texts. tokens: (N,) counted in each."""

    sums: np.ndarray
    tokens: np.ndarray

    def bits_per_byte(self, sizes: np.ndarray) -> float:
        """Of all texts together; sizes: (N,) bytes of each in UTF-8."""
        return float(-self.sums.sum() / np.log(2) / sizes.sum())

    @property
    def perplexity(self) -> float:
        """The exponential of the mean negative log-probability of a token."""
        return float(np.exp(-self.sums.sum() / self.tokens.sum()))


def likelihood(
    loaded: Loaded,
    texts: Sequences,
    vocabulary: Vocabulary,
    *,
    reading: Reading | None = None,
    max_length: int = 512,
    precision: Precision = "fp32",
    poll: Callable[[], None] = lambda: None,
) -> Likelihood:
    """Log-probabilities of whole texts (without special tokens), in their order.

    reading: None is causal where the model has a causal head, else masked; a masked model that also
    learnt next tokens (hybrid) can be read either way. A text longer than a window is read in
    several: if causal, each begins in the middle of the one before and counts what that one did not
    reach, else they stand side by side. A causal model without a token to begin with (GPT) is given
    the one that ends texts; where there is none either, a text's first token is not counted.
    Raises InputError for a model without a head that fits.
    """
    reading = reading or ("causal" if "causal" in loaded.heads else "masked")
    head = loaded.heads.get("causal") if reading == "causal" else None
    head = head if head is not None else loaded.heads.get("masked")
    if not isinstance(head, LanguageHead) or loaded.model.arrangement == "encoder-decoder":
        found = ", ".join(sorted(loaded.heads)) or "none"
        raise InputError(
            f"a {reading} reading of texts needs a language head, but the model of family "
            f"{loaded.model.family} has the heads: {found}; give a pretrained run whose objective "
            "predicts tokens"
        )
    body = for_inference(loaded.model, precision, device="auto")
    causal = reading == "causal"
    cut, measure = (_overlapping, _causal) if causal else (_side_by_side, _masked)
    room = vocabulary.room(body.config.max_positions, max_length)
    windows, owner = cut(texts, room, vocabulary)
    sums, counts = np.zeros(len(windows)), np.zeros(len(windows), dtype=np.int64)
    head = copy.deepcopy(head).to(body.embed.tokens.weight.device)
    with frozen(body), frozen(head):
        for chosen in _groups(windows.lengths, squared=not causal):
            poll()
            found_sums, found_counts = measure(body, head, windows.take(chosen), vocabulary)
            sums[chosen], counts[chosen] = found_sums, found_counts
    count = len(texts)
    return Likelihood(
        np.bincount(owner, sums, count), np.bincount(owner, counts, count).astype(np.int64)
    )


def _side_by_side(
    texts: Sequences, room_for: int, vocabulary: Vocabulary
) -> tuple[Sequences, np.ndarray]:
    """All texts cut into windows of equal size each, and which text each window is of."""
    pieces = -(-texts.lengths // room_for)
    owner = np.repeat(np.arange(len(texts)), pieces)
    place = ragged_index(np.zeros(len(pieces), np.int64), pieces)
    whole, parts = np.repeat(texts.lengths, pieces), np.repeat(pieces, pieces)
    begin = place * whole // parts
    return _cut(texts, owner, begin, (place + 1) * whole // parts), owner


def _overlapping(
    texts: Sequences, room_for: int, vocabulary: Vocabulary
) -> tuple[Sequences, np.ndarray]:
    """The same with windows that begin in the middle of the one before.

    Field "known": how many of a window's first tokens are not counted.
    """
    lead = vocabulary.sep if vocabulary.cls is None else None
    if lead is not None:
        tokens = np.insert(texts.tokens, texts.starts, lead)
        texts = Sequences(tokens, texts.lengths + 1, texts.index)
    step = room_for - room_for // 2
    pieces = np.where(texts.lengths > 0, 1 - (-np.maximum(texts.lengths - room_for, 0) // step), 0)
    owner = np.repeat(np.arange(len(texts)), pieces)
    place = ragged_index(np.zeros(len(pieces), np.int64), pieces)
    whole = texts.lengths[owner]
    begin = np.minimum(place * step, np.maximum(whole - room_for, 0))
    end = np.minimum(begin + room_for, whole)
    unknown = int(vocabulary.cls is None)  # a first token that nothing stands before
    known = np.where(place == 0, unknown, np.append(0, end[:-1])[: len(end)] - begin)
    return _cut(texts, owner, begin, end, known=known), owner


def _cut(
    texts: Sequences, owner: np.ndarray, begin: np.ndarray, end: np.ndarray, **fields: np.ndarray
) -> Sequences:
    at = ragged_index(texts.starts[owner] + begin, end - begin)
    tokens = texts.tokens[at].astype(np.int64)
    return Sequences(tokens, end - begin, np.arange(len(owner)), fields)


def _groups(lengths: np.ndarray, *, squared: bool) -> list[np.ndarray]:
    """Window numbers in groups of about so many tokens, longest first.

    squared: each window is read as often as it has tokens.
    """
    order = np.argsort(-lengths, kind="stable")
    cost = lengths[order] * (lengths[order] if squared else 1)
    group = (np.cumsum(cost) - cost) // TOKENS_PER_BATCH
    return [part for part in np.split(order, np.flatnonzero(np.diff(group)) + 1) if len(part)]


def _causal(
    model: Model, head: LanguageHead, windows: Sequences, vocabulary: Vocabulary
) -> tuple[np.ndarray, np.ndarray]:
    """Sum and number of the log-probabilities of each window's tokens after those before them."""
    batch = _batch(windows, vocabulary, model)
    layout = batch.layout["tokens"]
    sequence, tokens = layout.sequence, batch.inputs["tokens"]
    whose = sequence.clamp(min=0)
    known = torch.from_numpy(windows.fields["known"]).to(whose.device)
    first = known[whose] + int(vocabulary.cls is not None)
    last = layout.lengths[whose] - int(vocabulary.sep is not None)
    asked = (sequence >= 0) & (layout.positions >= first) & (layout.positions < last)
    at = torch.nonzero(asked).flatten()
    hidden = model.encode(batch, causal=True, at=at - 1)
    found = log_chances(model, head, hidden, tokens[at])
    return _by_window(found, sequence[at], len(windows))


def _masked(
    model: Model, head: LanguageHead, windows: Sequences, vocabulary: Vocabulary
) -> tuple[np.ndarray, np.ndarray]:
    """The same, each token hidden in a copy of its window."""
    assert vocabulary.mask is not None, "a masked language model has a mask token"
    copies = windows.take(np.repeat(np.arange(len(windows)), windows.lengths))
    hides = ragged_index(np.zeros(len(windows), np.int64), windows.lengths)
    batch = _batch(copies, vocabulary, model)
    first = batch.layout["tokens"].first
    at = first + int(vocabulary.cls is not None) + torch.from_numpy(hides).to(first.device)
    right = batch.inputs["tokens"][at].clone()
    batch.inputs["tokens"][at] = vocabulary.mask
    found = log_chances(model, head, model.encode(batch, at=at), right)
    owner = torch.from_numpy(np.repeat(np.arange(len(windows)), windows.lengths))
    return _by_window(found, owner, len(windows))


def _batch(windows: Sequences, vocabulary: Vocabulary, model: Model) -> Batch:
    tokens, layout = lay_out(
        windows, prefix=vocabulary.cls, suffix=vocabulary.sep, pad=vocabulary.pad
    )
    batch = Batch({"tokens": tokens}, {"tokens": layout}, {})
    return batch.to(model.embed.tokens.weight.device)


def log_chances(model: Model, head: LanguageHead, states: Tensor, right: Tensor) -> Tensor:
    """(N,) natural log-probabilities of the right tokens, in fp32."""
    step = max(1, SCORES_AT_ONCE // model.config.vocab_size)
    weight = next(head.parameters(), states)
    parts = []
    for some, answers in zip(torch.split(states, step), torch.split(right, step), strict=True):
        scores = head(some.to(weight.dtype), model.embed.tokens.weight.to(weight.dtype))
        chosen = scores.float().log_softmax(-1).gather(1, answers[:, None])[:, 0]
        parts.append(chosen)
    return torch.cat(parts)


def _by_window(values: Tensor, owner: Tensor, count: int) -> tuple[np.ndarray, np.ndarray]:
    places = owner.cpu().numpy()
    sums = np.bincount(places, values.double().cpu().numpy(), count)
    return sums, np.bincount(places, minlength=count)
