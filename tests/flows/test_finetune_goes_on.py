"""A fine-tuning run that is stopped and started again ends with the bits of one that was not."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import headstart as hs
from headstart.data.text import train_tokenizer
from headstart.errors import Interrupted
from headstart.families import find, save_model
from headstart.train.log import TIMES

SETTINGS = {
    "data.max_length": 32,
    "machine.threads": 1,
    "machine.precision": "fp32",
    "transfer.epochs": 1,
}
TEXT = "the bank card was lost in town and my money is gone please help me"
WORDS = TEXT.split()


class Listener:
    """Remembers notes and how far fine-tuning was, and may send this process a signal there."""

    def __init__(self, *, stop_at=None, how=signal.SIGINT):
        self.notes, self.done, self.stop_at, self.how = [], [], stop_at, how

    def plan(self, lines):
        pass

    def note(self, text):
        self.notes.append(str(text))

    def progress(self, stage, done, total, detail=""):
        if stage != "finetune":
            return
        self.done.append(done)
        if self.stop_at is not None and done >= self.stop_at:
            self.stop_at = None
            os.kill(os.getpid(), self.how)


def finetune(folder: Path, out: str, events, **settings):
    return hs.finetune(
        folder / "labels.csv",
        start=folder / "start",
        method="full",
        seeds=2,
        out=folder / out,
        settings={**SETTINGS, **settings},
        events=events,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("labels")
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, rng.integers(6, 20))) for _ in range(60)]
    with (place / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        rows = [(text, "card" if "card" in text else "other") for text in texts]
        csv.writer(file).writerows([("text", "label"), *rows])
    tokenizer = train_tokenizer(texts, vocab_size=200)
    model = find("modern").build(
        num_layers=2,
        hidden_size=32,
        num_heads=2,
        vocab_size=tokenizer.get_vocab_size(),
        max_positions=32,
    )
    save_model(model, {}, place / "start", tokenizer=tokenizer)
    return place


@pytest.fixture(scope="module")
def straight(folder):
    """The run that nothing stopped."""
    listener = Listener()
    finetune(folder, "straight", listener)
    assert listener.done[0] == pytest.approx(0.01)
    return folder / "straight"


def weights(run: Path) -> bytes:
    return (run / "model" / "model.safetensors").read_bytes()


def history(run: Path) -> list[dict]:
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines]


def check_same_end(run: Path, straight: Path) -> None:
    assert weights(run) == weights(straight)
    assert history(run) == history(straight)
    assert len(history(run)) == 2 * 100 + 2
    assert not (run / "training").exists()


def test_a_signal_saves_and_the_same_command_ends_with_the_same_bits(folder, straight):
    with pytest.raises(Interrupted) as stopped:
        finetune(folder, "signal", Listener(stop_at=1.495))
    assert str(stopped.value).startswith("stopped by SIGINT after step 50 of 100; everything is")
    assert not (folder / "signal" / "model").exists()
    listener = Listener()
    finetune(folder, "signal", listener)
    assert f"going on with the run in {folder / 'signal'}" in listener.notes
    assert listener.done[0] == pytest.approx(1.51)  # the first seed is not trained again
    check_same_end(folder / "signal", straight)


@pytest.mark.slow
def test_a_kill_loses_no_finished_seed_and_changes_no_bit(folder, straight):
    program = (
        "import signal\nfrom pathlib import Path\n"
        "from flows.test_finetune_goes_on import Listener, finetune\n"
        f"finetune(Path({str(folder)!r}), 'kill', Listener(stop_at=1.3, how=signal.SIGKILL))"
    )
    tests = str(Path(__file__).resolve().parents[1])
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([tests, *sys.path])},
    )
    assert done.returncode == -signal.SIGKILL
    listener = Listener()
    finetune(folder, "kill", listener)
    assert listener.done[0] == pytest.approx(1.01)
    check_same_end(folder / "kill", straight)


def test_an_unfinished_run_with_other_settings_is_begun_anew_and_says_so(folder, straight):
    with pytest.raises(Interrupted):
        finetune(folder, "other", Listener(stop_at=0.1), **{"transfer.dropout": 0.3})
    listener = Listener()
    finetune(folder, "other", listener)
    assert (
        f"the unfinished run in {folder / 'other'} was begun with other settings: it is begun anew"
    ) in listener.notes
    assert listener.done[0] == pytest.approx(0.01)
    check_same_end(folder / "other", straight)


@pytest.mark.slow
def test_a_finished_run_is_trained_anew(folder, straight):
    before = weights(straight)
    listener = Listener()
    finetune(folder, "straight", listener, **{"transfer.dropout": 0.5})
    assert listener.done[0] == pytest.approx(0.01)
    assert weights(straight) != before
    finetune(folder, "straight", Listener())
    assert weights(straight) == before
