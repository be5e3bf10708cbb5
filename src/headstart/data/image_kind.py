"""Whether files hold images or text: what makes one command serve both.

In: paths. Out: yes or no. No image is decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from headstart.data.files import look_at
from headstart.data.image_columns import image_column, is_image_name
from headstart.data.image_files import (
    METADATA,
    ImageSource,
    data_files,
    find_images,
    is_table,
    sample_of,
    tables_in,
    walk,
)
from headstart.data.parquet_rows import blob_columns
from headstart.data.record import Problem
from headstart.errors import InputError


def holds_images(paths: Sequence[str | Path]) -> bool:
    """Whether the paths hold images rather than text, found without decoding any.

    A folder does if more of its files are images than texts and tables (its metadata table not
    counted), or all of its tables hold images; a table does if one of its columns holds images, or
    paths that end like them.
    Paths of both kinds are refused with InputError.
    """
    found = {str(path): _is_images(Path(path)) for path in paths}
    if len(set(found.values())) > 1:
        images = next(name for name, is_it in found.items() if is_it)
        text = next(name for name, is_it in found.items() if not is_it)
        raise InputError(f"{images} holds images, but {text} holds text: give one kind at a time")
    return any(found.values())


def without_captions(
    paths: Sequence[str | Path], *, image: str | None = None, caption: str | None = None
) -> ImageSource | None:
    """The first folder or table of images that has no captions; None if all have some.

    image, caption: columns of tables, as in `find_images`, whose errors may come.
    """
    sources = find_images(paths, image=image, caption=caption)
    return next((s for s in sources if s.columns is None or not s.columns.caption), None)


def _is_images(path: Path) -> bool:
    if path.is_dir():
        files, _, _ = walk(path)
        others = [p for p in data_files(path) if p.name not in METADATA]
        if files:
            return len(files) > len(others)
        tables = tables_in(path)
        return bool(tables) and len(tables) == len(others) and all(map(_is_images, tables))
    if is_image_name(path.name):
        return True
    if not path.is_file() or not is_table(path):
        return False
    shape = look_at(path)
    if isinstance(shape, Problem):
        return False
    blobs: list[str] = []
    if shape.format == "parquet":
        with path.open("rb") as file:
            blobs = blob_columns(file)
    return image_column(sample_of(path), shape.columns, blobs) is not None
