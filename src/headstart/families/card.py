"""The model card: README.md of a model folder, for the Hub and for people.

A folder is passed on to people of whom nothing is known, so the facts stand in English, which the
Hub's readers expect first, and below it in Chinese, whatever the screen's language was. Text that
is not of `words` stands as it is, once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import nn

from headstart.errors import InputError
from headstart.families.family import Family
from headstart.families.heads import HeadKind
from headstart.families.model import Model
from headstart.families.style import Pooling
from headstart.nn import TransformerConfig
from headstart.words import WORDS, Lang, Phrase, in_language, worded

PIPELINES: dict[str, str] = {
    "masked": "fill-mask",
    "causal": "text-generation",
    "sequence": "text-classification",
}


def model_card(
    family: Family,
    model: Model,
    heads: Mapping[HeadKind, nn.Module],
    *,
    pooling: Pooling | None,
    languages: Sequence[str],
    notes: Sequence[str],
) -> str:
    """README.md: the header that the Hub reads, then facts for people. notes: in Markdown."""
    for code in languages:
        if not re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*", code):
            raise InputError(f"'{code}' is no language code such as en or zh")
    library = "sentence-transformers" if pooling else "transformers"
    told = [note.strip() for note in notes if note.strip()]
    chinese = [in_language(note, "zh") for note in notes if isinstance(note, Phrase)]
    lines = [
        "---",
        f"library_name: {library}",
        f"pipeline_tag: {_pipeline(model, heads, pooling)}",
        *(["language:", *(f"- {code}" for code in languages)] if languages else []),
        "tags:",
        "- headstart",
        f"- {family.name}",
        "---",
        "",
        f"# {family.title} model made with headstart",
        "",
    ]
    english = [_facts(family, model, heads, "en"), *told]
    chinese = [_facts(family, model, heads, "zh"), *chinese]
    return "\n".join(lines) + "\n" + "\n\n".join([*english, "## 中文", *chinese]) + "\n"


def _facts(family: Family, model: Model, heads: Mapping[HeadKind, nn.Module], lang: Lang) -> str:
    """What it is and where it is described: two paragraphs."""
    values = {
        "layers": model.config.num_layers,
        "hidden": model.config.hidden_size,
        "heads": model.config.num_heads,
        "reads": _reads(model.config, lang),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "outputs": ", ".join(heads) or worded(WORDS, "card_no_heads", lang, {}),
        "paper": family.paper,
    }
    return "\n\n".join(worded(WORDS, key, lang, values) for key in ("card_facts", "card_paper"))


def _pipeline(model: Model, heads: Mapping[HeadKind, nn.Module], pooling: Pooling | None) -> str:
    """What the Hub calls the model's use."""
    if model.images is not None:
        return "zero-shot-image-classification"
    if model.config.patches is not None:
        return "image-classification" if "sequence" in heads else "image-feature-extraction"
    if "causal" in heads and model.decoder is not None:
        return "text2text-generation"
    plain = "sentence-similarity" if pooling else "feature-extraction"
    return next((PIPELINES[kind] for kind in heads if kind in PIPELINES), plain)


def _reads(config: TransformerConfig, lang: Lang) -> str:
    """What goes in, in words."""
    if config.images is not None:
        sides = {
            "texts": _reads(replace(config, images=None), lang),
            "images": _reads(config.images, lang),
        }
        return worded(WORDS, "card_both", lang, sides)
    if config.patches is None:
        sizes = {"vocabulary": config.vocab_size, "most": config.max_positions}
        return worded(WORDS, "card_texts", lang, sizes)
    pixels = {"size": config.patches.image_size, "patch": config.patches.patch_size}
    return worded(WORDS, "card_images", lang, pixels)
