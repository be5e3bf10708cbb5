import dataclasses
import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from headstart.batch import Sequences
from headstart.errors import InputError, Interrupted, NumericError
from headstart.train import Learner, Outcome, Probe, Trainer, TrainSettings
from headstart.train.log import TIMES
from toy_training import NextToken, Sequence, make_learner, settings


def trainer(folder: Path | None, chosen: TrainSettings, **more: object) -> Trainer:
    given = {"learner": make_learner(), "objective": NextToken(), "source": Sequence()} | more
    learner, objective, source = (given.pop(k) for k in ("learner", "objective", "source"))
    return Trainer(learner, objective, source, chosen, folder=folder, **given)


def final(run: Trainer) -> dict[str, Tensor]:
    return {name: t.clone() for name, t in (run.weights() | run.optimizer.state()).items()}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def history(folder: Path) -> list[dict[str, object]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines]


def break_off(run: Trainer, after: int) -> None:
    for record in run.steps():
        if record.step == after:
            return


EVERY_WAY = [
    pytest.param(optimizer, precision, accumulate, id=f"{optimizer}-{precision}-{accumulate}")
    for optimizer in ("adamw", "muon")
    for precision in ("fp32", "bf16")
    for accumulate in (1, 3)
]


@pytest.mark.parametrize(("optimizer", "precision", "accumulate"), EVERY_WAY)
def test_a_resumed_run_is_bit_for_bit_the_uninterrupted_one(
    tmp_path: Path, optimizer: str, precision: str, accumulate: int
):
    chosen = settings(optimizer=optimizer, precision=precision, accumulate=accumulate)
    straight = trainer(tmp_path / "straight", chosen)
    straight.train()
    break_off(trainer(tmp_path / "broken", chosen), 6)  # checkpoints at 0, 4
    break_off(trainer(tmp_path / "broken", chosen, learner=make_learner(5)), 9)  # and at 8
    resumed = trainer(tmp_path / "broken", chosen, learner=make_learner(6))
    assert [record.step for record in resumed.steps()] == [9, 10, 11, 12]
    assert equal(final(straight), final(resumed))
    assert history(tmp_path / "straight") == history(tmp_path / "broken")
    other = trainer(None, dataclasses.replace(chosen, seed=1))
    other.train()
    assert not equal(final(straight), final(other))  # masks and dropout do depend on the seed


def test_the_same_command_twice_gives_the_same_bits_with_a_folder_or_without(tmp_path: Path):
    runs = [trainer(folder, settings()) for folder in (None, tmp_path)]
    for run in runs:
        run.train()
    assert equal(final(runs[0]), final(runs[1]))


def test_the_toy_is_learned_and_shuffled_labels_are_not():
    class Shuffled(NextToken):
        def prepare(self, sequences, rng, progress=0.0):
            batch = super().prepare(sequences, rng, progress)
            labels = batch.targets["labels"]
            batch.targets["labels"] = labels[torch.from_numpy(rng.permutation(len(labels)))]
            return batch

    chosen = settings(budget="150 steps")
    learned = [r.loss for r in trainer(None, chosen).steps()]
    control = [r.loss for r in trainer(None, chosen, objective=Shuffled()).steps()]
    assert sum(learned[-10:]) / 10 < 1.5
    assert sum(control[-10:]) / 10 > 2.2


def test_accumulated_batches_are_one_large_batch():
    """Two batches of 4 sequences, added up, give the weights of one batch of these 8."""

    class Pairs(Sequence):
        def batch(self, n):
            one, two = super().batch(2 * n), super().batch(2 * n + 1)
            fields = {k: np.concatenate([v, two.fields[k]]) for k, v in one.fields.items()}
            arrays = [
                np.concatenate([getattr(one, k), getattr(two, k)])
                for k in ("tokens", "lengths", "index")
            ]
            return Sequences(*arrays, fields)

    class OwnLabels(NextToken):
        def prepare(self, sequences, rng, progress=0.0):
            batch = super().prepare(sequences, rng, progress)
            tokens = torch.from_numpy(sequences.tokens.astype(np.int64))
            batch.inputs["tokens"], batch.targets["labels"] = tokens, (tokens * 3 + 1) % 16
            return batch

    def switch_off(module: torch.nn.Module, _: object) -> None:
        module.eval()

    def without_dropout() -> Learner:
        learner = make_learner()
        for block in learner.model.blocks:
            block.register_forward_pre_hook(switch_off)
        return learner

    runs = []
    for source, accumulate in ((Sequence(), 2), (Pairs(), 1), (Sequence(), 1)):
        chosen = settings(budget="3 steps", accumulate=accumulate)
        run = trainer(None, chosen, source=source, objective=OwnLabels(), learner=without_dropout())
        run.train()
        runs.append(run.optimizer.flat.weights.clone())
    torch.testing.assert_close(runs[0], runs[1], rtol=0, atol=2e-5)
    assert (runs[0] - runs[2]).abs().max() > 1e-3


