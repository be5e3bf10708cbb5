"""One live progress display: bars with the time left on a terminal, plain lines elsewhere.

Everything goes to stderr, so that stdout holds nothing but the result.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from headstart.budget import format_seconds
from headstart.words import WORDS, Lang, in_language, say

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from rich.progress import Progress, TaskID

LINE_EVERY_S = 10.0


class Lines:
    """Events as plain lines, at most one per stage and interval: for logs and CI."""

    def __init__(self, lang: Lang, *, stream: TextIO | None = None, every_s: float = LINE_EVERY_S):
        self.lang = lang
        self.stream = stream or sys.stderr
        self.every_s = every_s
        self._stages: dict[str, _Stage] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.stream.flush()

    def plan(self, lines: Sequence[str]) -> None:
        """The plan, one fact a line."""
        self._write(in_language(say("plan_title"), self.lang))
        for line in lines:
            self._write(f"  {in_language(line, self.lang)}")

    def progress(self, stage: str, done: float, total: float, detail: str = "") -> None:
        """One line at the start, at intervals, and at the end of a stage."""
        now = time.monotonic()
        state = self._stages.setdefault(stage, _Stage(began=now, first=done, shown=-self.every_s))
        finished = 0 < total <= done
        if state.finished or not (finished or now - state.shown >= self.every_s):
            return
        state.shown, state.finished = now, finished
        share = f" {done / total:4.0%}" if total > 0 else f" {done:,.0f}"
        words = [stage_name(stage, self.lang) + share, detail and in_language(detail, self.lang)]
        words.append(time_left(state.began, state.first, now, done, total, self.lang))
        self._write(" · ".join(word for word in words if word))

    def note(self, text: str) -> None:
        """One remark on its own line."""
        self._write(in_language(text, self.lang))

    def _write(self, line: str) -> None:
        self.stream.write(line + "\n")
        self.stream.flush()


@dataclass
class _Stage:
    began: float
    first: float
    shown: float
    finished: bool = False


class Bars:
    """Events as live bars on a terminal."""

    def __init__(self, lang: Lang):
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.lang = lang
        self.console = Console(stderr=True, highlight=False)
        self.bars: Progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[detail]}"),
            console=self.console,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bars.stop()

    def plan(self, lines: Sequence[str]) -> None:
        """The plan above the bars, one fact a line."""
        self.console.print(in_language(say("plan_title"), self.lang), style="bold")
        for line in lines:
            self.console.print(f"  {in_language(line, self.lang)}", markup=False)

    def progress(self, stage: str, done: float, total: float, detail: str = "") -> None:
        """Move the stage's bar; a stage of unknown length pulses."""
        if stage not in self._tasks:
            name = stage_name(stage, self.lang)
            self._tasks[stage] = self.bars.add_task(name, total=total or None, detail="")
        said = detail and in_language(detail, self.lang)
        self.bars.update(self._tasks[stage], completed=done, total=total or None, detail=said)

    def note(self, text: str) -> None:
        """One remark above the bars."""
        self.console.print(in_language(text, self.lang), markup=False)


def stage_name(stage: str, lang: Lang) -> str:
    """The stage's name in the reader's language; an unknown one as it is."""
    key = f"stage_{stage}"
    return in_language(say(key), lang) if key in WORDS else stage


def time_left(began: float, first: float, now: float, done: float, total: float, lang: Lang) -> str:
    """How long a stage still takes at its mean speed so far; nothing while that is unknown.

    began, now: clock times (s); first: where the stage stood when it began, after a resume.
    """
    if not first < done < total:
        return ""
    seconds = (now - began) * (total - done) / (done - first)
    return in_language(say("left", time=format_seconds(max(1.0, float(round(seconds))))), lang)


def listener(lang: Lang, *, plain: bool = False) -> Bars | Lines:
    """Bars where stderr is a terminal, lines elsewhere."""
    return Lines(lang) if plain or not sys.stderr.isatty() else Bars(lang)
