"""The files that say how texts become vectors: written, read back, and refused where unknown."""

import json

import pytest

from headstart.errors import CheckpointError
from headstart.families import find, save_model
from headstart.families.sentence import (
    MODES,
    SentenceStyle,
    read_sentence_style,
    write_sentence_files,
)


@pytest.fixture
def model():
    return find("bert").build(
        num_layers=1, hidden_size=16, num_heads=2, vocab_size=40, max_positions=24
    )


def pooling_file(folder, values):
    path = folder / "1_Pooling" / "config.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(values))
    return path


@pytest.mark.parametrize("pooling", list(MODES))
def test_what_is_written_is_read_back(model, tmp_path, pooling):
    write_sentence_files(tmp_path, model, pooling)
    assert read_sentence_style(tmp_path, model) == SentenceStyle(pooling, 24)
    flags = json.loads((tmp_path / "1_Pooling" / "config.json").read_text())
    assert flags.pop("word_embedding_dimension") == 16
    assert [name for name, on in flags.items() if on] == [MODES[pooling][1]]
    modules = json.loads((tmp_path / "modules.json").read_text())
    assert [module["path"] for module in modules] == ["", "1_Pooling", "2_Normalize"]


@pytest.mark.parametrize("pooling", list(MODES))
@pytest.mark.parametrize("listed", [False, True])
def test_the_spelling_of_newer_folders_is_read_too(model, tmp_path, pooling, listed):
    name = MODES[pooling][0]
    pooling_file(tmp_path, {"embedding_dimension": 16, "pooling_mode": [name] if listed else name})
    assert read_sentence_style(tmp_path, model).pooling == pooling


def test_the_shorter_of_file_and_positions_counts_and_lowercasing_is_read(model, tmp_path):
    for length, expected in ((10, 10), (512, 24)):
        (tmp_path / "sentence_bert_config.json").write_text(
            json.dumps({"max_seq_length": length, "do_lower_case": length == 10})
        )
        assert read_sentence_style(tmp_path, model) == SentenceStyle(
            "mean", expected, lowercase=length == 10
        )


def test_a_folder_that_says_nothing_is_read_by_the_mean_over_all_positions(model, tmp_path):
    assert read_sentence_style(tmp_path, model) == SentenceStyle("mean", 24)
    save_model(model, {}, tmp_path / "m", pad=0)
    assert read_sentence_style(tmp_path / "m", model) == SentenceStyle("mean", 24)
    pooling_file(tmp_path, {"word_embedding_dimension": 16})
    assert read_sentence_style(tmp_path, model) == SentenceStyle("mean", 24)


@pytest.mark.parametrize(
    ("values", "asked"),
    [
        ({"pooling_mode_max_tokens": True}, "pooling_mode_max_tokens"),
        (
            {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
            "pooling_mode_cls_token, pooling_mode_mean_tokens",
        ),
        ({"pooling_mode": "weightedmean"}, "weightedmean"),
        ({"pooling_mode": ["cls", "mean"]}, "cls, mean"),
    ],
)
def test_a_pooling_that_we_do_not_have_is_refused(model, tmp_path, values, asked):
    path = pooling_file(tmp_path, values)
    with pytest.raises(CheckpointError) as caught:
        read_sentence_style(tmp_path, model)
    assert str(caught.value) == (
        f"{path} asks for the pooling {asked}, but headstart has one of cls, mean, lasttoken"
    )


def test_a_further_layer_is_refused_unless_it_is_a_head_of_ours(model, tmp_path):
    path = tmp_path / "modules.json"
    kinds = ("Transformer", "Pooling", "Dense")
    path.write_text(
        json.dumps([{"type": f"sentence_transformers.models.{kind}"} for kind in kinds])
    )
    assert read_sentence_style(tmp_path, model, head=True) == SentenceStyle("mean", 24)
    with pytest.raises(CheckpointError) as caught:
        read_sentence_style(tmp_path, model)
    assert str(caught.value) == (
        f"{path} names the module Dense, but headstart makes vectors by Transformer, Pooling, "
        "Normalize only"
    )
    for text, reason in (
        ("{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("[1]", "'int' object is not subscriptable"),
    ):
        path.write_text(text)
        with pytest.raises(CheckpointError) as caught:
            read_sentence_style(tmp_path, model)
        assert str(caught.value) == f"{path}: not a list of modules ({reason})"
