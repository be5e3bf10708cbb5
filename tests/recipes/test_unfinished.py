"""What a stopped fine-tuning run leaves: its choice, its seeds' histories, and whose run it is."""

import json
from dataclasses import replace

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from headstart.evaluate.transfer import Candidate, Choice, TransferSettings
from headstart.families import make_head
from headstart.recipes.unfinished import Unfinished, digest_of_start
from headstart.train import RunFolder
from small_tasks import small_start, vocabulary

DECISIVE = {"settings": "a", "labels": "b"}


class Notes:
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(str(text))


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path / "run").create()


def open_one(run, decisive=None):
    notes = Notes()
    return Unfinished(run, decisive or DECISIVE, notes), notes.notes


def test_a_choice_is_taken_up_as_it_was_made(run):
    settings = TransferSettings(lr=5e-4, freeze=("*embed*",), epochs=3, head_first=False)
    choice = Choice(Candidate("partial", settings), {"probe": 0.25, "partial": 0.75}, 1.5)
    left, notes = open_one(run)
    assert (left.choice(), notes) == (None, [])
    left.keep(choice)
    again, notes = open_one(run)
    assert again.choice() == choice
    assert notes == [f"going on with the run in {run.path}"]
    other = replace(choice, candidate=Candidate("full", settings))
    assert again.choice() != other


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"method": "magic", "settings": {}, "scores": [], "cost_s": 0}',
        '{"method": "full", "settings": {"no such": 1}, "scores": [], "cost_s": 0}',
    ],
)
def test_a_choice_that_cannot_be_read_is_made_again(run, text):
    left, _ = open_one(run)
    (left.folder / "choice.json").write_text(text)
    assert left.choice() is None


def test_a_run_that_was_begun_with_anything_else_is_begun_anew(run):
    left, _ = open_one(run)
    left.of_seed(0).mkdir()
    again, notes = open_one(run, {"settings": "a", "labels": "other"})
    assert not again.of_seed(0).exists()
    assert notes == [
        f"the unfinished run in {run.path} was begun with other labels: it is begun anew"
    ]


def test_the_history_of_a_seed_is_that_of_its_stages_in_order(run):
    left, _ = open_one(run)
    for stage in (2, 10, 1):
        place = left.of_seed(3) / f"stage-{stage:03d}"
        place.mkdir(parents=True)
        (place / "metrics.jsonl").write_text(json.dumps({"step": stage}) + "\n")
    assert left.history(3) == [{"step": 1}, {"step": 2}, {"step": 10}]
    assert left.history(0) == []
    left.remove()
    assert list(run.path.iterdir()) == []


def test_the_digest_of_a_start_is_of_all_that_decides_its_answers():
    def start(**given):
        return replace(small_start(), tokenizer=word_tokenizer(["red", "blue"]), **given)

    same = digest_of_start(start())
    assert digest_of_start(start()) == same
    touched = small_start().model
    with torch.no_grad():
        touched.embed.tokens.weight[3, 3] += 1e-6
    eps = replace(touched.config, norm_eps=1e-3)
    shaped = small_start().model
    shaped.config = eps
    head = make_head(small_start().model, "sequence")
    others = [
        start(model=touched),
        start(model=shaped),
        start(heads={"sequence": head}),
        start(frame=vocabulary(41)),
        replace(start(), tokenizer=word_tokenizer(["blue", "red"])),
    ]
    assert len({same, *map(digest_of_start, others)}) == 6


def word_tokenizer(words):
    ids = {word: number for number, word in enumerate(words)}
    return Tokenizer(WordLevel(ids, unk_token=words[0]))
