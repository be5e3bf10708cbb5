"""The history of a run: one JSON object a line in metrics.jsonl.

In: step records and events. Out: lines that a resumed run continues exactly: on resume the file is
cut to the lines it had at the checkpoint, so that the history is the one of an uninterrupted run
(but for the fields in `TIMES`, which the clock decides). A number that is not finite is written
as null and named in the field "nonfinite": it is never hidden and the line stays valid JSON.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

from headstart.errors import MachineError
from headstart.train.learner import StepRecord

TIMES = frozenset({"seconds", "tokens_per_s", "left_s", "probe_s"})
Value = float | int | str | bool | list[int] | Mapping[str, float]


class History:
    """Appends lines to a file, or to nothing if there is no path.

    lines: how many there are.
    """

    def __init__(self, path: Path | None, *, lines: int = 0):
        """Open the file and keep its first `lines` lines; a torn last line goes."""
        self.path = path
        self.lines = lines
        self._file: int | None = None
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            self.lines, end = _first_lines(self._file, lines)
            os.ftruncate(self._file, end)
            os.lseek(self._file, end, os.SEEK_SET)
        except OSError as error:
            raise _refused(path, error) from error

    def step(self, record: StepRecord, *, samples: list[int] | None = None) -> None:
        """Write what a step did; the samples are named where it was skipped."""
        values: dict[str, Value] = {
            "step": record.step,
            "loss": record.loss,
            "parts": record.parts,
            "count": record.count,
            "tokens": record.tokens,
            "sequences": record.sequences,
            "grad_norm": record.grad_norm,
            "lr_factor": record.lr_factor,
            "seconds": round(record.seconds, 4),
            "tokens_per_s": round(record.tokens_per_s, 1),
        }
        if record.skipped:
            values |= {"skipped": record.skipped, "samples": samples or []}
        self.write(values)

    def event(self, name: str, values: Mapping[str, Value]) -> None:
        """Write something that is no step: a probe's score, a return to an earlier checkpoint."""
        self.write({"event": name, **values})

    def write(self, values: Mapping[str, Value]) -> None:
        """Append one line. Raises MachineError if the disk refuses."""
        self.lines += 1
        if self._file is None or self.path is None:
            return
        piece = (json.dumps(_visible(values), ensure_ascii=False) + "\n").encode()
        try:
            while piece:
                piece = piece[os.write(self._file, piece) :]
        except OSError as error:
            raise _refused(self.path, error) from error

    def flush(self) -> None:
        """Bring the lines to the disk."""
        if self._file is not None and self.path is not None:
            try:
                os.fsync(self._file)
            except OSError as error:
                raise _refused(self.path, error) from error

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _first_lines(file: int, count: int) -> tuple[int, int]:
    """How many of the first `count` lines there are, and the byte where they end."""
    found, end, place = 0, 0, 0
    while found < count:
        piece = os.read(file, 1_000_000)
        if not piece:
            break
        start = 0
        while found < count and (stop := piece.find(b"\n", start)) >= 0:
            found, start, end = found + 1, stop + 1, place + stop + 1
        place += len(piece)
    return found, end


def _visible(values: Mapping[str, Value]) -> dict[str, object]:
    shown: dict[str, object] = {}
    hidden: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            inner = _visible(value)
            hidden |= {f"{name}.{k}": str(v) for k, v in value.items() if not math.isfinite(v)}
            inner.pop("nonfinite", None)
            shown[name] = inner
        elif isinstance(value, float) and not math.isfinite(value):
            shown[name], hidden[name] = None, str(value)
        else:
            shown[name] = value
    return shown | ({"nonfinite": hidden} if hidden else {})


def _refused(path: Path, error: OSError) -> MachineError:
    return MachineError(
        f"{path} cannot be written: {error.strerror}. The checkpoints are intact; free some space, "
        "then give the same command again to go on"
    )
