"""Where images lie: folders, and tables with a column of paths or of bytes.

In: paths. Out: `Picture`s, still encoded, with their label and captions as text, and problems.
A folder is a class for every folder in it, or flat; with a metadata table in it (metadata.csv,
.jsonl or .parquet with a column of file names) it is that table.
The surprise: a path in a table is looked for beside the table, may not leave that folder, and is
never fetched; a cell may also hold the image itself in base64.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import pyarrow

from headstart.data.delimited import IMAGE_NAMES
from headstart.data.files import absent, is_table, list_files, look_at, read_rows, table_sample
from headstart.data.image_columns import ImageColumns, find_image_columns, is_image_name
from headstart.data.image_paths import Beside
from headstart.data.inline_images import inline_bytes, is_inline
from headstart.data.parquet_rows import Blob, blob_columns, blob_rows, count_parquet_rows
from headstart.data.picture import Fault, format_of, too_many_bytes
from headstart.data.record import Problem, Row, problem, shown
from headstart.errors import InputError

METADATA = ("metadata.parquet", "metadata.jsonl", "metadata.csv", "metadata.tsv")
SPLITS = frozenset(("train", "training", "test", "val", "valid", "validation", "dev"))
SAMPLE_BLOBS = 20  # cells that tell whether a column of bytes holds images


@dataclass(frozen=True)
class Picture:
    """One image, still encoded: a file, or bytes from a table.

    source, line: for messages; line 0 is a file of its own. label: "" where there is none.
    """

    source: str
    line: int
    path: Path | None = None
    data: bytes | None = None
    label: str = ""
    captions: tuple[str, ...] = ()

    def read(self) -> bytes | Problem:
        """The encoded bytes."""
        if self.data is not None:
            return self.data
        assert self.path is not None, "a picture has bytes or a path"
        try:
            fault = too_many_bytes(self.path.stat().st_size)
            if fault is None:
                return self.path.read_bytes()
        except OSError as error:
            reason = error.strerror or str(error)
            fix = "Check its permissions, or copy it again."
            fault = Fault(33, "quarantine", f"the image cannot be read: {shown(reason)}.", fix)
        return self.problem(fault)

    def problem(self, fault: Fault) -> Problem:
        """The fault with this picture's place."""
        named = f"{shown(str(self.path), most=400)}: " if self.line and self.path else ""
        return problem(
            fault.number,
            fault.outcome,
            source=self.source,
            line=self.line,
            message=named + fault.message,
            fix=fault.fix,
        )


@dataclass(frozen=True)
class ImageSource:
    """One folder or table of images as it was found: how it is read, and how many it may hold."""

    path: Path
    columns: ImageColumns | None
    files: tuple[Path, ...]
    count: int
    note: str
    problems: tuple[Problem, ...] = ()


def find_images(
    paths: Sequence[str | Path],
    *,
    image: str | None = None,
    label: str | None = None,
    caption: str | None = None,
    labelled: bool = False,
    encoding: str | None = None,
) -> list[ImageSource]:
    """What images there are under the paths, without opening one.

    image, label, caption: columns of tables; by default found by name and by their values.
    encoding: of tables, as in `read_rows`.
    labelled: a label is wanted, so a table without one is an error.
    Raises InputError where a path does not exist, a table has no images, or nothing is found.
    """
    wanted = ImageColumns(image or "", label or "", caption or "", encoding=encoding)
    found: list[ImageSource] = []
    for given in paths:
        path = Path(given)
        if given == "":
            raise InputError(absent(given))
        if path.is_dir():
            found += _in_folder(path, wanted, labelled=labelled)
        elif not path.is_file():
            raise InputError(absent(given))
        elif is_image_name(path.name):
            found.append(ImageSource(path.parent, None, (path,), 1, f"{path.name}: one image"))
        else:
            found.append(_table(path, wanted, labelled=labelled))
    if not any(source.count for source in found):
        raise InputError(
            f"no image under {', '.join(map(str, paths))} (looked for PNG, JPEG, WebP, BMP, GIF "
            "and TIFF files, and for tables with a column of images)."
        )
    return found


