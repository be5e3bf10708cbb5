"""A model that writes, and texts that it continues: scores of the next tokens, one row a text.

A `Writer` is a model with its next-token head. A `Continuation` holds some texts: it gives the
scores of their next tokens, takes the tokens chosen, and lets texts be chosen, repeated and
dropped. What was read is kept in a cache; a model that cannot keep it (Reformer) reads each text
again for every token, with the same result.

Legend: S texts, V vocabulary, L tokens of the longest text.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.batch import Batch, Layout, Sequences
from headstart.data.pack import lay_out
from headstart.errors import InputError
from headstart.families.heads import CausalLanguageHead
from headstart.families.model import Model
from headstart.nn.packed import PackedLinear, can_pack_weight


class Writer:
    """A model and its next-token head, ready to answer.

    pack: whether the head's matrix, which is read whole for every token, is laid out once for
    that; a copy of it is then held.
    Raises InputError if the head gives no next tokens.
    """

    def __init__(self, model: Model, head: nn.Module | None, *, pack: bool = False):
        assert not model.training, "a model that writes is in evaluation mode"
        if not isinstance(head, CausalLanguageHead):
            raise InputError(
                f"this model of family {model.family} has no head for next tokens: it cannot write"
            )
        self.model, self.head = model, head
        self._matrix: PackedLinear | None = None
        table = head.table(model.embed.tokens.weight).detach()
        if pack and can_pack_weight(table):
            self._matrix = PackedLinear(table, None if head.bias is None else head.added(table))

    @property
    def caches(self) -> bool:
        """Whether what was read can be kept."""
        return self.model.config.can_cache

    @property
    def longest(self) -> int | None:
        """Most tokens of a text that is written; None: any number."""
        config = self.model.config
        return None if config.position == "relative" else config.max_positions

    @torch.inference_mode()
    def scores(self, states: Tensor) -> Tensor:
        """(N, V) fp32 of the tokens that follow states (N, hidden)."""
        features = self.head.features(states)
        if self._matrix is not None:
            return torch.as_tensor(self._matrix(features)).float()
        found = F.linear(
            features,
            self.head.table(self.model.embed.tokens.weight),
            self.head.added(features),
        )
        return found.float()


class Continuation:
    """Texts of a model that go on.

    prompts: token ids; of a decoder what the text begins with, of an encoder-decoder what it reads.
    new: most tokens that each will be given. cached: whether what was read is kept.
    ids: (S, room) tokens of each text so far, -1 behind its end; lengths: (S,).
    Raises InputError if a text would not fit.
    """

    def __init__(
        self,
        writer: Writer,
        prompts: Sequence[Sequence[int]],
        *,
        new: int,
        cached: bool = True,
    ):
        self.writer, self.model = writer, writer.model
        self.two = self.model.decoder is not None
        self.prompts = list(prompts)
        begun = [[self.model.style.start]] * len(prompts) if self.two else self.prompts
        sizes = [len(text) for text in begun]
        for number, text in enumerate(self.prompts, 1):
            if not text:
                raise InputError(f"prompt {number} has no tokens: there is nothing to go on from")
        if writer.longest is not None and max(sizes) + new > writer.longest:
            raise InputError(
                f"a text of {max(sizes)} tokens and {new} new ones do not fit into the "
                f"{writer.longest} positions of this model"
            )
        device = self.model.embed.tokens.weight.device
        ids = np.full((len(begun), max(sizes) + new), -1, dtype=np.int64)
        for row, text in enumerate(begun):
            ids[row, : len(text)] = text
        self.ids = torch.from_numpy(ids).to(device)
        self.lengths = torch.tensor(sizes, device=device)
        self.cache = None
        if cached and writer.caches:
            self.cache = self.model.new_cache(sequences=len(begun), room=ids.shape[1])
        self._last: Tensor | None = None  # (S,) tokens that the cache has not met
        self._layout: Layout | None = None

    @property
    def held(self) -> Tensor:
        """(S, L) the tokens so far, -1 behind a text's end."""
        return self.ids[:, : int(self.lengths.max())]

    @torch.inference_mode()
    def scores(self) -> Tensor:
        """(S, V) fp32 of the next token of each text; the caller may change them."""
        if self.cache is None or self._last is None:
            return self.writer.scores(self._whole())
        count = len(self._last)
        if self._layout is None or len(self._layout.lengths) != count:
            self._layout = _one_each(count, self.ids)
        stream = "decoder_tokens" if self.two else "tokens"
        batch = Batch({stream: self._last}, {stream: self._layout}, {})
        return self.writer.scores(self.model.decode(batch, cache=self.cache))

    def add(self, tokens: Tensor) -> None:
        """The next token of each text, (S,)."""
        self.ids.scatter_(1, self.lengths[:, None], tokens[:, None])
        self.lengths = self.lengths + 1
        self._last = tokens

    def select(self, which: Tensor, *, common: int = 0) -> None:
        """Go on with these texts (S',), in this order, each as often as it is named.

        common: how many first tokens a text has in common with the one whose place it takes.
        """
        self.ids, self.lengths = self.ids[which], self.lengths[which]
        self.prompts = [self.prompts[row] for row in which.tolist()]
        if self._last is not None:
            self._last = self._last[which]
        if self.cache is not None:
            self.cache.select(which, common=common)

    def _whole(self) -> Tensor:
        """(S, hidden) last state of each text, read from its beginning."""
        texts = self.ids.cpu().numpy()
        lengths = self.lengths.cpu().numpy()
        begun = [text[:length] for text, length in zip(texts, lengths, strict=True)]
        written = "decoder_tokens" if self.two else "tokens"
        streams = {written: begun} | ({"tokens": self.prompts} if self.two else {})
        laid = {name: _laid_out(some) for name, some in streams.items()}
        batch = Batch(
            {name: tokens for name, (tokens, _) in laid.items()},
            {name: layout for name, (_, layout) in laid.items()},
            {},
        ).to(self.ids.device)
        memory = self.model.encode(batch) if self.two else None
        states = self.model.decode(batch, memory, self.cache)
        layout = batch.layout[written]
        return states.index_select(0, layout.first + layout.lengths - 1)


def _laid_out(texts: Sequence[Sequence[int] | np.ndarray]) -> tuple[Tensor, Layout]:
    lengths = np.array([len(text) for text in texts])
    tokens = np.concatenate([np.asarray(text, dtype=np.int64) for text in texts])
    together = Sequences(tokens, lengths, np.arange(len(texts)))
    return lay_out(together, prefix=None, suffix=None, pad=0, pack=False)


def _one_each(count: int, like: Tensor) -> Layout:
    """The layout of one token of each of so many texts."""
    here = torch.arange(count, device=like.device)
    nothing = torch.zeros_like(here)
    return Layout(torch.ones_like(here), nothing, here, here, ((count, 1),), False)
