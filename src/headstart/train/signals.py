"""Notes that the machine or the user wants the run to end, and leaves the answer to the loop.

In: SIGTERM, SIGINT, SIGUSR1. Out: `Signals.name`, which the trainer asks for between micro-batches
and probes call `poll` for. Handlers that save by themselves usually do not get to run in time; a
flag that is polled does. A second signal changes nothing, so it cannot hurt a save.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType

_ANSWERED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class Stop(BaseException):
    """Ends a probe when a signal came; never leaves the trainer.

    Not an Exception, so that a probe which catches those does not swallow it.
    """


class Signals:
    """Listens while it is entered; only in the main thread, where Python delivers signals.

    name: of the first signal that came, else empty.
    """

    def __init__(self) -> None:
        self.name = ""
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for number in _ANSWERED:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)  # type: ignore[arg-type]
        self._before = {}

    def poll(self) -> None:
        """Raise `Stop` if a signal came."""
        if self.name:
            raise Stop

    def _note(self, number: int, _: FrameType | None) -> None:
        self.name = self.name or signal.Signals(number).name
