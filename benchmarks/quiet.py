"""Is this machine quiet enough to measure on?

Two signs are read before a benchmark: how busy the processors are while we do nothing, and how much
a short matrix product's time varies. One is read for each round: the processor time that went to
processes which are not ours. The load average is only noted, because it still remembers our own
last benchmark a minute later.
"""

from __future__ import annotations

import os
import resource
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MOST_OTHERS = 0.05  # share of all processor time that others may take
MOST_SPREAD = 1.5  # slow (90th percentile) over fastest time of the same matrix product
PAUSE_S = 2.0
STAT = Path("/proc/stat")


@dataclass(frozen=True)
class Quiet:
    """What was seen while nothing of ours ran.

    load: 1-minute load average. others: share of all processor time that was in use.
    spread: 90th percentile over fastest time of a short fp32 matrix product. gflops: its best rate.
    """

    load: float
    others: float
    spread: float
    gflops: float

    @property
    def faults(self) -> list[str]:
        """Why the machine is not quiet; empty if it is."""
        found = []
        if self.others > MOST_OTHERS:
            found.append(f"{self.others:.0%} of the processors is in use by others")
        if self.spread > MOST_SPREAD:
            found.append(f"the same matrix product varies by a factor of {self.spread:.2f}")
        return found


def look() -> Quiet:
    """Watch the machine for about three seconds."""
    with Others() as others:
        time.sleep(PAUSE_S)
    spread, gflops = _matrix_product()
    return Quiet(os.getloadavg()[0], others.share, spread, gflops)


class Others:
    """Measures the share of all processor time, within the block, that was not ours.

    Ours is this process and its children that ended within the block. 0 where the system does not
    say.
    """

    def __enter__(self) -> Others:
        self.share = 0.0
        self._before = _busy_s(), _own_s(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        busy, own, start = self._before
        seconds = time.perf_counter() - start
        if busy is not None and (now := _busy_s()) is not None:
            foreign = (now - busy) - (_own_s() - own)
            self.share = max(0.0, foreign / (seconds * (os.cpu_count() or 1)))


def _busy_s() -> float | None:
    """Processor seconds in use since the start of the machine, by anyone (stolen ones too)."""
    if not STAT.is_file():
        return None
    ticks = [int(word) for word in STAT.read_text().splitlines()[0].split()[1:9]]
    idle, waiting = ticks[3], ticks[4]
    return (sum(ticks) - idle - waiting) / os.sysconf("SC_CLK_TCK")


def _own_s() -> float:
    found = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in found)


def _matrix_product(size: int = 768, seconds: float = 0.5) -> tuple[float, float]:
    """Spread of the times, and the best rate in GFLOP/s; repeated for about so many seconds."""
    a = np.random.default_rng(0).standard_normal((size, size), dtype=np.float32)
    times: list[float] = []
    _ = a @ a
    while len(times) < 20 or sum(times) < seconds:
        start = time.perf_counter()
        _ = a @ a
        times.append(time.perf_counter() - start)
    slow = statistics.quantiles(times, n=10)[-1]
    return slow / min(times), 2 * size**3 / min(times) / 1e9
