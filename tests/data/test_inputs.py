"""Texts that Python hands over: what is taken for texts, and what is refused."""

import numpy as np
import pytest

from headstart.data.inputs import texts_of
from headstart.errors import InputError


class Frame:
    """Goes through the names of its columns, as a data frame does."""

    columns = ("text", "label")

    def __iter__(self):
        return iter(self.columns)


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        ("ab", ["ab"]),
        (["a", "b"], ["a", "b"]),
        (("a",), ["a"]),
        ((letter for letter in "ab"), ["a", "b"]),
        (np.array(["a", "b"]), ["a", "b"]),
        ([], []),
    ],
)
def test_one_text_or_any_container_of_texts_is_taken(given, texts):
    found = texts_of(given)
    assert found == texts
    assert {type(text) for text in found} <= {str}


@pytest.mark.parametrize("given", [None, 3, b"ab", {"a": "b"}, Frame()])
def test_what_would_be_read_as_something_else_is_refused(given):
    with pytest.raises(InputError) as caught:
        texts_of(given)
    assert str(caught.value) == (
        f"{type(given).__name__} is no list of texts: give a text, a list of them, or one column "
        "of a table, such as table['text']"
    )


def test_the_first_that_is_no_text_is_named():
    with pytest.raises(InputError) as caught:
        texts_of(["a", float("nan"), 3], what="prompt")
    assert str(caught.value) == "prompt 2 is no text but float: nan"
