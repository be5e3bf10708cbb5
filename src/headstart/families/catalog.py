"""The list of families, and how to find one."""

from __future__ import annotations

import difflib

from headstart.errors import CheckpointError, InputError
from headstart.families.bert import BERT
from headstart.families.clip import CLIP
from headstart.families.dual import DUAL
from headstart.families.family import Family
from headstart.families.gpt import GPT
from headstart.families.llama import LLAMA
from headstart.families.marian import MARIAN
from headstart.families.modern import MODERN
from headstart.families.reformer import REFORMER
from headstart.families.roberta import ROBERTA
from headstart.families.t5 import T5
from headstart.families.vit import VIT

FAMILIES: tuple[Family, ...] = (
    BERT,
    ROBERTA,
    GPT,
    MODERN,
    REFORMER,
    LLAMA,
    T5,
    MARIAN,
    VIT,
    CLIP,
    DUAL,
)


def find(name: str) -> Family:
    """The family of this name. Raises InputError that names the nearest one."""
    names = [family.name for family in FAMILIES]
    if name in names:
        return FAMILIES[names.index(name)]
    near = difflib.get_close_matches(name, names, 1, cutoff=0.5)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    raise InputError(f"no family '{name}' (there are: {', '.join(names)}).{hint}")


def find_model_type(model_type: str, *, source: str) -> Family:
    """The family that reads a Hugging Face model type; source names the file in the message."""
    for family in FAMILIES:
        if model_type in family.model_types:
            return family
    known = ", ".join(word for family in FAMILIES for word in family.model_types)
    raise CheckpointError(
        f"{source}: model_type '{model_type}' is not one headstart reads ({known})"
    )
