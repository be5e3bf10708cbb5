import ctypes
import subprocess
import sys

import pytest
import torch

from headstart.train.memory import _c_library, kept_memory

# in a process of its own: whatever tests ran before leave free memory behind
PROGRAM = """
import resource, sys
from contextlib import nullcontext
from pathlib import Path

import torch

from headstart.train.memory import kept_memory

LARGE = 12 * 2**20  # numbers of a tensor that glibc would map on its own and give back: 48 MiB
PAGES = LARGE * 4 // resource.getpagesize()


def fresh(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.empty(LARGE).fill_(1.0)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / PAGES


def held():
    return int(Path("/proc/self/statm").read_text().split()[1]) / PAGES


with kept_memory() if sys.argv[1] == "kept" else nullcontext():
    fresh(3)  # the first ones may not lie where later ones fit
    print(fresh(5))
    within = held()
print(within - held())
"""


def fresh_and_returned(how: str) -> tuple[float, float]:
    """Fresh memory of five large tensors, and what went back at the end, in such tensors."""
    command = [sys.executable, "-c", PROGRAM, how]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(said[0]), float(said[1])


@pytest.mark.skipif(not hasattr(_c_library(), "malloc_trim"), reason="the C library is not glibc")
def test_freed_memory_serves_again_within_the_context_and_goes_back_at_its_end():
    fresh, returned = fresh_and_returned("kept")
    assert fresh < 0.1
    assert returned > 0.9
    assert fresh_and_returned("plain")[0] > 4


def test_it_does_nothing_where_the_c_library_cannot(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    with kept_memory():
        assert torch.ones(3).sum() == 3


def test_it_does_nothing_where_a_library_needs_a_name(monkeypatch):
    def as_on_windows(name):
        raise TypeError(f"stat: path should be string, bytes, os.PathLike or integer, not {name}")

    monkeypatch.setattr(ctypes, "CDLL", as_on_windows)
    with kept_memory():
        assert torch.ones(3).sum() == 3
