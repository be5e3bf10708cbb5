"""`headstart doctor`: what this machine and installation can do, and what to mend.

Reads versions, processor, memory, disk and threads; with `measure`, times matrix products. Changes
nothing and needs no data. Each line is good, a warning with advice, or a failure with its fix.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from headstart.recipes.results import Fact, Json, to_json
from headstart.words import say

State = Literal["good", "warning", "failure"]
GIB = 2.0**30
LEAST_PYTHON = (3, 11)
TORCH_FROM, TORCH_BELOW = (2, 11), (2, 14)
LEAST_MEMORY_GIB = 2.0
LEAST_DISK_GIB = 1.0
PACKAGES = ("torch", "numpy", "tokenizers", "safetensors", "scikit-learn", "pyarrow")


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, what was found, and what to do if it is not good."""

    name: str
    found: str
    state: State = "good"
    advice: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """All findings of one look at the machine."""

    findings: Sequence[Finding]

    @property
    def failures(self) -> int:
        """How many findings keep headstart from working."""
        return sum(finding.state == "failure" for finding in self.findings)

    def facts(self) -> Sequence[Fact]:
        """One line a finding, with its advice."""
        marks = {"warning": "(!)", "failure": "(X)"}
        return [
            (f.name, f.found)
            if f.state == "good"
            else (f.name, say("finding", found=f.found, mark=marks[f.state], advice=f.advice))
            for f in self.findings
        ]

    def record(self) -> Mapping[str, Json]:
        """Everything, for machines."""
        return {"ready": not self.failures, "findings": to_json(list(self.findings))}

    def next_commands(self) -> Sequence[str]:
        """Try it, if it can work."""
        return [] if self.failures else ["headstart demo"]


def doctor(*, measure: bool = False) -> Diagnosis:
    """Look at versions, processor, memory, disk and threads; time matrix products if asked."""
    findings = [*versions(), *processor(), memory(free_memory_gib()), disk(Path.cwd())]
    return Diagnosis([*findings, *(matrix_speeds() if measure else ())])


def versions() -> list[Finding]:
    """Python and the packages that matter, against what is supported."""
    python = platform.python_version()
    found = [Finding("headstart", _version("headstart") or "not installed, run from source")]
    if sys.version_info < LEAST_PYTHON:
        found.append(Finding("python", python, "failure", "needs Python 3.11 or newer"))
    else:
        found.append(Finding("python", f"{python} on {platform.system()} {platform.machine()}"))
    for package in PACKAGES:
        version = _version(package)
        if version is None:
            advice = "missing: pip install -e ."
            found.append(Finding(package, "not installed", "failure", advice))
        else:
            found.append(judge_torch(version) if package == "torch" else Finding(package, version))
    if importlib.util.find_spec("torchvision") is not None:
        advice = (
            "not needed; a wheel that does not fit torch breaks imports: pip uninstall torchvision"
        )
        found.append(Finding("torchvision", _version("torchvision") or "?", "warning", advice))
    return found


def judge_torch(version: str) -> Finding:
    """Whether this torch version is one that headstart was tested with."""
    number = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if number < TORCH_FROM:
        return Finding("torch", version, "failure", "too old: pip install 'torch>=2.11,<2.14'")
    if number >= TORCH_BELOW:
        return Finding("torch", version, "warning", "newer than tested: pip install 'torch<2.14'")
    return Finding("torch", version)


def processor() -> list[Finding]:
    """Cores, threads, vector units and GPU."""
    import torch

    cores = usable_cores()
    threads = torch.get_num_threads()
    found = [Finding("processor", f"{_processor_name()}, {cores} usable cores")]
    if threads > cores:
        advice = f"more threads than cores is several times slower: set --threads {cores}"
        found.append(Finding("threads", str(threads), "warning", advice))
    else:
        found.append(Finding("threads", str(threads)))
    bf16, amx = cpu_bf16()
    units = torch.backends.cpu.get_cpu_capability()
    if bf16:
        found.append(Finding("bf16", f"yes ({units}{', AMX' if amx else ''})"))
    else:
        found.append(Finding("bf16", f"no ({units}): training computes in fp32"))
    if torch.cuda.is_available():
        found.append(Finding("gpu", torch.cuda.get_device_name(0)))
    else:
        found.append(Finding("gpu", "none: training runs on the processor"))
    return found


def cpu_bf16() -> tuple[bool, bool]:
    """Whether the processor computes in bf16 at all, and whether it has AMX tiles."""
    import torch

    amx = bool(getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)())
    bf16 = bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())
    return bf16 or amx, amx


def memory(free_gib: float | None) -> Finding:
    """Judge the memory that is free (GiB), if the system says."""
    if free_gib is None:
        return Finding("memory", "unknown on this system")
    if free_gib < LEAST_MEMORY_GIB:
        advice = f"less than {LEAST_MEMORY_GIB:g} GiB: close other programs, or use --size mini"
        return Finding("memory", f"{free_gib:.1f} GiB free", "warning", advice)
    return Finding("memory", f"{free_gib:.1f} GiB free")


def disk(folder: Path) -> Finding:
    """Judge the disk that run folders go to."""
    free = shutil.disk_usage(folder).free / GIB
    if not os.access(folder, os.W_OK):
        advice = "cannot be written: change folder, or give --out"
        return Finding("disk", str(folder), "failure", advice)
    if free < LEAST_DISK_GIB:
        advice = f"less than {LEAST_DISK_GIB:g} GiB: free some, or give --out on another disk"
        return Finding("disk", f"{free:.1f} GiB free in {folder}", "warning", advice)
    return Finding("disk", f"{free:.1f} GiB free in {folder}")


def free_memory_gib() -> float | None:
    """Memory that a new program can use (GiB), container limits included; nothing if unknown."""
    free: list[float] = []
    info = Path("/proc/meminfo")
    if info.is_file():
        found = re.search(r"MemAvailable:\s+(\d+) kB", info.read_text())
        free += [int(found[1]) * 1024 / GIB] if found else []
    elif hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        free.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB)
    limit, used = (Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current"))
    if limit.is_file() and used.is_file() and limit.read_text().strip().isdigit():
        free.append((int(limit.read_text()) - int(used.read_text())) / GIB)
    return min(free, default=None)


def usable_cores() -> int:
    """Cores this process may use, which in a container can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def matrix_speeds(*, size: int = 1024, seconds: float = 1.0) -> list[Finding]:
    """Measured speed of `size` x `size` matrix products in fp32 and bf16."""
    fp32 = matrix_gflops("fp32", size=size, seconds=seconds)
    bf16 = matrix_gflops("bf16", size=size, seconds=seconds)
    slower = bf16 < fp32
    advice = "slower than fp32 here: --set machine.precision=fp32" if slower else ""
    return [
        Finding("fp32 products", f"{fp32:,.0f} GFLOP/s"),
        Finding("bf16 products", f"{bf16:,.0f} GFLOP/s", "warning" if slower else "good", advice),
    ]


def matrix_gflops(precision: Literal["fp32", "bf16"], *, size: int, seconds: float) -> float:
    """Best speed (GFLOP/s) of square matrix products within a time limit."""
    import torch

    kind = torch.float32 if precision == "fp32" else torch.bfloat16
    left = torch.ones(size, size, dtype=kind)
    out = torch.empty_like(left)
    best, end = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end or not best:
        began = time.perf_counter()
        torch.mm(left, left, out=out)
        best = max(best, 2 * size**3 / (time.perf_counter() - began) / 1e9)
    return best


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        found = re.search(r"model name\s*:\s*(.+)", info.read_text())
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine()
