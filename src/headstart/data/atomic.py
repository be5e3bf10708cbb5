"""Folders that appear whole or not at all, and files whose bytes are compared with a manifest.

In: a target and something that writes. Out: the folder in its place, or nothing. Which files are in
it and what they mean is the stores' business (`store.py`, `image_store.py`).
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from headstart.errors import CheckpointError, InputError, MachineError

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class FileFacts:
    """What a manifest says of a file."""

    size_bytes: int
    sha256: str


class Sink:
    """A file being written whose size and SHA-256 are known at the end."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._hash, self._size = file, hashlib.sha256(), 0

    def write(self, data: bytes) -> None:
        """Append."""
        self._file.write(data)
        self._hash.update(data)
        self._size += len(data)

    def close(self) -> FileFacts:
        """Bring it to the disk; the file itself stays open."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return FileFacts(self._size, self._hash.hexdigest())


@contextmanager
def new_folder(target: Path, *, what: str, full: str) -> Iterator[Path]:
    """A temporary sibling to write in; it takes the target's place when the block ends well.

    what: the kind of folder ("a token store"): another kind is not overwritten.
    full: what to say when the disk is full. Raises InputError and MachineError for these.
    """
    _refuse_foreign(target, what)
    _remove_leftovers(target)
    partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
    try:
        partial.mkdir(parents=True)
        yield partial
        _swap_in(partial, target)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise MachineError(full) from None
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_manifest(partial: Path, values: Mapping[str, object]) -> None:
    """The manifest, last of all files."""
    with (partial / MANIFEST).open("w", encoding="utf-8") as file:
        file.write(json.dumps(values, indent=2, sort_keys=True) + "\n")
        file.flush()
        os.fsync(file.fileno())
    _sync_folder(partial)


def verify(path: Path, facts: FileFacts, *, fix: str) -> None:
    """Compare a file's bytes with its manifest. Raises CheckpointError that ends with `fix`."""
    if not path.is_file():
        raise CheckpointError(f"{path} is missing.{fix}")
    size = path.stat().st_size
    if size != facts.size_bytes:
        raise CheckpointError(
            f"{path} is damaged: it has {size} bytes instead of {facts.size_bytes}.{fix}"
        )
    if sha256_of(path) != facts.sha256:
        raise CheckpointError(f"{path} is damaged: its SHA-256 is not the one written.{fix}")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _swap_in(partial: Path, target: Path) -> None:
    """Rename the finished folder into place; an older store is only then removed."""
    old = target.with_name(f".{target.name}.old-{os.getpid()}")
    if target.exists():
        target.rename(old)
    partial.rename(target)
    _sync_folder(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _refuse_foreign(target: Path, what: str) -> None:
    if not target.exists():
        return
    if target.is_dir() and ((target / MANIFEST).is_file() or not any(target.iterdir())):
        return
    raise InputError(
        f"{target} exists and is not {what}, so it is not overwritten. "
        "Choose another folder, or remove it."
    )


def _remove_leftovers(target: Path) -> None:
    """Delete what processes that no longer run left beside the store."""
    if not target.parent.is_dir():
        return
    for word in ("partial", "old"):
        for leftover in target.parent.glob(f".{target.name}.{word}-*"):
            process = leftover.name.rpartition("-")[2]
            if process.isdigit() and not _runs(int(process)):
                shutil.rmtree(leftover, ignore_errors=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # another user's process
    return True
