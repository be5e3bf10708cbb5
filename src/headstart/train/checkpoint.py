"""Checkpoints as folders that appear whole, verify themselves, and are never lost.

In: named tensors and a small JSON state. Out: `step-000500/` with a manifest that holds the
SHA-256 and size of every file. A checkpoint is written to a hidden neighbour, flushed to the disk,
renamed, read again, and only then may an older one go. The newest is the highest step that
verifies; a damaged one is set aside, never deleted. No pickle, and no file outside of the folder.
What is not promised: detecting someone who rewrites the manifest too, or a disk that lies.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from headstart.errors import CheckpointError, MachineError
from headstart.train.disk import (
    flush_folder,
    machine_errors,
    read_file,
    remove,
    set_aside,
    take_lock,
    write_file,
)
from headstart.train.tensorfile import decode, encode, parse_json

FORMAT = 1
MANIFEST = "manifest.json"
STATE = "trainer.json"
_TENSORS = ".safetensors"
_NAME = re.compile(r"(step|best)-(\d{6,})")
_LEFTOVER = re.compile(r"\.((?:step|best)-\d{6,})\.(writing|going|old)")
_MAX_JSON = 64_000_000

State = Mapping[str, object]


@dataclass(frozen=True)
class Checkpoint:
    """What a verified checkpoint holds.

    tensors: by file ("weights", "optimizer"), then by name. state: the trainer's numbers.
    """

    step: int
    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, object]


class CheckpointFolder:
    """The checkpoints of one run, held by one process at a time.

    Use as a context manager: entering takes the lock and removes what a killed process left.
    Messages about damaged checkpoints go to `note`.
    """

    def __init__(self, folder: Path, *, note: Callable[[str], None] = lambda _: None):
        self.folder = folder
        self.note = note
        self._lock: int | None = None

    def __enter__(self) -> CheckpointFolder:
        with machine_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = take_lock(self.folder)
            try:
                self._recover()
            except BaseException:
                self.__exit__()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            lock, self._lock = self._lock, None
            with suppress(OSError):  # the lock is gone in any case
                os.close(lock)

    def steps(self, kind: str = "step") -> list[int]:
        """Steps with a checkpoint folder, verified or not, in rising order."""
        with machine_errors(self.folder):
            names = os.listdir(self.folder) if self.folder.is_dir() else []
        found = [_NAME.fullmatch(name) for name in names]
        return sorted(int(match[2]) for match in found if match and match[1] == kind)

    def path(self, step: int, kind: str = "step") -> Path:
        """Where the checkpoint of a step is or would be."""
        return self.folder / f"{kind}-{step:06d}"

    def save(
        self,
        step: int,
        tensors: Mapping[str, Mapping[str, Tensor]],
        state: State,
        *,
        digest: str,
        kind: str = "step",
    ) -> Path:
        """Write the checkpoint of a step, and read it again.

        digest: of the run's settings. Raises MachineError if the machine refuses; then whatever
        was there before is still there, and nothing half-written is.
        """
        assert self._lock is not None, "a checkpoint is saved without the lock"
        final = self.path(step, kind)
        writing = self.folder / f".{final.name}.writing"
        with machine_errors(final):
            try:
                remove(writing)
                _write(writing, step, tensors, state, digest)
                _demand_verified(writing, final.name)
                self._replace(writing, final)
            except BaseException:
                self._clean_up(writing, final)
                raise
        return final

    def prune(self, keep: Iterable[int], *, kind: str = "step") -> None:
        """Remove the checkpoints of this kind but for the steps to keep."""
        kept = set(keep)
        with machine_errors(self.folder):
            for step in self.steps(kind):
                if step not in kept:
                    self._discard(self.path(step, kind))

    def newest(self, *, below: int | None = None) -> Checkpoint | None:
        """The checkpoint of the highest step that verifies; None if there never was one.

        below: only steps up to this one count. Damaged ones on the way are set aside and noted.
        Raises CheckpointError if there are some and none verifies.
        """
        damaged: list[tuple[int, str]] = []
        for step in reversed(self.steps()):
            if below is not None and step > below:
                continue
            try:
                found = read(self.path(step))
            except CheckpointError as error:
                damaged.append((step, str(error)))
                continue
            self._report(damaged, found.step)
            return found
        if damaged:
            self._report(damaged, None)
            raise CheckpointError(
                f"none of the {len(damaged)} checkpoints in {self.folder} verifies; the newest: "
                f"{damaged[0][1]}. They are set aside as *.damaged; to train from the beginning, "
                "choose another run folder"
            )
        return None

    def _report(self, damaged: list[tuple[int, str]], used: int | None) -> None:
        for step, message in damaged:
            aside = set_aside(self.path(step))
            went_on = (
                "" if used is None else f"; going on from step {used}: {step - used} steps are lost"
            )
            self.note(f"{message}; it is set aside as {aside}{went_on}")

    def _recover(self) -> None:
        """Undo a replacement that was cut short, and remove what a killed process left."""
        for name in sorted(os.listdir(self.folder)):
            match = _LEFTOVER.fullmatch(name)
            if match and match[2] == "old" and not os.path.lexists(self.folder / match[1]):
                os.rename(self.folder / name, self.folder / match[1])
            elif match:
                remove(self.folder / name)

    def _replace(self, writing: Path, final: Path) -> None:
        old = self.folder / f".{final.name}.old"
        if os.path.lexists(final):
            remove(old)
            os.rename(final, old)
        os.rename(writing, final)
        flush_folder(self.folder)
        remove(old)

    def _clean_up(self, writing: Path, final: Path) -> None:
        try:
            old = self.folder / f".{final.name}.old"
            if os.path.lexists(old) and not os.path.lexists(final):
                os.rename(old, final)
            remove(writing)
        except OSError:
            return  # the next process that takes the lock does it

    def _discard(self, path: Path) -> None:
        going = self.folder / f".{path.name}.going"
        remove(going)
        os.rename(path, going)
        remove(going)


def read(path: Path, *, name: str = "") -> Checkpoint:
    """Read and verify one checkpoint folder.

    name: what the folder must be called, if not as it is.
    Every file is opened once, and what was hashed is what is used. Raises CheckpointError that
    names the file, and the digest expected and found.
    """
    try:
        return _read(path, name or path.name)
    except OSError as error:
        raise CheckpointError(f"checkpoint {path.name} cannot be read: {error.strerror}") from None


def digest_of(values: Mapping[str, object]) -> str:
    """SHA-256 of a mapping, independent of its order."""
    return hashlib.sha256(_canonical(values)).hexdigest()


def _write(
    folder: Path,
    step: int,
    tensors: Mapping[str, Mapping[str, Tensor]],
    state: State,
    digest: str,
) -> None:
    os.mkdir(folder)
    files: dict[str, object] = {}
    for name in sorted(tensors):
        files[name + _TENSORS] = write_file(folder / (name + _TENSORS), encode(tensors[name]))
    files[STATE] = write_file(folder / STATE, [memoryview(_canonical(state))])
    body = {"format": FORMAT, "step": step, "settings": digest, "files": files}
    manifest = {"body": body, "sha256": digest_of(body)}
    write_file(folder / MANIFEST, [memoryview(_canonical(manifest))])
    flush_folder(folder)


def _demand_verified(path: Path, name: str) -> None:
    try:
        read(path, name=name)
    except CheckpointError as error:
        raise MachineError(
            f"{error}: it was written a moment ago, so this disk or memory cannot be trusted; the "
            "checkpoint before it is intact"
        ) from None


def _read(path: Path, name: str) -> Checkpoint:
    label = f"checkpoint {name}"
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        raise CheckpointError(f"{label} is no folder")
    manifest, _ = read_file(path / MANIFEST, _MAX_JSON, label=label)
    body = _manifest_body(bytes(manifest), label=label)
    step, files = body.get("step"), body.get("files")
    match = _NAME.fullmatch(name)
    if not isinstance(step, int) or match is None or int(match[2]) != step:
        raise CheckpointError(f"{label} was renamed: its manifest is of step {step}")
    if not isinstance(files, dict):
        raise CheckpointError(f"{label}: {MANIFEST} lists no files")
    extra = sorted(set(os.listdir(path)) - set(files) - {MANIFEST})
    if extra:
        raise CheckpointError(f"{label} holds a file that its manifest does not know: {extra[0]!r}")
    tensors: dict[str, dict[str, Tensor]] = {}
    state: dict[str, object] = {}
    for file, entry in files.items():
        content = _verified(path, file, entry, label=label)
        if file.endswith(_TENSORS):
            tensors[file.removesuffix(_TENSORS)] = decode(content, source=f"{label}: {file}")
        elif file == STATE:
            state = parse_json(bytes(content), source=f"{label}: {file}")
    return Checkpoint(step, tensors, state)


def _manifest_body(content: bytes, *, label: str) -> dict[str, object]:
    manifest = parse_json(content, source=f"{label}: {MANIFEST}")
    body, digest = manifest.get("body"), manifest.get("sha256")
    if not isinstance(body, dict) or set(manifest) != {"body", "sha256"}:
        raise CheckpointError(f"{label}: {MANIFEST} is not one of ours")
    found = digest_of(body)
    if found != digest or _canonical(manifest) != content:
        raise CheckpointError(
            f"{label} is damaged: {MANIFEST} has SHA-256 {found[:12]}, expected {str(digest)[:12]}"
        )
    if body.get("format") != FORMAT:
        raise CheckpointError(
            f"{label} has format {body.get('format')}, and this version reads format {FORMAT}; "
            "use the version of headstart that wrote it"
        )
    return body


def _verified(path: Path, name: str, entry: object, *, label: str) -> bytearray:
    if os.sep in name or name in (".", "..") or not isinstance(entry, dict):
        raise CheckpointError(f"{label}: {MANIFEST} lists a file of a wrong name")
    size, expected = entry.get("size"), entry.get("sha256")
    if not isinstance(size, int):
        raise CheckpointError(f"{label}: {MANIFEST} gives {name} no size")
    content, found = read_file(path / name, size, label=label)
    if len(content) != size:
        raise CheckpointError(
            f"{label} is damaged: {name} has {len(content)} bytes or more, expected {size}"
            if len(content) > size
            else f"{label} is damaged: {name} has {len(content)} bytes, expected {size}"
        )
    if found != expected:
        raise CheckpointError(
            f"{label} is damaged: {name} has SHA-256 {found[:12]}, expected {str(expected)[:12]}"
        )
    return content


def _canonical(values: Mapping[str, object]) -> bytes:
    return json.dumps(values, sort_keys=True, indent=1, allow_nan=False).encode() + b"\n"
