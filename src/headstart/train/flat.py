"""Every parameter of a model laid end to end in a few flat tensors.

In: groups of parameters. Out: fp32 weights, gradients and averages as flat tensors, and the
model's own parameters turned into views: of the fp32 weights themselves, or of a bf16 copy when
the model computes in bf16. A whole group is then updated by one call instead of a Python loop.
The surprise: from here on the truth is the flat fp32 tensor; `Flat.publish` copies it to bf16.

Legend: N elements of all parameters, padding included; n of the trained ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from headstart.errors import CheckpointError
from headstart.train.groups import Group

ALIGN = 64  # elements; every parameter begins on a cache line in either format


@dataclass(frozen=True)
class Slot:
    """The place of one parameter: elements [start, start + size) of every flat tensor."""

    name: str
    parameter: nn.Parameter
    start: int
    size: int
    shape: torch.Size

    def view(self, flat: Tensor) -> Tensor:
        """The parameter's part of a flat tensor, in its shape."""
        return flat[self.start : self.start + self.size].view(self.shape)


@dataclass(frozen=True)
class Segment:
    """The places of one group, next to each other: elements [start, end)."""

    group: Group
    slots: tuple[Slot, ...]
    start: int
    end: int


class Flat:
    """The flat tensors of a model.

    weights: (N,) fp32. gradient: (n,) fp32. segments: one per group, frozen ones last.
    """

    def __init__(self, groups: Sequence[Group], *, dtype: torch.dtype, device: torch.device):
        self.segments, trained, total = _place(groups)
        self.slots = [slot for segment in self.segments for slot in segment.slots]
        self.trained = [slot for slot in self.slots if slot.start < trained]
        self.weights = torch.zeros(total, device=device)
        self.gradient = torch.zeros(trained, device=device)
        self._gradients = {slot.name: slot.view(self.gradient) for slot in self.trained}
        for slot in self.slots:
            slot.view(self.weights).copy_(slot.parameter.detach())
        self._half = None if dtype == torch.float32 else self.weights.to(dtype)
        model = self.weights if self._half is None else self._half
        for slot in self.slots:
            slot.parameter.data = slot.view(model)
            slot.parameter.grad = None

    def named(self) -> dict[str, Tensor]:
        """The fp32 weights by name, as views."""
        return {slot.name: slot.view(self.weights) for slot in self.slots}

    def load(self, weights: dict[str, Tensor]) -> None:
        """Take all weights from these. Raises CheckpointError on other names or shapes."""
        demand_same({slot.name: slot.shape for slot in self.slots}, weights)
        for slot in self.slots:
            slot.view(self.weights).copy_(weights[slot.name])
        self.publish()

    def publish(self) -> None:
        """Copy the fp32 weights to the format in which the model computes."""
        if self._half is not None:
            self._half.copy_(self.weights)

    def release(self) -> None:
        """Give every parameter its own fp32 tensor again; the flat ones are no longer used."""
        for slot in self.slots:
            slot.parameter.data = slot.view(self.weights).clone()
            slot.parameter.grad = None

    def take_gradients(self, *, first: bool) -> list[Slot]:
        """Move the parameters' gradients into the flat one, overwriting if `first`, else adding.

        Returns the places that had a gradient.
        """
        pairs = [(slot, slot.parameter.grad) for slot in self.trained]
        found = [slot for slot, gradient in pairs if gradient is not None]
        gradients = [gradient for _, gradient in pairs if gradient is not None]
        views = [self._gradients[slot.name] for slot in found]
        if first and len(found) < len(self.trained):
            self.gradient.zero_()
        if found and first:
            torch._foreach_copy_(views, gradients)
        elif found:
            torch._foreach_add_(views, gradients)
        self.drop_gradients()
        return found

    def drop_gradients(self) -> None:
        """Forget the gradients that the parameters hold."""
        for slot in self.trained:
            slot.parameter.grad = None


def demand_same(expected: dict[str, torch.Size], found: dict[str, Tensor]) -> None:
    """Raise CheckpointError, in one message, unless names and shapes are the same."""
    missing = sorted(expected.keys() - found.keys())
    extra = sorted(found.keys() - expected.keys())
    other = [
        f"{name}: {tuple(found[name].shape)} for {tuple(shape)}"
        for name, shape in expected.items()
        if name in found and found[name].shape != shape
    ]
    if missing or extra or other:
        raise CheckpointError(
            f"the saved tensors do not fit this model: {_count(missing, 'missing')}, "
            f"{_count(extra, 'left over')}, {_count(other, 'of another shape')}. "
            "Was the model or the optimizer changed?"
        )


def _count(names: list[str], what: str) -> str:
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(names)} {what}" + (f" ({shown})" if names else "")


def _place(groups: Sequence[Group]) -> tuple[list[Segment], int, int]:
    segments, start, trained = [], 0, 0
    for group in groups:
        slots, begin = [], start
        for name, parameter in _by_shape(group):
            size = parameter.numel()
            slots.append(Slot(name, parameter, start, size, parameter.shape))
            start += -(-size // ALIGN) * ALIGN
        segments.append(Segment(group, tuple(slots), begin, start))
        if group.treatment.method != "frozen":
            trained = start
    return segments, trained, start


def _by_shape(group: Group) -> Sequence[tuple[str, nn.Parameter]]:
    """Muon's matrices of one shape stand next to each other, so that a stack of them is a view."""
    if group.treatment.method != "muon":
        return group.members
    return sorted(group.members, key=lambda member: tuple(member[1].shape))
