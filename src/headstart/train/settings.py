"""The settings of one training run, with their units; plain values only.

In: values from Python or from the settings file. Out: a frozen `TrainSettings`, checked when made.
Which of them decide the numbers (and therefore may not change when a run is resumed) is said here
too, by `decisive`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from headstart.errors import InputError
from headstart.train.budget import read_budget
from headstart.train.schedule import Schedule, Shape

# What may change between the halves of a run without changing a bit of the result.
BOOKKEEPING = frozenset({"keep", "save_minutes"})


@dataclass(frozen=True)
class TrainSettings:
    """How one run trains.

    budget: work to do: "30m", "500 steps", "20M tokens", "3 epochs".
    seed: decides masks, dropout and (in the source) the order.
    accumulate: batches added up to one step.
    optimizer: "adamw", or "muon" for the matrices inside the blocks and AdamW for the rest.
    lr: peak learning rate of AdamW. muon_lr: peak learning rate of Muon.
    weight_decay: decoupled, per unit of learning rate; not on norms, biases and embeddings.
    beta1, beta2, eps: AdamW's averages. momentum: Muon's.
    clip_norm: the gradient's global norm is scaled down to this; 0 is never.
    warmup, decay, decay_shape, floor: shares of the budget, see `schedule.Schedule`.
    freeze: globs over parameter names that are not trained.
    lr_scales: (glob, factor) pairs that multiply the learning rate; the last match counts.
    layer_decay: factor of the learning rate from each block to the one below; 1 is none.
    no_decay: further globs of parameters without weight decay.
    fused: (glob, factors) of weights that stack several matrices, which Muon treats one by one:
        each has a factor of its steps.
    precision: "auto" takes bf16 where the processor computes in it, else fp32.
    device: "auto", "cpu", "cuda", "cuda:1", "mps".
    threads: processor threads; 0 takes those this process may really use.
    deterministic: "auto" is on for the CPU, where it costs little, and off elsewhere.
    save_every: steps between scheduled checkpoints; 0 is a tenth of the run.
    save_minutes: minutes after which a checkpoint is due in any case; 0 is never.
    keep: newest checkpoints that stay.
    probe_every: steps between probes; 0 spreads `probes` probes over the run.
    probes: probes of a run, if any are given.
    patience: stop after so many probes in a row without a better score; 0 is never.
    min_delta: how much better counts as better.
    restore_best: end with the weights of the best probe instead of the last ones.
    """

    budget: str = "1000 steps"
    seed: int = 0
    accumulate: int = 1
    optimizer: Literal["adamw", "muon"] = "adamw"
    lr: float = 5e-4
    muon_lr: float = 0.02
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.98
    eps: float = 1e-6
    momentum: float = 0.95
    clip_norm: float = 1.0
    warmup: float = 0.06
    decay: float = 0.94
    decay_shape: Shape = "linear"
    floor: float = 0.0
    freeze: tuple[str, ...] = ()
    lr_scales: tuple[tuple[str, float], ...] = ()
    layer_decay: float = 1.0
    no_decay: tuple[str, ...] = ()
    fused: tuple[tuple[str, tuple[float, ...]], ...] = (("*qkv.weight", (1.0, 1.0, 1.0)),)
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    device: str = "auto"
    threads: int = 0
    deterministic: Literal["auto", "on", "off"] = "auto"
    save_every: int = 0
    save_minutes: float = 10.0
    keep: int = 2
    probe_every: int = 0
    probes: int = 10
    patience: int = 0
    min_delta: float = 0.0
    restore_best: bool = True

    def __post_init__(self) -> None:
        read_budget(self.budget)
        _ = self.schedule
        for name in ("lr", "muon_lr", "eps"):
            self._demand(name, "more than 0", getattr(self, name) > 0)
        for name in ("weight_decay", "clip_norm", "save_minutes", "min_delta"):
            self._demand(name, "0 or more", getattr(self, name) >= 0)
        for name in ("beta1", "beta2", "momentum"):
            self._demand(name, "at least 0 and below 1", 0 <= getattr(self, name) < 1)
        for name in ("seed", "threads", "save_every", "probe_every", "probes", "patience"):
            self._demand(name, "a whole number, 0 or more", _whole(getattr(self, name), 0))
        for name in ("accumulate", "keep"):
            self._demand(name, "a whole number, 1 or more", _whole(getattr(self, name), 1))
        self._demand("layer_decay", "above 0 and at most 1", 0 < self.layer_decay <= 1)
        for name, allowed in _CHOICES.items():
            self._demand(name, "one of " + ", ".join(allowed), getattr(self, name) in allowed)
        for pattern, scale in self.lr_scales:
            self._demand(f"lr_scales[{pattern}]", "0 or more", scale >= 0, scale)
        for pattern, factors in self.fused:
            good = bool(factors) and all(factor > 0 for factor in factors)
            self._demand(f"fused[{pattern}]", "one or more numbers above 0", good, factors)

    def _demand(self, name: str, allowed: str, good: bool, value: object = None) -> None:
        if not good:
            value = getattr(self, name, value)
            raise InputError(f"{name} must be {allowed}, but is {value!r}")

    @property
    def schedule(self) -> Schedule:
        """The learning rate's course."""
        return Schedule(self.warmup, self.decay, self.decay_shape, self.floor)

    def decisive(self) -> dict[str, str]:
        """The settings on which the numbers depend, as text by name."""
        values = dataclasses.asdict(self)
        return {name: repr(value) for name, value in values.items() if name not in BOOKKEEPING}


_CHOICES: dict[str, tuple[str, ...]] = {
    "optimizer": ("adamw", "muon"),
    "precision": ("auto", "bf16", "fp32"),
    "deterministic": ("auto", "on", "off"),
}


def _whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
