"""AdamW and Muon on flat tensors: gradients in, new weights out.

In: gradients on the parameters (`collect`, once per micro-batch), then `apply`. Out: changed
weights, and the averages as named tensors for a checkpoint. No learning-rate course and no
judgement of what a good gradient is: the trainer decides both. The surprise: a parameter without
a gradient in a step is left exactly as it is, weight and averages, as in torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from headstart.train.flat import Flat, Segment, Slot, demand_same
from headstart.train.groups import Group
from headstart.train.precision import Precision
from headstart.train.settings import TrainSettings

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


class Optimizer:
    """AdamW for most parameters, Muon for the matrices whose group says so.

    flat: the weights. first: (n,) first moments and Muon's momentum; second: (n,) second moments
    of AdamW's part. updates: how often each trained parameter was changed.
    """

    def __init__(self, groups: Sequence[Group], settings: TrainSettings, *, precision: Precision):
        self.settings = settings
        self.flat = Flat(groups, dtype=precision.dtype, device=precision.device)
        self.adam = [s for s in self.flat.segments if s.group.treatment.method == "adamw"]
        muon = [s for s in self.flat.segments if s.group.treatment.method == "muon"]
        self.muon = [stack for segment in muon for stack in _stacks(segment)]
        self.first = torch.zeros_like(self.flat.gradient)
        self.second = self.first.new_zeros(max((s.end for s in self.adam), default=0))
        self.updates = {slot.name: 0 for slot in self.flat.trained}
        self._touched: set[str] = set()
        self._format = precision.dtype

    def collect(self, *, first: bool) -> None:
        """Take one micro-batch's gradients: instead of what was there if `first`, else added."""
        if first:
            self._touched = set()
        self._touched |= {slot.name for slot in self.flat.take_gradients(first=first)}

    def norm(self) -> float:
        """The Euclidean length of the whole gradient; not finite if any element is not."""
        return float(torch.linalg.vector_norm(self.flat.gradient))

    def apply(self, lr_factor: float, *, scale: float = 1.0) -> None:
        """Change the weights by the collected gradient.

        lr_factor: multiplies every learning rate. scale: multiplies the gradient first.
        """
        if scale != 1.0:
            self.flat.gradient.mul_(scale)
        for name in self._touched:
            self.updates[name] += 1
        for segment in self.adam:
            self._adamw(segment, lr_factor)
        for stack in self.muon:
            self._orthogonal(stack, lr_factor)
        self.flat.publish()

    def state(self) -> dict[str, Tensor]:
        """Averages and counts by name, as views: "first/NAME", "second/NAME", "updates"."""
        found = {f"first/{slot.name}": slot.view(self.first) for slot in self.flat.trained}
        for segment in self.adam:
            for slot in segment.slots:
                found[f"second/{slot.name}"] = slot.view(self.second)
        counts = [self.updates[slot.name] for slot in self.flat.trained]
        return found | {"updates": torch.tensor(counts, dtype=torch.int64)}

    def load(self, state: dict[str, Tensor]) -> None:
        """Take averages and counts from these. Raises CheckpointError on other names or shapes."""
        mine = self.state()
        demand_same({name: tensor.shape for name, tensor in mine.items()}, state)
        for name, tensor in mine.items():
            if name != "updates":
                tensor.copy_(state[name])
        counts = state["updates"].tolist()
        self.updates = {s.name: int(n) for s, n in zip(self.flat.trained, counts, strict=True)}

    def _adamw(self, segment: Segment, lr_factor: float) -> None:
        slots = [slot for slot in segment.slots if slot.name in self._touched]
        if not slots:
            return
        counts = {self.updates[slot.name] for slot in slots}
        whole = len(slots) == len(segment.slots) and len(counts) == 1
        spans = [(segment.start, segment.end)] if whole else [_span(slot) for slot in slots]
        steps = [counts.pop()] if whole else [self.updates[slot.name] for slot in slots]
        settings, treatment = self.settings, segment.group.treatment
        torch._fused_adamw_(
            [self.flat.weights[a:b] for a, b in spans],
            [self.flat.gradient[a:b] for a, b in spans],
            [self.first[a:b] for a, b in spans],
            [self.second[a:b] for a, b in spans],
            [],
            [torch.tensor(float(step), device=self.first.device) for step in steps],
            lr=settings.lr * treatment.lr_scale * lr_factor,
            beta1=settings.beta1,
            beta2=settings.beta2,
            weight_decay=treatment.weight_decay,
            eps=settings.eps,
            amsgrad=False,
            maximize=False,
        )

    def _orthogonal(self, stack: Stack, lr_factor: float) -> None:
        """Muon with Nesterov momentum on all matrices of one shape at once.

        Source: Jordan et al. 2024 (Muon): momentum, orthogonalise, scale by the aspect ratio.
        """
        chosen = [n for n, slot in enumerate(stack.slots) if slot.name in self._touched]
        if not chosen:
            return
        every = len(chosen) == len(stack.slots)
        momentum = stack.view(self.first)  # (count, parts, rows, columns)
        gradient = stack.view(self.flat.gradient)
        weights = stack.view(self.flat.weights)
        kept, new = (momentum, gradient) if every else (momentum[chosen], gradient[chosen])
        mu = self.settings.momentum
        kept.mul_(mu).add_(new)
        direction = orthogonalise((new + mu * kept).flatten(0, 1), dtype=self._format)
        step = direction.view_as(kept).float()
        if set(stack.factors) != {1.0}:
            step = step * step.new_tensor(stack.factors)[:, None, None]
        lr = self.settings.muon_lr * stack.lr_scale * lr_factor
        shrink = 1.0 - lr * stack.weight_decay
        if every:
            weights.mul_(shrink).add_(step, alpha=-lr * stack.scale)
        else:
            momentum[chosen] = kept
            weights[chosen] = weights[chosen] * shrink - lr * stack.scale * step


