"""A model that has learnt to write texts, as a folder that stock libraries generate with.

`AutoModelForSeq2SeqLM` or `AutoModelForCausalLM` open it. The tokenizer puts around a source what
the model learnt with, a decoder's separator among it, and `generation_config.json` says where a
text ends, so that `generate(**tokenizer(source, return_tensors="pt"))` writes what headstart does.
`head.json` says the rest: how long sources and texts are, and what the trivial controls need.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer
from torch import nn

from headstart.data.text import special_ids
from headstart.errors import CheckpointError
from headstart.families.fields import Fields, read_fields, write_json
from headstart.families.heads import CausalLanguageHead
from headstart.families.load import load_model
from headstart.families.model import Model
from headstart.families.readout import HEAD
from headstart.families.save import save_model, whole_folder

GENERATION = "generation_config.json"


@dataclass(frozen=True)
class Habits:
    """What controls must know of the training texts: half of them have at most so many words, and
    this one is the most frequent.
    """

    words: int
    frequent: str


@dataclass(frozen=True)
class WritingForm:
    """A model, its next-token head, and how long what it reads and writes is (tokens, special ones
    included).
    """

    model: Model
    head: nn.Module
    max_length: int
    target_length: int
    habits: Habits


def save_writing(
    form: WritingForm, folder: str | Path, *, tokenizer: Tokenizer | None, about: str = ""
) -> Path:
    """Write the folder, whole or not at all. tokenizer: as `data.text.framed` gives it."""
    model = form.model
    with whole_folder(Path(folder)) as place:
        save_model(model, {"causal": form.head}, place, tokenizer=tokenizer, about=about)
        write_json(
            place / HEAD,
            {
                "kind": "text",
                "max_length": form.max_length,
                "target_length": form.target_length,
                "words": form.habits.words,
                "frequent": form.habits.frequent,
            },
        )
        if tokenizer is not None:
            ids = special_ids(tokenizer)
            begin = {} if model.decoder is None else {"decoder_start_token_id": model.style.start}
            write_json(
                place / GENERATION,
                {
                    **begin,
                    "bos_token_id": ids.cls,
                    "eos_token_id": ids.sep,
                    "pad_token_id": ids.pad,
                    "max_new_tokens": form.target_length,
                },
            )
    return Path(folder)


def has_learnt_to_write(folder: str | Path) -> bool:
    """Whether `save_writing` made this folder."""
    place = Path(folder) / HEAD
    return place.exists() and read_fields(place).values.get("kind") == "text"


def length_learnt(folder: str | Path) -> int | None:
    """Most tokens of a source that the model of such a folder met; None for any other folder."""
    if not has_learnt_to_write(folder):
        return None
    return _max_length(read_fields(Path(folder) / HEAD))


def _max_length(ours: Fields) -> int:
    return ours.whole("max_length", 128, high=1_000_000)


def load_writing(folder: str | Path) -> WritingForm:
    """What such a folder holds. Raises CheckpointError if it is damaged."""
    folder = Path(folder)
    ours, loaded = read_fields(folder / HEAD), load_model(folder)
    head = loaded.heads.get("causal")
    if not isinstance(head, CausalLanguageHead):
        raise CheckpointError(
            f"{folder}: {HEAD} says that it writes texts, but there is no head for next tokens. "
            "Copy it again"
        )
    frequent = ours.values.get("frequent", "")
    if not isinstance(frequent, str):
        raise ours.refused("frequent", frequent, "a text")
    return WritingForm(
        loaded.model,
        head,
        _max_length(ours),
        ours.whole("target_length", 64, high=1_000_000),
        Habits(ours.whole("words", 1, high=1_000_000), frequent),
    )
