"""The run folder: which file lies where, and the record of where a model comes from.

In: a path, settings as YAML text, facts about data and cost. Out: run.yaml and lineage.json,
written whole or not at all. The folder is the contract between all commands; nothing here trains.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from headstart.errors import CheckpointError, InputError
from headstart.train.disk import machine_errors, write_atomically
from headstart.train.identity import own_version
from headstart.train.learner import Outcome
from headstart.train.precision import Precision, fingerprint
from headstart.train.tensorfile import parse_json

SETTINGS, LINEAGE, METRICS = "run.yaml", "lineage.json", "metrics.jsonl"
_LIBRARIES = ("torch", "numpy", "tokenizers", "safetensors")
_MAX_LINEAGE = 10_000_000  # bytes


@dataclass(frozen=True)
class RunFolder:
    """A run's folder.

    model: a Hugging Face folder with the result. checkpoints: exact training state.
    """

    path: Path

    @property
    def settings(self) -> Path:
        """Every resolved setting; `--config` takes it back."""
        return self.path / SETTINGS

    @property
    def model(self) -> Path:
        """The resulting model, a Hugging Face folder."""
        return self.path / "model"

    @property
    def metrics(self) -> Path:
        """The history, one object a line."""
        return self.path / METRICS

    @property
    def checkpoints(self) -> Path:
        """The exact training states."""
        return self.path / "checkpoints"

    @property
    def lineage(self) -> Path:
        """Where the model comes from."""
        return self.path / LINEAGE

    def create(self) -> RunFolder:
        """Make the folder, or take up the run in it.

        Raises InputError if something else is in there; MachineError if it cannot be made.
        """
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path} is a file; choose another name for the run folder")
        with machine_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            names = {name for name in os.listdir(self.path) if not name.startswith(".")}
        if names and not names & {SETTINGS, METRICS, LINEAGE, "checkpoints"}:
            raise InputError(
                f"{self.path} holds other files ({', '.join(sorted(names)[:3])}); choose a new or "
                "empty folder for the run"
            )
        return self

    def write_settings(self, text: str) -> None:
        """Write run.yaml."""
        write_atomically(self.settings, text.encode())

    def write_lineage(self, lineage: Lineage) -> None:
        """Write lineage.json."""
        text = json.dumps(dataclasses.asdict(lineage), indent=2, ensure_ascii=False, sort_keys=True)
        write_atomically(self.lineage, text.encode() + b"\n")

    def read_lineage(self) -> dict[str, object]:
        """The content of lineage.json. Raises CheckpointError if it is missing or damaged."""
        try:
            with self.lineage.open("rb") as file:
                content = file.read(_MAX_LINEAGE + 1)
        except OSError as error:
            raise CheckpointError(f"{self.lineage} cannot be read: {error.strerror}") from None
        if len(content) > _MAX_LINEAGE:
            raise CheckpointError(f"{self.lineage} is larger than {_MAX_LINEAGE} bytes")
        return parse_json(content, source=str(self.lineage))


@dataclass(frozen=True)
class Cost:
    """What a run took: steps, and seconds of wall time with the probes' part of it."""

    steps: int
    seconds: float
    probe_s: float


@dataclass(frozen=True)
class Lineage:
    """Where a model comes from.

    data: digests by name. parent: the checkpoint it began from, empty for fresh weights.
    seeds: by what they decide. versions: of this package, Python and the libraries.
    machine: processor, system, threads, device, number format.
    exact: false if it was resumed although something decisive had changed.
    ended: UTC, ISO 8601.
    """

    data: Mapping[str, str]
    parent: str
    seeds: Mapping[str, int]
    cost: Cost
    reason: str
    exact: bool
    versions: Mapping[str, str]
    machine: Mapping[str, str]
    ended: str


def make_lineage(
    outcome: Outcome,
    precision: Precision,
    *,
    data: Mapping[str, str],
    parent: str,
    seeds: Mapping[str, int],
) -> Lineage:
    """The lineage of a run that has ended."""
    return Lineage(
        data=dict(data),
        parent=parent,
        seeds=dict(seeds),
        cost=Cost(outcome.step, round(outcome.seconds, 1), round(outcome.probe_s, 1)),
        reason=outcome.reason,
        exact=outcome.exact,
        versions=versions(),
        machine=machine(precision),
        ended=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )


def versions() -> dict[str, str]:
    """Versions of this package, of Python, and of the libraries that decide the numbers."""
    found = {"headstart": own_version(), "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def machine(precision: Precision) -> dict[str, str]:
    """The machine, in words; no names of people or hosts."""
    return fingerprint(precision) | {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": str(os.cpu_count() or 0),
    }
