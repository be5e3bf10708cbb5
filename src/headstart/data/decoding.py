"""Pictures decoded to one size, in threads and in order.

In: encoded pictures and problems. Out: pixels with their place and digest, and problems, in the
order given. A picture that cannot be decoded becomes a problem and never stops the others.

Legend: S pixels a side.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Lock

import numpy as np

from headstart.data.image_files import Picture
from headstart.data.image_store import DIGEST_BYTES
from headstart.data.picture import DAMAGE, Fault, Oddity, decode, squared
from headstart.data.record import Problem

MOST_THREADS = 8
AHEAD = 4  # images in work a thread
_SUFFIXES = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **{".png": "PNG", ".webp": "WebP", ".bmp": "BMP", ".gif": "GIF"},
}


@dataclass(frozen=True)
class DecodedPicture:
    """A picture with its pixels, (3, S, S) uint8, and a digest of its encoded bytes."""

    picture: Picture
    pixels: np.ndarray
    digest: bytes
    oddities: frozenset[Oddity]

    @property
    def origin(self) -> str:
        """File, and row of a table."""
        where = self.picture
        return f"{where.source}:{where.line}" if where.line else where.source


def decode_all(
    items: Iterable[Picture | Problem], *, side: int, threads: int | None = None
) -> Iterator[DecodedPicture | Problem]:
    """Each picture decoded and brought to side x side, in the order given.

    Reading and decoding runs in threads (Pillow lets go of the interpreter); a few pictures a
    thread are in memory at a time.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    workers = threads or min(MOST_THREADS, cores or 1)
    turn = Lock()
    waiting: deque[Future[DecodedPicture | Problem] | Problem] = deque()
    with ThreadPoolExecutor(workers, "headstart-decode") as pool:
        for item in items:
            waiting.append(
                item if isinstance(item, Problem) else pool.submit(_decode, item, side, turn)
            )
            if len(waiting) > AHEAD * workers:
                yield _ready(waiting.popleft())
        while waiting:
            yield _ready(waiting.popleft())


def _ready(item: Future[DecodedPicture | Problem] | Problem) -> DecodedPicture | Problem:
    return item if isinstance(item, Problem) else item.result()


def _decode(picture: Picture, side: int, turn: Lock) -> DecodedPicture | Problem:
    data = picture.read()
    if isinstance(data, Problem):
        return data
    found = decode(data, side=side, turn=turn)
    if isinstance(found, Fault):
        return picture.problem(found)
    try:
        pixels = squared(found.rgb, side)
    except DAMAGE as error:
        fix = "Leave it out."
        return picture.problem(Fault(42, "quarantine", f"cannot be resized ({error}).", fix))
    digest = hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()
    suffix = "" if picture.path is None else picture.path.suffix.lower()
    renamed = suffix in _SUFFIXES and _SUFFIXES[suffix] != found.format
    odd: frozenset[Oddity] = found.oddities | (frozenset(("renamed",)) if renamed else frozenset())
    return DecodedPicture(replace(picture, data=None), pixels, digest, odd)
