"""A generator: a model that writes, loaded once, continuing any number of prompts.

In: prompts as text. Out: what the model writes after each (a decoder), or instead of it (an
encoder-decoder, or a model that has learnt to write texts, whose prompts are laid out as it learnt
them and cut where it learnt), all at once or piece by piece. `<extra_id_0>` and its like in a
prompt are the tokens that stand for hidden spans, where the tokenizer has them; every other special
token that a prompt spells is read as plain characters.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from tokenizers import Tokenizer

from headstart.data.inputs import texts_of
from headstart.data.text import (
    demand_ids,
    encode,
    frame_of,
    load_tokenizer,
    sentinel_ids,
    special_ids,
)
from headstart.errors import InputError
from headstart.evaluate.features import Precision, for_inference
from headstart.families import FAMILIES, load_model, resolve
from headstart.families.catalog import find_model_type
from headstart.families.fields import read_fields
from headstart.families.heads import HeadKind
from headstart.families.written import length_learnt
from headstart.generate import Decoding, Ending, Stop, Token, Writer, generate, steps
from headstart.generate.defaults import Choices, Defaults, decoding, read_defaults
from headstart.serve.pieces import Pieces, Reader

ROWS = 64  # texts (beams counted) at once
TOKENS = 16_384  # that a cache has room for
HEAD: HeadKind = "causal"
_SPANS = re.compile(r"(<extra_id_\d+>)")


@dataclass(frozen=True)
class Text:
    """What was written. tokens: how many; ended: "end" by an end token, "stop" by a stop string,
    "length" because there were enough. cut: whether the prompt was too long to be read whole.
    """

    prompt: str
    text: str
    tokens: int
    ended: Ending
    cut: bool = False


class Stream:
    """An iterator over the pieces of one text; `text` is the whole once they have come."""

    def __init__(self, prompt: str, pieces: Pieces, steps: Iterator[list[Token]], *, cut: bool):
        self._prompt, self._pieces, self._steps, self._cut = prompt, pieces, steps, cut
        self._said: list[str] = []
        self._count = 0
        self._ended: Ending = "length"
        self._iterator = self._run()

    def __iter__(self) -> Iterator[str]:
        return self._iterator

    def __next__(self) -> str:
        return next(self._iterator)

    @property
    def text(self) -> Text:
        """What was written so far."""
        return Text(self._prompt, "".join(self._said), self._count, self._ended, self._cut)

    def _run(self) -> Iterator[str]:
        for (token,) in self._steps:
            piece = ""
            if token.ended != "end":
                self._count += 1
                piece = self._pieces.add(token.id)
            self._ended = token.ended or self._ended
            if piece:
                self._said.append(piece)
                yield piece
        if rest := self._pieces.end():
            self._said.append(rest)
            yield rest


class Generator:
    """Continues prompts by one model. notes: what of the folder was left aside."""

    def __init__(
        self,
        writer: Writer,
        tokenizer: Tokenizer,
        defaults: Defaults | None = None,
        *,
        learnt: int | None = None,
    ):
        """learnt: most tokens of a source, special ones included, that a model that has learnt to
        write texts met; None for any other.
        """
        self.writer, self.tokenizer = writer, copy.deepcopy(tokenizer)
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        end = special_ids(tokenizer).sep
        self.defaults = defaults or Defaults({"ends": () if end is None else (end,)})
        self.notes = self.defaults.notes
        self.learnt = learnt
        self.reader = Reader(self.tokenizer, spans=learnt is None)
        self._two = writer.model.decoder is not None
        self._whole = self._two or learnt is not None  # prompts are read whole, with their end
        self._frame = frame_of(self.tokenizer) or (None, None)
        self._spans = set() if learnt is not None else set(sentinel_ids(self.tokenizer).tolist())

    @classmethod
    def open(cls, start: str | Path, *, precision: Precision = "auto") -> Generator:
        """Load a run folder, a Hugging Face folder, or "hf:NAME".

        precision: "auto" computes in bf16 where the processor has it, which reads half the memory
        for each token; "fp32" writes what stock libraries write in fp32.
        Raises InputError if the model cannot write, CheckpointError if the folder is damaged.
        """
        folder = resolve(start)
        refuse(folder)
        tokenizer = load_tokenizer(folder)
        loaded = load_model(folder)
        demand_ids(tokenizer, folder, size=loaded.model.config.vocab_size)
        if HEAD not in loaded.heads:
            raise InputError(_headless(folder))
        model = for_inference(loaded.model, precision, device="auto")
        head = copy.deepcopy(loaded.heads[HEAD]).to(model.embed.tokens.weight)
        two = model.decoder is not None
        defaults = read_defaults(folder, two=two, end=special_ids(tokenizer).sep)
        writer = Writer(model, head, pack=True)
        return cls(writer, tokenizer, defaults, learnt=length_learnt(folder))

    def how(self, **choices: Unpack[Choices]) -> Decoding:
        """The folder's way of continuing texts, with these choices in its place."""
        return decoding(self.defaults.choices, choices)

    def generate(
        self,
        prompts: Sequence[str],
        *,
        stop: Sequence[str] = (),
        **choices: Unpack[Choices],
    ) -> list[Text]:
        """What is written after each prompt, in their order.

        stop: strings before which a text ends. Prompts of like length share a batch; a text does
        not depend on the others but for the last bits of its numbers.
        """
        how, ends_with = self._fitted(choices), self._stop(stop)
        prompts = texts_of(prompts, what="prompt")
        whole = [self._encode(prompt, number) for number, prompt in enumerate(prompts, 1)]
        read = [self._cut(ids, how) for ids in whole]
        texts: dict[int, Text] = {}
        for chosen in _batches([len(ids) for ids in read], how):
            some = [read[number] for number in chosen]
            for number, ids, found in zip(
                chosen, some, generate(self.writer, some, how, stop=ends_with), strict=True
            ):
                pieces = self._pieces(ids, stop)
                text = "".join(map(pieces.add, found.tokens)) + pieces.end()
                cut = len(ids) < len(whole[number])
                texts[number] = Text(prompts[number], text, len(found.tokens), found.ended, cut)
        return [texts[number] for number in range(len(prompts))]

    def stream(
        self,
        prompt: str,
        *,
        stop: Sequence[str] = (),
        **choices: Unpack[Choices],
    ) -> Stream:
        """The same text of one prompt, in pieces of whole characters as they are written.

        Raises InputError for beams, whose text is known only at the end.
        """
        how = self._fitted(choices)
        if how.beams > 1:
            raise InputError(
                f"{how.beams} beams are known only when all have ended: leave beams out, or use "
                "generate instead of stream"
            )
        (prompt,) = texts_of([prompt], what="prompt")
        whole = self._encode(prompt, 1)
        ids = self._cut(whole, how)
        tokens = steps(self.writer, [ids], how, stop=self._stop(stop))
        return Stream(prompt, self._pieces(ids, stop), tokens, cut=len(ids) < len(whole))

    def _encode(self, prompt: str, number: int) -> list[int]:
        """The tokens of a prompt, with those that the model wants before and after it."""
        parts = _SPANS.split(prompt) if self._spans else [prompt]
        plain = encode(self.tokenizer, [part.strip() if len(parts) > 1 else part for part in parts])
        ids: list[int] = []
        for part, begin, length in zip(parts, plain.starts, plain.lengths, strict=True):
            span = self.tokenizer.token_to_id(part) if _SPANS.fullmatch(part) else None
            found = plain.tokens[begin : begin + length].tolist()
            ids += [span] if span in self._spans and span is not None else found
        before, after = self._frame
        ids = ids if before is None else [before, *ids]
        if self._whole:
            ids = ids if after is None else [*ids, after]
        if not ids:  # a text from nothing begins as texts do that follow another
            ends = self.how().ends
            if not ends:
                raise InputError(f"prompt {number} is empty, and this model has no token to begin")
            ids = [ends[0]]
        return ids

    def _fitted(self, choices: Choices) -> Decoding:
        """With no more new tokens than the model has positions for: half of them, if not asked."""
        how, longest = self.how(**choices), self.writer.longest
        if longest is None or how.max_new < longest:
            return how
        if "max_new" not in choices:
            limited: Choices = {**choices, "max_new": max(1, longest // 2)}
            return self.how(**limited)
        raise InputError(
            f"max_new is {how.max_new}, but this model has {longest} positions: give at most "
            f"{longest - 1}"
        )

    def _cut(self, ids: list[int], how: Decoding) -> list[int]:
        """As much of a prompt as there is room for: the end of what goes on, the beginning of what
        is read.
        """
        if self._whole:
            most = self._most_read(how)
            return ids if most is None or len(ids) <= most else [*ids[: most - 1], ids[-1]]
        longest = self.writer.longest
        if longest is None:
            return ids
        room = longest - how.max_new
        first = [] if self._frame[0] is None else ids[:1]  # what every text begins with
        return ids if len(ids) <= room else [*first, *ids[len(ids) - room + len(first) :]]

    def _most_read(self, how: Decoding) -> int | None:
        """Tokens of a prompt that is read whole; None: any number."""
        longest = self.writer.longest
        if self.learnt is None or longest is None:
            return longest if self.learnt is None else self.learnt
        left = longest if self._two else longest - how.max_new
        around = sum(number is not None for number in self._frame)
        if left <= around:
            raise InputError(
                f"max_new is {how.max_new}, which leaves no room for a prompt in the {longest} "
                f"positions of this model: give at most {longest // 2}"
            )
        return min(self.learnt, left)

    def _stop(self, stops: Sequence[str]) -> Stop | None:
        if isinstance(stops, str):
            raise InputError(f"stop is the text {stops!r}, but must be a list of texts")
        if not all(stops):
            raise InputError("an empty stop string would end every text: leave it out")
        return (lambda ids: self.reader.ends_with(ids, stops)) if stops else None

    def _pieces(self, ids: Sequence[int], stops: Sequence[str]) -> Pieces:
        before = () if self._whole else ids
        return Pieces(self.reader, before=before, stops=stops, bare=self.learnt is not None)


def refuse(folder: Path) -> None:
    """Raise InputError if the model of a folder cannot write, before its weights are read."""
    hf = read_fields(folder / "config.json")
    word = hf.values.get("model_type")
    if not isinstance(word, str):
        raise hf.refused("model_type", word, "a word")
    family = find_model_type(word, source=hf.source)
    config = family.config_from_hf(hf)
    if HEAD not in family.heads or not (config.causal or config.decoder_layers):
        able = ", ".join(family.name for family in FAMILIES if HEAD in family.heads)
        note = " (a Reformer that is a decoder)" if family.name == "reformer" else ""
        raise InputError(
            f"{folder} holds a model of family {family.name} that only reads: it cannot write "
            f"text. Families that can: {able}{note}"
        )
    named = hf.words("architectures")
    known = [a for a in family.architectures if a.name in named]
    if known and HEAD not in known[0].heads:
        raise InputError(_headless(folder))


def _headless(folder: Path) -> str:
    return (
        f"{folder} holds a model without a head for next tokens: it cannot write text. Give the "
        "pretrained run that it was made from"
    )


def _batches(lengths: Sequence[int], how: Decoding) -> Iterator[list[int]]:
    """Prompt numbers in groups of like length that the cache has room for, longest first."""
    order = sorted(range(len(lengths)), key=lambda number: -lengths[number])
    while order:
        room = TOKENS // ((lengths[order[0]] + how.max_new) * how.beams)
        count = max(1, min(room, ROWS // how.beams))
        yield order[:count]
        order = order[count:]
