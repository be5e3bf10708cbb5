from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from headstart.abilities import OBJECTIVE_NEEDS, ObjectiveName
from headstart.data.code_book import CodeBook
from headstart.errors import InputError
from headstart.objectives import (
    IMAGE_OBJECTIVES,
    PAIR_OBJECTIVES,
    TEXT_OBJECTIVES,
    BagOfWords,
    CausalLanguage,
    Contrast,
    HybridLanguage,
    MaskedAutoencoder,
    MaskedLanguage,
    NextSentence,
    Pretraining,
    SimpleMaskedImage,
    SpanCorruption,
    VisualTokens,
)


def test_the_listed_names_are_those_of_the_parts(vocabulary):
    masked = MaskedLanguage(vocabulary)
    parts = (
        masked,
        NextSentence(),
        CausalLanguage(vocabulary),
        HybridLanguage(masked),
        BagOfWords(np.ones(40)),
        Contrast(),
        SpanCorruption(replace(vocabulary, sentinels=(9,))),
    )
    assert tuple(part.name for part in parts) == TEXT_OBJECTIVES
    codes = CodeBook(np.zeros((2, 48), dtype=np.float32))
    images = (MaskedAutoencoder(), SimpleMaskedImage(), VisualTokens(codes), Contrast("crops"))
    assert tuple(part.name for part in images) == IMAGE_OBJECTIVES


def test_every_part_of_every_objective_in_the_settings_is_listed():
    parts = {part for name in get_args(ObjectiveName) for part in name.split("+")}
    listed = {*TEXT_OBJECTIVES, *IMAGE_OBJECTIVES, *PAIR_OBJECTIVES}
    assert parts == {*listed, "spans"}  # spans is a contrast
    assert parts == set(OBJECTIVE_NEEDS)


def test_an_objective_without_parts_is_refused(vocabulary):
    with pytest.raises(InputError) as caught:
        Pretraining([], vocabulary)
    assert str(caught.value) == "an objective needs at least one part"


def test_the_same_part_twice_is_refused(vocabulary):
    with pytest.raises(InputError) as caught:
        Pretraining([NextSentence(), NextSentence()], vocabulary)
    assert str(caught.value) == "objective parts must differ, but are nsp, nsp"


def test_a_texts_sequences_get_their_special_tokens(vocabulary, sequences):
    batch = Pretraining([BagOfWords(np.ones(40))], vocabulary).prepare(
        sequences, np.random.default_rng(0)
    )
    layout, tokens = batch.layout["tokens"], batch.inputs["tokens"]
    assert layout.lengths.tolist() == (sequences.lengths + 2).tolist()
    assert (tokens[layout.first] == 2).all()
    assert (tokens[layout.first + layout.lengths - 1] == 3).all()
