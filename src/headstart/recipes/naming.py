"""Names that people give: which of their inputs is a path, and what a model is called for short.

What exists is a path, as everywhere else. What only looks like one is refused, because an answer
for the name of a file that is not there would be taken for an answer for what it holds.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from headstart.data.files import TABLE_SUFFIXES, TEXT_SUFFIXES
from headstart.data.image_columns import is_image_name
from headstart.errors import InputError

LONGEST_PATH = 4096  # characters; a longer input is a text
FEW_WORDS = 4  # with more of them, a sentence may end with the name of a file
ALIKE = 0.8  # of a name that was meant, as difflib counts
_BEGINNINGS = ("./", "../", "~/")


def names_path(item: str) -> bool:
    """Whether an input is a path; otherwise it is a text.

    Raises InputError for what looks like a path and leads nowhere.
    """
    if len(item) > LONGEST_PATH or any(end in item for end in "\n\r\0"):
        return False
    if not any(map(str.isalnum, item)) and item not in ("./", "../"):
        return False  # punctuation, of which "/" is a folder too
    try:
        if Path(item).exists():
            return True
        near = _leads_nowhere(item)
    except (OSError, ValueError):  # too long, or no valid Unicode, for the system
        return False
    if near is None:
        return False
    hint = f" Did you mean '{near}'?" if near else ""
    raise InputError(
        f"{item} does not exist.{hint} Check the path; if it is a text to answer for, put it into "
        "a file"
    )


def short_names(models: Sequence[str]) -> dict[str, str]:
    """What to call each model, folders or hf:ID: its last part, or all of it if two are alike."""
    last = {}
    for model in models:
        parts = [part for part in Path(model.removeprefix("hf:")).parts if part != "model"]
        last[model] = parts[-1] if parts else model
    alike = Counter(last.values())
    return {name if alike[name] == 1 else model: model for model, name in last.items()}


def _leads_nowhere(item: str) -> str | None:
    """The name beside it that is most like a path's, or ""; None for a text."""
    path, words = Path(item), len(item.split())
    inside = path.parent.is_dir() and path.parent not in (Path(), Path(path.anchor))
    if item.lower().removesuffix(".gz").endswith((*TEXT_SUFFIXES, *TABLE_SUFFIXES)) or (
        is_image_name(item)
    ):
        beside = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
        alike = difflib.get_close_matches(path.name, beside, n=1, cutoff=ALIKE)
        if alike:
            return str(path.parent / alike[0])
        address = "://" in item and words > 1
        return "" if (words <= FEW_WORDS and not address) or inside else None
    if "://" in item or "/" not in item:
        return None
    rooted = item.startswith(_BEGINNINGS) or (item.startswith("/") and item.count("/") > 1)
    whole = words == 1 and (rooted or item.endswith("/"))
    return "" if whole or (inside and words <= FEW_WORDS) else None
