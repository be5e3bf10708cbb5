"""Which parameter is trained how: frozen, with its own learning rate, with or without decay.

In: named parameters and settings with globs over the names (`*` matches dots too). Out: groups
that share a method, a learning-rate factor and a weight decay. A glob that matches nothing is
an error, because a freeze that silently freezes nothing is the costliest typing error there is.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from torch import nn

from headstart.errors import InputError
from headstart.train.settings import TrainSettings

Named = Sequence[tuple[str, nn.Parameter]]
Method = Literal["adamw", "muon", "frozen"]


@dataclass(frozen=True)
class Treatment:
    """How one parameter is trained.

    lr_scale: multiplies the method's learning rate.
    parts: factors of the steps of the matrices stacked along the first axis (Muon only).
    """

    method: Method
    lr_scale: float
    weight_decay: float
    parts: tuple[float, ...] = (1.0,)


@dataclass(frozen=True)
class Group:
    """Parameters of the same treatment, in the order of the model."""

    treatment: Treatment
    members: tuple[tuple[str, nn.Parameter], ...]


def build_groups(named: Named, settings: TrainSettings) -> list[Group]:
    """Sort parameters into groups: AdamW's first, then Muon's, then the frozen ones.

    Parameters that do not require a gradient are frozen too. Sets `requires_grad` accordingly.
    Raises InputError if a glob matches no name, or if nothing is left to train.
    """
    names = [name for name, _ in named]
    globs = [*settings.freeze, *settings.no_decay, *(glob for glob, _ in settings.lr_scales)]
    for glob in globs:
        matching(glob, names)
    depths = layer_depths(names)
    found: dict[Treatment, list[tuple[str, nn.Parameter]]] = {}
    for name, parameter in named:
        treatment = _treatment(name, parameter, depths[name], settings)
        parameter.requires_grad_(treatment.method != "frozen")
        found.setdefault(treatment, []).append((name, parameter))
    groups = [Group(treatment, tuple(members)) for treatment, members in found.items()]
    if all(group.treatment.method == "frozen" for group in groups):
        raise InputError(
            f"nothing is left to train: freeze={list(settings.freeze)} covers all "
            f"{len(names)} parameters"
        )
    order = {"adamw": 0, "muon": 1, "frozen": 2}
    return sorted(groups, key=lambda group: order[group.treatment.method])


def matching(glob: str, names: Sequence[str]) -> list[str]:
    """The names that the glob matches. Raises InputError with the nearest names if none do."""
    found = [name for name in names if fnmatchcase(name, glob)]
    if found:
        return found
    near = difflib.get_close_matches(glob.strip("*"), names, n=3, cutoff=0.0)
    raise InputError(
        f"the glob {glob!r} matches none of the {len(names)} parameters; "
        f"the nearest names are {', '.join(near)}"
    )


def layer_depths(names: Sequence[str]) -> dict[str, int]:
    """How far below the top each parameter is: heads 0, the last block 1, the embedding L + 1.

    A block is known by a number in the name ("model.stack.blocks.3.mlp.up.weight"). What stands
    outside of blocks counts as below them, if its name says embedding, and as top otherwise.
    """
    blocks = {name: _block(name) for name in names}
    tops: dict[str, int] = {}
    for block in blocks.values():
        if block is not None:
            tops[block[0]] = max(tops.get(block[0], 0), block[1])
    deepest = max(tops.values(), default=-1) + 2
    depths = {}
    for name, block in blocks.items():
        if block is not None:
            depths[name] = tops[block[0]] - block[1] + 1
        else:
            depths[name] = deepest if _is_embedding(name) else 0
    return depths


def _treatment(
    name: str, parameter: nn.Parameter, depth: int, settings: TrainSettings
) -> Treatment:
    frozen = any(fnmatchcase(name, glob) for glob in settings.freeze)
    scale = settings.layer_decay**depth
    for glob, factor in settings.lr_scales:
        if fnmatchcase(name, glob):
            scale = settings.layer_decay**depth * factor
    if frozen or not parameter.requires_grad or scale == 0.0:
        return Treatment("frozen", 0.0, 0.0)
    plain = parameter.ndim < 2 or _is_embedding(name)
    exempt = plain or any(fnmatchcase(name, glob) for glob in settings.no_decay)
    decay = 0.0 if exempt else settings.weight_decay
    if settings.optimizer == "muon" and parameter.ndim == 2 and _block(name) is not None:
        return Treatment("muon", scale, decay, _parts(name, parameter, settings.fused))
    return Treatment("adamw", scale, decay)


def _parts(
    name: str, parameter: nn.Parameter, fused: Sequence[tuple[str, tuple[float, ...]]]
) -> tuple[float, ...]:
    for glob, factors in fused:
        if fnmatchcase(name, glob) and parameter.shape[0] % len(factors) == 0:
            return factors
    return (1.0,)


def _block(name: str) -> tuple[str, int] | None:
    """("model.stack.blocks", 3) of a name inside a numbered block of the body, else None."""
    pieces = name.split(".")
    if pieces[0] == "heads":
        return None
    for place, piece in enumerate(pieces):
        if piece.isdecimal():
            return ".".join(pieces[:place]), int(piece)
    return None


def _is_embedding(name: str) -> bool:
    return any(piece.startswith("embed") for piece in name.split("."))
