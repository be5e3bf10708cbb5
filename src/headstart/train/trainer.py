"""The training loop: an iterator of steps that can be killed at any moment and goes on exactly.

In: a learner, an objective, a source of sequences, settings. Out: a `StepRecord` for each step, a
trained learner, and checkpoints and a history in the run folder. The loop knows nothing of what an
objective means. A step that is not finite changes nothing; three in a row send the run back to the
last good checkpoint and past that data. The surprise: while `steps()` runs, the model's parameters
are views of the optimiser's flat tensors; they become plain fp32 parameters again at its end.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from headstart.errors import CheckpointError, InputError, Interrupted, NumericError
from headstart.train.budget import Plan, forecast_s, read_budget
from headstart.train.checkpoint import CheckpointFolder, digest_of
from headstart.train.disk import expected_space
from headstart.train.feed import Feeder, micros_ahead
from headstart.train.gradient import Gradients, Measured
from headstart.train.groups import build_groups
from headstart.train.identity import identify
from headstart.train.keeper import Keeper
from headstart.train.learner import Learner, Outcome, Probe, Source, StepRecord, Trainable
from headstart.train.log import History, Value
from headstart.train.memory import kept_memory
from headstart.train.optim import Optimizer
from headstart.train.plan import make_plan
from headstart.train.precision import choose_precision, computing, named_parameters, plain_name
from headstart.train.probing import Probing
from headstart.train.schedule import step_progress
from headstart.train.settings import TrainSettings
from headstart.train.signals import Signals, Stop
from headstart.train.state import State, changed, state_from_json
from headstart.train.tensorfile import size_of

MAX_STREAK = 3  # steps in a row that are not finite before the run goes back
MAX_RETURNS = 2


class Trainer:
    """Trains a learner, once.

    folder: the run folder; checkpoints go to folder/checkpoints, the history to
        folder/metrics.jsonl. Without one nothing is saved.
    probes: scores taken now and then; the first decides what is best and when to stop.
    data_digest: of the data, if known; the first batch is compared in any case.
    note: hears of everything unusual, one sentence each.
    force: resume even if something decisive has changed; the run is then marked as not exact.
    """

    def __init__(
        self,
        learner: Learner,
        objective: Trainable,
        source: Source,
        settings: TrainSettings,
        *,
        folder: Path | None = None,
        probes: Sequence[Probe] = (),
        data_digest: str = "",
        note: Callable[[str], None] = lambda _: None,
        force: bool = False,
    ):
        self.learner, self.objective, self.source = learner, objective, source
        self.settings, self.folder = settings, folder
        self.probing = Probing(probes, settings)
        self.note, self.force = note, force
        self.precision = choose_precision(settings)
        learner.to(self.precision.device)
        groups = build_groups(named_parameters(learner), settings)
        self.optimizer = Optimizer(groups, settings, precision=self.precision)
        self._buffers = _persistent_buffers(learner)
        self._data_digest = data_digest
        self._state: State | None = None
        self._recent: deque[float] = deque(maxlen=64)
        self._saved: tuple[int, int, str] | None = None
        self._saved_at = time.monotonic()
        self._used = False

    @property
    def state(self) -> State:
        """Where the run is; only once `steps()` has begun."""
        assert self._state is not None, "the run has not begun"
        return self._state

    @property
    def outcome(self) -> Outcome:
        """How the run ended."""
        s = self.state
        return Outcome(
            reason=s.stopped,
            step=s.step,
            total=s.plan.total,
            best_step=s.best_step,
            best_score=s.best_score,
            seconds=s.seconds,
            probe_s=s.probe_s,
            exact=s.exact,
        )

    def resolved_settings(self) -> TrainSettings:
        """The settings with everything measured made a number: they repeat this run exactly."""
        plan = self.state.plan
        return replace(
            self.settings,
            budget=f"{plan.total} steps",
            save_every=plan.save_every,
            probe_every=plan.probe_every,
            threads=self.precision.threads,
        )

    def weights(self) -> dict[str, Tensor]:
        """The fp32 weights and the persistent buffers by plain name, as views."""
        return {**self.optimizer.flat.named(), **self._buffers}

    def train(self) -> Outcome:
        """Take all steps."""
        for _ in self.steps():
            pass
        return self.outcome

    def steps(self) -> Iterator[StepRecord]:
        """Train, one record a step, from the newest checkpoint that verifies or the beginning.

        Breaking off the iteration leaves the run as its last checkpoint has it. Raises Interrupted
        after a signal, with everything saved; NumericError; CheckpointError; MachineError; and
        InputError if the run in this folder was begun with other data or settings.
        """
        assert not self._used, "a Trainer trains once; make another one to go on"
        self._used = True
        with ExitStack() as stack:
            self._signals = stack.enter_context(Signals())
            stack.enter_context(computing(self.precision))
            stack.enter_context(kept_memory())
            self._open(stack)
            self.learner.train()
            try:
                self._begin()
                yield from self._loop()
            except Stop:
                self._interrupted()
            self._finish()

    def _open(self, stack: ExitStack) -> None:
        device = self.precision.device
        feeder = Feeder(
            self.source,
            self.objective,
            seed=self.settings.seed,
            accumulate=self.settings.accumulate,
            ahead=micros_ahead(self.precision),
            device=device,
        )
        stack.callback(feeder.close)
        self._gradients = Gradients(self.learner, self.optimizer, feeder, device=device)
        given = {
            "objective": self.objective.name,
            "probes": ", ".join(probe.name for probe in self.probing.probes),
            "data": self._data_digest,
        }
        self._identity = identify(
            self.settings, self.precision, self.weights(), self.source, given=given
        )
        store = None
        if self.folder is not None:
            store = CheckpointFolder(self.folder / "checkpoints", note=self.note)
            stack.enter_context(store)
        digest = digest_of(self._identity)
        self._keeper = Keeper(store, keep=self.settings.keep, digest=digest)
        self._history = History(None)
        stack.callback(self._close_history)

    def _close_history(self) -> None:
        self._history.close()

    def _begin(self) -> None:
        found = self._keeper.newest()
        if found is not None:
            self._state = self._resumed(state_from_json(found.state))
            self._restore(found.tensors)
            self._saved = _moment(self.state)
        self._check_space(0 if found is None else 1)
        path = None if self.folder is None else self.folder / "metrics.jsonl"
        self._history = History(path, lines=0 if found is None else self.state.lines)
        if found is None:
            self._start()

    def _start(self) -> None:
        start = time.perf_counter()
        state = State(Plan(0, 0, 0), identity=self._identity)
        state.plan = self._plan(state)
        self._probe(state)
        state.seconds = time.perf_counter() - start
        self._state = state
        self._save(good=True)

    def _plan(self, state: State) -> Plan:
        return make_plan(
            self.settings,
            self._gradients,
            self.optimizer,
            probes=self.probing.probes,
            spent_s=state.seconds,
            poll=self._signals.poll,
        )

    def _resumed(self, state: State) -> State:
        differences = changed(state.identity, self._identity)
        if differences and not self.force:
            raise InputError(
                f"the run in {self.folder} was begun differently, so going on would not be exact: "
                f"{'; '.join(differences)}. Undo the change, choose another run folder, or force "
                "the run to go on, which marks it as not exact"
            )
        if differences:
            self.note(f"going on although this changed: {'; '.join(differences)}")
            state.exact, state.identity = False, self._identity
            if any(difference.startswith("settings.budget:") for difference in differences):
                plan = self._plan(state)
                done = state.step if read_budget(self.settings.budget).unit == "seconds" else 0
                state.plan = replace(
                    plan,
                    total=max(plan.total + done, state.step),
                    probe_tokens=state.plan.probe_tokens,  # its scores stay comparable
                )
                state.stopped = ""
        return state

    def _loop(self) -> Iterator[StepRecord]:
        self._gradients.feeder.total = self.state.plan.total
        self._between_steps()
        while not self.state.stopped:
            record = self._step()
            scores = self._between_steps()
            yield replace(record, scores=scores)

    def _between_steps(self) -> dict[str, float]:
        """Probe, stop and save, each if it is due; done twice it does no more than once."""
        s = self.state
        scores: dict[str, float] = {}
        if self.probing.due(s):
            scores = self._probe(s)
        if s.step >= s.plan.total and not s.stopped:
            s.stopped = "budget"
        self._save_if_due()
        return scores

    def _step(self) -> StepRecord:
        s, start = self.state, time.perf_counter()
        factor = self.settings.schedule.factor(step_progress(s.step, s.plan.total))
        measured = self._gradients.of(s.step + s.offset, poll=self._signals.poll)
        if not measured.fault:
            clip, limit = 1.0, self.settings.clip_norm
            if limit and measured.norm > limit:
                clip = limit / measured.norm
            self.optimizer.apply(factor, scale=measured.scale * clip)
        s.step += 1
        seconds = time.perf_counter() - start
        s.seconds += seconds
        self._recent.append(seconds)
        record = self._record(measured, factor, seconds)
        self._history.step(record, samples=measured.samples)
        s.streak = s.streak + 1 if measured.fault and measured.count else 0
        if s.streak >= MAX_STREAK:
            self._return(measured)
        return record

    def _record(self, measured: Measured, factor: float, seconds: float) -> StepRecord:
        s = self.state
        return StepRecord(
            step=s.step,
            total=s.plan.total,
            loss=measured.loss,
            count=measured.count,
            tokens=measured.tokens,
            sequences=measured.sequences,
            grad_norm=measured.norm,
            lr_factor=factor,
            seconds=seconds,
            left_s=forecast_s(self._recent, done=s.step, total=s.plan.total),
            skipped=measured.fault,
            parts=measured.parts,
        )

    def _return(self, measured: Measured) -> None:
        """Go back to the last good checkpoint, and past the data since then."""
        s = self.state
        what = f"steps {s.step - MAX_STREAK + 1} to {s.step} were not finite ({measured.fault})"
        if s.returns >= MAX_RETURNS:
            self._history.flush()
            raise NumericError(
                f"{what}, after {s.returns} returns to an earlier checkpoint; no weight was "
                f"changed by them. The last samples were {measured.samples[:8]}. Check these for "
                f"values that are not numbers, or lower lr (now {self.settings.lr})"
            )
        found = self._keeper.good(s.good_step)
        self._restore(found.tensors)
        new = state_from_json(found.state)
        new.offset = s.step + s.offset - found.step
        new.returns, new.seconds, new.probe_s = s.returns + 1, s.seconds, s.probe_s
        new.save_s, new.exact, new.identity = s.save_s, s.exact, s.identity
        new.plan, new.good_step = s.plan, found.step
        new.best_step, new.best_score, new.stale = s.best_step, s.best_score, s.stale
        self._state, self._saved = new, _moment(new)
        self._keeper.drop_after(found.step)
        values = {"from": s.step, "to": found.step, "returns": new.returns}
        self._history.event("return", values)
        self.note(
            f"{what}; back to step {found.step}, past the data of {s.step - found.step} steps"
        )

    def _probe(self, state: State) -> dict[str, float]:
        """Take all probes, and keep the weights if they are the best."""
        if not self.probing.probes:
            return {}
        start = time.perf_counter()
        try:
            scores, best = self.probing.take(state, self.learner, self._signals.poll)
        finally:
            self.optimizer.flat.drop_gradients()
        if best and self.settings.restore_best:
            self._keeper.save_best(self.weights(), state)
        spent = time.perf_counter() - start
        state.probe_s, state.seconds = state.probe_s + spent, state.seconds + spent
        values: dict[str, Value] = {"step": state.step, "scores": scores}
        values |= {"best_step": state.best_step, "probe_s": round(spent, 4)}
        self._history.event("probe", values)
        return scores

    def _save_if_due(self) -> None:
        s, minutes = self.state, self.settings.save_minutes
        if self._saved == _moment(s):
            return
        good = s.step % s.plan.save_every == 0 and not s.streak
        late = minutes > 0 and time.monotonic() - self._saved_at > 60.0 * minutes
        if good or s.stopped or (late and self.folder is not None):
            self._save(good=good)

    def _save(self, *, good: bool = False) -> None:
        s, start = self.state, time.perf_counter()
        if good:
            s.good_step = s.step
        self._history.flush()
        s.lines = self._history.lines
        tensors = {"weights": self.weights(), "optimizer": self.optimizer.state()}
        self._keeper.save(tensors, s, good=good)
        self._saved, self._saved_at = _moment(s), time.monotonic()
        spent = time.perf_counter() - start
        s.save_s, s.seconds = s.save_s + spent, s.seconds + spent

    def _interrupted(self) -> None:
        """Save, and say how to go on."""
        name = self._signals.name
        if self._state is None:
            raise Interrupted(f"stopped by {name} before step 1; nothing was done yet")
        s = self.state
        if self.folder is None:
            raise Interrupted(
                f"stopped by {name} after step {s.step} of {s.plan.total}; nothing is saved, "
                "because the run has no folder"
            )
        if self._saved != _moment(s):
            self._save()
        raise Interrupted(
            f"stopped by {name} after step {s.step} of {s.plan.total}; everything is saved in "
            f"{self.folder}. Give the same command again to go on"
        )

    def _finish(self) -> None:
        s = self.state
        other = s.best_step != s.step or s.stale > 0  # after a return a step is taken twice
        if self.settings.restore_best and s.best_score is not None and other:
            try:
                self._restore_weights(self._keeper.best(s.best_step))
            except CheckpointError as error:
                self.note(f"{error}; the learner keeps the weights of step {s.step}")
        self.optimizer.flat.release()
        self.learner.eval()

    def _restore(self, tensors: Mapping[str, dict[str, Tensor]]) -> None:
        if tensors.keys() != {"weights", "optimizer"}:
            raise CheckpointError(f"the checkpoint holds {sorted(tensors)}, not a whole run")
        self._restore_weights(tensors["weights"])
        self.optimizer.load(tensors["optimizer"])

    def _restore_weights(self, weights: Mapping[str, Tensor]) -> None:
        flat = {name: tensor for name, tensor in weights.items() if name not in self._buffers}
        self.optimizer.flat.load(flat)
        for name, buffer in self._buffers.items():
            if name not in weights:
                raise CheckpointError(f"the checkpoint does not hold the buffer {name}")
            buffer.copy_(weights[name])

    def _check_space(self, existing: int) -> None:
        if self.folder is None:
            return
        size = size_of(self.weights()) + size_of(self.optimizer.state())
        copies = max(1, self.settings.keep + 1 - existing)
        expected_space(size, copies=copies, folder=self.folder)


def _persistent_buffers(learner: Learner) -> dict[str, Tensor]:
    saved = set(learner.state_dict())
    return {plain_name(name): b for name, b in learner.named_buffers() if name in saved}


def _moment(state: State) -> tuple[int, int, str]:
    """What a checkpoint of this state would hold that an earlier one of the same step might not."""
    return state.step, state.probed_step, state.stopped
