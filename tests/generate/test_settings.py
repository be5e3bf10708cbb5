import pytest

from headstart.errors import InputError
from headstart.generate import Decoding


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_new": 0}, "max_new is 0, but must be at least 1"),
        ({"max_new": 4, "min_new": 5}, "min_new is 5, but must be from 0 to max_new 4"),
        (
            {"temperature": -1.0},
            "temperature is -1.0, but must be from 0 (the likeliest token) to 100",
        ),
        ({"top_k": -1}, "top_k is -1, but must be 0 (all tokens) or more"),
        ({"top_p": 0.0}, "top_p is 0.0, but must be above 0 and at most 1 (all tokens)"),
        ({"beams": 0}, "beams is 0, but must be from 1 to 1000"),
        (
            {"repetition_penalty": 0.0},
            "repetition_penalty is 0.0, but must be above 0 and at most 100",
        ),
        ({"no_repeat_ngram": -2}, "no_repeat_ngram is -2, but must be 0 (off) or more"),
        ({"seed": -1}, "seed is -1, but must be from 0 to 2^63 - 1"),
        (
            {"top_k": 5},
            "top_k and top_p say from which tokens one is drawn, but temperature 0 draws none: "
            "leave them out, or give a temperature above 0",
        ),
        (
            {"length_penalty": 2.0},
            "length_penalty and early_stopping belong to beam search: give beams, or leave them "
            "out",
        ),
        (
            {"beams": 2, "temperature": 1.0},
            "beams looks for the likeliest text, temperature draws one: give one of them",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(given, message):
    with pytest.raises(InputError) as caught:
        Decoding(**given)
    assert str(caught.value) == message
