"""One command's dealings with the person: language, live progress, the result, the next command.

Results go to stdout, everything else to stderr. `--json` leaves exactly one JSON object on stdout.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from headstart.cli.progress import Bars, Lines, listener
from headstart.errors import InputError
from headstart.recipes.results import Json, Result, to_json
from headstart.words import WORDS, Lang, Verbatim, escaped, in_language, language_of, say, visible

if TYPE_CHECKING:
    from rich.console import RenderableType

_HALVES = re.compile("[\ud800-\udfff]")  # of surrogate pairs: no file can be written with them


@runtime_checkable
class Screen(Protocol):
    """A result that draws its own screen above its facts."""

    def screen(self, lang: Lang) -> RenderableType:
        """What to show."""


class Session:
    """How one command speaks. lang: None takes the environment's language.

    bars: whether a terminal shows live bars, which take over stdout while they are there.
    """

    def __init__(self, *, lang: Lang | None, as_json: bool, bars: bool = True):
        self.lang: Lang = lang or language_of()
        self.as_json = as_json
        self.events: Bars | Lines = listener(self.lang, plain=as_json or not bars)

    def finish(self, result: object) -> None:
        """Show a result: facts and next commands, or one JSON object."""
        assert isinstance(result, Result), f"{type(result).__name__} is not a Result"
        if self.as_json:
            self.write_json(result.record())
            return
        if isinstance(result, Screen):
            _draw(result.screen(self.lang))
        facts = [(_label(name, self.lang), value) for name, value in result.facts()]
        margin = max((_width(name) for name, _ in facts), default=0)
        for name, value in facts:
            self.write(f"{name}{' ' * (margin - _width(name))}  {in_language(value, self.lang)}")
        self.suggest(result.next_commands())

    def suggest(self, commands: Sequence[str]) -> None:
        """What to type now."""
        for command in commands:
            self.write("\n" + in_language(say("next_command", command=command), self.lang))

    def write_json(self, record: object) -> None:
        """One JSON object on stdout."""
        value: Json = to_json(record)
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        self.write(_HALVES.sub(lambda match: escaped(match[0]), text))

    def say(self, key: str, **values: object) -> None:
        """One sentence of `words` on stdout."""
        self.write(in_language(say(key, **values), self.lang))

    def piece(self, text: str) -> None:
        """Part of a text on stdout, at once."""
        sys.stdout.write(visible(text))
        sys.stdout.flush()

    def write(self, line: str) -> None:
        """One line on stdout."""
        sys.stdout.write(line + "\n")


def _draw(picture: RenderableType) -> None:
    from rich.console import Console

    Console(file=sys.stdout, highlight=False).print(picture)


def demand(paths: Sequence[str], *, what: str, example: str) -> None:
    """Raise InputError where nothing was given to work on, or an empty name."""
    if not paths or not all(paths):
        raise InputError(f"no {what} given. For example: {example}")


def _label(name: str, lang: Lang) -> str:
    known = name in WORDS and "{" not in WORDS[name][0] and not isinstance(name, Verbatim)
    return in_language(say(name), lang) if known else visible(name)


def _width(text: str) -> int:
    """Columns of a terminal: wide characters take two."""
    return sum(2 if "\u2e80" <= character <= "\uffef" else 1 for character in text)
