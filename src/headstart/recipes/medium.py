"""What a labelled task must know of its records, be they texts or images.

A `Medium` reads labelled rows, finds rows of one side in another, gives the model to start from and
brings rows into its stream. The recipes that use it know nothing else of texts and images.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from headstart.batch import Sequences
from headstart.data.image_kind import Reads
from headstart.data.record import Problem
from headstart.errors import InputError
from headstart.evaluate.transfer import Start
from headstart.tasks import Kind
from headstart.words import Phrase


class Rows(Protocol):
    """Labelled rows: `data.dataset.Labelled` or `data.images.LabelledImages`."""

    @property
    def labels(self) -> np.ndarray:
        """(N,) or (N, C), see `Labelled`."""
        ...

    @property
    def kind(self) -> Kind:
        """What they are."""
        ...

    @property
    def classes(self) -> Sequence[str]:
        """Names by class number."""
        ...

    @property
    def source(self) -> str:
        """The file or folder."""
        ...

    @property
    def rows(self) -> int:
        """In the file, those set aside counted."""
        ...

    @property
    def quarantined(self) -> int:
        """Rows that were set aside."""
        ...

    @property
    def note(self) -> str:
        """What was inferred, for people."""
        ...

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with some of them."""
        ...

    def __len__(self) -> int:
        """N."""
        ...

    def take(self, chosen: np.ndarray) -> Rows:
        """The chosen rows, in the order given."""
        ...


class Medium(Protocol):
    """Texts or images."""

    @property
    def reads(self) -> Reads:
        """Which of the two."""
        ...

    def read(self, path: str | Path, *, like: Rows | None = None) -> Rows:
        """Labelled rows of one file. like: rows whose columns and classes these share."""
        ...

    def start(self, learn: Rows) -> Start:
        """The model to start from: the one that was named, or fresh weights for these rows."""
        ...

    def encode(self, rows: Rows, start: Start) -> Sequences:
        """Rows as the start's model takes them."""
        ...

    def unlabelled(
        self, paths: Sequence[str], apart: Sequence[Rows], *, most: int, place: Path
    ) -> tuple[Rows, int]:
        """The first `most` records of a corpus without those that stand among the rows apart, and
        how many these are. place: a folder for what does not fit into memory.
        """
        ...

    def repeated(self, learn: Rows, test: Rows) -> tuple[np.ndarray, str]:
        """Numbers of the first rows that stand among the second, and a sentence about them."""
        ...

    def described(self, learn: Rows, classes: str) -> Phrase:
        """The rows, for the plan."""
        ...

    def digest(self, rows: Rows) -> str:
        """SHA-256 of inputs and labels."""
        ...


def demand_classes(labelled: Rows) -> None:
    """Raise InputError if self-training is asked for with labels that are no classes."""
    if labelled.kind != "classes":
        raise InputError(
            f"{labelled.source}: transfer.self_training is for labels that are classes, but these "
            f"are {labelled.kind}: leave it out, or say what they are with data.kind"
        )


def demand_held_out(data: Path, held: Rows) -> None:
    """Raise InputError if no row could be held out for testing: each class has too few."""
    if not len(held):
        raise InputError(
            f"{data}: no class has rows enough to hold one out for testing; label more, or give a "
            "test file with --test"
        )
