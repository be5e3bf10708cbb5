"""Texts as Python hands them over: one, or many in any order-keeping container.

What would be read in silence as something else is refused: the names of a table's columns, the
keys of a mapping, the letters of bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from headstart.errors import InputError


def texts_of(given: object, *, what: str = "input") -> list[str]:
    """The texts; a single text is one of them. what: to call them in messages.

    Raises InputError for what holds no texts, and names the first that is none.
    """
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, Iterable) or is_table(given) or isinstance(given, bytes):
        raise InputError(
            f"{type(given).__name__} is no list of texts: give a text, a list of them, or one "
            "column of a table, such as table['text']"
        )
    texts: list[str] = []
    for number, text in enumerate(given, 1):
        if not isinstance(text, str):
            raise InputError(f"{what} {number} is no text but {type(text).__name__}: {text!r}")
        texts.append(str(text))  # numpy has a kind of its own
    return texts


def is_table(given: object) -> bool:
    """Whether going through it would give names, not what it holds: a mapping, a data frame."""
    return isinstance(given, Mapping) or hasattr(given, "columns")
