"""Images as the rest of the house takes them: one size, decoded in parallel, every record counted.

In: folders and tables of images. Out: `Images` and `LabelledImages` (in memory, or in a store on
disk), with what was set aside and why.
The surprise: an image that cannot be decoded never stops the others. Rows = accepted + set aside.

Legend: N images accepted, S pixels a side.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from headstart.data.corpus import BadRows
from headstart.data.decoding import DecodedPicture, decode_all
from headstart.data.image_files import (
    ImageSource,
    Picture,
    find_images,
    read_pictures,
)
from headstart.data.image_store import DIGEST_BYTES, ImageStore
from headstart.data.labels import (
    NO_VALUE,
    Kind,
    as_labels,
    class_warnings,
    kind_of,
    no_value_among_numbers,
    separator_of,
)
from headstart.data.picture import Fault, Oddity, Raster, decode
from headstart.data.record import Problem, Row, problem, shown, stop_at
from headstart.errors import InputError

SHOWN_DOUBLES = 20

_REMARKS: dict[Oddity, tuple[int, str, str]] = {
    "animated": (51, "have several frames; the first is used", "Extract frames if more matter."),
    "thin": (52, "are 20 or more times longer than wide", "Cut them, or leave them out."),
    "tiny": (52, "have less than 8 pixels a side", "Leave them out if they show nothing."),
    "located": (
        62,
        "say in their EXIF block where they were taken",
        "No model learns it, but whoever gets the files does: remove the block.",
    ),
    "renamed": (53, "hold another format than their name says", "Nothing: contents decide."),
}


@dataclass(frozen=True)
class Images:
    """Decoded images.

    pixels: (N, 3, S, S) uint8, perhaps a memory map. digests: (N, 16) uint8 of the encoded images.
    origins: (N,) where each is from. labels, captions: (N,) as text, empty where there are none.
    quarantined, rejected: records set aside. problems: all of them, and warnings.
    notes: how each source is read, for echoing. store: on disk, if the images are there.
    """

    pixels: np.ndarray
    digests: np.ndarray
    origins: tuple[str, ...]
    labels: tuple[str, ...]
    captions: tuple[tuple[str, ...], ...]
    quarantined: int = 0
    rejected: int = 0
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    store: ImageStore | None = None

    def __len__(self) -> int:
        return len(self.digests)

    @property
    def rows(self) -> int:
        """Records in the sources."""
        return len(self) + self.quarantined + self.rejected

    def take(self, chosen: np.ndarray) -> Images:
        """The chosen images, in the order given, in memory."""
        numbers = np.asarray(chosen, dtype=np.int64)
        pick = numbers.tolist()
        return Images(
            np.asarray(self.pixels[numbers]),
            self.digests[numbers],
            tuple(self.origins[n] for n in pick),
            tuple(self.labels[n] for n in pick),
            tuple(self.captions[n] for n in pick),
            notes=self.notes,
        )


@dataclass(frozen=True)
class LabelledImages:
    """Images with labels.

    labels: (N,) int64 class numbers; (N, C) float32 of 0 and 1 for multilabel; (N,) float32 for
        numbers. classes: names by class number, empty for numbers. source: the file or folder.
    note: what was inferred.
    """

    images: Images
    labels: np.ndarray
    kind: Kind
    classes: tuple[str, ...]
    source: str
    problems: tuple[Problem, ...] = ()
    note: str = ""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def rows(self) -> int:
        """Records in the source."""
        return self.images.rows

    @property
    def quarantined(self) -> int:
        """Records that were set aside."""
        return self.images.quarantined + self.images.rejected

    def take(self, chosen: np.ndarray) -> LabelledImages:
        """The chosen images, in the order given; classes stay as they are."""
        numbers = np.asarray(chosen, dtype=np.int64)
        return replace(self, images=self.images.take(numbers), labels=self.labels[numbers])


def load_images(
    paths: str | Path | Sequence[str | Path],
    *,
    side: int,
    image: str | None = None,
    label: str | None = None,
    caption: str | None = None,
    labelled: bool = False,
    captioned: bool = False,
    encoding: str | None = None,
    bad_rows: BadRows = "skip",
    place: str | Path | None = None,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Images:
    """Decode all images under the paths to side x side pixels.

    image, label, caption: columns of tables. labelled, captioned: images without a label or a
        caption are set aside.
    encoding: of tables, where they are neither UTF-8 nor marked.
    bad_rows: "stop" raises InputError where a record is rejected; damaged images never stop it.
    place: a folder for the pixels, where they are many; else they are held in memory.
    progress: called with images done and the most there can be.
    Raises InputError when there is no image that can be used.
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    sources = find_images(
        given, image=image, label=label, caption=caption, labelled=labelled, encoding=encoding
    )
    most = sum(source.count for source in sources)
    tally = _Tally()
    items = read_pictures(sources)
    items = _with_label(items) if labelled else items
    items = _with_caption(items) if captioned else items
    good = tally.sift(decode_all(items, side=side, threads=threads))
    if place is None:
        pixels, digests = _in_memory(good, most, side, progress)
        store = None
    else:
        report = None if progress is None else lambda done: progress(done, most)
        try:
            store = ImageStore.prepare(good, place, side=side, progress=report)
            pixels, digests = store.pixels, store.digests
        except InputError:
            stop_at([one for one in tally.problems if one.outcome != "warn"])
            raise
    problems = [*tally.problems, *tally.remarks(sources)]
    if bad_rows == "stop":
        stop_at([one for one in problems if one.outcome == "reject"])
    _stop_without_images(tally, sources)
    if progress is not None:
        progress(most, most)
    return Images(
        pixels,
        digests,
        tuple(tally.origins),
        tuple(tally.labels),
        tuple(tally.captions),
        tally.outcomes["quarantine"],
        tally.outcomes["reject"],
        tuple(problems),
        tuple(source.note for source in sources),
        store,
    )


