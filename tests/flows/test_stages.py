"""Two objectives by one command: as by two commands, and as by one that was stopped."""

import json
import os
import signal

import numpy as np
import pytest

import headstart as hs
from captioned import write_pairs
from headstart.config import PretrainSettings
from headstart.errors import InputError, Interrupted
from headstart.settings_file import make_settings
from small_corpus import SETTINGS as SMALL
from small_corpus import write_corpus

SETTINGS = {**SMALL, "data.max_length": 32, "data.tokens_per_batch": 512}
IMAGES = {
    "model.num_layers": 1,
    "model.hidden_size": 32,
    "model.num_heads": 2,
    "images.size": 24,
    "images.patch": 6,
    "images.decoder_layers": 1,
    "data.tokens_per_batch": 17 * 16,
    "machine.threads": 1,
    "machine.precision": "fp32",
}


class Listener:
    """Remembers what is said, and stops the process at a step of a stage."""

    def __init__(self, *, stage=None, step=None):
        self.notes, self.at = [], (stage, step)

    def plan(self, lines):
        pass

    def note(self, text):
        self.notes.append(text)

    def progress(self, stage, done, total, detail=""):
        now = sum(getattr(note, "key", "") == "stage" for note in self.notes)
        if stage == "pretrain" and (now, done) == self.at:
            self.at = (None, None)
            os.kill(os.getpid(), signal.SIGINT)


def weights(folder):
    return (folder / "model" / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("texts"), words=800)


def run(data, out, events=None, **given):
    settings = {**SETTINGS, **given.pop("settings", {})}
    return hs.pretrain(data, out=out, settings=settings, events=events, **given)


STAGED = {"objective": "mlm", "then": "spans", "budget": "10 steps"}


@pytest.fixture(scope="module")
def straight(corpus, tmp_path_factory):
    events = Listener()
    return run(corpus, tmp_path_factory.mktemp("runs") / "straight", events, **STAGED), events


def test_two_stages_are_two_commands(corpus, straight, tmp_path):
    found, events = straight
    first = run(corpus, tmp_path / "a", objective="mlm", budget="7 steps")
    second = run(corpus, tmp_path / "b", objective="spans", budget="3 steps", start=tmp_path / "a")
    assert weights(found.folder / "first") == weights(first.folder)
    assert weights(found.folder) == weights(second.folder)
    assert weights(first.folder) != weights(second.folder)
    assert (found.steps, found.loss, found.held_out_loss) == (
        10,
        second.loss,
        second.held_out_loss,
    )
    assert found.tokens == first.tokens + second.tokens
    said = [note for note in events.notes if getattr(note, "key", "") == "stage"]
    assert said == [
        f"stage 1 of 2: mlm, budget 7 steps, in {found.folder / 'first'}",
        f"stage 2 of 2: spans, budget 3 steps, in {found.folder}",
    ]
    lineage = json.loads((found.folder / "lineage.json").read_text())
    assert lineage["parent"] == str(found.folder / "first")


def test_the_settings_of_a_staged_run_repeat_both_stages(corpus, straight, tmp_path):
    found = straight[0]
    again = hs.pretrain(corpus, config=found.folder / "run.yaml", out=tmp_path / "again")
    assert weights(again.folder) == weights(found.folder)
    assert weights(again.folder / "first") == weights(found.folder / "first")


@pytest.mark.parametrize(("stage", "step"), [(1, 4), (2, 2)])
def test_a_stopped_run_goes_on_in_its_stage_to_the_same_bits(
    corpus, straight, tmp_path, stage, step
):
    with pytest.raises(Interrupted):
        run(corpus, tmp_path / "run", Listener(stage=stage, step=step), **STAGED)
    assert (tmp_path / "run" / "first" / "model").exists() == (stage == 2)
    assert not (tmp_path / "run" / "model").exists()
    run(corpus, tmp_path / "run", **STAGED)
    assert weights(tmp_path / "run") == weights(straight[0].folder)
    history = (tmp_path / "run" / "first" / "metrics.jsonl").read_text().splitlines()
    steps = [one["step"] for line in history if "loss" in (one := json.loads(line))]
    assert steps == list(range(1, 8))  # a stage that is done is not trained again


