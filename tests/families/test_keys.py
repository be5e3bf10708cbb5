import re
from dataclasses import dataclass

import pytest

from headstart.errors import CheckpointError
from headstart.families.fields import Fields
from headstart.families.keys import Key, read, sizes, written

KEYS = (
    Key("d_model", "hidden_size", 512),
    Key("layers", "num_layers", 6, low=2, high=9),
    Key("drop", "dropout", 0.1),
    Key("tied", "tied", True),
    Key("act", "activation", "silu"),
)


@dataclass
class Ours:
    hidden_size: int = 24
    num_layers: int = 3
    dropout: float = 0.5
    tied: bool = False
    activation: str = "gelu_tanh"


def test_what_is_written_is_read_as_it_was():
    file = written(Ours(), KEYS)
    assert file == {"d_model": 24, "layers": 3, "drop": 0.5, "tied": False, "act": "gelu_new"}
    assert Ours(**read(Fields(file, "config.json"), KEYS)) == Ours()


def test_what_a_file_leaves_out_is_the_default():
    found = read(Fields({}, "config.json"), KEYS)
    assert Ours(**found) == Ours(512, 6, 0.1, tied=True, activation="silu")


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("d_model", True, "a whole number from 1 to 16777216"),
        ("layers", 1, "a whole number from 2 to 9"),
        ("drop", 2, "a number from 0 to 1"),
        ("tied", 1, "true or false"),
    ],
)
def test_a_value_of_another_kind_is_refused(key, value, allowed):
    shown = "true" if value is True else str(value)
    message = f"config.json: '{key}' is {shown}, but must be {allowed}"
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        read(Fields({key: value}, "config.json"), KEYS)


def test_the_usual_sizes_have_their_usual_names():
    file = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 4}
    assert read(Fields({**file}, "config.json"), sizes(768, 12, 12, 3072)) == {
        "hidden_size": 8,
        "num_layers": 2,
        "num_heads": 4,
        "intermediate_size": 3072,
    }