def test_unused_parameters_and_frozen_ones_keep_every_bit():
    before = {n: t.clone() for n, t in make_learner().state_dict().items()}
    learner = make_learner()
    chosen = settings(weight_decay=0.5, freeze=("model.blocks.0.*",), precision="bf16")
    trainer(None, chosen, learner=learner).train()
    after = learner.state_dict()
    kept = {name for name in before if torch.equal(before[name], after[name])}
    frozen = {name for name in before if name.startswith("model.blocks.0.")}
    assert kept == frozen | {"model.unused.weight", "model.unused.bias", "model.seen"}


def test_the_learner_ends_with_plain_fp32_parameters_of_its_own():
    learner = make_learner()
    run = trainer(None, settings(precision="bf16"), learner=learner)
    run.train()
    for name, parameter in learner.named_parameters():
        assert parameter.dtype == torch.float32
        assert parameter.untyped_storage().nbytes() == 4 * parameter.numel()
        assert torch.equal(parameter, run.weights()[name])
    assert not learner.training


class Poisoned(NextToken):
    """Gives a loss or a gradient that is not finite for the batches that the source marks."""

    def __init__(self, how: str):
        self.how = how

    def prepare(self, sequences, rng, progress=0.0):
        batch = super().prepare(sequences, rng, progress)
        batch.targets["bad"] = torch.tensor(bool(sequences.fields["bad"].any()))
        return batch

    def loss(self, model, heads, batch):
        hook = None
        if batch.targets["bad"] and self.how == "gradient":
            hook = model.blocks[1].register_full_backward_hook(
                lambda _, inputs, __: (inputs[0] * float("nan"),)
            )
        loss = super().loss(model, heads, batch)
        if batch.targets["bad"] and self.how in ("nan", "inf"):
            loss.value = loss.value * float(self.how)
        if hook:
            loss.value.backward(retain_graph=False)
            hook.remove()
            loss.value = heads["next"].weight.sum() * 0.0 + 1.0
        return loss


