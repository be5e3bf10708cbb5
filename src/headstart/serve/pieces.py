"""Tokens to text as they come: whole characters only, and nothing from a stop string on.

In: token ids, one by one. Out: pieces of text that together are the text. A character whose bytes
are spread over several tokens waits for the last of them; what may be the beginning of a stop
string waits until that is decided. Bytes at the end that never become a character are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer

from headstart.data.text import sentinel_ids

BROKEN = "\ufffd"  # stands for bytes that are no character
BEFORE = 6  # tokens of the prompt that a continuation is decoded with, for the space between
AROUND = 8  # tokens beyond the length of a stop string among which it is looked for


class Reader:
    """Token ids to text. Special tokens are left out, but for those that stand for hidden spans.

    spans: whether these are shown.
    """

    def __init__(self, tokenizer: Tokenizer, *, spans: bool = True):
        self.tokenizer = tokenizer
        named = tokenizer.get_added_tokens_decoder()
        special = {number for number, token in named.items() if token.special}
        self._silent = special - set(sentinel_ids(tokenizer).tolist() if spans else ())

    def text(self, ids: Sequence[int]) -> str:
        """The text of these tokens."""
        said = [number for number in ids if number not in self._silent]
        return self.tokenizer.decode(said, skip_special_tokens=False)

    def ends_with(self, ids: Sequence[int], stops: Sequence[str]) -> bool:
        """Whether the last of these tokens complete a stop string."""
        tail = max(len(stop.encode()) for stop in stops) + AROUND
        text = self.text(ids[-tail:])
        return any(stop in text for stop in stops)


class Pieces:
    """The text of one continuation, piece by piece.

    before: the prompt's tokens, where the text goes on from them. bare: without blanks around the
    text. stopped: whether a stop string was met; what comes then is no part of the text.
    """

    def __init__(
        self,
        reader: Reader,
        *,
        before: Sequence[int] = (),
        stops: Sequence[str] = (),
        bare: bool = False,
    ):
        self.reader, self.stops, self.stopped = reader, tuple(stops), False
        self._bare, self._blank, self._begun = bare, "", False
        self._ids = list(before[-BEFORE:])
        self._begin, self._shown = 0, len(self._ids)  # decode from _begin; _shown are done
        self._held = ""

    def add(self, token: int) -> str:
        """One more token; the text that is now sure, perhaps none."""
        self._ids.append(token)
        fresh = self._fresh()
        if not fresh or fresh.endswith(BROKEN):
            return ""
        self._begin, self._shown = self._shown, len(self._ids)
        return self._without_blanks(self._sure(fresh))

    def end(self) -> str:
        """What is left when no token comes any more."""
        rest = self._sure(self._fresh().rstrip(BROKEN))
        held, self._held = "" if self.stopped else self._held, ""
        return self._without_blanks(rest + held)

    def _without_blanks(self, text: str) -> str:
        """Blanks at the beginning are left out, others wait for what follows them."""
        if not self._bare:
            return text
        text = self._blank + text
        text = text if self._begun else text.lstrip()
        kept = text.rstrip()
        self._blank, self._begun = text[len(kept) :], self._begun or bool(kept)
        return kept

    def _fresh(self) -> str:
        """The text of the tokens that are not done yet."""
        known = self.reader.text(self._ids[self._begin : self._shown])
        text = self.reader.text(self._ids[self._begin :])
        if text.startswith(known):
            return text[len(known) :]
        return self.reader.text(self._ids[self._shown :])  # the end changed what came before it

    def _sure(self, fresh: str) -> str:
        """Of what is held and new: all that cannot be the beginning of a stop string."""
        if self.stopped:
            return ""
        text = self._held + fresh
        found = [at for stop in self.stops if (at := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        keep = max((_overlap(text, stop) for stop in self.stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of the text with which the stop string begins."""
    return next((n for n in range(len(stop) - 1, 0, -1) if text.endswith(stop[:n])), 0)
