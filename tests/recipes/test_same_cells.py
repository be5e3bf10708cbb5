"""A report keeps its finished cells exactly as long as they answer the same question."""

import dataclasses
import json

import pytest

from headstart.config import DataSettings, PretrainSettings, ReportSettings
from headstart.data.dataset import load_labelled
from headstart.errors import InputError
from headstart.families import save_model
from headstart.families.digests import folder_digest, seal
from headstart.recipes.same_cells import (
    corpus_digest,
    pretrained_with,
    refuse_other_pretraining,
    same_cells,
)
from headstart.train.checkpoint import digest_of
from small_tasks import small_start


class Notes:
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(str(text))


@pytest.fixture
def rows(tmp_path):
    place = tmp_path / "labels.csv"
    place.write_text("text,label\n" + "".join(f"text {n},{n % 2}\n" for n in range(20)))
    return load_labelled(place)


@pytest.fixture
def corpus(tmp_path):
    place = tmp_path / "corpus.txt"
    place.write_text("one\ntwo\n")
    return place


def open_one(folder, rows, corpus, *, model="m", other=None, **given):
    notes = Notes()
    settings = ReportSettings(corpus=(str(corpus),), **given)
    digest = digest_of({"texts": rows.texts, "labels": rows.labels.tolist()})
    digests = {"labels": digest, "test": digest, "model": model, "public": other or {}}
    digests["corpus"] = corpus_digest(settings.corpus)
    place = same_cells(folder, settings, **digests, events=notes)
    return place, notes.notes


def with_cells(folder, rows, corpus, **given):
    place, notes = open_one(folder, rows, corpus, **given)
    assert notes == []
    place.write_text("cells")
    return place


@pytest.mark.parametrize(
    "changed",
    [
        {"budget": "2h"},
        {"labels": ["7"]},
        {"seeds": 9, "seed": 4},
        {"arms": ["lsa"]},
        {"pretrain_share": 0.3},
        {"public": ["hf:some/model"]},
        {"out": "elsewhere"},
    ],
)
def test_what_only_says_which_cells_are_made_keeps_them(tmp_path, rows, corpus, changed):
    place = with_cells(tmp_path, rows, corpus)
    assert open_one(tmp_path, rows, corpus, **changed) == (place, [])
    assert place.read_text() == "cells"


def test_the_same_files_in_another_place_keep_them(tmp_path, rows, corpus):
    place = with_cells(tmp_path, rows, corpus, test="here/test.csv")
    (tmp_path / "moved").mkdir()
    moved = corpus.rename(tmp_path / "moved" / corpus.name)
    assert open_one(tmp_path, rows, moved, test="there/test.csv") == (place, [])


def test_other_settings_set_the_cells_aside_and_say_so(tmp_path, rows, corpus):
    place = with_cells(tmp_path, rows, corpus)
    same, notes = open_one(tmp_path, rows, corpus, transfer={"epochs": 3})
    assert same == place
    assert not place.exists()
    assert (tmp_path / "cells-before.jsonl").read_text() == "cells"
    assert notes == [
        f"the cells in {tmp_path} were made with other settings: all are made anew, the old ones "
        "are kept as cells-before.jsonl"
    ]
    assert open_one(tmp_path, rows, corpus, transfer={"epochs": 3})[1] == []


def test_other_rows_corpus_models_and_an_unknown_past_are_each_named(tmp_path, rows, corpus):
    place = with_cells(tmp_path, rows, corpus, other={"a": "1", "b": "2"})
    other = dataclasses.replace(rows, labels=1 - rows.labels)
    corpus.write_text("one\nsix\n")  # of the same size
    notes = open_one(tmp_path, other, corpus, model="n", other={"b": "3", "c": "4"})[1]
    assert f"{notes}".count("made with other labels, test, corpus, model, public model b:") == 1
    place.write_text("cells")
    (tmp_path / "cells.begun.json").unlink()
    notes = open_one(tmp_path, rows, corpus)[1]
    assert f"{notes}".count("made with other settings, labels, test, corpus, model:") == 1


def test_a_public_model_that_changed_in_its_folder_is_another_and_none_keeps_its_cells(
    tmp_path, rows, corpus
):
    public = save_model(small_start().model, {}, tmp_path / "public")
    before = folder_digest(public)
    place = with_cells(tmp_path, rows, corpus, other={"one": before})
    assert open_one(tmp_path, rows, corpus) == (place, [])
    assert open_one(tmp_path, rows, corpus, other={"two": "t"}) == (place, [])
    both = {"one": folder_digest(public), "two": "t"}
    assert open_one(tmp_path, rows, corpus, other=both) == (place, [])
    seal(public)
    assert folder_digest(public) == before
    weights = public / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")  # the same size and name
    notes = open_one(tmp_path, rows, corpus, other={"one": folder_digest(public)})[1]
    assert [note.partition(":")[0] for note in notes] == [
        f"the cells in {tmp_path} were made with other public model one"
    ]


def test_a_network_pretrained_otherwise_is_refused_by_what_is_other(tmp_path, corpus):
    def made(left_out=(), **given):
        settings = PretrainSettings(data=DataSettings(paths=(str(corpus),)), **given)
        read = corpus_digest(settings.data.paths)
        return pretrained_with(settings, frozenset(left_out), read)

    def refused(before, wanted):
        with pytest.raises(InputError) as caught:
            refuse_other_pretraining(tmp_path, made=before, wanted=wanted)
        start, end = (
            f"the network in {tmp_path} was pretrained with ",
            (": undo the change, or give the report another folder with --out"),
        )
        assert str(caught.value).startswith(start)
        assert str(caught.value).endswith(end)
        return str(caught.value)[len(start) : -len(end)]

    before = made()
    stored = json.loads(json.dumps(before))
    refuse_other_pretraining(
        tmp_path, made=stored, wanted=made(budget="5 steps", seed=3, out="there")
    )
    assert refused(before, made(left_out=[1])) == "other records kept out of it"
    rate = made(objective={"rate": 0.3}, schedule={"decay": 0.5})
    assert refused(before, rate) == (
        "objective.rate=0.15 instead of 0.3; schedule.decay=0.4 instead of 0.5"
    )
    older = {name: value for name, value in before.items() if name != "images.codes"}
    assert refused(older, before) == "images.codes=unset instead of 512"
    assert refused({**before, "gone": "x"}, before) == 'gone="x" instead of unset'
    said = sum(value is not None for value in before.values())  # null is as good as unknown
    assert refused({}, before).count(";") == 4
    assert refused({}, before).endswith(f"; {said - 4} further differences")
    corpus.write_text("one\nsix\n")  # of the same size
    assert refused(before, made()) == "another corpus"
