"""Work that cannot end in the time left to it stops early, and says how long it would have taken.

What may take long calls a `Poll` with how much of it is done. `never` is the one of those whose
time is not limited; a `Deadline` raises `OutOfTime` once its end is past, or once a tenth of the
time is used and the rest would not do at the pace so far.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Protocol

from headstart.errors import HeadstartError

TRIED = 0.1  # of the time, before the pace so far is believed


class OutOfTime(HeadstartError):
    """The work cannot end in time. needed: seconds that all of it would take, as far as is known;
    left: seconds that there were.
    """

    def __init__(self, needed: float, left: float):
        super().__init__(f"needs about {needed:.0f} s, but {left:.0f} s of the budget were left")
        self.needed = needed


class Poll(Protocol):
    """Hears how far work is, and raises to stop it."""

    def __call__(self, done: float = 0.0, total: float = 1.0) -> None:
        """done: of `total`, in any one unit; 0 where it is not known."""


def never(done: float = 0.0, total: float = 1.0) -> None:
    """The poll that stops nothing."""


def _now() -> float:
    return time.monotonic()


@dataclass(frozen=True)
class Deadline:
    """A poll that ends work at a time. end, began: by `time.monotonic`."""

    end: float
    began: float = field(default_factory=_now)

    @property
    def left(self) -> float:
        """Seconds that there were when it began."""
        return self.end - self.began

    def __call__(self, done: float = 0.0, total: float = 1.0) -> None:
        """Raise OutOfTime if the work cannot end in time."""
        spent, left = _now() - self.began, self.left
        needed = spent * total / done if done > 0 else spent
        if spent > left or (needed > left and spent > TRIED * left):
            raise OutOfTime(needed, max(0.0, left))


def part(poll: Poll, begin: float, share: float) -> Poll:
    """The poll of a part of the work: it begins after `begin` of the whole and is `share` of it."""

    def inner(done: float = 0.0, total: float = 1.0) -> None:
        poll(begin + share * done / total, 1.0)

    return inner