def picture_columns(file: BinaryIO) -> list[str]:
    """Columns of bytes that are images, by their names or one of the first cells: the others may
    hold anything. Raises pyarrow.ArrowException or OSError.
    """
    return [
        name
        for name in blob_columns(file)
        if name.strip().casefold() in IMAGE_NAMES
        or any(
            not isinstance(found, Problem) and format_of(found[1].data or b"") is not None
            for found in islice(blob_rows(file, source=name, column=name), SAMPLE_BLOBS)
        )
    ]


def data_files(root: Path) -> list[Path]:
    """Texts and tables under a folder, in order."""
    try:
        return list_files([root])
    except InputError:
        return []


def read_pictures(sources: Sequence[ImageSource]) -> Iterator[Picture | Problem]:
    """All pictures of the sources, in a fixed order, and what is wrong with their records."""
    for source in sources:
        yield from source.problems
        if source.columns is None:
            for path in source.files:
                yield Picture(str(path), 0, path, label=class_of(path, source.path))
        else:
            yield from _of_table(source.path, source.columns)


def class_of(path: Path, root: Path) -> str:
    """The folder right under the root that the file lies in; "" beside those folders."""
    below = path.relative_to(root).parts
    return below[0] if len(below) > 1 else ""


def _in_folder(root: Path, wanted: ImageColumns, *, labelled: bool) -> list[ImageSource]:
    table = next((root / name for name in METADATA if (root / name).is_file()), None)
    if table is not None:
        return [_table(table, wanted, labelled=labelled)]
    files, others, problems = walk(root)
    if files:
        return [_folder(root, files, others, problems, labelled=labelled)]
    return [_table(path, wanted, labelled=labelled) for path in tables_in(root)]


def tables_in(root: Path) -> list[Path]:
    """The tables under a folder, in order."""
    return [path for path in data_files(root) if is_table(path)]