@pytest.mark.parametrize("how", ["nan", "inf", "gradient"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_that_is_not_finite_changes_no_bit_and_is_visible(
    tmp_path: Path, how: str, precision: str, accumulate: int
):
    source = Sequence(poison=frozenset({5 * accumulate}))
    chosen = settings(precision=precision, accumulate=accumulate, budget="8 steps", weight_decay=1)
    run = trainer(tmp_path, chosen, source=source, objective=Poisoned(how))
    before: dict[str, Tensor] = {}
    for record in run.steps():
        if record.step == 6:  # the batches of position 5
            assert equal(before, final(run))
            assert record.skipped
        elif record.step > 1:
            assert not equal(before, final(run))
            assert not record.skipped
        before = final(run)
    assert all(torch.isfinite(t).all() for t in final(run).values())
    line = history(tmp_path)[5]
    assert line["step"] == 6
    assert line["skipped"]
    assert line["samples"][:4] == [20 * accumulate + n for n in range(4)]
    if how != "gradient":
        assert line["loss"] is None
        assert line["nonfinite"]["loss"] in ("nan", "inf")


def poisoned(folder: Path | None, bad: set[int], notes: list[str], **changes: object) -> Trainer:
    source = Sequence(poison=frozenset(bad))
    objective = Poisoned("nan")
    return trainer(
        folder, settings(**changes), source=source, objective=objective, note=notes.append
    )


def test_three_in_a_row_go_back_to_the_last_good_checkpoint_and_past_the_data(tmp_path: Path):
    notes: list[str] = []
    run = poisoned(tmp_path, {5, 6, 7}, notes)
    records = list(run.steps())
    # steps 6, 7, 8 are bad; back to step 4 with data from position 8 on
    assert [r.step for r in records] == [1, 2, 3, 4, 5, 6, 7, 8, 5, 6, 7, 8, 9, 10, 11, 12]
    assert run.state.offset == 4
    assert notes == [
        "steps 6 to 8 were not finite (loss is nan); back to step 4, past the data of 4 steps"
    ]
    assert {"event": "return", "from": 8, "to": 4, "returns": 1} in history(tmp_path)

    class Skipping(Sequence):
        def batch(self, n):
            return super().batch(n if n < 4 else n + 4)

    # The weights are those of a run whose source never had these four batches, but for the keys
    # of masks and dropout, which follow the position: so the batches seen are compared.
    in_memory = poisoned(None, {5, 6, 7}, [])
    in_memory.train()
    assert equal(final(run), final(in_memory))
    tokens = [r.tokens for r in records if r.step <= 4][:4] + [r.tokens for r in records[8:]]
    assert tokens == [int(Skipping().batch(n).lengths.sum()) for n in range(12)]


@pytest.mark.parametrize("cut", range(1, 13))
def test_returns_are_resumed_exactly_wherever_the_run_breaks_off(tmp_path: Path, cut: int):
    straight = poisoned(tmp_path / "a", {5, 6, 7, 13}, [])
    straight.train()
    for record in (broken := poisoned(tmp_path / "b", {5, 6, 7, 13}, []).steps()):
        cut -= 1
        if record and not cut:
            broken.close()
    resumed = poisoned(tmp_path / "b", {5, 6, 7, 13}, [])
    resumed.train()
    assert equal(final(straight), final(resumed))
    assert history(tmp_path / "a") == history(tmp_path / "b")


@pytest.mark.parametrize("patience", [0, 1])
@pytest.mark.parametrize("kept", [False, True])
def test_the_best_weights_outlive_a_return_to_before_them(
    tmp_path: Path, kept: bool, patience: int
):
    # probes at 0 and 5; steps 6, 7, 8 are bad; back to 4; at 5 again, where little patience ends
    script, seen = scripted(0.1, 0.9, 0.5, 0.4, 0.3), []

    def score(learner: Learner, poll: Callable[[], None]) -> float:
        seen.append(learner.model.embed.weight.detach().clone())
        return script(learner, poll)

    learner = make_learner()
    run = trainer(
        tmp_path if kept else None,
        settings(probe_every=5, save_every=4, patience=patience),
        source=Sequence(poison=frozenset({5, 6, 7})),
        objective=Poisoned("nan"),
        probes=[Probe("accuracy", score)],
        learner=learner,
    )
    outcome = run.train()
    assert (outcome.best_step, outcome.best_score) == (5, 0.9)
    assert outcome.step == (5 if patience else 12)
    assert torch.equal(learner.model.embed.weight, seen[1])


def test_after_two_returns_the_run_stops_and_says_which_samples(tmp_path: Path):
    run = poisoned(tmp_path, set(range(5, 40)), [])
    with pytest.raises(NumericError) as error:
        run.train()
    assert re.fullmatch(
        r"steps 5 to 7 were not finite \(loss is nan\), after 2 returns to an earlier checkpoint; "
        r"no weight was changed by them\. The last samples were \[(\d+, ){3}\d+\]\. Check these "
        r"for values that are not numbers, or lower lr \(now 0\.01\)",
        str(error.value),
    )


def test_batches_without_targets_do_not_count_against_the_run():
    class Empty(NextToken):
        def loss(self, model, heads, batch):
            loss = super().loss(model, heads, batch)
            return dataclasses.replace(loss, value=loss.value * float("nan"), count=0)

    run = trainer(None, settings(budget="6 steps"), objective=Empty())
    before = final(run)
    assert [r.skipped for r in run.steps()] == ["no targets"] * 6
    assert equal(before, final(run))


def scripted(*scores: float) -> Callable[[Learner, Callable[[], None]], float]:
    left = list(scores)
    return lambda _, __: left.pop(0)


def test_training_stops_when_the_score_no_longer_improves_and_restores_the_best(tmp_path: Path):
    chosen = settings(probe_every=2, patience=2, min_delta=0.1, budget="40 steps")
    best: list[Tensor] = []
    # steps 0, 2, 4, 6, 8: the best is at 4; 6 improves by less than min_delta, 8 not at all
    script = scripted(0.1, 0.4, 0.8, 0.85, 0.7, 9.9)

    def score(learner: Learner, poll: Callable[[], None]) -> float:
        best.append(learner.model.embed.weight.detach().clone())
        assert not learner.training
        return script(learner, poll)

    learner = make_learner()
    run = trainer(tmp_path, chosen, probes=[Probe("accuracy", score)], learner=learner)
    outcome = run.train()
    assert (outcome.reason, outcome.step, outcome.best_step) == ("converged", 8, 4)
    assert outcome.best_score == 0.8
    assert torch.equal(learner.model.embed.weight, best[2])
    assert not torch.equal(best[2], best[4])
    again = trainer(tmp_path, chosen, probes=[Probe("accuracy", score)], learner=make_learner(3))
    assert list(again.steps()) == []  # it is over, and stays over
    assert again.outcome.best_step == 4
    assert torch.equal(again.learner.model.embed.weight, best[2])


def test_a_loss_counts_as_better_when_it_is_lower_and_nan_never_does():
    probe = Probe("loss", scripted(3.0, float("nan"), 2.0, 2.5), higher_is_better=False)
    chosen = settings(probe_every=4, restore_best=False)
    outcome = trainer(None, chosen, probes=[probe]).train()
    assert (outcome.best_step, outcome.best_score) == (8, 2.0)


def test_a_probe_that_draws_random_numbers_changes_no_bit_of_the_run():
    def score(learner: Learner, _: Callable[[], None]) -> float:
        return float(torch.rand(()) + learner.model(torch.tensor([1, 2])).sum().detach() * 0)

    plain = trainer(None, settings())
    plain.train()
    probed = trainer(
        None, settings(probe_every=3, restore_best=False), probes=[Probe("random", score)]
    )
    probed.train()
    assert equal(final(plain), final(probed))


def test_a_probe_that_costs_too_much_reads_less_and_as_much_after_resuming(tmp_path: Path):
    asked: list[int] = []

    def reading(tokens: int) -> Probe:
        def score(_: Learner, __: Callable[[], None]) -> float:
            asked.append(tokens)
            return float(len(asked))

        return Probe("p", score, tokens=tokens, within=reading)

    chosen = settings(budget="20 steps", save_every=4)
    unbounded = trainer(None, chosen, probes=[reading(1)])
    unbounded.train()
    assert asked == [1] * 11  # before the first step and ten times after
    asked.clear()
    run = trainer(tmp_path, chosen, probes=[reading(1_000_000)])
    break_off(run, 10)
    bound = run.state.plan.probe_tokens
    trained = 20 * sum(int(run.source.batch(n).lengths.sum()) for n in range(8)) / 8
    assert bound == int(0.04 * trained / 2)
    trainer(tmp_path, chosen, probes=[reading(1_000_000)]).train()
    assert asked == [bound, bound]


def test_a_run_with_probes_is_resumed_with_the_same_best_weights(tmp_path: Path):
    def score(learner: Learner, _: Callable[[], None]) -> float:
        return float(learner.model.embed.weight.detach().float().sin().sum())

    chosen = settings(probe_every=3, budget="20 steps", keep=1)
    outcomes: list[Outcome] = []
    embeddings = []
    for name, cuts in (("a", []), ("b", [2, 5, 7, 13, 14, 19])):
        for cut in cuts:
            break_off(trainer(tmp_path / name, chosen, probes=[Probe("p", score)]), cut)
        run = trainer(tmp_path / name, chosen, probes=[Probe("p", score)])
        outcomes.append(run.train())
        embeddings.append(run.learner.model.embed.weight)
    assert outcomes[0].best_step == outcomes[1].best_step
    assert torch.equal(embeddings[0], embeddings[1])
    assert history(tmp_path / "a") == history(tmp_path / "b")


def test_a_budget_in_time_becomes_steps_that_resuming_and_repeating_keep(tmp_path: Path):
    chosen = settings(budget="1s", save_every=0)
    first = trainer(tmp_path / "a", chosen)
    break_off(first, 5)
    total = first.state.plan.total
    assert 20 < total < 20_000
    resumed = trainer(tmp_path / "a", chosen)
    resumed.train()
    assert resumed.state.plan.total == total
    repeated = trainer(tmp_path / "b", first.resolved_settings())
    repeated.train()
    assert repeated.settings.budget == f"{total} steps"
    assert equal(final(resumed), final(repeated))
    straight = trainer(None, dataclasses.replace(chosen, budget=f"{total} steps"))
    straight.train()  # the calibration has changed nothing
    assert equal(final(straight), final(resumed))


def test_a_budget_in_time_is_kept_within_a_third():
    outcome = trainer(None, settings(budget="1.5s")).train()
    assert 0.7 < outcome.seconds < 2.2


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"chosen": settings(lr=2e-2)}, "settings.lr: 0.01 -> 0.02"),
        ({"chosen": settings(seed=3)}, "settings.seed: 0 -> 3"),
        ({"source": Sequence(seed=4)}, "first batch: "),
        ({"data_digest": "abc"}, "data:  -> abc"),
        ({"learner": make_learner(width=32)}, "model: "),
        ({"chosen": settings(precision="bf16")}, "dtype: float32 -> bfloat16"),
        ({"chosen": settings(threads=2)}, "threads: 1 -> 2"),
    ],
    ids=["lr", "seed", "first batch", "data", "model", "precision", "threads"],
)
def test_resuming_with_something_decisive_changed_is_refused(
    tmp_path: Path, change: dict[str, object], name: str
):
    break_off(trainer(tmp_path, settings()), 5)
    chosen = change.pop("chosen", settings())
    with pytest.raises(InputError, match=re.escape(name)) as error:
        trainer(tmp_path, chosen, **change).train()
    assert str(error.value).startswith(f"the run in {tmp_path} was begun differently, so going on")


