"""What a person gave, on the command line or in Python: paths, and which setting each flag gives.

In: what a person gave; None is not given. Out: values by the settings' dotted names, for
`settings_file.make_settings`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from headstart.config import ReadSettings
from headstart.data.inputs import is_table, texts_of
from headstart.errors import InputError
from headstart.recipes.results import PretrainResult
from headstart.settings_file import make_settings

Given = dict[str, object]
PathLike = str | os.PathLike[str]
Data = PathLike | Sequence[PathLike]
Start = PathLike | PretrainResult


def of_data(
    paths: Sequence[str] | None,
    *,
    text: str | None = None,
    label: str | None = None,
    kind: str | None = None,
    vocab_size: int | None = None,
    max_length: int | None = None,
) -> Given:
    """Files, their columns, and how text becomes tokens."""
    return {
        "data.paths": paths or None,
        "data.text": text,
        "data.label": label,
        "data.kind": kind,
        "data.vocab_size": vocab_size,
        "data.max_length": max_length,
    }


def of_network(family: str | None, *, size: str | None, objective: str | None = None) -> Given:
    """What is pretrained, and by predicting what."""
    return {"model.family": family, "model.size": size, "objective.name": objective}


def of_towers(text: str | None, *, images: str | None) -> Given:
    """What the towers of a model of texts and images begin from."""
    return {"pairs.start_text": text, "pairs.start_images": images}


def of_transfer(method: str | None, *, epochs: int | None = None) -> Given:
    """How a task is learnt."""
    return {"transfer.method": method, "transfer.epochs": epochs}


def of_run(out: str | None, *, threads: int | None, seed: int | None = None) -> Given:
    """Where results go and what is used for them."""
    return {"out": out, "machine.threads": threads, "seed": seed}


def reading(
    given: Mapping[str, object] | None = None, *, overrides: Sequence[str] = ()
) -> ReadSettings:
    """How files are read, where a verb that trains nothing is told so by --set or `settings`."""
    return make_settings(ReadSettings, given=given, overrides=overrides)


def names_of(data: Data | None) -> list[str] | None:
    """The paths as text; None where there is none, whichever way that was said."""
    if data is None or isinstance(data, str | os.PathLike):
        return None if data is None else [os.fspath(data)]
    items = list(data) if isinstance(data, Iterable) else [data]
    for item in [data] if is_table(data) else items:
        if not isinstance(item, str | os.PathLike):
            raise InputError(
                f"{type(item).__name__} is no path: give a file or folder, or a list of them"
            )
    return [os.fspath(item) for item in items] or None


def inputs_of(given: object) -> list[str]:
    """Texts to answer for, and names of files that hold some. Raises InputError for what is
    neither, and for a path that does not exist.
    """
    if isinstance(given, os.PathLike):
        given = [given]
    if isinstance(given, str) or is_table(given) or not isinstance(given, Iterable):
        return texts_of(given)
    items = list(given)
    for path in items:
        if isinstance(path, os.PathLike) and not Path(path).exists():
            raise InputError(f"{path} does not exist. Check the path.")
    return texts_of([os.fspath(i) if isinstance(i, os.PathLike) else i for i in items])


def name_of(path: PathLike | None) -> str | None:
    """The path as text."""
    return None if path is None else os.fspath(path)


def path_of(path: PathLike | None) -> Path | None:
    """The path as one."""
    return None if path is None else Path(path)


def start_of(start: Start | None) -> str | None:
    """What to go on from, as text: a path, or the folder of a result."""
    return str(start.folder) if isinstance(start, PretrainResult) else name_of(start)


def demanded(names: Sequence[str], what: str) -> list[Path]:
    """The paths. Raises InputError where there is none, or an empty one."""
    if not names or "" in names:
        raise InputError(f"no {what} given: the first argument names files or folders")
    return [Path(name) for name in names]
