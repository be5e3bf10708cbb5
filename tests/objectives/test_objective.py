from dataclasses import replace

import numpy as np
import pytest

from headstart.errors import InputError
from headstart.objectives import (
    OBJECTIVES,
    BagOfWords,
    CausalLanguage,
    Contrast,
    HybridLanguage,
    MaskedLanguage,
    NextSentence,
    Pretraining,
    SpanCorruption,
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
    assert tuple(part.name for part in parts) == OBJECTIVES


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
