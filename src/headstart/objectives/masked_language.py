"""Masked language modelling: some tokens are hidden and predicted from both sides.

Source: Devlin et al. 2019, section 3.1; whole words: the same authors' 2019 release; other rates
and rates that fall during training: Wettig et al. 2023.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from headstart.batch import Batch, Sequences
from headstart.families.heads import make_head
from headstart.families.model import Model
from headstart.nn.rows import filled
from headstart.objectives.objective import Loss, Vocabulary, ordinary_slots
from headstart.objectives.table_loss import token_loss


@dataclass(eq=False)
class MaskedLanguage:
    """Predict the tokens that were chosen, of which most are shown as [MASK].

    rate: share of the ordinary tokens that is chosen; rate_end: share at the end of the run,
    reached in a straight line. mask_share, random_share: of the chosen, how many are shown as the
    mask token and as a random token; the rest is shown as it is.
    whole_word: choose all pieces of a word together; a CJK character is a word.
    """

    vocabulary: Vocabulary
    rate: float = 0.15
    rate_end: float | None = None
    mask_share: float = 0.8
    random_share: float = 0.1
    whole_word: bool = False
    weight: float = 1.0
    name: str = "mlm"
    needs: frozenset[str] = frozenset({"encoder"})
    views: int = 1
    pairs: bool = False

    def head(self, model: Model, seed: int) -> nn.Module:
        """Transform layer and tied decoder."""
        return make_head(model, "masked", seed=seed)

    def mark(
        self, batch: Batch, sequences: Sequences, rng: np.random.Generator, progress: float
    ) -> None:
        """Choose and hide tokens."""
        end = self.rate if self.rate_end is None else self.rate_end
        rate = self.rate + (end - self.rate) * progress
        slots = ordinary_slots(batch, self.vocabulary)
        tokens = batch.inputs["tokens"].numpy()
        if self.whole_word:
            starts = self._word_starts(tokens, slots, batch)
            chosen = slots[choose_words(starts, rate, rng)]
        else:
            wanted = max(1, round(rate * len(slots))) if len(slots) else 0
            chosen = np.sort(rng.permutation(len(slots))[:wanted])
            chosen = slots[chosen]
        labels = tokens[chosen].copy()
        shown = rng.random(len(chosen))
        assert self.vocabulary.mask is not None, "masked language modelling needs a mask token"
        tokens[chosen[shown < self.mask_share]] = self.vocabulary.mask
        at_random = (shown >= self.mask_share) & (shown < self.mask_share + self.random_share)
        ordinary = self.vocabulary.ordinary
        tokens[chosen[at_random]] = ordinary[rng.integers(0, len(ordinary), at_random.sum())]
        batch.targets[f"{self.name}.slots"] = torch.from_numpy(chosen)
        batch.targets[f"{self.name}.labels"] = torch.from_numpy(labels)

    def _word_starts(self, tokens: np.ndarray, slots: np.ndarray, batch: Batch) -> np.ndarray:
        """Which of the slots begin a word: by spelling, or because what came before is no token."""
        begins: np.ndarray = self.vocabulary.word_starts[tokens[slots]].copy()
        sequence = batch.layout["tokens"].sequence.numpy()[slots]
        begins[0:1] = True
        begins[1:] |= (np.diff(slots) > 1) | (np.diff(sequence) != 0)
        return begins

    def asked(self, batch: Batch) -> Tensor:
        """The chosen tokens, filled up to an even size."""
        return filled(batch.targets[f"{self.name}.slots"])

    def loss(self, model: Model, head: nn.Module, hidden: Tensor, batch: Batch) -> Loss:
        """Cross-entropy over the chosen tokens only."""
        return token_loss(model, head, hidden, batch.targets[f"{self.name}.labels"])


def choose_words(starts: np.ndarray, rate: float, rng: np.random.Generator) -> np.ndarray:
    """Indices of the tokens of randomly chosen words, until their share reaches `rate`.

    starts: (N,) whether each token begins a word.
    """
    if not len(starts):
        return np.zeros(0, dtype=np.int64)
    word = np.cumsum(starts) - 1
    sizes = np.bincount(word)
    order = rng.permutation(len(sizes))
    enough = np.searchsorted(np.cumsum(sizes[order]), rate * len(starts)) + 1
    chosen = np.zeros(len(sizes), dtype=bool)
    chosen[order[:enough]] = True
    return np.flatnonzero(chosen[word])
