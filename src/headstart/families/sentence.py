"""How a model folder says that texts become vectors: the files that sentence-transformers reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headstart.errors import CheckpointError
from headstart.families.fields import Fields, Json, read_fields, write_json
from headstart.families.model import Model
from headstart.families.style import Pooling

# how each pooling is spelled: by name, and as a flag of its own, which all versions read
MODES: dict[Pooling, tuple[str, str]] = {
    "first": ("cls", "pooling_mode_cls_token"),
    "mean": ("mean", "pooling_mode_mean_tokens"),
    "last": ("lasttoken", "pooling_mode_lasttoken"),
}
POOLING_FILE = "1_Pooling/config.json"
LENGTH_FILE = "sentence_bert_config.json"
MODULES_FILE = "modules.json"
MODULES = ("Transformer", "Pooling", "Normalize")


@dataclass(frozen=True)
class SentenceStyle:
    """pooling: from states to one vector. max_length: tokens of a window, special ones included.

    lowercase: whether texts are lowercased before the tokenizer sees them.
    """

    pooling: Pooling
    max_length: int
    lowercase: bool = False


def read_sentence_style(folder: Path, model: Model, *, head: bool = False) -> SentenceStyle:
    """What the folder says; mean pooling and all positions where it says nothing.

    head: whether a layer behind the pooling is a classifier of ours, and not part of the vector.
    Raises CheckpointError for a pooling or a further layer that we do not have.
    """
    if not head:
        _refuse_further_modules(folder / MODULES_FILE)
    longest, lowercase = model.config.max_positions, False
    if (folder / LENGTH_FILE).is_file():
        fields = read_fields(folder / LENGTH_FILE)
        longest = min(longest, fields.whole("max_seq_length", longest))
        lowercase = fields.flag("do_lower_case", False)
    pooling: Pooling = "mean"
    if (folder / POOLING_FILE).is_file():
        pooling = _pooling(read_fields(folder / POOLING_FILE))
    return SentenceStyle(pooling, longest, lowercase)


def _pooling(fields: Fields) -> Pooling:
    named = fields.values.get("pooling_mode")
    asked: list[Json] = named if isinstance(named, list) else [named]
    if named is None:
        asked = [name for name, on in fields.values.items() if name.startswith("pooling_") and on]
    if not asked:
        return "mean"
    for pooling, spellings in MODES.items():
        if len(asked) == 1 and asked[0] in spellings:
            return pooling
    raise CheckpointError(
        f"{fields.source} asks for the pooling {', '.join(map(str, asked))}, but headstart has one "
        f"of {', '.join(name for name, _ in MODES.values())}"
    )


def _refuse_further_modules(path: Path) -> None:
    if not path.is_file():
        return
    try:
        modules = json.loads(path.read_bytes())
        kinds = [str(module["type"]).rpartition(".")[2] for module in modules]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a list of modules ({error})") from None
    further = [kind for kind in kinds if kind not in MODULES]
    if further:
        raise CheckpointError(
            f"{path} names the module {further[0]}, but headstart makes vectors by "
            f"{', '.join(MODULES)} only"
        )


def write_sentence_files(place: Path, model: Model, pooling: Pooling) -> None:
    """The files that make a model folder a SentenceTransformer with vectors of length 1."""
    write_modules(place, MODULES)
    write_json(
        place / LENGTH_FILE, {"max_seq_length": model.config.max_positions, "do_lower_case": False}
    )
    for name in ("1_Pooling", "2_Normalize"):
        (place / name).mkdir()
    flags = {flag: kind == pooling for kind, (_, flag) in MODES.items()}
    write_json(
        place / POOLING_FILE, {"word_embedding_dimension": model.config.output_size, **flags}
    )


def write_modules(place: Path, kinds: Sequence[str]) -> None:
    """modules.json: what comes after what."""
    modules = [
        {
            "idx": n,
            "name": str(n),
            "path": f"{n}_{kind}" if n else "",
            "type": f"sentence_transformers.models.{kind}",
        }
        for n, kind in enumerate(kinds)
    ]
    write_json(place / MODULES_FILE, modules)
