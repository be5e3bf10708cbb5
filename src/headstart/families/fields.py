"""Strict reading of the JSON files of a model folder: a value is checked where it is read.

A value of the wrong kind is refused with the file, the key, the value met and what is allowed.
Nothing in these files is ever run, imported or followed as a path.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from headstart.data.inside import demand_inside
from headstart.errors import CheckpointError

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

JSON_BYTES = 64 * 2**20  # no honest config or index is larger


class Fields:
    """Values of one JSON object, read by kind. A missing or null key gives the default.

    source: the file's name for messages.
    """

    def __init__(self, values: dict[str, Json], source: str):
        self.values = values
        self.source = source

    def whole(
        self, key: str, default: int | None = None, *, low: int = 1, high: int = 2**24
    ) -> int:
        """A whole number from low to high; without a default the key must be there."""
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.refused(key, value, f"a whole number from {low} to {high}")
        return value

    def number(self, key: str, default: float | None = None, *, low: float, high: float) -> float:
        """A number from low to high."""
        value = self._get(key, default)
        good = isinstance(value, int | float) and not isinstance(value, bool)
        if not good or not low <= float(value) <= high:  # type: ignore[arg-type]
            raise self.refused(key, value, f"a number from {low:g} to {high:g}")
        return float(value)  # type: ignore[arg-type]

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise self.refused(key, value, "true or false")
        return value

    def word(self, key: str, default: str | None, allowed: Sequence[str]) -> str:
        """One of the allowed words."""
        value = self._get(key, default)
        if not isinstance(value, str) or value not in allowed:
            raise self.refused(key, value, "one of " + ", ".join(allowed))
        return value

    def words(self, key: str) -> list[str]:
        """A list of words; empty where the key is missing."""
        value = self.values.get(key)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.refused(key, value, "a list of words")
        return [str(item) for item in value]

    def inner(self, key: str) -> Fields | None:
        """The object under a key; None where it is missing."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.refused(key, value, "an object")
        return Fields(value, f"{self.source}, {key}")

    def must_be(self, key: str, *allowed: Json) -> None:
        """Refuse a key whose value asks for something that this family does not do."""
        if key in self.values and self.values[key] not in allowed:
            raise self.refused(key, self.values[key], " or ".join(json.dumps(a) for a in allowed))

    def refused(self, key: str, value: Json, allowed: str) -> CheckpointError:
        """The error for a value that cannot be used."""
        if value is None:
            return CheckpointError(f"{self.source}: '{key}' is missing; it must be {allowed}")
        shown = json.dumps(value, ensure_ascii=False)
        shown = shown if len(shown) <= 80 else shown[:77] + "..."
        return CheckpointError(f"{self.source}: '{key}' is {shown}, but must be {allowed}")

    def _get(self, key: str, default: Json) -> Json:
        value = self.values.get(key)
        return default if value is None else value


def read_fields(path: Path) -> Fields:
    """The object in a JSON file. Refused: no file, too large, no JSON, no object, a key twice."""
    if not path.exists():
        raise CheckpointError(f"{path.parent}: no {path.name}. Is this a model folder?")
    demand_inside(path, most=JSON_BYTES)
    return Fields(parse_object(path.read_bytes(), str(path)), str(path))


def parse_object(raw: bytes, source: str) -> dict[str, Json]:
    """One JSON object from bytes; a key that occurs twice is refused."""

    def unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        found: dict[str, Json] = {}
        for key, value in pairs:
            if key in found:
                raise CheckpointError(f"{source}: the name '{key}' occurs twice")
            found[key] = value
        return found

    try:
        values = json.loads(raw.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise CheckpointError(
            f"{source}: not readable as JSON ({reason}). Copy or download it again"
        ) from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{source}: holds no JSON object. Copy or download it again")
    return values


def write_json(path: Path, values: object) -> None:
    """JSON with sorted keys, so that the same values give the same bytes."""
    text = json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
