"""Any call to the system that a save makes may be the last one, or fail.

The save runs in a forked child whose `os` functions count themselves; at the n-th call the child
dies (SIGKILL) or gets an error. Repeated for every n until a save gets through untouched.
"""

import errno
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from headstart.errors import CheckpointError, MachineError
from headstart.train.checkpoint import CheckpointFolder, read

CALLS = (
    "open",
    "write",
    "fsync",
    "close",
    "rename",
    "replace",
    "mkdir",
    "rmdir",
    "unlink",
    "listdir",
    "lstat",
    "fstat",
    "readv",
)
UNTOUCHED = 77


def tensors(step: int) -> dict[str, dict[str, torch.Tensor]]:
    return {"weights": {"w": torch.full((5,), float(step))}, "optimizer": {"m": torch.ones(2)}}


def keep_two(folder: Path, steps: tuple[int, ...]) -> None:
    with CheckpointFolder(folder) as store:
        for step in steps:
            store.save(step, tensors(step), {"step": step}, digest="d")
            store.prune(store.steps()[-2:])


class Counter:
    """Lets the calls before the n-th one pass; at the n-th it does `act`."""

    def __init__(self, number: int, act: Callable[[], None]):
        self.left, self.act, self.reached = number, act, False

    def install(self) -> None:
        for name in CALLS:
            setattr(os, name, self._counting(getattr(os, name)))

    def _counting(self, real: Callable[..., object]) -> Callable[..., object]:
        def call(*given: object, **named: object) -> object:
            self.left -= 1
            if self.left == 0:
                self.reached = True
                self.act()
            return real(*given, **named)

        return call


def in_child(work: Callable[[], int]) -> int:
    """Exit code of a forked child that does the work; the negative signal if one killed it."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            code = work()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def every_call(act: Callable[[], None], folder: Path, steps: tuple[int, ...]) -> Iterator[int]:
    """Run the saves once for every call number; yields each exit code, until nothing happens."""
    number = 0
    while True:
        number += 1
        here = folder / str(number)
        keep_two(here, (10, 20))

        def work(number: int = number, here: Path = here) -> int:
            counter = Counter(number, act)
            counter.install()
            try:
                keep_two(here, steps)
            except MachineError:
                return 3
            except CheckpointError:
                return 4
            return 0 if counter.reached else UNTOUCHED

        code = in_child(work)
        if code == UNTOUCHED:
            return
        yield code


# 20 is saved again: a replacement, then 30 and 40 push out the oldest.
@pytest.mark.parametrize("steps", [(30, 40), (20, 30)], ids=["new", "replaced"])
def test_a_save_killed_at_any_call_loses_no_verified_checkpoint(
    tmp_path: Path, steps: tuple[int, ...]
):
    points = 0
    for code in every_call(die, tmp_path, steps):
        points += 1
        assert code == -signal.SIGKILL
        folder = tmp_path / str(points)
        notes: list[str] = []
        with CheckpointFolder(folder, note=notes.append) as store:
            found = store.newest()
            assert found is not None
            assert found.step >= 20
            assert torch.equal(found.tensors["weights"]["w"], tensors(found.step)["weights"]["w"])
            for step in store.steps():
                read(store.path(step))  # whatever has its final name verifies
        assert notes == []
        left = [name for name in os.listdir(folder) if name != ".lock"]
        assert all(name.startswith("step-") and "." not in name for name in left)
    assert points > 60


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS])
def test_a_save_that_fails_at_any_call_says_so_and_keeps_what_was_there(
    tmp_path: Path, number: int
):
    def fail() -> None:
        raise OSError(number, os.strerror(number))

    points, codes = 0, set()
    for code in every_call(fail, tmp_path, (20, 30)):
        points += 1
        codes.add(code)
        folder = tmp_path / str(points)
        left = [name for name in os.listdir(folder) if name != ".lock"]
        with CheckpointFolder(folder) as store:
            found = store.newest()
            assert found is not None
            assert found.step >= 20
            for step in store.steps():
                read(store.path(step))
            if code == 3:  # the message said that nothing half-written is left
                assert not [name for name in left if name.endswith(".writing")]
    assert codes <= {0, 3}
    assert 3 in codes
    assert points > 60


def test_a_disk_that_stays_full_keeps_what_was_there_and_the_next_process_cleans_up(
    tmp_path: Path,
):
    points, first = 0, True
    while True:
        points += 1
        here = tmp_path / str(points)
        keep_two(here, (10, 20))

        def work(number: int = points, here: Path = here) -> int:
            counter = Counter(number, lambda: None)

            def full(real: Callable[..., object]) -> Callable[..., object]:
                def call(*given: object, **named: object) -> object:
                    counter.left -= 1
                    if counter.left <= 0:
                        counter.reached = True
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    return real(*given, **named)

                return call

            for name in ("write", "fsync", "mkdir", "rename"):
                setattr(os, name, full(getattr(os, name)))
            try:
                keep_two(here, (30,))
            except MachineError:
                return 3
            return 0 if counter.reached else UNTOUCHED

        code = in_child(work)
        if code == UNTOUCHED:
            break
        assert code == 3
        first = False
        with CheckpointFolder(here) as store:
            found = store.newest()
            assert found is not None
            assert found.step >= 20
    assert not first
    assert points > 10
