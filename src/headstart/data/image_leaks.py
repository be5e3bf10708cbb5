"""Test images that are in the corpus or among the training images: the same file, or the same look.

In: decoded images. Out: an `ImageLeakReport`. Three kinds, each image counted as the first that
fits: "exact" (the same bytes), "near" (encoded anew, resized, a little changed), "mirrored".
Candidates are found by a 64-bit hash of brightness steps; each is then compared pixel by pixel at a
small size, so a chance likeness of hashes is no leak. The limits were chosen on planted copies of
product photos, of 64 x 64 and of 32 x 32 photographs (`tests/data/test_image_leaks.py`).

Legend: N images, M test images, S pixels a side.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from headstart.data.augment import resize

ImageLeakKind = Literal["exact", "near", "mirrored"]
KINDS: tuple[ImageLeakKind, ...] = ("exact", "near", "mirrored")

MOST_BITS = 10  # of 64 that may differ between hashes of candidates
THUMBS = (8, 16)  # least and most pixels a side of the thumbnails that are compared: S / 4
LIKENESS = 0.98  # correlation of two thumbnails' pixels, from which they may show the same
MOST_APART = 16.0  # levels by which the most different pixels may differ on average ...
MOST_DIFFERENT = 0.02  # ... and which share of the pixels that is: a sleeve, a letter
FLAT = 2.0  # standard deviation (levels) below which an image shows too little to be compared
STEP = 1.0  # brightness step (levels) below which a neighbour counts as equal
AT_ONCE = 2048
MOST_EXAMPLES = 10


class Pixels(Protocol):
    """Decoded images: `images.Images` or `image_store.ImageStore`."""

    @property
    def pixels(self) -> np.ndarray:
        """(N, 3, S, S) uint8."""
        ...

    @property
    def digests(self) -> np.ndarray:
        """(N, 16) uint8, of the encoded images."""
        ...


@dataclass(frozen=True)
class ImageLeak:
    """One image that is in the test set: its number, the test image's, and how alike they are."""

    number: int
    row: int
    kind: ImageLeakKind
    likeness: float


@dataclass(frozen=True)
class ImageLeakReport:
    """What was found.

    corpus, train: how many of their images are in the test set, by kind. drop: numbers of corpus
    images to leave out; train_drop: of training images. test_rows: test images found anywhere.
    train_in_corpus: training images that are in the corpus: no leak. examples: a few of each.
    """

    images: int
    corpus: dict[ImageLeakKind, int]
    train: dict[ImageLeakKind, int]
    drop: frozenset[int]
    train_drop: frozenset[int]
    test_rows: frozenset[int]
    train_in_corpus: int
    repeated_in_test: int
    examples: tuple[ImageLeak, ...] = ()

    def __str__(self) -> str:
        parts = [
            f"{sum(found.values())} {what} in the test set ({_by_kind(found)})"
            for what, found in (("corpus images", self.corpus), ("training images", self.train))
            if found
        ]
        if not parts:
            return "no test image is in the corpus or among the training images"
        return "; ".join(parts)


def find_image_leaks(
    corpus: Pixels | None = None,
    *,
    test: Pixels,
    train: Pixels | None = None,
    progress: Callable[[int], None] | None = None,
) -> ImageLeakReport:
    """Compare every corpus and training image with all test images.

    progress: called with the number of corpus images done.
    """
    index = _Index(test)
    found = [] if corpus is None else index.look_up(corpus, progress)
    rows = [] if train is None else index.look_up(train, None)
    repeated = index.look_up(test, None, before=True)
    both = 0
    if corpus is not None and train is not None:
        known = {digest.tobytes() for digest in corpus.digests}
        both = sum(digest.tobytes() in known for digest in train.digests)
    return ImageLeakReport(
        0 if corpus is None else len(corpus.digests),
        _counts(found),
        _counts(rows),
        frozenset(leak.number for leak in found),
        frozenset(leak.number for leak in rows),
        frozenset(leak.row for leak in (*found, *rows)),
        both,
        len(repeated),
        (*found[:MOST_EXAMPLES], *rows[:MOST_EXAMPLES]),
    )


def step_hashes(pixels: np.ndarray) -> np.ndarray:
    """(N, 2) uint64: a hash of each image and of its mirror image.

    A bit says whether brightness rises from one cell to its right neighbour, of 8 rows with 9
    cells each. Source: Krawetz 2013 (dHash).
    """
    cells = resize(pixels, (8, 9)).mean(1)  # N 8 9
    steps = np.diff(cells, axis=2)
    bits = np.stack([steps > STEP, (-steps > STEP)[:, :, ::-1]], 1).reshape(-1, 2, 64)
    places = np.uint64(1) << np.arange(64, dtype=np.uint64)
    hashes: np.ndarray = (bits * places).sum(-1, dtype=np.uint64)
    return hashes


