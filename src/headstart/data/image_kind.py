"""Whether files hold images or text: what makes one command serve both.

In: paths, and what was asked for. Out: yes or no. No image is decoded.
The rule for a table that has both, a column of images or of their paths and one named like text:
the column that is named decides, then what the model reads; else it is a table of images, and that
is said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from headstart.data.files import Shape, is_table, look_at, table_sample
from headstart.data.image_columns import (
    CAPTION_NAMES,
    image_column,
    is_image_name,
)
from headstart.data.image_files import (
    METADATA,
    ImageSource,
    data_files,
    find_images,
    picture_columns,
    tables_in,
    walk,
)
from headstart.data.parquet_rows import bytes_columns
from headstart.data.record import Problem, shown
from headstart.errors import InputError
from headstart.words import say

Reads = Literal["text", "images"]


@dataclass
class _Wanted:
    """What was asked for: columns by name, what the model reads, how tables are encoded.

    notes: what to say.
    """

    text: str | None
    image: str | None
    reads: Reads | None
    encoding: str | None
    notes: list[str] = field(default_factory=list)


def holds_images(
    paths: Sequence[str | Path],
    *,
    text: str | None = None,
    image: str | None = None,
    reads: Reads | None = None,
    encoding: str | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> bool:
    """Whether the paths hold images rather than text, found without decoding any.

    A folder does if more of its files are images than texts and tables (its metadata table not
    counted), or all of its tables hold images; a table does if one of its columns holds images, or
    paths that end like them.
    text, image: columns that were asked for; reads: what the model reads, if that is known: these
    decide for a table that has both. encoding: of files, as in `read_rows`. note: hears how a table
    that has both is read.
    Raises InputError for paths of both kinds, and for a file that cannot be read where images are.
    """
    wanted = _Wanted(text, image, reads, encoding)
    found = {str(path): _is_images(Path(path), wanted) for path in paths}
    if len(set(found.values())) > 1:
        images = next(name for name, is_it in found.items() if is_it)
        words = next(name for name, is_it in found.items() if not is_it)
        raise InputError(f"{images} holds images, but {words} holds text: give one kind at a time")
    for line in wanted.notes:
        note(line)
    return any(found.values())


def without_captions(
    paths: Sequence[str | Path],
    *,
    image: str | None = None,
    caption: str | None = None,
    encoding: str | None = None,
) -> ImageSource | None:
    """The first folder or table of images that has no captions; None if all have some.

    image, caption, encoding: of tables, as in `find_images`, whose errors may come.
    """
    sources = find_images(paths, image=image, caption=caption, encoding=encoding)
    return next((s for s in sources if s.columns is None or not s.columns.caption), None)


def _is_images(path: Path, wanted: _Wanted) -> bool:
    if path.is_dir():
        files, _, _ = walk(path)
        others = [p for p in data_files(path) if p.name not in METADATA]
        if files:
            return len(files) > len(others)
        tables = tables_in(path)
        whole = bool(tables) and len(tables) == len(others)
        return whole and all(_is_images(table, wanted) for table in tables)
    if is_image_name(path.name):
        return True
    if not path.is_file():
        return False
    shape = look_at(path, encoding=wanted.encoding, text=True)
    if isinstance(shape, Problem):
        if wanted.reads == "images":
            raise InputError(str(shape))
        return False
    return is_table(path) and _table_of_images(path, shape, wanted)


def _table_of_images(path: Path, shape: Shape, wanted: _Wanted) -> bool:
    blobs: list[str] = []
    aside: list[str] = []
    if shape.format == "parquet":
        with path.open("rb") as file:
            blobs, aside = picture_columns(file), bytes_columns(file)
    if wanted.image is not None and wanted.image in (*blobs, *shape.columns):
        found: str | None = wanted.image
    else:
        found = image_column(table_sample(path, encoding=wanted.encoding), shape.columns, blobs)
    aside = [name for name in aside if name != found]
    if aside:
        columns = ", ".join(f"'{shown(name)}'" for name in aside)
        wanted.notes.append(say("bytes_left_aside", table=path.name, columns=columns))
    if found is None or found == wanted.image:
        return found is not None
    words = next((c for c in shape.columns if c.strip().casefold() in CAPTION_NAMES), None)
    if wanted.text is not None:
        read, words = False, wanted.text
    elif words is None:
        return True
    else:
        read = wanted.reads != "text"
    key = "reads_images" if read else "reads_text"
    wanted.notes.append(say(key, table=path.name, image=shown(found), text=shown(words)))
    return read