@dataclass(frozen=True)
class Stack:
    """Muon's matrices of one shape, next to each other in the flat tensors.

    shape: (count, parts, rows, columns). stride: elements from one parameter to the next.
    factors: of the steps of each part.
    """

    slots: tuple[Slot, ...]
    shape: tuple[int, int, int, int]
    stride: int
    factors: tuple[float, ...]
    lr_scale: float
    weight_decay: float

    @property
    def scale(self) -> float:
        """Tall matrices take larger steps, so that every output changes alike."""
        rows, columns = self.shape[2:]
        return float(max(1.0, rows / columns) ** 0.5)

    def view(self, flat: Tensor) -> Tensor:
        """The matrices as one (count, parts, rows, columns) view of a flat tensor."""
        _, _, rows, columns = self.shape
        strides = (self.stride, rows * columns, columns, 1)
        return flat.as_strided(self.shape, strides, self.slots[0].start + flat.storage_offset())


def orthogonalise(matrices: Tensor, *, dtype: torch.dtype, steps: int = 5) -> Tensor:
    """The nearest matrices whose singular values are all about 1 (between 0.7 and 1.2).

    matrices: (count, rows, columns); a matrix of zeros stays one. dtype: format to compute in.

    Source: Jordan et al. 2024 (Muon), Newton-Schulz iteration of the fifth order.
    """
    a, b, c = NEWTON_SCHULZ
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = (x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)).to(dtype).contiguous()
    for _ in range(steps):
        gram = x @ x.mT
        poly = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, poly, x, beta=a)
    return x.mT if tall else x


def _span(slot: Slot) -> tuple[int, int]:
    return slot.start, slot.start + slot.size


def _stacks(segment: Segment) -> list[Stack]:
    shapes: dict[torch.Size, list[Slot]] = {}
    for slot in segment.slots:
        shapes.setdefault(slot.shape, []).append(slot)
    treatment, found = segment.group.treatment, []
    for (rows, columns), slots in shapes.items():
        stride = slots[1].start - slots[0].start if len(slots) > 1 else rows * columns
        parts = treatment.parts
        shape = (len(slots), len(parts), rows // len(parts), columns)
        scale, decay = treatment.lr_scale, treatment.weight_decay
        found.append(Stack(tuple(slots), shape, stride, parts, scale, decay))
    return found
