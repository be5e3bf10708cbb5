"""digests.json: the SHA-256 of every file of a model folder that a run wrote.

Weights in safetensors carry no check sum of their own: one flipped bit of them would load in
silence. Who changes a file by hand removes digests.json. README.md is for people and left out.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from headstart.data.atomic import sha256_of
from headstart.data.inside import demand_inside
from headstart.errors import CheckpointError
from headstart.families.fields import read_fields, write_json

DIGESTS = "digests.json"
_SEALED = (".json", ".safetensors")


def seal(folder: Path) -> None:
    """Write digests.json, last."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in _SEALED)
    found = {
        path.relative_to(folder).as_posix(): sha256_of(path)
        for path in files
        if path.name != DIGESTS
    }
    write_json(folder / DIGESTS, found)


def verify(folder: Path) -> None:
    """Raise CheckpointError if a file is missing or not the one that was written.

    A folder without digests.json is somebody else's, and has nothing to compare with.
    """
    if not (folder / DIGESTS).exists():
        return
    listed = read_fields(folder / DIGESTS)
    for name, expected in listed.values.items():
        if Path(name).is_absolute() or ".." in Path(name).parts or not isinstance(expected, str):
            raise listed.refused(name, expected, "the SHA-256 of a file in the same folder")
        demand_inside(folder / name)
        found = sha256_of(folder / name)
        if found != expected:
            raise CheckpointError(
                f"{folder / name} is damaged: it has SHA-256 {found[:12]}, expected "
                f"{expected[:12]}. Copy the folder again; if you changed the file yourself, remove "
                f"{DIGESTS}"
            )


def folder_digest(folder: Path) -> str:
    """SHA-256 of all that `seal` would list: of whatever decides what a model answers."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in _SEALED)
    sha = hashlib.sha256()
    for path in files:
        if path.name != DIGESTS:
            sha.update(f"{path.relative_to(folder).as_posix()} {sha256_of(path)}\n".encode())
    return sha.hexdigest()
