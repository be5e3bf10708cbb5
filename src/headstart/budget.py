"""How much work a run may do: an amount of time, steps, tokens or epochs, written as one word.

`30m`, `1h30m`, `90s`, `2d`, `2000 steps`, `50M tokens`, `10 epochs`. A bare number is refused: it
does not say of what.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Unit = Literal["seconds", "steps", "tokens", "epochs"]

_TIME = re.compile(
    r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?"
)
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)([kM]?) ?(step|token|epoch)s?")
_SECONDS = (86_400.0, 3_600.0, 60.0, 1.0)
_TIMES = {"": 1, "k": 1_000, "M": 1_000_000}
_UNITS: dict[str, Unit] = {"step": "steps", "token": "tokens", "epoch": "epochs"}
ALLOWED = (
    "a time such as 30m, 4h, 1h30m or 90s, or an amount such as 2000 steps, 50M tokens, 10 epochs"
)


@dataclass(frozen=True)
class Budget:
    """An amount of work in one unit."""

    amount: float
    unit: Unit

    def __str__(self) -> str:
        if self.unit != "seconds":
            return f"{_plain(self.amount)} {self.unit}"
        return format_seconds(self.amount)

    def in_unit(self, unit: Unit) -> float | None:
        """The amount if the budget is given in this unit, else nothing."""
        return self.amount if self.unit == unit else None


def parse_budget(text: str) -> Budget:
    """Read a budget as people write it. Raises ValueError that says what is allowed."""
    word = text.strip()
    counted = _AMOUNT.fullmatch(word)
    if counted:
        budget = Budget(float(counted[1]) * _TIMES[counted[2]], _UNITS[counted[3]])
    else:
        timed = _TIME.fullmatch(word.replace(" ", ""))
        if not word or timed is None:
            raise ValueError(f"must be {ALLOWED}{_clock_hint(word)}")
        parts = zip(timed.groups(), _SECONDS, strict=True)
        budget = Budget(sum(float(part) * unit for part, unit in parts if part), "seconds")
    if budget.amount <= 0:
        raise ValueError("must be more than nothing")
    return budget


def format_seconds(seconds: float) -> str:
    """Seconds in the form that `parse_budget` reads: 5400 -> 1h30m."""
    parts, left = "", round(seconds, 3)
    for unit, name in zip(_SECONDS[:-1], "dhm", strict=True):
        count = int(left // unit)
        left -= count * unit
        parts += f"{count}{name}" if count else ""
    return parts + (f"{_plain(round(left, 3))}s" if left > 0 or not parts else "")


def _plain(amount: float) -> str:
    return str(int(amount)) if amount == int(amount) else repr(amount)


def _clock_hint(word: str) -> str:
    clock = re.fullmatch(r"(\d+):(\d\d)", word)
    if clock:
        return f"; for {clock[1]} minutes and {clock[2]} seconds write {clock[1]}m{clock[2]}s"
    if re.fullmatch(r"\d+(\.\d+)?", word):
        return f"; {word} of what? For minutes write {word}m"
    return ""
