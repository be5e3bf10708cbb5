"""Compare headstart with its peers: alternating rounds, each in a fresh process, ratios by round.

A benchmark is a list of cases; a case is a list of sides, ours first. A round runs every side once,
one after another, each in a process of its own with the same number of threads: what one side
leaves behind (memory, compiled code, thread pools) cannot touch the other. The machine may drift
between rounds but hardly within one, so the ratio is taken in each round; reported are its median,
smallest and largest value. Everything measured goes to results/YYYY-MM-DD-NAME.json.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import quiet

RESULTS = Path(__file__).resolve().parent / "results"
MARK = "READING "  # begins the line in which a side says what it measured
PACKAGES = (
    "torch",
    "numpy",
    "tokenizers",
    "safetensors",
    "transformers",
    "sentence-transformers",
    "accelerate",
    "datasets",
)

Reading = dict[str, float]
Facts = dict[str, str | float]


@dataclass(frozen=True)
class Job:
    """What one side is told.

    folder: the inputs that `prepare` has written. quick: the smallest amount of work that shows
    that it runs.
    """

    case: str
    folder: Path
    threads: int
    quick: bool


@dataclass(frozen=True)
class Side:
    """Something to measure. title: what runs, with the settings that decide its speed."""

    name: str
    title: str
    run: Callable[[Job], Reading]


@dataclass(frozen=True)
class Case:
    """Sides that do the same work.

    metric: which number of a reading is compared. extras: measured once, after the rounds.
    """

    name: str
    metric: str
    unit: str
    sides: tuple[Side, ...]
    higher_is_better: bool = True
    extras: tuple[Side, ...] = ()

    def side(self, name: str) -> Side:
        """The side of this name."""
        return next(side for side in (*self.sides, *self.extras) if side.name == name)

    def ratio(self, ours: Reading, peer: Reading) -> float:
        """How many times better ours is."""
        a, b = ours[self.metric], peer[self.metric]
        return a / b if self.higher_is_better else b / a


@dataclass(frozen=True)
class Benchmark:
    """prepare: writes the inputs of all sides into a folder, and says what they are."""

    name: str
    about: str
    cases: tuple[Case, ...]
    prepare: Callable[[Path], Facts]
    rounds: int = 5


@dataclass
class Round:
    """readings: by side. others: share of the processors that others used meanwhile, by side."""

    readings: dict[str, Reading] = field(default_factory=dict)
    others: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Ratio:
    """Ours against one peer: over the rounds."""

    median: float
    lowest: float
    highest: float


def main(benchmark: Benchmark) -> None:
    """Run a benchmark from the command line."""
    chosen = _arguments(benchmark)
    if chosen.worker:
        job = Job(chosen.case, Path(chosen.folder), chosen.threads, chosen.quick)
        _work(_case(benchmark, chosen.case).side(chosen.worker), job)
        return
    rounds = chosen.rounds or (1 if chosen.quick else benchmark.rounds)
    seen = quiet.look()
    for fault in seen.faults:
        _say(f"WARNING: this machine is not quiet: {fault}; the result is marked as busy")
    with tempfile.TemporaryDirectory(prefix="headstart-bench-") as name:
        folder = Path(name)
        inputs = benchmark.prepare(folder)
        _say(f"{benchmark.name}: " + ", ".join(f"{k} {v}" for k, v in inputs.items()))
        cases: dict[str, object] = {}
        record: dict[str, object] = {
            "benchmark": benchmark.name,
            "about": benchmark.about,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "versions": versions(),
            "settings": {"rounds": rounds, "threads": chosen.threads, "quick": chosen.quick},
            "inputs": inputs,
            "before": asdict(seen),
            "busy": bool(seen.faults),
            "cases": cases,
        }
        for case in benchmark.cases:
            if chosen.case and case.name != chosen.case:
                continue
            job = Job(case.name, folder, chosen.threads, chosen.quick)
            outcome, busy = _run_case(case, job, rounds)
            cases[case.name] = outcome
            record["busy"] = bool(record["busy"]) or busy
            _write(record, chosen)
    if record["busy"]:
        _say("The machine was BUSY: take no number from this run.")


def _arguments(benchmark: Benchmark) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=benchmark.about)
    parser.add_argument("--rounds", type=int, default=0, help=f"default {benchmark.rounds}")
    parser.add_argument("--quick", action="store_true", help="show that it runs; measures nothing")
    parser.add_argument("--threads", type=int, default=cores(), help="of every side")
    parser.add_argument(
        "--case", default="", help="only this one of: " + ", ".join(c.name for c in benchmark.cases)
    )
    parser.add_argument("--results", type=Path, help="folder for the JSON file (quick: none)")
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    parser.add_argument("--folder", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


def _case(benchmark: Benchmark, name: str) -> Case:
    return next(case for case in benchmark.cases if case.name == name)


def _run_case(case: Case, job: Job, count: int) -> tuple[dict[str, object], bool]:
    """All rounds of a case: its part of the record, and whether the machine was busy."""
    rounds: list[Round] = []
    for number in range(count):
        one = Round()
        for side in case.sides:
            with quiet.Others() as others:
                one.readings[side.name] = _start(side, job)
            one.others[side.name] = round(others.share, 4)
            value = one.readings[side.name][case.metric]
            _say(f"  {case.name} round {number + 1}/{count} {side.name}: {value:,.2f} {case.unit}")
        rounds.append(one)
    busy = any(share > quiet.MOST_OTHERS for one in rounds for share in one.others.values())
    ours, *peers = case.sides
    ratios = {peer.name: ratio_of(case, rounds, ours.name, peer.name) for peer in peers}
    for peer in peers:
        r = ratios[peer.name]
        _say(
            f"  {case.name}: ours is {r.median:.2f} times as good as {peer.name} "
            f"({r.lowest:.2f} to {r.highest:.2f} over {count} rounds){' BUSY' if busy else ''}"
        )
    medians = {side.name: _medians(rounds, side.name) for side in case.sides}
    for name, reading in medians.items():
        _say(f"  {case.name} {name}: " + ", ".join(f"{k} {v:.4g}" for k, v in reading.items()))
    extras = {extra.name: _start(extra, job) for extra in case.extras}
    for name, reading in extras.items():
        _say(f"  {case.name} {name}: " + ", ".join(f"{k} {v:.3g}" for k, v in reading.items()))
    outcome: dict[str, object] = {
        "metric": case.metric,
        "unit": case.unit,
        "higher_is_better": case.higher_is_better,
        "sides": {side.name: side.title for side in (*case.sides, *case.extras)},
        "rounds": [asdict(one) for one in rounds],
        "medians": medians,
        "ratios": {name: asdict(ratio) for name, ratio in ratios.items()},
        "extras": extras,
        "busy": busy,
    }
    return outcome, busy


def ratio_of(case: Case, rounds: list[Round], ours: str, peer: str) -> Ratio:
    """Ours against a peer, in each round, over the rounds."""
    each = [case.ratio(one.readings[ours], one.readings[peer]) for one in rounds]
    return Ratio(statistics.median(each), min(each), max(each))


def _medians(rounds: list[Round], side: str) -> Reading:
    keys = rounds[0].readings[side]
    return {key: statistics.median(one.readings[side][key] for one in rounds) for key in keys}


def _start(side: Side, job: Job) -> Reading:
    """Measure one side in a process of its own."""
    command = [sys.executable, "-W", "ignore", sys.argv[0], "--worker", side.name]
    command += ["--case", job.case, "--folder", str(job.folder), "--threads", str(job.threads)]
    command += ["--quick"] if job.quick else []
    threads = str(job.threads)
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if done.returncode or not lines:
        tail = "\n".join(done.stderr.splitlines()[-15:])
        sys.exit(f"{side.name} of {job.case} ended with {done.returncode}:\n{tail}")
    reading: Reading = json.loads(lines[-1].removeprefix(MARK))
    return reading


def _work(side: Side, job: Job) -> None:
    """What the process of one side does."""
    reading = side.run(job)
    reading["peak_memory_gib"] = peak_memory_gib()
    print(MARK + json.dumps(reading), flush=True)


def peak_memory_gib() -> float:
    """Most memory that this process held at once (resident)."""
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage would count the parent's peak too
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)


class Stopwatch:
    """Rate of work between two moments, the first steps left out."""

    def __init__(self, *, warm: int) -> None:
        self.warm, self.steps, self.amount, self.seconds = warm, 0, 0, 0.0
        self._start = 0.0

    def step(self, amount: int) -> None:
        """One step of so much work ended now."""
        now = time.perf_counter()
        self.steps += 1
        if self.steps <= self.warm:
            self._start = now
            return
        self.amount += amount
        self.seconds = now - self._start

    @property
    def rate(self) -> float:
        """Work a second."""
        return self.amount / self.seconds


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine() -> Facts:
    """What the numbers depend on."""
    facts: Facts = {"system": platform.platform(), "cores": cores()}
    information = Path("/proc/cpuinfo")
    if information.is_file():
        text = information.read_text()
        pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
        fields = {name.strip(): value.strip() for name, value in pairs}
        flags = fields.get("flags", "").split()
        facts["processor"] = fields.get("model name", platform.machine())
        facts["instructions"] = " ".join(
            flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags
        )
        facts["memory_gib"] = round(
            os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1
        )
    return facts


def versions() -> dict[str, str]:
    """Python, the packages that are compared, and the commit."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    git = ["git", "-C", str(RESULTS.parent), "describe", "--always", "--dirty"]
    try:
        asked = subprocess.run(git, capture_output=True, text=True, check=False)
    except OSError:
        return found
    return {**found, "headstart": asked.stdout.strip() or "unknown"}


def _write(record: dict[str, object], chosen: argparse.Namespace) -> None:
    if chosen.quick and chosen.results is None:
        return
    folder = chosen.results or RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    day = str(record["date"])[:10]
    quick = "-quick" if chosen.quick else ""
    path = folder / f"{day}-{record['benchmark']}{quick}.json"
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    _say(f"  written: {path}")


def _say(line: str) -> None:
    print(line, flush=True)
