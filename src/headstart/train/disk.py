"""The few things a checkpoint does to the disk, each of which may fail or be the last.

In: paths and bytes. Out: files that are flushed, or an error; never a half-written file under its
final name. Everything goes through `os`, call by call, so that tests can stop or fail any of them.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from headstart.errors import CheckpointError, InputError, MachineError

_PIECE = 8_000_000


def write_atomically(path: Path, content: bytes) -> None:
    """Write a small file so that it is either the old one or the new one, whatever happens."""
    writing = path.with_name(f".{path.name}.writing")
    with machine_errors(path):
        try:
            writing.unlink(missing_ok=True)
            write_file(writing, [memoryview(content)])
            os.replace(writing, path)
            flush_folder(path.parent)
        except BaseException:
            _unlink_quietly(writing)
            raise


def write_file(path: Path, pieces: Iterable[memoryview]) -> dict[str, object]:
    """Write and flush a new file; returns its size and SHA-256."""
    sha, size = hashlib.sha256(), 0
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    try:
        for piece in pieces:
            sha.update(piece)
            size += len(piece)
            done = 0
            while done < len(piece):
                done += os.write(file, piece[done : done + _PIECE])
        os.fsync(file)
    finally:
        os.close(file)
    return {"size": size, "sha256": sha.hexdigest()}


def read_file(path: Path, limit: int, *, label: str) -> tuple[bytearray, str]:
    """Content and SHA-256 of a regular file; at most one byte more than the limit is read."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise CheckpointError(f"{label} is incomplete: {path.name} is missing") from None
        if error.errno == errno.ELOOP:
            raise CheckpointError(f"{label}: {path.name} is a link, not a file") from None
        raise
    try:
        about = os.fstat(file)
        if not stat.S_ISREG(about.st_mode):
            raise CheckpointError(f"{label}: {path.name} is no regular file")
        content = bytearray(min(about.st_size, limit + 1))
        view, done = memoryview(content), 0
        while done < len(content):
            count = os.readv(file, [view[done : done + _PIECE]])
            if count == 0:
                break
            done += count
        return content[:done] if done < len(content) else content, hashlib.sha256(view).hexdigest()
    finally:
        os.close(file)


def take_lock(folder: Path) -> int:
    """Hold the folder alone until the file returned is closed, or the process ends, however.

    Raises InputError if another process holds it.
    """
    file = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        raise InputError(
            f"another process is training in {folder}; wait for it, or choose another run folder"
        ) from None
    except BaseException:
        os.close(file)
        raise
    return file


def flush_folder(folder: Path) -> None:
    """Bring a folder's list of names to the disk."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def set_aside(path: Path) -> str:
    """Rename to the first free NAME.damaged, NAME.damaged-2, ...; returns that name."""
    number = 1
    while True:
        name = f"{path.name}.damaged" + ("" if number == 1 else f"-{number}")
        if not os.path.lexists(path.with_name(name)):
            break
        number += 1
    try:
        os.rename(path, path.with_name(name))
    except OSError as error:
        return f"{path.name} (renaming it was refused: {error.strerror})"
    return name


def remove(path: Path) -> None:
    """Remove a folder of ours with the files in it, or a link; nothing if there is none."""
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_dir():
        os.unlink(path)
        return
    for name in os.listdir(path):
        remove(path / name)
    os.rmdir(path)


def _unlink_quietly(path: Path) -> None:
    try:
        os.unlink(path)
    except OSError:
        return


@contextmanager
def machine_errors(path: Path) -> Iterator[None]:
    """Turn an OSError inside of the block into a MachineError that names the place."""
    try:
        yield
    except OSError as error:
        raise MachineError(
            f"{path} cannot be written: {error.strerror or error}. What was saved before is "
            "intact; free some space or choose another folder, then give the same command again "
            "to go on"
        ) from error


def expected_space(size: int, *, copies: int, folder: Path) -> None:
    """Raise MachineError unless the disk of `folder` has room for so many checkpoints of a size.

    size: bytes of one checkpoint.
    """
    there = folder
    while not there.exists():
        there = there.parent
    disk = os.statvfs(there)
    free, needed = disk.f_bavail * disk.f_frsize, size * copies
    if free < needed:
        raise MachineError(
            f"the disk of {folder} has {_megabytes(free)} free, but {copies} checkpoints of "
            f"{_megabytes(size)} need {_megabytes(needed)}; free some space, choose another "
            "folder, or keep fewer checkpoints"
        )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
