"""Images with captions: several captions an image, each image once.

In: tables with a column of images and one of captions. Out: `Pairs`, and warnings about captions
that say nothing. Rows of the same image file are one image with all of their captions.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from headstart.data.corpus import BadRows
from headstart.data.image_columns import is_image_name
from headstart.data.images import Images, load_images
from headstart.data.personal import PersonalCounts, Where
from headstart.data.record import Problem, problem, quoted, shown

OFTEN = (20, 0.01)  # images, and share of them, from which one caption on them is remarked on
_EMPTY_WORDS = frozenset(
    ("image", "img", "photo", "picture", "null", "none", "nan", "n/a", "untitled", "图片", "图像")
)
_ADDRESS = re.compile(r"\s*(https?://|www\.)\S+\s*", re.IGNORECASE)
_MARKUP = re.compile(r"</?[a-z][a-z0-9]*[ />]|&(#\d+|[a-z]+);", re.IGNORECASE)


@dataclass(frozen=True)
class Pairs:
    """Images, each with at least one caption (`images.captions`).

    numbers: (N,) which decoded image each of them is; merged: rows whose image was there before.
    problems: of the images, and warnings. note: what was found.
    """

    images: Images
    numbers: np.ndarray
    merged: int
    problems: tuple[Problem, ...]
    note: str

    def __len__(self) -> int:
        return len(self.images)


def load_pairs(
    paths: str | Path | Sequence[str | Path],
    *,
    side: int,
    image: str | None = None,
    caption: str | None = None,
    encoding: str | None = None,
    bad_rows: BadRows = "skip",
    place: str | Path | None = None,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Pairs:
    """Decode the images of tables and gather their captions; those without one are set aside.

    place: a folder for the pixels of all rows; those of rows that repeat an image are only there.
    Raises InputError when there is no image with a caption.
    """
    found = load_images(
        paths,
        side=side,
        image=image,
        caption=caption,
        captioned=True,
        encoding=encoding,
        bad_rows=bad_rows,
        place=place,
        threads=threads,
        progress=progress,
    )
    images, numbers = _merged(found)
    merged = len(found) - len(images)
    source = str(paths if isinstance(paths, str | Path) else paths[0])
    problems = (*images.problems, *caption_remarks(images, source))
    count = sum(len(captions) for captions in images.captions)
    note = f"{'; '.join(images.notes)}: {len(images)} images with {count} captions" + (
        f" ({merged} rows repeat an image)" if merged else ""
    )
    return Pairs(images, numbers, merged, problems, note)


def _merged(images: Images) -> tuple[Images, np.ndarray]:
    """Each image once, with all captions of its rows in their order, each once; and which it is."""
    captions: dict[bytes, dict[str, None]] = {}
    first: dict[bytes, int] = {}
    for number, digest in enumerate(images.digests):
        key = digest.tobytes()
        first.setdefault(key, number)
        captions.setdefault(key, {}).update(dict.fromkeys(images.captions[number]))
    if len(first) == len(images):
        return images, np.arange(len(images))
    numbers = np.fromiter(first.values(), np.int64, len(first))
    kept = images.take(numbers)
    merged = replace(
        kept,
        captions=tuple(tuple(captions[key]) for key in first),
        quarantined=images.quarantined,
        rejected=images.rejected,
        problems=images.problems,
    )
    return merged, numbers


def caption_remarks(images: Images, source: str) -> Iterator[Problem]:
    """One warning for each way in which captions say nothing."""
    checks: tuple[tuple[int, Callable[[str], bool], str, str], ...] = (
        (57, _says_nothing, "are a file name, an address or a word like 'image'", "Describe them."),
        (59, _has_markup, "hold HTML", "Export plain text."),
    )
    for number, check, what, fix in checks:
        hits = [n for n, captions in enumerate(images.captions) if any(map(check, captions))]
        if hits:
            text = next(filter(check, images.captions[hits[0]]))
            where = shown(images.origins[hits[0]], most=400)
            message = f"captions of {len(hits)} images {what}, first {quoted(text)} in {where}."
            yield problem(number, "warn", source=source, message=message, fix=fix)
    personal: PersonalCounts[str] = PersonalCounts()
    for origin, captions in zip(images.origins, images.captions, strict=True):
        personal.look("\n".join(captions), origin)
    yield from personal.problems(
        source,
        "images have captions that",
        where=lambda origin: Where(said=f"in {shown(origin, most=400)}"),
    )
    counts = Counter(caption for captions in images.captions for caption in captions)
    for caption, times in counts.most_common(3):
        if times > max(OFTEN[0], OFTEN[1] * len(images)):
            message = f"the caption {quoted(caption)} stands on {times} images."
            fix = "If it says nothing about them, leave it out."
            yield problem(58, "warn", source=source, message=message, fix=fix)


def _says_nothing(caption: str) -> bool:
    plain = caption.strip().casefold()
    return plain in _EMPTY_WORDS or is_image_name(plain) or bool(_ADDRESS.fullmatch(caption))


def _has_markup(caption: str) -> bool:
    return bool(_MARKUP.search(caption))
