"""Cells of a report are kept only while what they were made with is the same.

In: a report's folder, and what decides the numbers in it. Out: the same folder, whose table holds
no cell of another task, model or setting. The budget, the label counts, the seeds and the choice of
arms may change from call to call: they say which cells are made, not what is in them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from headstart.config import PretrainSettings, ReportSettings
from headstart.data.atomic import sha256_of
from headstart.data.files import list_files
from headstart.errors import InputError
from headstart.events import Events
from headstart.recipes.unfinished import begun_with
from headstart.settings_file import decisive_settings, settings_digest
from headstart.train.checkpoint import digest_of
from headstart.train.disk import write_atomically
from headstart.words import say

CELLS, RECORD, BEFORE = "cells.jsonl", "cells.begun.json", "cells-before.jsonl"
WHICH_CELLS = frozenset({"budget", "pretrain_share", "labels", "seeds", "seed", "arms", "public"})
PUBLIC = "public model "
CORPUS, LEFT_OUT = "corpus", "left out"
MOST_NAMED = 4  # differences of a network pretrained otherwise, in one message
PLACES = frozenset({"data.paths", "corpus", "test", "start"})  # what is in them is compared instead


def same_cells(
    folder: Path,
    settings: ReportSettings,
    *,
    labels: str,
    test: str,
    corpus: str,
    model: str,
    public: Mapping[str, str],
    events: Events,
) -> Path:
    """Where the table of cells is; cells that were made with anything else are set aside, said.

    labels, test, corpus, model: digests of the labelled rows, of the corpus, and of the network
    that is judged. public: those of the public ones, by name; cells of others are kept for later.
    """
    table, record = folder / CELLS, folder / RECORD
    before = begun_with(record)
    theirs = {f"public model {name}": digest for name, digest in public.items()}
    decisive = {
        "settings": settings_digest(settings, without=WHICH_CELLS | PLACES),
        "labels": labels,
        "test": test,
        "corpus": corpus,
        "model": model,
        **{name: digest for name, digest in before.items() if name.startswith(PUBLIC)},
        **theirs,
    }
    other = [
        name
        for name, digest in decisive.items()
        if before.get(name, digest if name in theirs else "") != digest
    ]
    if table.exists() and other:
        table.replace(folder / BEFORE)
        what = ", ".join(other)
        events.note(say("cells_anew", folder=folder, what=what, kept=BEFORE))
    write_atomically(record, json.dumps(decisive).encode())
    return table


def refuse_other_pretraining(
    folder: Path, *, made: Mapping[str, object], wanted: Mapping[str, object]
) -> None:
    """Raise InputError if the network in this folder was pretrained otherwise, and say in what.

    made, wanted: each as `pretrained_with` gives it; made may be of another version.
    """
    names = [name for name in {**wanted, **made} if made.get(name) != wanted.get(name)]
    if not names:
        return
    told = {CORPUS: "another corpus", LEFT_OUT: "other records kept out of it"}
    what = [
        told.get(name, f"{name}={_value(made, name)} instead of {_value(wanted, name)}")
        for name in names
    ]
    if len(what) > MOST_NAMED:
        what[MOST_NAMED:] = [f"{len(what) - MOST_NAMED} further differences"]
    raise InputError(
        f"the network in {folder} was pretrained with {'; '.join(what)}: undo the change, or give "
        "the report another folder with --out"
    )


def _value(values: Mapping[str, object], name: str) -> str:
    return json.dumps(values[name], ensure_ascii=False) if name in values else "unset"


def pretrained_with(
    settings: PretrainSettings, left_out: frozenset[int], corpus: str
) -> dict[str, object]:
    """What decides a report's pretraining, the time for it left out: that may grow.

    left_out: numbers of the corpus documents that must not be learnt. corpus: its digest.
    """
    decisive = decisive_settings(settings, without=frozenset({"budget", "seed", "data.paths"}))
    return {**decisive, CORPUS: corpus, LEFT_OUT: sorted(left_out)}


def corpus_digest(paths: tuple[str, ...]) -> str:
    """Digest of the names and contents of a corpus' text files, wherever they are."""
    files = set(list_files(paths)) if paths else set[Path]()
    return digest_of({"files": sorted([file.name, sha256_of(file)] for file in files)})
