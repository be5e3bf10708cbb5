"""How work tells what it is doing, without knowing who listens.

Recipes take an `Events`; the command line passes one that draws a live display, Python callers may
pass their own, and `Silent` is what everybody gets who passes none. Nothing here prints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class Events(Protocol):
    """Listens to a run."""

    def plan(self, lines: Sequence[str]) -> None:
        """What is going to happen, said once before work starts; one fact a line."""

    def progress(self, stage: str, done: float, total: float, detail: str = "") -> None:
        """How far one stage is.

        stage: a short stable name such as "pretrain"; every stage has its own bar.
        done, total: in any one unit (steps, seconds, rows); a total of 0 means unknown.
            `done >= total > 0` ends the stage.
        detail: a few words that change often, such as "loss 4.21"; `words.say` makes them.
        """

    def note(self, text: str) -> None:
        """One remark worth keeping on the screen: a warning, a count, a decision taken."""


class Silent:
    """Listens to nothing."""

    def plan(self, lines: Sequence[str]) -> None:
        """Drop the plan."""

    def progress(self, stage: str, done: float, total: float, detail: str = "") -> None:
        """Drop the progress."""

    def note(self, text: str) -> None:
        """Drop the remark."""
