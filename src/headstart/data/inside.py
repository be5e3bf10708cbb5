"""A file of a model folder: in its place, of its kind, and not too large, before it is opened.

In: a path. Out: nothing, or why it is not opened. A link that leads out of the folder is refused,
except into the blob store of the Hugging Face cache that the folder itself lies in.
"""

from __future__ import annotations

from pathlib import Path

from headstart.errors import CheckpointError


def demand_inside(path: Path, *, most: int | None = None) -> None:
    """Raise CheckpointError unless it is a regular file of its folder, of at most `most` bytes."""
    real, folder = path.resolve(), path.parent.resolve()
    store = folder.parent.parent / "blobs"  # models--x--y/snapshots/REVISION -> models--x--y/blobs
    inside = real.is_relative_to(folder) or (
        folder.parent.name == "snapshots" and real.is_relative_to(store)
    )
    if not inside:
        raise CheckpointError(
            f"{path}: a link that leads out of the folder, to {real}. Put the file itself there"
        )
    if not real.is_file():
        what = "no regular file" if real.exists() else "no such file"
        raise CheckpointError(f"{path}: {what}. Copy or download the folder again")
    if most is not None and real.stat().st_size > most:
        raise CheckpointError(f"{path}: larger than {most} bytes, which no {path.name} needs")
