import ctypes
import resource
from pathlib import Path

import pytest
import torch

from headstart.train.memory import kept_memory

LARGE = 12 * 2**20  # numbers of a tensor that glibc would map on its own and give back: 48 MiB
PAGES = LARGE * 4 // resource.getpagesize()
glibc = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc"
)


def fresh_pages(times: int) -> int:
    """Pages that the system had to hand out while a large tensor was filled and freed."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.empty(LARGE).fill_(1.0)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def held_pages() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1])


@glibc
def test_freed_memory_serves_again_within_the_context_and_goes_back_at_its_end():
    with kept_memory():
        fresh_pages(1)
        assert fresh_pages(5) < PAGES // 10
        within = held_pages()
    assert within - held_pages() > 0.9 * PAGES


@glibc
def test_without_it_every_large_tensor_is_made_of_new_pages():
    fresh_pages(1)
    assert fresh_pages(5) > 4 * PAGES


def test_it_does_nothing_where_the_c_library_cannot(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    with kept_memory():
        assert torch.ones(3).sum() == 3
