"""How a model folder says that texts become vectors: the files that sentence-transformers reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from headstart.errors import CheckpointError
from headstart.families.fields import read_fields, write_json
from headstart.families.model import Model
from headstart.families.style import Pooling

FLAGS: dict[Pooling, str] = {
    "first": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "last": "pooling_mode_lasttoken",
}
POOLING_FILE = "1_Pooling/config.json"
LENGTH_FILE = "sentence_bert_config.json"


@dataclass(frozen=True)
class SentenceStyle:
    """pooling: from states to one vector. max_length: tokens of a window, special ones included."""

    pooling: Pooling
    max_length: int


def read_sentence_style(folder: Path, model: Model) -> SentenceStyle:
    """What the folder says; mean pooling and all positions where it says nothing.

    Raises CheckpointError for a pooling that we do not have.
    """
    longest = model.config.max_positions
    if (folder / LENGTH_FILE).is_file():
        given = read_fields(folder / LENGTH_FILE).whole("max_seq_length", longest)
        longest = min(longest, given)
    if not (folder / POOLING_FILE).is_file():
        return SentenceStyle("mean", longest)
    fields = read_fields(folder / POOLING_FILE)
    wanted = [name for name, on in fields.values.items() if name.startswith("pooling_mode") and on]
    for pooling, flag in FLAGS.items():
        if wanted == [flag]:
            return SentenceStyle(pooling, longest)
    raise CheckpointError(
        f"{folder / POOLING_FILE} asks for {', '.join(wanted) or 'no pooling'}, but headstart has "
        f"one of {', '.join(FLAGS.values())}"
    )


def write_sentence_files(place: Path, model: Model, pooling: Pooling) -> None:
    """The files that make a model folder a SentenceTransformer with vectors of length 1."""
    kinds = ("Transformer", "Pooling", "Normalize")
    modules = [
        {
            "idx": n,
            "name": str(n),
            "path": f"{n}_{kind}" if n else "",
            "type": f"sentence_transformers.models.{kind}",
        }
        for n, kind in enumerate(kinds)
    ]
    write_json(place / "modules.json", modules)
    write_json(
        place / LENGTH_FILE, {"max_seq_length": model.config.max_positions, "do_lower_case": False}
    )
    for name in ("1_Pooling", "2_Normalize"):
        (place / name).mkdir()
    flags = {flag: kind == pooling for kind, flag in FLAGS.items()}
    write_json(
        place / POOLING_FILE, {"word_embedding_dimension": model.config.hidden_size, **flags}
    )
