"""Names of weights: Hugging Face's and ours, by rules that can be read both ways.

A `Rule` says which tensors of the file make one of our tensors. It knows three operations, stacking
along the first axis (three projections to one), transposing (GPT-2 stores input x output) and
dropping or adding first axes of length 1 (Marian's bias, CLIP's class token). Each has an inverse,
so saving needs no second table.

Legend: "theirs" are names in the file without the body's prefix ("bert."); "ours" are names in a
state dict.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from headstart.errors import CheckpointError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Rule:
    """Which tensors of the file make one of ours; `{n}` in names stands for the layer's number.

    theirs: one name, or several whose tensors are stacked along the first axis.
    transposed: whether the file holds the matrix the other way round.
    shares: relative heights of the stacked tensors; none given: all are as high.
    lone: how many first axes of length 1 the file's tensor has that ours does not; less than 0 if
        ours has more.
    """

    theirs: tuple[str, ...]
    ours: str
    transposed: bool = False
    shares: tuple[int, ...] = ()
    lone: int = 0

    def to_ours(self, tensors: Sequence[Tensor]) -> Tensor:
        """Our tensor from the file's."""
        turned = [t.t() if self.transposed else t for t in tensors]
        joined = turned[0].contiguous() if len(turned) == 1 else torch.cat(turned)
        return joined.reshape(_with_axes(joined.shape, -self.lone))

    def to_theirs(self, tensor: Tensor) -> dict[str, Tensor]:
        """The file's tensors from ours."""
        if self.lone:
            shape = _with_axes(tensor.shape, self.lone)
            return {self.theirs[0]: tensor.reshape(shape).contiguous()}
        parts = self.split(tensor)
        return {
            name: (part.t() if self.transposed else part).contiguous()
            for name, part in zip(self.theirs, parts, strict=True)
        }

    def split(self, tensor: Tensor) -> tuple[Tensor, ...]:
        """The parts that were stacked, none of them turned."""
        return torch.split(tensor, self.heights(len(tensor)))

    def heights(self, total: int) -> list[int]:
        """Of each part, where all together are this high."""
        shares = self.shares or (1,) * len(self.theirs)
        return [total * share // sum(shares) for share in shares]

    def shapes_in_file(self, ours: Shape) -> list[Shape]:
        """Shape of each of the file's tensors where ours has this shape."""
        if self.lone:
            return [_with_axes(ours, self.lone)]
        rest = ours[1:]
        return [
            (*rest[::-1], first) if self.transposed else (first, *rest)
            for first in self.heights(ours[0])
        ]


def _with_axes(shape: Sequence[int], count: int) -> Shape:
    """The shape with so many first axes of length 1 more, or less."""
    return (*(1,) * max(0, count), *shape[max(0, -count) :])


def linear(theirs: str, ours: str, *, transposed: bool = False) -> tuple[Rule, Rule]:
    """Rules of a linear layer: its weight and its bias."""
    return (
        Rule((f"{theirs}.weight",), f"{ours}.weight", transposed),
        Rule((f"{theirs}.bias",), f"{ours}.bias"),
    )


def stacked(theirs: Sequence[str], ours: str, *, shares: tuple[int, ...] = ()) -> tuple[Rule, Rule]:
    """Rules of several linear layers that are one for us."""
    return (
        Rule(tuple(f"{name}.weight" for name in theirs), f"{ours}.weight", shares=shares),
        Rule(tuple(f"{name}.bias" for name in theirs), f"{ours}.bias", shares=shares),
    )


def spell_out(rules: Iterable[Rule], ours: Iterable[str]) -> list[Rule]:
    """One rule for each of our names, with the layer's number filled in.

    A rule whose tensor this model does not have (a bias, a norm that is left out) is not given.
    """
    by_name = {rule.ours: rule for rule in rules}
    found = []
    for name in ours:
        number = re.search(r"\.(\d+)\.", name)
        template = name if number is None else name.replace(number[0], ".{n}.", 1)
        assert template in by_name, f"no rule for {name}"
        rule = by_name[template]
        layer = "" if number is None else number[1]
        theirs = tuple(their.replace("{n}", layer) for their in rule.theirs)
        found.append(replace(rule, theirs=theirs, ours=name))
    return found


@dataclass(frozen=True, kw_only=True)
class Spelling:
    """How names in files differ from the rules' names.

    prefixes: what may stand before the body's names; the first is written.
    renamed: (pattern, replacement) from old files' names. dropped: patterns of tensors that are no
    weights. tied: (name, original) of a weight that is a copy and is not written.
    former: (name, new name) of a weight that newer files have beside the one that it was before.
    inside: beginnings of head names that files keep under the body's prefix.
    """

    prefixes: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...] = ()
    dropped: tuple[str, ...] = ()
    tied: tuple[tuple[str, str], ...] = ()
    former: tuple[tuple[str, str], ...] = ()
    inside: tuple[str, ...] = ("pooler.",)

    def plain(self, name: str) -> str | None:
        """The rules' name of a tensor in a file; None for one that is dropped."""
        for prefix in self.prefixes:
            if name.startswith(prefix):
                name = name[len(prefix) :]
                break
        for pattern, replacement in self.renamed:
            name = re.sub(pattern, replacement, name)
        return None if any(re.fullmatch(pattern, name) for pattern in self.dropped) else name

    def index(self, names: Iterable[str]) -> dict[str, str]:
        """The file's name for each of the rules' names; two for one are refused."""
        found: dict[str, str] = {}
        for name in names:
            plain = self.plain(name)
            if plain is None:
                continue
            if plain in found:
                raise CheckpointError(f"'{found[plain]}' and '{name}' are the same weight")
            found[plain] = name
        for copy, original in self.tied:  # some files hold only the copy
            if copy in found and original not in found:
                found[original] = found.pop(copy)
        for name, new in self.former:
            if name in found:
                found.setdefault(new, found.pop(name))
        return found


def compare_names(
    wanted: Mapping[str, Shape], found: Mapping[str, Shape], *, allowed: Iterable[str] = ()
) -> str | None:
    """What is wrong with a file's tensors, in one sentence; None if nothing is.

    wanted, found: shapes by the rules' names. allowed: names that may be there or not.
    """
    missing = [name for name in wanted if name not in found]
    left = [name for name in found if name not in wanted and name not in set(allowed)]
    other = [name for name in wanted if name in found and found[name] != wanted[name]]
    if not (missing or left or other):
        return None
    shapes = [f"{n}: file {_by(found[n])}, config {_by(wanted[n])}" for n in other]
    return (
        f"{_some(len(missing), 'weight')} missing{_listed(missing)}, "
        f"{len(left)} left over{_listed(left)}, "
        f"{len(other)} of another shape{_listed(shapes)}"
    )


def _some(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def _listed(names: Sequence[str], most: int = 4) -> str:
    if not names:
        return ""
    return " (" + ", ".join([*names[:most], *(["..."] if len(names) > most else [])]) + ")"


def _by(shape: Shape) -> str:
    return " x ".join(str(size) for size in shape) or "one number"
