"""What a folder's generation_config.json asks for, and what a person asks for instead."""

import json

import pytest

from headstart.errors import CheckpointError, InputError
from headstart.generate import Decoding
from headstart.generate.defaults import Defaults, decoding, read_defaults


@pytest.fixture
def folder(tmp_path):
    def write(values, **config):
        (tmp_path / "config.json").write_text(json.dumps(config))
        if values is not None:
            (tmp_path / "generation_config.json").write_text(json.dumps(values))
        return tmp_path

    return write


def read(place, *, two=False, end=None):
    return read_defaults(place, two=two, end=end)


def test_a_folder_without_the_file_names_its_end_in_config_json(folder):
    assert read(folder(None, eos_token_id=5), end=9) == Defaults({"ends": (5,)})
    assert read(folder(None), end=9) == Defaults({"ends": (9,)})
    assert read(folder(None)) == Defaults({"ends": ()})


def test_all_known_keys_are_taken_over(folder):
    place = folder(
        {
            "do_sample": True,
            "temperature": 0.7,
            "top_p": 0.9,
            "eos_token_id": [3, 4],
            "max_new_tokens": 30,
            "min_new_tokens": 2,
            "repetition_penalty": 1.2,
            "no_repeat_ngram_size": 3,
            "suppress_tokens": [8],
            "bad_words_ids": [[9], [8]],
            "forced_eos_token_id": 0,
            "pad_token_id": 0,
            "transformers_version": "5.0.0",
        },
        eos_token_id=5,
    )
    found = read(place)
    assert found.notes == ()
    assert decoding(found.choices, {}) == Decoding(
        temperature=0.7,
        top_k=50,  # as in transformers where the file does not say
        top_p=0.9,
        ends=(3, 4),
        max_new=30,
        min_new=2,
        repetition_penalty=1.2,
        no_repeat_ngram=3,
        banned=(8, 9),
        forced_end=0,
    )


def test_an_encoder_decoders_lengths_count_its_start_token(folder):
    values = {"num_beams": 4, "early_stopping": True, "length_penalty": 0.8, "max_length": 20,
              "min_length": 5}  # fmt: skip
    found = decoding(read(folder(values), two=True).choices, {})
    assert (found.max_new, found.min_new, found.beams) == (19, 4, 4)
    assert (found.early_stopping, found.length_penalty) == ("yes", 0.8)
    never = read(folder({"num_beams": 4, "early_stopping": "never"}))
    assert decoding(never.choices, {}).early_stopping == "never"


def test_keys_that_mean_nothing_here_are_named(folder):
    place = folder(
        {"penalty_alpha": 0.6, "max_length": 20, "guidance_scale": None, "top_k": 5, "typical_p": 1}
    )
    found = read(place)
    assert [str(note) for note in found.notes] == [
        f"{place}/generation_config.json: not known here and left aside: max_length, "
        "penalty_alpha, typical_p"
    ]
    assert "top_k" not in found.choices  # nothing is drawn


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_beams": "4"}, "'num_beams' is \"4\", but must be a whole number from 1 to 1000"),
        ({"eos_token_id": [1, -2]}, "'eos_token_id' is [1, -2], but must be a token id or a list "
                                    "of them"),
        ({"do_sample": True, "temperature": 0.0}, "'temperature' is 0.0, but must be a number from "
                                                  "1e-06 to 100"),
    ],
)  # fmt: skip
def test_values_of_the_wrong_kind_are_refused(folder, values, message):
    place = folder(values)
    with pytest.raises(CheckpointError) as caught:
        read(place)
    assert str(caught.value) == f"{place}/generation_config.json: {message}"


DRAWS = {"temperature": 0.7, "top_k": 50, "top_p": 0.9}
BEAMS = {"beams": 4, "length_penalty": 2.0, "early_stopping": "yes"}


@pytest.mark.parametrize(
    ("defaults", "given", "expected"),
    [
        (DRAWS, {"temperature": 0.0}, {}),
        (DRAWS, {"beams": 2}, {"beams": 2}),
        (DRAWS, {"top_k": 3}, {**DRAWS, "top_k": 3}),
        (BEAMS, {"temperature": 0.5}, {"temperature": 0.5}),
        (BEAMS, {"top_p": 0.5}, {"temperature": 1.0, "top_p": 0.5}),
        (BEAMS, {"beams": 1}, {}),
        (BEAMS, {"length_penalty": 1.0}, {**BEAMS, "length_penalty": 1.0}),
        ({"min_new": 9}, {"max_new": 4}, {"min_new": 4, "max_new": 4}),
    ],
)
def test_what_is_given_takes_the_place_of_what_it_contradicts(defaults, given, expected):
    assert decoding(defaults, given) == Decoding(**expected)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("max_new_tokens", " Did you mean max_new?"), ("beam", " Did you mean beams?"), ("qqq", "")],
)
def test_a_choice_that_there_is_not_is_answered_with_the_nearest(name, hint):
    with pytest.raises(InputError) as refused:
        decoding({}, {name: 3})
    assert str(refused.value) == f"{name}: no such setting.{hint}"


def test_what_is_given_may_not_contradict_itself():
    with pytest.raises(InputError, match="top_k and top_p say from which"):
        decoding(DRAWS, {"temperature": 0.0, "top_k": 3})
