"""Runs a small training in forked children and disturbs them; prints what came out as JSON.

A process of its own, so that torch is loaded once and without threads before it forks.
Arguments: folder, seed, how ("kill" or "signal"), number of disturbances.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

from headstart.errors import HeadstartError
from headstart.train import CheckpointFolder, Learner, Probe, Trainer
from headstart.train.log import TIMES
from toy_training import NextToken, Sequence, ToyLoss, make_learner, settings

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
DEAF = 98  # exit code of a child that was interrupted while the trainer was not running
BAD = frozenset({41, 42, 43, 44, 45, 46, 100, 101})


class Poisoned(NextToken):
    """Three steps in a row of this run are not finite, so that it goes back once."""

    def prepare(self, sequences, rng, progress=0.0):
        batch = super().prepare(sequences, rng, progress)
        batch.targets["bad"] = torch.tensor(bool(sequences.fields["bad"].any()))
        return batch

    def loss(self, model, heads, batch) -> ToyLoss:
        loss = super().loss(model, heads, batch)
        return ToyLoss(loss.value * float("inf"), loss.count) if batch.targets["bad"] else loss


def score(learner: Learner, poll: Callable[[], None]) -> float:
    for _ in range(5):
        poll()
        time.sleep(0.001)
    return float(learner.model.embed.weight.detach().float().sin().sum())


def train(folder: Path) -> int:
    """Train or go on; returns the exit code, and leaves the last message in folder/message."""
    chosen = settings(
        budget="60 steps", save_every=4, probe_every=10, accumulate=2, optimizer="muon"
    )
    run = Trainer(
        make_learner(),
        Poisoned(),
        Sequence(poison=BAD),
        chosen,
        folder=folder,
        probes=[Probe("p", score)],
    )
    try:
        run.train()
    except HeadstartError as error:
        (folder / "message").write_text(str(error))
        return error.exit_code
    (folder / "best").write_text(digest(run.learner.state_dict()))
    return 0


def digest(tensors: dict[str, torch.Tensor]) -> str:
    sha = hashlib.sha256()
    for name in sorted(tensors):
        flat = tensors[name].detach().contiguous().view(-1)
        sha.update(name.encode() + flat.view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()


def final(folder: Path) -> dict[str, str]:
    """Digests of everything that a finished run leaves."""
    with CheckpointFolder(folder / "checkpoints") as store:
        found = store.newest()
    assert found is not None
    assert found.step == 60
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    kept = [{k: v for k, v in line.items() if k not in TIMES} for line in lines]
    return {
        "weights": digest(found.tensors["weights"]),
        "optimizer": digest(found.tensors["optimizer"]),
        "restored": (folder / "best").read_text(),
        "history": hashlib.sha256(json.dumps(kept).encode()).hexdigest(),
        "lines": str(len(lines)),
    }


def start(folder: Path) -> int:
    child = os.fork()
    if child == 0:
        code = 99
        try:
            code = train(folder)
        except KeyboardInterrupt:
            code = DEAF
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return child


def wait(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def existing(folder: Path) -> list[int]:
    return CheckpointFolder(folder / "checkpoints").steps()


def kill(child: int, folder: Path, rng: random.Random) -> tuple[int, str]:
    """Kill once; the verified checkpoints there must include one as new as any seen before."""
    seen = existing(folder)
    os.kill(child, signal.SIGKILL)
    code = wait(child)
    notes: list[str] = []
    with CheckpointFolder(folder / "checkpoints", note=notes.append) as store:
        found = store.newest()
    good = not notes and (found is not None or not seen)
    return code, "" if good else f"seen {seen}, notes {notes}"


def send(child: int, folder: Path, rng: random.Random) -> tuple[int, str]:
    """Send one signal or two; the child must save, and say how to go on."""
    seen = existing(folder)
    for _ in range(rng.choice((1, 2))):
        os.kill(child, rng.choice(SIGNALS))
        time.sleep(rng.random() * 0.004)
    code = wait(child)
    if code in (0, DEAF, *(-int(number) for number in SIGNALS)):
        return code, ""  # it was over, or did not listen yet or any more
    said_in = folder / "message"
    message = said_in.read_text() if said_in.exists() else ""
    after = existing(folder)
    said = "nothing was done yet" in message or (
        f"everything is saved in {folder}. Give the same command again to go on" in message
        and f"after step {after[-1]} of 60" in message
    )
    good = code == 130 and said and (not seen or len(after) > 0)
    return code, "" if good else f"exit code {code}, message {message!r}, checkpoints {after}"


def main(folder: Path, seed: int, how: str, times: int) -> dict[str, object]:
    torch.set_num_threads(1)
    folder.mkdir(parents=True)
    (folder / "straight").mkdir()
    begin = time.monotonic()
    assert wait(start(folder / "straight")) == 0
    length = time.monotonic() - begin
    expected = final(folder / "straight")
    rng, landed, runs = random.Random(seed), 0, 0
    problems: list[str] = []
    disturb = kill if how == "kill" else send
    while landed < times:
        here = folder / f"run-{runs}"
        here.mkdir()
        runs += 1
        for _ in range(6):  # at most so many in one run
            if landed == times:
                break
            child = start(here)
            time.sleep(rng.random() * length * 0.6)
            code, problem = disturb(child, here, rng)
            landed += code in (130, -signal.SIGKILL)
            problems += [problem] if problem else []
        assert wait(start(here)) == 0
        found = final(here)
        if found != expected:
            problems.append(f"{here.name}: {found} is not {expected}")
    return {"landed": landed, "runs": runs, "problems": problems, "expected": expected}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))))
