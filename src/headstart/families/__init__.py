"""Families: Hugging Face's world and ours. One data sheet a family; loading, saving, heads."""

from headstart.families import (
    bert,
    clip,
    dual,
    gpt,
    llama,
    marian,
    modern,
    reformer,
    roberta,
    t5,
    vit,
)
from headstart.families.adapters import load_adapter, save_adapter
from headstart.families.catalog import FAMILIES, find
from headstart.families.family import Family
from headstart.families.heads import (
    CausalLanguageHead,
    HeadKind,
    MaskedLanguageHead,
    SequenceHead,
    make_head,
)
from headstart.families.load import Loaded, load_model, resolve
from headstart.families.model import Model, build_model
from headstart.families.pooler import Pooler, pool
from headstart.families.save import save_model
from headstart.families.style import HeadStyle

__all__ = [
    "FAMILIES",
    "CausalLanguageHead",
    "Family",
    "HeadKind",
    "HeadStyle",
    "Loaded",
    "MaskedLanguageHead",
    "Model",
    "Pooler",
    "SequenceHead",
    "bert",
    "build_model",
    "clip",
    "dual",
    "find",
    "gpt",
    "llama",
    "load_adapter",
    "load_model",
    "make_head",
    "marian",
    "modern",
    "pool",
    "reformer",
    "resolve",
    "roberta",
    "save_adapter",
    "save_model",
    "t5",
    "vit",
]
