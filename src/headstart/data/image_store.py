"""Decoded images in one memory-mapped file: decoded once, read by every epoch.

In: decoded images of one size. Out: a folder with pixels.bin, digests.bin, origins.jsonl and
manifest.json that appears whole or not at all, and has the same bytes each time it is prepared.

Legend: N images, S pixels a side.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from headstart.data.atomic import MANIFEST, FileFacts, Sink, new_folder, verify, write_manifest
from headstart.errors import CheckpointError, InputError

FORMAT = "headstart-images-1"
DIGEST_BYTES = 16
PIXELS, DIGESTS, ORIGINS = "pixels.bin", "digests.bin", "origins.jsonl"
REPORT_EVERY = 100  # images
_FIX = " Delete the folder and prepare the images again."


class Decoded(Protocol):
    """An image with its place: `images.DecodedPicture`."""

    @property
    def pixels(self) -> np.ndarray:
        """(3, S, S) uint8."""
        ...

    @property
    def digest(self) -> bytes:
        """Of the encoded bytes, DIGEST_BYTES long."""
        ...

    @property
    def origin(self) -> str:
        """File, and row of a table, for people."""
        ...


@dataclass(frozen=True)
class ImageStore:
    """Pixels of all images, read from disk as needed.

    pixels: memory map (N, 3, S, S) uint8. digests: (N, 16) uint8, of the encoded images.
    digest: SHA-256 over size and digests; equal only for equal images in equal order.
    """

    folder: Path
    pixels: np.ndarray
    digests: np.ndarray
    digest: str

    def __len__(self) -> int:
        return len(self.digests)

    @property
    def side(self) -> int:
        """S."""
        return int(self.pixels.shape[-1])

    def origins(self) -> list[str]:
        """(N,) where each image is from."""
        text = (self.folder / ORIGINS).read_text(encoding="utf-8")
        return [str(json.loads(line)) for line in text.splitlines()]

    @staticmethod
    def prepare(
        images: Iterable[Decoded],
        folder: str | Path,
        *,
        side: int,
        progress: Callable[[int], None] | None = None,
    ) -> ImageStore:
        """Write the images into a new store at `folder`, replacing an older store there.

        progress: called with the images done so far, about every hundred.
        Raises InputError when there is no image, or `folder` holds something else; MachineError
        when the disk is full.
        """
        target = Path(folder)
        full = (
            f"the disk of {target} is full while decoding images. Free some space (an image of "
            f"{side} x {side} takes {3 * side * side} bytes), choose a smaller images.size, "
            "or another folder."
        )
        with new_folder(target, what="an image store", full=full) as partial:
            count, files = _write(images, partial, progress)
            write_manifest(
                partial,
                {
                    "format": FORMAT,
                    "side": side,
                    "images": count,
                    "files": {name: vars(facts) for name, facts in files.items()},
                },
            )
        return ImageStore.open(target)

    @staticmethod
    def open(folder: str | Path) -> ImageStore:
        """A prepared store, after every byte of it was compared with its manifest.

        Raises InputError when there is no store, CheckpointError naming the file that is damaged.
        """
        folder = Path(folder)
        side, count, files = _read_manifest(folder)
        for name, facts in files.items():
            verify(folder / name, facts, fix=_FIX)
        shape = (count, 3, side, side)
        if files[PIXELS].size_bytes != int(np.prod(shape)):
            raise CheckpointError(f"{folder / PIXELS} does not agree with {MANIFEST}.{_FIX}")
        pixels = np.memmap(folder / PIXELS, dtype=np.uint8, mode="r", shape=shape)
        digests = np.fromfile(folder / DIGESTS, dtype=np.uint8).reshape(count, DIGEST_BYTES)
        content = f"{FORMAT} {side} {files[DIGESTS].sha256}"
        return ImageStore(folder, pixels, digests, hashlib.sha256(content.encode()).hexdigest())


def _write(
    images: Iterable[Decoded], partial: Path, progress: Callable[[int], None] | None
) -> tuple[int, dict[str, FileFacts]]:
    count = 0
    with (
        (partial / PIXELS).open("wb") as pixels,
        (partial / DIGESTS).open("wb") as digests,
        (partial / ORIGINS).open("wb") as origins,
    ):
        sinks = {PIXELS: Sink(pixels), DIGESTS: Sink(digests), ORIGINS: Sink(origins)}
        for image in images:
            sinks[PIXELS].write(image.pixels.tobytes())
            sinks[DIGESTS].write(image.digest)
            sinks[ORIGINS].write(json.dumps(image.origin).encode("ascii") + b"\n")
            count += 1
            if progress is not None and count % REPORT_EVERY == 0:
                progress(count)
        files = {name: sink.close() for name, sink in sinks.items()}
    if not count:
        raise InputError("there is no image that can be used, so there is nothing to prepare.")
    return count, files


def _read_manifest(folder: Path) -> tuple[int, int, dict[str, FileFacts]]:
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(f"{folder} is not an image store: it has no {MANIFEST}.")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        files = {name: FileFacts(**facts) for name, facts in raw["files"].items()}
        side, count, kind = int(raw["side"]), int(raw["images"]), raw["format"]
    except (ValueError, TypeError, KeyError, AttributeError):
        raise CheckpointError(f"{path} is damaged: it is not the manifest written.{_FIX}") from None
    if kind != FORMAT:
        raise CheckpointError(
            f"{path} is of format {kind!r}, but this version reads {FORMAT!r}.{_FIX}"
        )
    if set(files) != {PIXELS, DIGESTS, ORIGINS}:
        raise CheckpointError(f"{path} lists other files than an image store has.{_FIX}")
    return side, count, files
