"""Values of config.json that are ours under another name, in one table that reads and writes them.

What a family says with more than a name (two spellings, a value that follows from another, one that
is refused) stands in its own functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headstart.families.activations import ACTIVATION_WORDS, activation_from_hf, activation_to_hf
from headstart.families.fields import Fields, Json


@dataclass(frozen=True)
class Key:
    """One value.

    theirs: its name in config.json; ours: the field of `TransformerConfig` or another value.
    default: where config.json leaves it out. Its type is the value's kind: true or false, a whole
    number from low to high, a number from 0 to 1, or the word for an activation.
    """

    theirs: str
    ours: str
    default: bool | int | float | str
    low: int = 1
    high: int = 2**24

    def read(self, hf: Fields) -> object:
        """Our value."""
        if isinstance(self.default, bool):
            return hf.flag(self.theirs, self.default)
        if isinstance(self.default, int):
            return hf.whole(self.theirs, self.default, low=self.low, high=self.high)
        if isinstance(self.default, float):
            return hf.number(self.theirs, self.default, low=0, high=1)
        return activation_from_hf(hf.word(self.theirs, self.default, ACTIVATION_WORDS))

    def written(self, ours: Any) -> Json:  # noqa: ANN401
        """Theirs."""
        return activation_to_hf(ours) if isinstance(self.default, str) else ours


def sizes(hidden: int, layers: int, heads: int, inner: int) -> tuple[Key, ...]:
    """The usual names of the usual sizes."""
    return (
        Key("hidden_size", "hidden_size", hidden),
        Key("num_hidden_layers", "num_layers", layers, high=1000),
        Key("num_attention_heads", "num_heads", heads),
        Key("intermediate_size", "intermediate_size", inner),
    )


def read(hf: Fields, keys: Sequence[Key]) -> dict[str, Any]:
    """Our values by field."""
    return {key.ours: key.read(hf) for key in keys}


def written(ours: object, keys: Sequence[Key]) -> dict[str, Json]:
    """The file's values, by its names, of a config or another value of ours."""
    return {key.theirs: key.written(getattr(ours, key.ours)) for key in keys}
