"""Fine-tuning: each setting changes what it says; a stopped call goes on to the same bits."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from headstart.errors import Interrupted
from headstart.evaluate.finetune import finetune
from headstart.evaluate.transfer import TransferSettings, transfer
from small_tasks import as_sequences, labelled, small_start

FAST = TransferSettings(
    precision="fp32",
    device="cpu",
    threads=1,
    max_length=16,
    min_steps=20,
    epochs=1,
    lr=3e-3,
    tokens_per_batch=256,
)


@pytest.mark.parametrize(
    ("method", "changes", "stop"),
    [
        ("full", {}, 7),
        ("full", {"unfreeze": "gradual"}, 13),  # in the last stage of three
        ("full", {"unfreeze": "gradual"}, 3),
        ("partial", {"top_layers": 1}, 11),
        ("lora", {}, 19),
        ("full", {"holdout": 0.3, "patience": 2, "min_steps": 60, "lr": 3e-2}, 8),
    ],
)
def test_a_stopped_call_goes_on_to_the_same_bits(tmp_path, method, changes, stop):
    start, data = small_start(), labelled(60, signal=0.3)
    settings = replace(FAST, **changes)
    steps = []

    def call(folder=None, *, stop_at=0):
        steps.clear()

        def watch(record):
            steps.append(record.step)
            if len(steps) == stop_at:
                os.kill(os.getpid(), signal.SIGINT)

        return finetune(start, data, method, settings=settings, seed=0, folder=folder, watch=watch)

    straight, total = call(), len(steps)
    with pytest.raises(Interrupted):
        call(tmp_path / "run", stop_at=stop)
    resumed = call(tmp_path / "run")
    assert len(steps) == total - stop
    for one, other in ((straight.model, resumed.model), (straight.head, resumed.head)):
        found = other.state_dict()
        for name, tensor in one.state_dict().items():
            assert torch.equal(tensor, found[name]), name
    again = call(tmp_path / "run")
    assert not steps  # all of it is there
    assert torch.equal(again.head.classifier.weight, straight.head.classifier.weight)


def steps_of(start, data, **changes):
    """The records of every step, and what was fitted."""
    records = []
    settings = replace(FAST, **changes)
    fitted = finetune(start, data, "full", settings=settings, seed=0, watch=records.append)
    return records, fitted


def test_dropout_is_on_while_fine_tuning_and_off_afterwards():
    start, data = small_start(), labelled(40)
    plain, same, dropped = (
        steps_of(start, data, dropout=share, min_steps=1)[0][0].loss for share in (0.0, 0.0, 0.4)
    )
    assert plain == same
    assert abs(plain - dropped) > 1e-4
    _, fitted = steps_of(start, data, dropout=0.4, min_steps=1)
    assert fitted.model.stack.blocks[0].dropout == start.model.config.dropout == 0.0
    np.testing.assert_array_equal(fitted.predict(data.inputs), fitted.predict(data.inputs))


def test_weight_decay_shrinks_matrices():
    start, data = small_start(), labelled(40)
    sizes = []
    for decay in (0.0, 5.0):
        _, fitted = steps_of(start, data, weight_decay=decay, dropout=0.0, lr=1e-2)
        sizes.append(float(fitted.model.stack.blocks[0].mlp.up.weight.detach().norm()))
    assert sizes[1] < 0.9 * sizes[0]


@pytest.mark.parametrize(("share", "peak"), [(0.0, 0), (0.25, 5), (0.5, 10)])
def test_the_rate_rises_over_the_warm_up_and_falls_over_the_rest(share, peak):
    records, _ = steps_of(small_start(), labelled(40), warmup=share)
    factors = np.array([record.lr_factor for record in records])
    assert len(factors) == 20
    assert factors.argmax() in (peak - 1, peak)
    assert (np.diff(factors[:peak]) > 0).all()
    assert (np.diff(factors[peak:]) < 0).all()


def test_labels_are_held_out_only_if_asked_and_patience_counts_checks():
    start, data = small_start(), labelled(60)
    still = {"lr": 1e-30, "min_steps": 100, "dropout": 0.0}
    records, _ = steps_of(start, data, **still)
    assert len(records) == 100
    assert not any(record.scores for record in records)
    for patience in (1, 3):  # ten checks over the run, none better than the first
        records, _ = steps_of(start, data, **still, holdout=0.3, patience=patience)
        assert len(records) == 10 * patience
        assert sum(bool(record.scores) for record in records) == patience


def test_a_share_of_the_labels_is_held_out():
    start, data = small_start(), labelled(60)
    big = {"min_steps": 1, "tokens_per_batch": 100_000}  # all rows in one step
    all_rows, most = (
        steps_of(start, data, **big, holdout=share)[0][0].sequences for share in (0.0, 0.3)
    )
    assert 0.65 <= most / all_rows <= 0.8


def test_of_a_long_text_only_so_many_windows_are_read():
    start, data = small_start(), labelled(40)
    rng = np.random.default_rng(0)
    tokens = rng.integers(5, 40, 140)  # ten windows of 14 tokens
    long, first = as_sequences([tokens]), as_sequences([tokens[:14]])
    for method in ("probe", "full"):
        one, many = (
            transfer(start, data, method, settings=replace(FAST, max_windows=most))
            for most in (1, 8)
        )
        np.testing.assert_allclose(one.predict(long), one.predict(first), atol=1e-4)
        assert np.abs(many.predict(long) - many.predict(first)).max() > 1e-3