def walk(root: Path) -> tuple[list[Path], Counter[str], list[Problem]]:
    """Image files in order, other files counted by suffix, and files that are not followed.

    Hidden files and folders ("._" twins, .ipynb_checkpoints) are none of either.
    """
    files: list[Path] = []
    others: Counter[str] = Counter()
    problems: list[Problem] = []
    home = root.resolve()
    for where, folders, names in os.walk(root, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.startswith("."):
                continue
            path = Path(where, name)
            if not is_image_name(name):
                others[path.suffix.lower() or name] += 1
            elif not path.is_file():
                problems.append(_not_followed(path, "is a broken link or no regular file"))
            elif not path.resolve().is_relative_to(home):
                problems.append(_not_followed(path, "is a link that leads out of its folder"))
            else:
                files.append(path)
        problems += [
            _not_followed(Path(where, name), "is a link to a folder")
            for name in folders
            if Path(where, name).is_symlink()
        ]
    return sorted(files), others, problems


def _not_followed(path: Path, what: str) -> Problem:
    return problem(
        49,
        "quarantine",
        source=str(path),
        message=f"it {what}, so it is not opened.",
        fix="Put the image itself in its place.",
    )


def _folder(
    root: Path,
    files: Sequence[Path],
    others: Counter[str],
    problems: list[Problem],
    *,
    labelled: bool,
) -> ImageSource:
    classes = Counter(class_of(path, root) for path in files)
    loose = classes.pop("", 0)
    if labelled and classes and {name.lower() for name in classes} <= SPLITS:
        first = sorted(classes)[0]
        raise InputError(
            f"{root} holds the splits {', '.join(sorted(classes))}, not classes: give one of them, "
            f"as in {root / first}"
        )
    if labelled and not classes:
        raise InputError(
            f"{root} holds images, but no folder that stands for a class: put the images of each "
            "class into a folder of its own, or give a table with their paths and labels"
        )
    if labelled:
        problems = [*problems, *class_folder_remarks(root, classes)]
    kind = f"{len(classes)} class folders" if classes else "one flat folder"
    note = f"{root.name or root}: {len(files)} images, {kind}"
    if classes and loose:
        note += f", {loose} beside them"
    if others:
        listed = ", ".join(f"{times} {suffix}" for suffix, times in others.most_common(3))
        note += f"; {others.total()} other files passed over ({listed})"
    return ImageSource(root, None, tuple(files), len(files), note, tuple(problems))


def class_folder_remarks(root: Path, classes: Collection[str]) -> Iterator[Problem]:
    """Warnings about the folders that stand for classes."""
    for folder in sorted(root.iterdir()):
        if folder.is_dir() and not folder.name.startswith(".") and folder.name not in classes:
            message = "the class folder holds no image, so there is no such class."
            fix = "Fill it, or remove it."
            yield problem(54, "warn", source=str(folder), message=message, fix=fix)
    spelled: dict[str, str] = {}
    for name in sorted(classes):
        other = spelled.setdefault(name.casefold(), name)
        if other != name:
            message = f"the class folders {shown(other)!r} and {shown(name)!r} differ only in case."
            fix = "If they are one class, put their images in one folder."
            yield problem(54, "warn", source=str(root / name), message=message, fix=fix)


def _table(path: Path, wanted: ImageColumns, *, labelled: bool) -> ImageSource:
    encoding = wanted.encoding
    shape = look_at(path, encoding=encoding)
    if isinstance(shape, Problem):
        raise InputError(str(shape))
    blobs: list[str] = []
    count = 0
    if shape.format == "parquet":
        with path.open("rb") as file:
            blobs, count = picture_columns(file) or blob_columns(file), count_parquet_rows(file)
    columns = find_image_columns(
        path,
        table_sample(path, encoding=encoding),
        shape.columns,
        blobs,
        wanted,
        labelled=labelled,
    )
    if shape.format != "parquet":
        count = sum(1 for _ in read_rows(path, encoding=encoding))
    parts = [f"{what} {shown(name)!r}" for what, name in columns.named() if name]
    note = f"{path.name}: {count} rows, {', '.join(parts)}"
    return ImageSource(path, columns, (), count, note)


def _of_table(path: Path, columns: ImageColumns) -> Iterator[Picture | Problem]:
    beside = Beside(path.parent)
    for row, blob in _records(path, columns):
        if isinstance(row, Problem):
            yield row
            continue
        found = _picture(row, blob, columns, beside)
        yield found if isinstance(found, Problem) else _described(found, row, columns)


def _records(
    path: Path, columns: ImageColumns
) -> Iterator[tuple[Row, Blob] | tuple[Problem, None]]:
    nothing = Blob(None, "")
    if columns.blob:
        try:
            with path.open("rb") as file:
                for item in blob_rows(file, source=str(path), column=columns.image):
                    yield (item, None) if isinstance(item, Problem) else item
        except (OSError, pyarrow.ArrowException) as error:
            raise InputError(f"{path}: {shown(str(error))}") from None
        return
    for row in read_rows(path, encoding=columns.encoding):
        yield (row, None) if isinstance(row, Problem) else (row, nothing)


def _picture(
    row: Row, blob: Blob | None, columns: ImageColumns, beside: Beside
) -> Picture | Problem:
    """The row's image, by its bytes or its path."""
    assert blob is not None, "every row comes with its bytes, or none"
    if blob.data is not None:
        return Picture(row.source, row.line, data=blob.data)
    name = blob.path if columns.blob else row.fields.get(columns.image, "")
    found = inline_bytes(name) if is_inline(name) else beside.find(name)
    if isinstance(found, bytes):
        return Picture(row.source, row.line, data=found)
    if isinstance(found, Path):
        return Picture(row.source, row.line, found)
    return problem(
        found.number,
        found.outcome,
        source=row.source,
        line=row.line,
        column=columns.image,
        value=name,
        message=found.message,
        fix=found.fix,
    )


def _described(picture: Picture, row: Row, columns: ImageColumns) -> Picture:
    label = row.fields.get(columns.label, "") if columns.label else ""
    captions = _texts(row.fields.get(columns.caption, "")) if columns.caption else ()
    return replace(picture, label=label.strip(), captions=captions)


def _texts(cell: str) -> tuple[str, ...]:
    """The captions of a cell: itself, or the members of a JSON list of texts."""
    if cell.startswith("["):
        try:
            items = json.loads(cell)
        except ValueError:
            items = None
        if isinstance(items, list) and all(isinstance(item, str) for item in items):
            return tuple(text for item in items if (text := item.strip()))
    return (cell.strip(),) if cell.strip() else ()
