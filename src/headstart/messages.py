"""Errors, problems and remarks in Chinese, by the catalogue `messages.zh.json`.

Where they arise, messages are English sentences, which is what is searched for and reported. The
catalogue has each of them as a template with holes: "{path} does not exist. Check the path." A text
is matched against all templates, and where several fit, the one that leaves least to holes wins.
`{what!t}` in the Chinese says that the hole's value is a text of the catalogue too, or a list of
such; all other values stay as they are, and so does a text that nothing fits. A hole named n, n2,
... takes a number only, and one named hint or fix another sentence or nothing.

Nothing is read before the first text is to be said in Chinese.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import NamedTuple, TypeAlias

Said: TypeAlias = tuple[int, str]  # how many letters of templates were recognised, and the Chinese

MOST_CUTS = 40  # places where sentences may meet; a text with more is tried as a whole only
_NUMBERS = re.compile(r"n\d*")
_BEHIND = ("hint", "fix")
_NUMBER = re.compile(r"\d[\d,.]*")
_ENDED = re.compile(r"(?<=[.?]) +|(?=; )|; ")  # between two sentences
_QUALIFIED = re.compile(r"(.+?) \((.*)\)", re.DOTALL)
_LISTS = (("; ", "；"), (" and ", "和"), (" or ", "或"), (", ", "、"))
_TOUCH = re.compile("[\u4e00-\u9fff][A-Za-z0-9-]|[A-Za-z0-9][\u4e00-\u9fff]")


class _Template(NamedTuple):
    """One entry. literals: what stands before, between and behind the holes."""

    literals: tuple[str, ...]
    holes: tuple[str, ...]
    chinese: str

    def values(self, text: str) -> dict[str, str] | None:
        """What the holes are in this text, each as short as can be; None if it is another text."""
        first, last = self.literals[0], self.literals[-1]
        if not self.holes:
            return {} if text == first else None
        if not (text.startswith(first) and text.endswith(last)):
            return None
        return self._from(0, text, len(first), len(text) - len(last))

    def _from(self, hole: int, text: str, begin: int, end: int) -> dict[str, str] | None:
        name = self.holes[hole]
        if hole == len(self.holes) - 1:
            fits = begin <= end and _fits(name, text[begin:end])
            return {name: text[begin:end]} if fits else None
        between = self.literals[hole + 1]
        at = text.find(between, begin, end)
        while at >= 0:
            if _fits(name, text[begin:at]):
                rest = self._from(hole + 1, text, at + len(between), end)
                if rest is not None:
                    return {name: text[begin:at], **rest}
            at = text.find(between, at + 1, end)
        return None


def _fits(name: str, value: str) -> bool:
    """Whether a hole of this name can have the value."""
    if _NUMBERS.fullmatch(name):
        return _NUMBER.fullmatch(value) is not None
    return name not in _BEHIND or value[:1] in ("", " ")


@cache
def catalogue() -> dict[str, str]:
    """Every entry: an English template and its Chinese one."""
    file = resources.files("headstart").joinpath("messages.zh.json")
    entries: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    return entries


@cache
def _templates() -> tuple[_Template, ...]:
    found = []
    for english, chinese in catalogue().items():
        literals, holes = [""], []
        for literal, name, _, _ in string.Formatter().parse(english.strip()):
            literals[-1] += literal
            if name is not None:
                holes.append(name)
                literals.append("")
        found.append(_Template(tuple(literals), tuple(holes), chinese))
    return tuple(found)


@cache
def _words() -> dict[str, str]:
    """Single words: they mean something in a hole that is marked, and nothing on their own."""
    return {english: chinese for english, chinese in catalogue().items() if " " not in english}


def in_chinese(text: str) -> str | None:
    """A message in Chinese, line by line if it has several; None if no part of it is known."""
    reader = _Reader.of(text)
    whole = reader.message(text)
    lines = text.split("\n")
    if len(lines) > 1:
        said = [reader.message(line.strip()) for line in lines]
        weight = sum(one[0] for one in said if one)
        if weight > (whole[0] if whole else 0):
            indents = [line[: len(line) - len(line.lstrip())] for line in lines]
            return "\n".join(
                f"{indent}{one[1]}" if one else line
                for indent, one, line in zip(indents, said, lines, strict=True)
            )
    return whole[1] if whole else None


def filled(template: str, values: Mapping[str, object]) -> str:
    """A Chinese sentence with its values, those marked by `!t` in Chinese too."""
    return _Filler().vformat(template, (), values)


class _Filler(string.Formatter):
    def convert_field(self, value: object, conversion: str | None) -> object:
        if conversion == "t":
            return _Reader.of(str(value)).piece(str(value))[1]
        return super().convert_field(value, conversion)


@dataclass
class _Reader:
    """Reads one text. near: the templates that can fit a part of it."""

    near: list[_Template]
    known: dict[str, Said | None] = field(default_factory=dict)

    @classmethod
    def of(cls, text: str) -> _Reader:
        return cls([one for one in _templates() if all(part in text for part in one.literals)])

    def message(self, text: str) -> Said | None:
        """A text made of messages: behind a place and a colon, or one after the other."""
        if text not in self.known:
            self.known[text] = None
            best: Said | None = None
            for said in self._readings(text):
                if best is None or said[0] > best[0]:
                    best = said
            self.known[text] = best
        return self.known[text]

    def _readings(self, text: str) -> Iterator[Said]:
        many = text.count(": ") + text.count("; ") + text.count(". ") > MOST_CUTS
        for colon in () if many else re.finditer(": ", text):
            behind = self.message(text[colon.end() :])
            if behind:
                yield behind[0], text[: colon.end()] + behind[1]
        yield from self._whole(text)
        for cut in () if many else _ENDED.finditer(text):
            first = self.message(text[: cut.start()])
            then = self.message(text[cut.end() :]) if first else None
            if first and then:
                met = first[1][-1] in "。？！；" or then[1][0] in "；，（"
                glue = "；" if cut[0] == "; " else "" if met else " "
                yield first[0] + then[0], first[1] + glue + then[1]

    def _whole(self, text: str) -> Iterator[Said]:
        if text.endswith(".") and not text.endswith(".."):  # perhaps put behind a message
            yield from ((weight, said + "。") for weight, said in self._whole(text[:-1]))
        for one in self.near:
            if one.holes or " " in one.literals[0]:
                values = one.values(text)
                if values is not None:
                    yield self._fill(one, values)

    def _fill(self, one: _Template, values: Mapping[str, str]) -> Said:
        weight, said, told = sum(map(len, one.literals)), "", False
        for literal, name, _, conversion in string.Formatter().parse(one.chinese):
            said = _apart(said, literal) if told else said + literal
            told = conversion == "t"
            if told and name is not None:
                more, value = self.piece(values[name])
                weight, said = weight + more, _apart(said, value)
            elif name is not None:
                said += values[name]
        return weight, said

    def piece(self, value: str) -> Said:
        """A value that is a message, a word of the catalogue or a list of them; else as it is."""
        text = value.strip()
        if text in _words():
            return len(text), _words()[text]
        found = [self.message(text), self._qualified(text), self._list(text), (0, value)]
        return max((one for one in found if one), key=lambda one: one[0])

    def _qualified(self, text: str) -> Said | None:
        """A piece with something in brackets behind it."""
        parts = _QUALIFIED.fullmatch(text)
        weight, said = self.piece(parts[1]) if parts else (0, "")
        return (weight, f"{said}（{parts[2]}）") if parts and weight else None

    def _list(self, text: str) -> Said | None:
        """Pieces one after the other. A piece may begin with what it is joined by."""
        for joined, comma in _LISTS:
            first, *others = text.split(joined)
            if not others:
                continue
            weight, said = self.piece(first)
            for other in others:
                tail = self.message(joined + other) if joined[0] in ";," else None
                more, value = tail or self.piece(other)
                weight, said = weight + more, _apart(_apart(said, "" if tail else comma), value)
            if weight or not any(" " in part for part in (first, *others)):
                return weight, said
        return None


def _apart(before: str, after: str) -> str:
    """Both, with a blank where Chinese and Latin letters would touch."""
    return before + " " * bool(_TOUCH.fullmatch(before[-1:] + after[:1])) + after
