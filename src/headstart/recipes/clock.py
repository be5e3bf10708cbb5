"""How much of its budget a report has used, over all calls on its folder.

The time is written to `spent.json` while it passes, by a thread of its own: a call that is killed
loses a few seconds of the account, not all of it, wherever it was. A write takes milliseconds.
"""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from types import TracebackType

from headstart.errors import MachineError
from headstart.train.disk import write_atomically

SPENT = "spent.json"
BEAT_S = 5.0  # between writes: what a kill can lose


class Clock:
    """Counts while it is entered.

    begin: `time.monotonic()` at which the call began. earlier: seconds of the calls before.
    """

    def __init__(self, folder: Path, *, begin: float):
        self.place, self.begin = folder / SPENT, begin
        self.earlier = 0.0
        if self.place.exists():
            self.earlier = float(json.loads(self.place.read_text("utf-8"))["seconds"])
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="budget clock", daemon=True)

    @property
    def seconds(self) -> float:
        """Used so far, by all calls."""
        return self.earlier + time.monotonic() - self.begin

    def forget(self, *, most: float) -> None:
        """Count no more of the earlier calls than this."""
        self.earlier = min(self.earlier, most)

    def __enter__(self) -> Clock:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        self._write()

    def _beat(self) -> None:
        while not self._over.wait(BEAT_S):
            try:
                self._write()
            except MachineError:
                return  # the last write, at the end, says it

    def _write(self) -> None:
        write_atomically(self.place, json.dumps({"seconds": self.seconds}).encode())