def likeness(ones: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Correlation (K,) of pairs of thumbnails (K, 3, H, W); 0 where one of them is flat, or where a
    small part of them is different.
    """
    a, b = (x.reshape(len(x), -1).astype(np.float32) for x in (ones, others))
    most = max(1, round(MOST_DIFFERENT * a.shape[1]))
    apart = np.partition(np.abs(a - b), -most, axis=1)[:, -most:].mean(1)
    a, b = (x - x.mean(1, keepdims=True) for x in (a, b))
    spread_a, spread_b = a.std(1), b.std(1)
    together = (a * b).mean(1) / np.maximum(spread_a * spread_b, 1e-12)
    differ = (spread_a < FLAT) | (spread_b < FLAT) | (apart > MOST_APART)
    return np.where(differ, 0.0, together)


class _Index:
    """The test images, ready for comparison."""

    def __init__(self, test: Pixels):
        self.exact: dict[bytes, int] = {}
        for row, digest in enumerate(test.digests):
            self.exact.setdefault(digest.tobytes(), row)
        side = min(max(test.pixels.shape[-1] // 4, THUMBS[0]), THUMBS[1])
        self.thumb = (side, side)
        parts = [(step_hashes(block), resize(block, self.thumb)) for block in _blocks(test.pixels)]
        self.hashes = np.concatenate([hashes for hashes, _ in parts])[:, 0]
        self.thumbs = np.concatenate([thumbs for _, thumbs in parts])

    def look_up(
        self, images: Pixels, progress: Callable[[int], None] | None, *, before: bool = False
    ) -> list[ImageLeak]:
        """The images that are in the test set. before: only as an earlier test image."""
        found: list[ImageLeak] = []
        begin = 0
        for block in _blocks(images.pixels):
            digests = images.digests[begin : begin + len(block)]
            best: dict[int, ImageLeak] = {}
            for number, digest in enumerate(digests, begin):
                row = self.exact.get(digest.tobytes())
                if row is not None and not (before and row >= number):
                    best[number] = ImageLeak(number, row, "exact", 1.0)
            for leak in self._alike(block, begin, before=before):
                known = best.get(leak.number)
                if known is None or (known.kind != "exact" and leak.likeness > known.likeness):
                    best[leak.number] = leak
            found += [best[number] for number in sorted(best)]
            begin += len(block)
            if progress is not None:
                progress(begin)
        return found

    def _alike(self, block: np.ndarray, begin: int, *, before: bool) -> list[ImageLeak]:
        found: list[ImageLeak] = []
        thumbs: np.ndarray | None = None
        for turned, kind in enumerate(KINDS[1:]):
            apart = ones_in(step_hashes(block)[:, turned, None] ^ self.hashes)
            mine, rows = np.nonzero(apart <= MOST_BITS)
            if before:
                earlier = rows < mine + begin
                mine, rows = mine[earlier], rows[earlier]
            if not len(mine):
                continue
            if thumbs is None:
                thumbs = resize(block, self.thumb)
            for start in range(0, len(mine), AT_ONCE):
                m, r = mine[start : start + AT_ONCE], rows[start : start + AT_ONCE]
                shown = thumbs[m][..., ::-1] if turned else thumbs[m]
                alike = likeness(shown, self.thumbs[r])
                for place in np.flatnonzero(alike >= LIKENESS).tolist():
                    leak = ImageLeak(
                        int(m[place]) + begin, int(r[place]), kind, float(alike[place])
                    )
                    found.append(leak)
        return found


def ones_in(words: np.ndarray) -> np.ndarray:
    """How many bits of each uint64 are 1."""
    if hasattr(np, "bitwise_count"):
        counted: np.ndarray = np.bitwise_count(words)
        return counted
    halves = words[..., None].view(np.uint8)
    table = np.asarray([byte.bit_count() for byte in range(256)], dtype=np.uint8)
    return np.asarray(table[halves].sum(-1, dtype=np.uint8))


def _blocks(pixels: np.ndarray) -> Sequence[np.ndarray]:
    return [pixels[begin : begin + AT_ONCE] for begin in range(0, len(pixels), AT_ONCE)]


def _counts(leaks: Sequence[ImageLeak]) -> dict[ImageLeakKind, int]:
    counted = Counter(leak.kind for leak in leaks)
    return {kind: counted[kind] for kind in KINDS if counted[kind]}


def _by_kind(found: dict[ImageLeakKind, int]) -> str:
    return ", ".join(f"{times} {kind}" for kind, times in found.items())