def test_images_have_stages_too(tmp_path):
    table = write_pairs(tmp_path / "photos", 40)
    table.unlink()
    given = {"settings": IMAGES, "family": "vit"}
    photos = tmp_path / "photos"

    def pretrain(out, **more):
        return hs.pretrain(photos, out=tmp_path / out, **given, **more)

    found = pretrain("staged", objective="mae", then="contrast", budget="6 steps")
    pretrain("a", objective="mae", budget="4 steps")
    second = pretrain("b", objective="contrast", budget="2 steps", start=tmp_path / "a")
    assert weights(found.folder) == weights(second.folder)
    assert found.steps == 6


def test_time_is_shared_as_told(corpus, tmp_path):
    events = Listener()
    run(
        corpus,
        tmp_path / "run",
        events,
        objective="mlm",
        then="bow",
        budget="2s",
        settings={"then_share": 0.25},
    )
    said = [note for note in events.notes if getattr(note, "key", "") == "stage"]
    assert [note.values["budget"].amount for note in said] == [1.5, 0.5]
    kept = make_settings(PretrainSettings, file=tmp_path / "run" / "run.yaml")
    assert (kept.objective.name, kept.then, kept.then_share) == ("mlm", "bow", 0.25)


REFUSED = [
    (
        {"objective": "mlm", "then": "mlm"},
        "then is mlm, as objective.name is: leave it out, for one long stage",
    ),
    (
        {"objective": "mlm", "then": "causal"},
        "then causal: causal needs decoder, but after mlm the model is of kind encoder, which can "
        "do bow, nsp, mlm+nsp, mlm+bow, mlm+spans, mlm+bow+spans, hybrid, hybrid+bow, spans, "
        "contrast, mlm+contrast",
    ),
    (
        {"family": "reformer", "objective": "causal", "then": "mlm"},
        "then mlm: mlm needs encoder, but after causal the model is of kind decoder, which can do "
        "bow, spans, contrast, causal+bow",
    ),
    (
        {"objective": "mlm", "then": "contrast"},
        "then contrast tells two views of a text apart by dropout, but the model has none: write "
        "model.dropout: 0.1",
    ),
    (
        {"objective": "mlm", "then": "spans", "budget": "1 steps"},
        "budget 1 steps has no room for two stages: give at least 2 steps",
    ),
]


@pytest.mark.parametrize(("given", "message"), REFUSED)
def test_a_second_stage_that_cannot_be_is_refused_before_the_first(
    corpus, tmp_path, given, message
):
    with pytest.raises(InputError) as caught:
        run(corpus, tmp_path / "run", **{"budget": "4 steps", **given})
    assert str(caught.value) == message
    assert not (tmp_path / "run" / "first").exists()


def test_pairs_have_one_stage(tmp_path):
    pairs = write_pairs(tmp_path / "pairs", 8)
    with pytest.raises(InputError) as caught:
        hs.pretrain(pairs, then="spans", out=tmp_path / "run")
    assert str(caught.value) == (
        "then is spans, but images with captions are learnt in one stage: leave it out, or write "
        "model.family: vit to learn from the images alone"
    )


def test_contrast_after_masks_brings_views_of_a_text_together(corpus, tmp_path):
    given = {"model.dropout": 0.1, "data.tokens_per_batch": 1024}
    losses = {}
    for name, then in (("one", None), ("two", "contrast")):
        found = run(
            corpus,
            tmp_path / name,
            objective="mlm",
            then=then,
            budget="24 steps",
            settings={**given, "then_share": 0.5},
        )
        lines = (found.folder / "metrics.jsonl").read_text().splitlines()
        losses[name] = [one["loss"] for line in lines if "loss" in (one := json.loads(line))]
    assert len(losses["two"]) == 12
    assert np.mean(losses["two"][-3:]) < 0.7 * losses["two"][0]
