"""What a fine-tuning run keeps until it is done, so that the same command goes on after a kill.

In: a run folder, and what decides the numbers. Out: the choice that was made, and a folder for each
seed, in which the trainer keeps its exact state and its history. An unfinished run that was begun
with anything else is begun anew, and says so. All of this is removed when the run has ended: what
it led to lies in `model/` and `metrics.jsonl`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import torch

from headstart.data.text import tokenizer_digest
from headstart.evaluate.transfer import METHODS, Candidate, Choice, Start, TransferSettings
from headstart.events import Events
from headstart.train import RunFolder
from headstart.train.disk import machine_errors, write_atomically
from headstart.words import say

BEGUN, CHOICE, METRICS = "begun.json", "choice.json", "metrics.jsonl"


class Unfinished:
    """The folder training/ of a run folder.

    decisive: digests of all that decides the numbers, by what they are of. Raises MachineError if
    the folder cannot be made.
    """

    def __init__(self, run: RunFolder, decisive: Mapping[str, str], events: Events):
        self.folder = run.path / "training"
        before = begun_with(self.folder / BEGUN)
        if before == decisive:
            events.note(say("goes_on", folder=run.path))
            return
        if before:
            names = [name for name in decisive if before.get(name) != decisive[name]]
            events.note(say("begun_otherwise", folder=run.path, what=", ".join(names)))
        with machine_errors(self.folder):
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            write_atomically(self.folder / BEGUN, json.dumps(dict(decisive)).encode())

    def choice(self) -> Choice | None:
        """The choice that an earlier call made; None if there is none that can be read."""
        try:
            found = json.loads((self.folder / CHOICE).read_bytes())
            settings = TransferSettings(**found["settings"])
            settings = replace(settings, freeze=tuple(settings.freeze))
            method = next(method for method in METHODS if method == found["method"])
            candidate = Candidate(method, settings)
            return Choice(candidate, dict(found["scores"]), found["cost_s"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration):
            return None

    def keep(self, choice: Choice) -> None:
        """Remember a choice."""
        one = choice.candidate
        values = {
            "method": one.method,
            "settings": asdict(one.settings),
            "scores": dict(choice.scores),
            "cost_s": choice.cost_s,
        }
        write_atomically(self.folder / CHOICE, json.dumps(values).encode())

    def of_seed(self, seed: int) -> Path:
        """Where the training of one seed keeps its state."""
        return self.folder / f"seed-{seed}"

    def history(self, seed: int) -> list[dict[str, object]]:
        """What the trainer wrote of one seed, in order."""
        files = sorted(self.of_seed(seed).rglob(METRICS))
        lines = [line for file in files for line in file.read_text("utf-8").splitlines()]
        return [json.loads(line) for line in lines]

    def remove(self) -> None:
        """The run has ended."""
        shutil.rmtree(self.folder, ignore_errors=True)


def begun_with(record: Path) -> dict[str, str]:
    """Digests of what a run was begun with, by what they are of; nothing if there is no record."""
    try:
        found = json.loads(record.read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def digest_of_start(start: Start) -> str:
    """SHA-256 of what decides a start's answers: weights of body and heads with their names, the
    network's shape, how inputs enter it, and the tokenizer.
    """
    sha = hashlib.sha256(repr((start.model.config, start.frame)).encode())
    if start.tokenizer is not None:
        sha.update(tokenizer_digest(start.tokenizer).encode())
    for part, module in (("", start.model), *sorted(start.heads.items())):
        for name, tensor in sorted(module.state_dict().items()):
            sha.update(f"{part} {name}".encode())
            sha.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return sha.hexdigest()
