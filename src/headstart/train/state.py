"""Where a run is: the few numbers that a checkpoint stores beside its tensors.

In and out: `State`, to and from plain JSON. There is no loader state and no generator state in it:
the position of the data is `step + offset`, and all randomness follows from that and the seed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from headstart.errors import CheckpointError
from headstart.train.budget import Plan


@dataclass
class State:
    """A run between two steps.

    plan: the whole numbers fixed before step 1.
    step: steps done. offset: positions of the data that returns have dropped.
    streak: steps in a row that were not finite. returns: how often the run went back.
    good_step: the last scheduled checkpoint outside of a streak.
    probed_step: the last step whose probes were taken; -1 before any.
    best_step, best_score: of the first probe. stale: probes since then.
    stopped: why the run is over; empty while it is not.
    lines: of the history. seconds, probe_s, save_s: spent so far, over all sessions.
    exact: false once the run was resumed with something decisive changed.
    identity: what decides the bits, as text by name.
    """

    plan: Plan
    step: int = 0
    offset: int = 0
    streak: int = 0
    returns: int = 0
    good_step: int = 0
    probed_step: int = -1
    best_step: int = 0
    best_score: float | None = None
    stale: int = 0
    stopped: str = ""
    lines: int = 0
    seconds: float = 0.0
    probe_s: float = 0.0
    save_s: float = 0.0
    exact: bool = True
    identity: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return dataclasses.asdict(self)


_PLAN = tuple(field.name for field in dataclasses.fields(Plan))
_NUMBERS = ("step", "offset", "streak", "returns", "good_step", "probed_step", "best_step")


def state_from_json(values: Mapping[str, object]) -> State:
    """The state in a checkpoint. Raises CheckpointError if it is not one of this version."""
    expected = {field.name for field in dataclasses.fields(State)}
    if set(values) != expected:
        raise CheckpointError(
            f"the checkpoint's state has the fields {sorted(values)}, but this version writes "
            f"{sorted(expected)}; use the version of headstart that wrote it"
        )
    plan, identity = values["plan"], values["identity"]
    if not isinstance(plan, dict) or not isinstance(identity, dict):
        raise CheckpointError("the checkpoint's state has no plan or no identity")
    return State(
        plan=Plan(**{name: _whole({"probe_tokens": 0, **plan}, name) for name in _PLAN}),
        **{name: _whole(values, name) for name in (*_NUMBERS, "stale", "lines")},
        seconds=_real(values, "seconds"),
        probe_s=_real(values, "probe_s"),
        save_s=_real(values, "save_s"),
        best_score=None if values["best_score"] is None else _real(values, "best_score"),
        stopped=str(values["stopped"]),
        exact=values["exact"] is True,
        identity={str(name): str(value) for name, value in identity.items()},
    )


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What differs between two identities, as "name: before -> now"."""
    names = sorted(before.keys() | now.keys())
    return [
        f"{name}: {before.get(name, 'absent')} -> {now.get(name, 'absent')}"
        for name in names
        if before.get(name) != now.get(name)
    ]


def _whole(values: Mapping[str, object], name: str) -> int:
    value = values.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise CheckpointError(f"the checkpoint's state has {name}={value!r}, not a whole number")
    return value


def _real(values: Mapping[str, object], name: str) -> float:
    value = values.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise CheckpointError(f"the checkpoint's state has {name}={value!r}, not a number")
    return float(value)
