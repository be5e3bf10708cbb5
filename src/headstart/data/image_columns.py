"""Which columns of a table hold images, labels and captions: as named, else by names and values.

In: a table's first rows. Out: `ImageColumns`. Opens nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from headstart.data.columns import nearest
from headstart.data.delimited import IMAGE_NAMES, LABEL_NAMES, TEXT_NAMES
from headstart.data.inline_images import is_inline
from headstart.data.record import Row, shown
from headstart.errors import InputError

IMAGE_SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff")
)
CAPTION_NAMES = (
    *("caption", "captions", "description", "alt", "alt_text", "title", "标题", "描述", "说明"),
    *TEXT_NAMES,
)
_NO_LABEL = frozenset(("id", "idx", "index", "uid", "guid", "split", "width", "height"))


@dataclass(frozen=True)
class ImageColumns:
    """Names of the columns; "" for one that there is not. blob: the image column holds bytes.

    encoding: of a table of text, where it is neither UTF-8 nor marked.
    """

    image: str = ""
    label: str = ""
    caption: str = ""
    blob: bool = False
    encoding: str | None = None

    def named(self) -> Iterator[tuple[str, str]]:
        """(what, column) for people."""
        yield "images", self.image
        yield "label", self.label
        yield "captions", self.caption


def is_image_name(name: str) -> bool:
    """Whether a file of this name should hold an image."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def image_column(rows: Sequence[Row], columns: Sequence[str], blobs: Sequence[str]) -> str | None:
    """The column of images: of bytes, else of paths that end like images or of images in base64;
    by name if several.

    blobs: the columns of bytes.
    """
    texts = {name for name in columns if name.strip().casefold() in CAPTION_NAMES}
    paths = [name for name in columns if name not in texts and _holds_paths(rows, name)]
    for group in (list(blobs), paths):
        named = {name.strip().casefold(): name for name in reversed(group)}
        known = next((named[name] for name in IMAGE_NAMES if name in named), None)
        if known is not None or len(group) == 1:
            return known if known is not None else group[0]
    return None


def find_image_columns(
    path: Path,
    rows: Sequence[Row],
    columns: Sequence[str],
    blobs: Sequence[str],
    wanted: ImageColumns,
    *,
    labelled: bool,
) -> ImageColumns:
    """All columns of a table.

    wanted: those that were named. labelled: a label is needed.
    Raises InputError that lists the columns where one is missing or cannot be told.
    """
    every = [*blobs, *columns]
    for name in (wanted.image, wanted.label, wanted.caption):
        if name and name not in every:
            near = nearest(name, every)
            hint = f" Did you mean '{shown(near)}'?" if near else ""
            raise InputError(
                f"{path}: no column '{shown(name)}' (found: {', '.join(map(shown, every))}).{hint}"
            )
    image = wanted.image or image_column(rows, columns, blobs)
    if image is None:
        raise InputError(
            f"{path}: no column holds images or paths of images (found: "
            f"{', '.join(map(shown, every))}). Name it with --set images.column=COLUMN"
        )
    rest = [name for name in columns if name != image]
    label = wanted.label or _label(rest)
    if labelled and not rest:
        raise InputError(
            f"{path}: there is no column beside that of the images ('{shown(image)}'), but labels "
            "are needed. Add one"
        )
    if labelled and not label:
        raise InputError(
            f"{path}: no column is named like a label (found: {', '.join(map(shown, rest))}). "
            "Name it with --label COLUMN"
        )
    others = [name for name in rest if name != label]
    caption = wanted.caption or _named(others, CAPTION_NAMES)
    return ImageColumns(image, label, caption, image in blobs, wanted.encoding)


def _holds_paths(rows: Sequence[Row], column: str) -> bool:
    values = [value for row in rows if (value := row.fields.get(column, "").strip())]
    like = sum(is_image_name(value) or is_inline(value) for value in values)
    return bool(values) and like >= 0.5 * len(values)


def _label(columns: Sequence[str]) -> str:
    """The column named like labels, else the only one that is no number of the row or text."""
    known = _named(columns, LABEL_NAMES)
    rest = [c for c in columns if c.strip().casefold() not in _NO_LABEL | set(CAPTION_NAMES)]
    return known or (rest[0] if len(rest) == 1 else "")


def _named(columns: Sequence[str], names: Sequence[str]) -> str:
    spelled = {column.strip().casefold(): column for column in reversed(columns)}
    return next((spelled[name] for name in names if name in spelled), "")