def load_labelled_images(
    paths: str | Path | Sequence[str | Path],
    *,
    side: int,
    image: str | None = None,
    label: str | None = None,
    kind: Kind | Literal["auto"] = "auto",
    classes: Sequence[str] | None = None,
    encoding: str | None = None,
    bad_rows: BadRows = "skip",
    place: str | Path | None = None,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> LabelledImages:
    """Images with a class folder or a label column each; kind and classes as in `load_labelled`.

    Raises InputError that lists up to twenty problems.
    """
    images = load_images(
        paths,
        side=side,
        image=image,
        label=label,
        labelled=True,
        encoding=encoding,
        bad_rows=bad_rows,
        place=place,
        threads=threads,
        progress=progress,
    )
    values = list(images.labels)
    chosen, separator = kind_of(values) if kind == "auto" else (kind, separator_of(values))
    kept = [
        (Row(origin, 0, {}), "", value)
        for origin, value in zip(images.origins, images.labels, strict=True)
    ]
    labels, names, wrong = as_labels(kept, chosen, separator, classes, label or "")
    stop_at(wrong)
    source = _source_of(paths)
    problems = [*images.problems, *contradictions(images)]
    mixed: list[Problem] = []
    if kind == "auto" and classes is None and chosen == "classes":
        places = [row.source for row, _, value in kept if value.casefold() in NO_VALUE]
        mixed = no_value_among_numbers(values, places, source, label or "")
        problems = mixed + problems
    if chosen != "number" and not mixed:
        problems += class_warnings(values, separator, chosen, source, label or "")
    aside = images.quarantined + images.rejected
    note = (
        "; ".join(images.notes)
        + f": {chosen}"
        + (f" ({len(names)})" if names else "")
        + f", {len(images)} images"
        + (f", {aside} set aside" if aside else "")
    )
    return LabelledImages(images, labels, chosen, tuple(names), source, tuple(problems), note)


def usual_side(
    paths: str | Path | Sequence[str | Path],
    *,
    image: str | None = None,
    encoding: str | None = None,
    sample: int = 64,
) -> int:
    """The middle one of the shorter sides (pixels) of the first images.

    Raises InputError when none of them can be used.
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    sources = find_images(given, image=image, encoding=encoding)
    sides: list[int] = []
    problems: list[Problem] = []
    for item in read_pictures(sources):
        data = item if isinstance(item, Problem) else item.read()
        found = data if isinstance(data, Problem) else decode(data)
        if isinstance(found, Raster):
            sides.append(min(found.rgb.shape[:2]))
        elif isinstance(found, Problem):
            problems.append(found)
        elif isinstance(item, Picture):
            problems.append(item.problem(found))
        if len(sides) >= sample:
            break
    if not sides:
        stop_at([one for one in problems if one.outcome != "warn"])
        raise InputError(f"{sources[0].path}: there is no image that can be used")
    return int(np.median(sides))


def contradictions(images: Images) -> list[Problem]:
    """Warnings about the same image file under two labels."""
    seen: dict[bytes, int] = {}
    found: list[Problem] = []
    for number, row in enumerate(images.digests):
        first = seen.setdefault(row.tobytes(), number)
        if images.labels[first] != images.labels[number]:
            mine, other = images.labels[number], images.labels[first]
            message = (
                f"the same image has the label {shown(mine)!r} here and {shown(other)!r} in "
                f"{shown(images.origins[first], most=400)}."
            )
            origin = images.origins[number]
            found.append(problem(56, "warn", source=origin, message=message, fix="Keep one."))
    return found[:SHOWN_DOUBLES]


@dataclass
class _Tally:
    """What became of the records so far."""

    outcomes: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    origins: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    captions: list[tuple[str, ...]] = field(default_factory=list)
    odd: Counter[Oddity] = field(default_factory=Counter)
    first: dict[Oddity, str] = field(default_factory=dict)

    def sift(self, items: Iterable[DecodedPicture | Problem]) -> Iterator[DecodedPicture]:
        """Pass on the decoded ones, remember all."""
        for item in items:
            if isinstance(item, Problem):
                self.problems.append(item)
                self.outcomes[item.outcome] += 1
                continue
            self.origins.append(item.origin)
            self.labels.append(item.picture.label)
            self.captions.append(item.picture.captions)
            for oddity in sorted(item.oddities):
                self.odd[oddity] += 1
                self.first.setdefault(oddity, item.origin)
            yield item

    def remarks(self, sources: Sequence[ImageSource]) -> Iterator[Problem]:
        """One warning for each kind of oddity."""
        for oddity, times in sorted(self.odd.items()):
            number, what, fix = _REMARKS[oddity]
            first = shown(self.first[oddity], most=400)
            message = f"{times} images {what}, first {first}."
            yield problem(number, "warn", source=str(sources[0].path), message=message, fix=fix)


def _with_label(items: Iterable[Picture | Problem]) -> Iterator[Picture | Problem]:
    for item in items:
        if isinstance(item, Problem) or item.label:
            yield item
        elif item.line:
            fix = "Fill it in, or remove the row."
            yield item.problem(Fault(23, "quarantine", "the label is empty.", fix))
        else:
            message = "the image lies beside the class folders, so it has no class."
            fix = "Move it into the folder of its class."
            yield item.problem(Fault(55, "quarantine", message, fix))


def _with_caption(items: Iterable[Picture | Problem]) -> Iterator[Picture | Problem]:
    for item in items:
        if isinstance(item, Problem) or item.captions:
            yield item
        else:
            fix = "Fill it in, or remove the row."
            yield item.problem(Fault(48, "quarantine", "the image has no caption.", fix))


def _in_memory(
    images: Iterable[DecodedPicture],
    most: int,
    side: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[np.ndarray, np.ndarray]:
    pixels = np.empty((most, 3, side, side), dtype=np.uint8)
    digests = np.empty((most, DIGEST_BYTES), dtype=np.uint8)
    count = 0
    for image in images:
        pixels[count] = image.pixels
        digests[count] = np.frombuffer(image.digest, dtype=np.uint8)
        count += 1
        if progress is not None and count % 100 == 0:
            progress(count, most)
    return pixels[:count], digests[:count]


def _stop_without_images(tally: _Tally, sources: Sequence[ImageSource]) -> None:
    if tally.origins:
        return
    stop_at([one for one in tally.problems if one.outcome != "warn"])
    raise InputError(f"{sources[0].path}: there is no image that can be used")


def _source_of(paths: str | Path | Sequence[str | Path]) -> str:
    return str(paths if isinstance(paths, str | Path) else paths[0])
