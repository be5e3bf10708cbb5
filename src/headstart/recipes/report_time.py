"""The time that a report has used, over all calls on its folder.

In: a report's folder. Out: seconds of this call and of earlier ones, however those ended: what was
used is written down every few seconds while the report tells its progress, so that even a killed
one counts.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from headstart.events import Events
from headstart.train.disk import write_atomically

FILE = "spent.json"
EVERY_S = 10.0  # between two notes of the time


class Spending:
    """Counts the seconds of a report from now on, and passes on what it tells: an `Events`."""

    def __init__(self, folder: Path, listener: Events):
        self.file, self.listener = folder / FILE, listener
        self.before = _read(self.file)
        self.begin = self.written = time.monotonic()

    @property
    def seconds(self) -> float:
        """Used so far, earlier calls counted."""
        return self.before + time.monotonic() - self.begin

    def leave_out(self, *, but: float) -> None:
        """Earlier calls' time is not of this report but for so many seconds."""
        self.before = min(self.before, but)

    def write(self) -> None:
        """Note the time used so far."""
        self.written = time.monotonic()
        write_atomically(self.file, json.dumps({"seconds": self.seconds}).encode())

    def plan(self, lines: Sequence[str]) -> None:
        """Pass on a plan."""
        self.listener.plan(lines)

    def progress(self, stage: str, done: float, total: float, detail: str = "") -> None:
        """Pass on how far a stage is, and note the time if that was long ago."""
        self.listener.progress(stage, done, total, detail)
        if time.monotonic() - self.written > EVERY_S:
            self.write()

    def note(self, text: str) -> None:
        """Pass on a remark."""
        self.listener.note(text)


def _read(file: Path) -> float:
    return float(json.loads(file.read_text("utf-8"))["seconds"]) if file.exists() else 0.0
