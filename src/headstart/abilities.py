"""What families and objectives there are, and which of them go together.

Plain names for the settings: nothing here knows the code of a family or an objective.
"""

from __future__ import annotations

from typing import Literal, get_args

Family = Literal[
    "modern", "bert", "roberta", "gpt", "llama", "t5", "marian", "reformer", "vit", "clip", "dual"
]
ObjectiveName = Literal[
    "bow",
    "mlm",
    "nsp",
    "mlm+nsp",
    "mlm+bow",
    "mlm+spans",
    "mlm+bow+spans",
    "hybrid",
    "hybrid+bow",
    "spans",
    "contrast",
    "mlm+contrast",
    "causal",
    "causal+bow",
    "span_corruption",
    "mae",
    "simmim",
    "beit",
    "mae+contrast",
    "simmim+contrast",
    "beit+contrast",
    "image_text",
]
Arrangement = Literal["encoder", "decoder", "encoder-decoder", "image encoder", "two towers"]
# What the families can be that are no plain encoders; a Reformer becomes what its objective needs.
ARRANGEMENTS: dict[Family, tuple[Arrangement, ...]] = {
    "gpt": ("decoder",),
    "llama": ("decoder",),
    "t5": ("encoder-decoder",),
    "marian": ("encoder-decoder",),
    "reformer": ("encoder", "decoder"),
    "vit": ("image encoder",),
    "clip": ("two towers",),
    "dual": ("two towers",),
}
# Which arrangements of a model can do each part of an objective.
OBJECTIVE_NEEDS: dict[str, frozenset[str]] = {
    "mlm": frozenset({"encoder"}),
    "nsp": frozenset({"encoder"}),
    "hybrid": frozenset({"encoder"}),
    "causal": frozenset({"decoder"}),
    "bow": frozenset({"encoder", "decoder"}),
    "spans": frozenset({"encoder", "decoder"}),
    "contrast": frozenset({"encoder", "decoder", "image encoder"}),
    "span_corruption": frozenset({"encoder-decoder"}),
    "mae": frozenset({"image encoder"}),
    "simmim": frozenset({"image encoder"}),
    "beit": frozenset({"image encoder"}),
    "image_text": frozenset({"two towers"}),
}
# Which arrangements can write a text.
WRITERS: frozenset[Arrangement] = frozenset({"decoder", "encoder-decoder"})


def families_for(part: str) -> list[Family]:
    """The families that can do a part of an objective."""
    return families_of(OBJECTIVE_NEEDS[part])


def families_of(needs: frozenset[str]) -> list[Family]:
    """The families that can be of one of these arrangements."""
    return [
        family for family in get_args(Family) if needs & set(ARRANGEMENTS.get(family, ("encoder",)))
    ]


def objectives_for(*arrangements: str) -> list[ObjectiveName]:
    """The objectives that a model of one of these arrangements can do."""
    able = {part for part, needs in OBJECTIVE_NEEDS.items() if needs & set(arrangements)}
    return [name for name in get_args(ObjectiveName) if able.issuperset(name.split("+"))]