def test_forcing_goes_on_and_marks_the_run_as_not_exact(tmp_path: Path):
    break_off(trainer(tmp_path, settings()), 5)
    notes: list[str] = []
    longer = settings(budget="20 steps", lr=2e-2)
    outcome = trainer(tmp_path, longer, force=True, note=notes.append).train()
    assert (outcome.step, outcome.exact) == (20, False)
    assert notes == [
        "going on although this changed: settings.budget: '12 steps' -> '20 steps'; "
        "settings.lr: 0.01 -> 0.02"
    ]


def test_bookkeeping_may_change_between_the_halves(tmp_path: Path):
    break_off(trainer(tmp_path, settings(keep=3)), 9)
    outcome = trainer(tmp_path, settings(keep=1, save_minutes=5.0)).train()
    assert outcome.exact
    names = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert names == [".lock", "step-000012"]


def test_the_newest_few_checkpoints_stay(tmp_path: Path):
    trainer(tmp_path, settings(save_every=2, keep=3)).train()
    names = sorted(p.name for p in (tmp_path / "checkpoints").glob("step-*"))
    assert names == ["step-000008", "step-000010", "step-000012"]


def test_two_writers_do_not_share_a_folder(tmp_path: Path):
    steps = trainer(tmp_path, settings()).steps()
    next(steps)
    with pytest.raises(InputError) as error:
        trainer(tmp_path, settings()).train()
    assert str(error.value) == (
        f"another process is training in {tmp_path / 'checkpoints'}; wait for it, or choose "
        "another run folder"
    )
    steps.close()
    assert trainer(tmp_path, settings()).train().step == 12


def test_a_signal_without_a_folder_says_that_nothing_is_saved():
    class Signalling(Sequence):
        def batch(self, n):
            if n == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().batch(n)

    with pytest.raises(Interrupted) as error:
        trainer(None, settings(), source=Signalling()).train()
    assert str(error.value) == (
        "stopped by SIGTERM after step 3 of 12; nothing is saved, because the run has no folder"
    )


def test_the_process_has_its_own_settings_back_after_training():
    before = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    run = trainer(None, settings())
    torch.manual_seed(123)
    expected = torch.rand(3)
    torch.manual_seed(123)
    run.train()
    assert torch.equal(torch.rand(3), expected)
    assert before == (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
