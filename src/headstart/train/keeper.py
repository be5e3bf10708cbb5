"""What a run can go back to: checkpoints in its folder, or copies in memory if it has none.

In: named tensors and the state. Out: the same again later. Decides which checkpoints stay: the
newest few, the last scheduled good one (to which a run returns after steps that are not finite),
and the best one by the probe.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from headstart.errors import CheckpointError
from headstart.train.checkpoint import Checkpoint, CheckpointFolder, read
from headstart.train.state import State

Tensors = Mapping[str, Mapping[str, Tensor]]


class Keeper:
    """Keeps checkpoints in `store`, or in memory without one.

    keep: newest checkpoints that stay. digest: of the run's identity.
    """

    def __init__(self, store: CheckpointFolder | None, *, keep: int, digest: str):
        self.store = store
        self.keep, self.digest = keep, digest
        self._good: Checkpoint | None = None
        self._best: Checkpoint | None = None

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint that verifies."""
        return None if self.store is None else self.store.newest()

    def save(self, tensors: Tensors, state: State, *, good: bool) -> Path | None:
        """Keep the run as it is now; a `good` one may be returned to."""
        if self.store is None:
            if good:
                self._good = _copy(state.step, tensors, state)
            return None
        path = self.store.save(state.step, tensors, state.to_json(), digest=self.digest)
        newest = self.store.steps()[-self.keep :]
        self.store.prune({*newest, state.good_step, state.step})
        self.store.prune({state.best_step}, kind="best")
        return path

    def good(self, step: int) -> Checkpoint:
        """The good checkpoint of a step, or the newest one before it that verifies."""
        found = self._good if self.store is None else self.store.newest(below=step)
        if found is None:
            raise CheckpointError("there is no checkpoint to return to")
        return found

    def drop_after(self, step: int) -> None:
        """Remove the checkpoints after a step to which the run has returned."""
        if self.store is not None:
            self.store.prune([kept for kept in self.store.steps() if kept <= step])

    def save_best(self, weights: Mapping[str, Tensor], state: State) -> None:
        """Keep these weights as the best ones; the ones before stay until the next `save`."""
        tensors = {"weights": weights}
        if self.store is None:
            self._best = _copy(state.step, tensors, state)
        else:
            self.store.save(state.step, tensors, state.to_json(), digest=self.digest, kind="best")

    def best(self, step: int) -> dict[str, Tensor]:
        """The weights of the best step. Raises CheckpointError if they are gone or damaged."""
        if self.store is not None:
            return read(self.store.path(step, "best")).tensors["weights"]
        if self._best is None or self._best.step != step:
            raise CheckpointError(f"the best weights, of step {step}, are gone")
        return self._best.tensors["weights"]


def _copy(step: int, tensors: Tensors, state: State) -> Checkpoint:
    copies = {file: {n: t.clone() for n, t in named.items()} for file, named in tensors.items()}
    return Checkpoint(step, copies, state.to_json())
