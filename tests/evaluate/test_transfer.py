"""Transfer: from a start and labelled texts to a model that answers."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from headstart.batch import Sequences
from headstart.data.loader import TokenBatches
from headstart.errors import InputError
from headstart.evaluate import trainable as module
from headstart.evaluate.features import extract
from headstart.evaluate.finetune import finetune, probe_first
from headstart.evaluate.fitted import ABSENT, affine
from headstart.evaluate.metrics import score
from headstart.evaluate.trainable import Stage, stages, unfreeze_top
from headstart.evaluate.transfer import (
    Candidate,
    TransferSettings,
    candidates,
    choose,
    transfer,
)
from headstart.families.readout import load_readout
from headstart.tasks import Classify, Examples, stratified
from headstart.train import Learner
from small_tasks import labelled, numbers, several_labels, small_start

FAST = TransferSettings(
    precision="fp32",
    device="cpu",
    threads=1,
    max_length=16,
    min_steps=20,
    epochs=1,
    lr=3e-3,
    dropout=0.0,
    tokens_per_batch=256,
)
STILL = replace(FAST, lr=1e-30, min_steps=1)  # one step that moves nothing that can be seen


@pytest.fixture(scope="module")
def start():
    return small_start()


def accuracy(fitted, data):
    return float((fitted.answers(data.inputs) == data.labels).mean())


def weights(module):
    return {name: weight.detach().clone() for name, weight in module.named_parameters()}


def changed(before, after):
    return {name for name, weight in after.items() if not torch.equal(weight, before[name])}


@pytest.mark.parametrize(
    ("family", "head"),
    [
        ("modern", "mean"),
        ("modern", "family"),
        ("bert", "mean"),
        ("bert", "family"),
        ("gpt", "mean"),  # GPT-2's own classifier has no bias, so no probe fits it exactly
    ],
)
def test_fine_tuning_begins_with_exactly_the_probes_scores(family, head):
    start, data = small_start(family), labelled(40)
    settings = replace(STILL, head=head, head_scale=1.0)
    tuned = finetune(start, data, "full", settings=settings, seed=0)
    task = Classify("classes", outputs=3, frame=start.frame, head=head)
    classifier = task.heads(start.model, seed=0)["sequence"]
    linear = probe_first(start, data, classifier, settings=settings, seed=0, cache=None)
    features = extract(
        start.model,
        data.inputs,
        start.frame,
        max_length=16,
        precision="fp32",
        pooler=classifier.pooler if head == "family" else None,
    )
    expected = linear.decision(features.astype(np.float64))
    np.testing.assert_allclose(tuned.predict(data.inputs), expected, atol=2e-3)
    cooler = replace(settings, head_scale=0.1)
    cooled = finetune(start, data, "full", settings=cooler, seed=0).predict(data.inputs)
    np.testing.assert_allclose(10 * cooled, expected, atol=2e-3)
    without = finetune(
        start, data, "full", settings=replace(settings, head_first=False), seed=0
    ).predict(data.inputs)
    assert np.abs(without - expected).max() > 0.01


def test_a_probe_and_its_head_give_the_same_scores(start):
    data = labelled(40)
    probe = transfer(start, data, "probe", settings=FAST)
    by_head = replace(probe, linear=None, cache=None)
    np.testing.assert_allclose(
        probe.predict(data.inputs), by_head.predict(data.inputs), rtol=1e-4, atol=1e-4
    )
    assert probe.model is start.model


def test_a_class_without_rows_scores_below_all_others(start):
    data = labelled(30)
    two = data.take(np.flatnonzero(data.labels != 1))
    probe = transfer(start, two, "probe", settings=FAST)
    weight, bias = affine(probe.linear, outputs=3)
    assert bias[1] == ABSENT
    assert not weight[1].any()
    assert not (probe.answers(data.inputs) == 1).any()


def test_a_probe_leaves_every_weight_of_the_body_as_it_was(start):
    before = weights(start.model)
    transfer(start, labelled(30), "probe", settings=FAST)
    transfer(start, labelled(30), "full", settings=FAST)
    assert changed(before, weights(start.model)) == set()


@pytest.mark.parametrize("method", ["partial", "lora", "full"])
def test_what_is_frozen_does_not_change_by_a_bit_and_the_rest_does(start, method):
    settings = replace(FAST, top_layers=1, min_steps=3)
    fitted = transfer(start, labelled(30), method, settings=settings)
    moved = changed(weights(start.model), weights(fitted.model))
    blocks = {name for name in weights(start.model) if ".blocks." in name}
    top = {name for name in blocks if ".blocks.1." in name}
    ends = ("qkv.weight", "out.weight", "up.weight", "down.weight")
    linears = {name for name in blocks if name.endswith(ends)}
    if method == "partial":
        assert moved == top | {"stack.norm.weight"}
    elif method == "lora":
        assert moved == linears
    else:
        assert moved == set(weights(start.model))


def test_further_globs_freeze_and_a_glob_that_matches_nothing_is_refused(start):
    settings = replace(FAST, freeze=("*embed*",), min_steps=3)
    fitted = transfer(start, labelled(30), "full", settings=settings)
    moved = changed(weights(start.model), weights(fitted.model))
    assert moved == {name for name in weights(start.model) if not name.startswith("embed")}
    with pytest.raises(InputError, match=r"^the glob '\*embbed\*' matches none of the "):
        transfer(start, labelled(30), "full", settings=replace(settings, freeze=("*embbed*",)))


def test_unfreezing_goes_from_the_head_down_block_by_block(start):
    source = TokenBatches(Examples(labelled(40).inputs, window=14), tokens_per_batch=99, seed=0)
    settings = replace(FAST, unfreeze="gradual", min_steps=60, head_first=False)
    planned = stages("full", settings, blocks=2, source=source)
    assert planned == [Stage(0, 10), Stage(1, 10), Stage(2, 10), Stage(None, 30)]
    with_probe = stages("full", replace(settings, head_first=True), blocks=2, source=source)
    assert [stage.top for stage in with_probe] == [1, 2, None]
    partial = stages("partial", replace(settings, top_layers=2), blocks=4, source=source)
    assert [stage.top for stage in partial] == [0, 1, None]
    learner = Learner(copy.deepcopy(start.model), torch.nn.ModuleDict())
    for top, expected in ((0, set()), (1, {"1"}), (2, {"0", "1"})):
        unfreeze_top(learner, top)
        training = {n for n, weight in learner.named_parameters() if weight.requires_grad}
        assert {name.split(".")[3] for name in training if ".blocks." in name} == expected
        assert not any(".embed." in name for name in training)
    unfreeze_top(learner, None)
    assert all(weight.requires_grad for weight in learner.parameters())


def test_gradual_unfreezing_trains_everything_in_the_end_and_is_refused_for_lora(start):
    settings = replace(FAST, unfreeze="gradual", min_steps=8)
    fitted = transfer(start, labelled(30), "full", settings=settings)
    assert changed(weights(start.model), weights(fitted.model)) == set(weights(start.model))
    with pytest.raises(InputError) as caught:
        transfer(start, labelled(30), "lora", settings=settings)
    assert str(caught.value) == (
        "unfreeze=gradual is for the methods partial and full, not for lora"
    )


def test_lora_is_merged_when_it_ends_and_answers_as_it_did_before(start, monkeypatch):
    seen = {}

    def spy(model):
        task = Classify("classes", outputs=3, frame=start.frame)
        rows = Examples(data.inputs, window=14).take(np.arange(30))
        batch = task.lay_out(rows, pack=False)
        with torch.no_grad():
            seen["before"] = model.encode(batch)
            merge(model)
            seen["after"] = model.encode(batch)

    data, merge = labelled(30), module.merge_lora
    monkeypatch.setattr(module, "merge_lora", spy)
    fitted = transfer(start, data, "lora", settings=FAST)
    torch.testing.assert_close(seen["before"], seen["after"], rtol=1e-4, atol=1e-4)
    assert not any("lora" in name for name in fitted.model.state_dict())
    assert fitted.model.state_dict().keys() == start.model.state_dict().keys()


@pytest.mark.parametrize("method", ["full", "lora"])
def test_sixteen_texts_are_learnt_by_heart_and_shuffled_labels_do_not_carry_over(start, method):
    settings = replace(FAST, min_steps=80, lr=1e-2, layer_decay=1.0)
    data = labelled(16, signal=0.6)
    fitted = transfer(start, data, method, settings=settings)
    assert accuracy(fitted, data) == 1.0
    fresh = labelled(200, signal=0.6, seed=9)
    assert accuracy(fitted, fresh) > 0.7
    many = labelled(60, signal=0.6)
    mixed = replace(many, labels=np.random.default_rng(5).permutation(many.labels))
    assert accuracy(transfer(start, mixed, method, settings=settings), fresh) < 0.6


def test_several_labels_are_learnt(start):
    data, test = several_labels(80), several_labels(100, seed=5)
    probe = transfer(start, data, "probe", settings=FAST)
    settings = replace(FAST, min_steps=60, lr=1e-2)
    tuned = transfer(start, data, "full", settings=settings)
    for fitted in (probe, tuned):
        found = score(fitted.answers(test.inputs), test.labels.astype(int), kind="multilabel")
        assert found.value > 0.75
        assert fitted.predict(test.inputs).shape == (100, 3)


def test_numbers_are_learnt_in_their_own_unit(start):
    data, test = numbers(80), numbers(60, seed=5)
    for method in ("probe", "full"):
        fitted = transfer(start, data, method, settings=replace(FAST, min_steps=60))
        answers = fitted.answers(test.inputs)
        assert np.corrcoef(answers, test.labels)[0, 1] > 0.9
        assert abs(answers.mean() - test.labels.mean()) < 3


def test_fine_tuning_on_numbers_begins_with_the_probes_answers_too(start):
    data = numbers(40)
    probe = transfer(start, data, "probe", settings=FAST)
    tuned = finetune(start, data, "full", settings=STILL, seed=0)
    np.testing.assert_allclose(probe.predict(data.inputs), tuned.predict(data.inputs), atol=2e-3)


def test_balanced_weights_find_a_rare_class_more_often(start):
    data = labelled(220, classes=2, signal=0.15)
    rare = np.flatnonzero(data.labels == 1)[:10]
    rows = data.take(np.sort(np.concatenate([np.flatnonzero(data.labels == 0), rare])))
    test = labelled(200, classes=2, signal=0.15, seed=8)
    for method in ("probe", "full"):
        plain = transfer(start, rows, method, settings=FAST).answers(test.inputs)
        even = transfer(start, rows, method, settings=replace(FAST, balanced=True))
        assert even.answers(test.inputs).sum() > plain.sum() + 10


def test_the_same_seed_gives_the_same_bits_and_another_does_not(start):
    data, settings = labelled(30), replace(FAST, dropout=0.1, min_steps=5)
    one, two, other = (
        transfer(start, data, "full", settings=settings, seed=seed).predict(data.inputs)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, two)
    assert np.abs(one - other).max() > 1e-4


def test_stopping_early_ends_with_the_best_weights_on_labels_held_out(start):
    data = labelled(80, signal=0.3)
    settings = replace(FAST, holdout=0.3, patience=2, min_steps=200, lr=3e-2)
    seen = []
    fitted = transfer(start, data, "full", settings=settings, watch=seen.append)
    scores = [record.scores["held out"] for record in seen if record.scores]
    assert len(scores) >= 2
    held = data.take(stratified(data.labels, 0.3, seed=0)[1])
    assert accuracy(fitted, held) >= max(scores) - 1e-9


def test_auto_is_the_probe_with_few_labels_and_the_better_of_two_otherwise(start):
    few = candidates(start, labelled(32), "auto", FAST)
    assert [one.method for one in few] == ["probe"]
    many = candidates(start, labelled(33), "auto", FAST)
    assert [one.method for one in many] == ["probe", "full"]
    assert transfer(start, labelled(30), "auto", settings=FAST).method == "probe"


def test_a_choice_goes_to_the_option_with_the_better_held_out_score(start):
    data = labelled(100)
    ruined = Candidate("full", replace(FAST, lr=1.0, head_first=False, min_steps=10))
    good = Candidate("probe", FAST)
    choice = choose(start, data, [ruined, good], seed=0)
    assert choice.candidate == good
    assert choice.scores[good.name] > choice.scores[ruined.name]
    assert choice.cost_s > 0


def test_a_tie_goes_to_the_cheaper_option(start):
    same = [Candidate("probe", FAST), Candidate("probe", replace(FAST, epochs=2))]
    assert choose(start, labelled(80), same, seed=0).candidate == same[0]


def test_fresh_weights_get_a_schedule_of_their_own_and_no_probe_first():
    start = replace(small_start(), pretrained=False)
    options = candidates(start, labelled(80), "auto", FAST)
    found = choose(start, labelled(80), options, seed=0).scores
    slow, fast, longer = found
    assert (slow, fast) == ("full (lr 0.0005, 1 epochs)", "full (lr 0.002, 1 epochs)")
    best = max((slow, fast), key=lambda name: found[name])
    assert longer == best.replace("1 epochs", "3 epochs")
    assert not any(one.settings.head_first for one in options)
    fitted = transfer(start, labelled(40), "full", settings=replace(FAST, min_steps=2))
    assert fitted.settings["head_first"] is False


def test_self_training_uses_texts_without_labels(start):
    few, test = labelled(9, signal=0.35), labelled(400, signal=0.35, seed=8)
    pool = labelled(400, signal=0.35, seed=9).inputs
    alone, helped = [], []
    for seed in range(4):
        rows = labelled(9, signal=0.35, seed=seed)
        alone.append(accuracy(transfer(start, rows, "probe", settings=FAST), test))
        settings = replace(FAST, self_training=2)
        helped.append(
            accuracy(transfer(start, rows, "probe", settings=settings, unlabelled=pool), test)
        )
    assert np.mean(helped) > np.mean(alone)
    none = transfer(start, few, "probe", settings=replace(FAST, self_training=2))
    np.testing.assert_array_equal(
        none.predict(test.inputs), transfer(start, few, "probe", settings=FAST).predict(test.inputs)
    )


@pytest.mark.parametrize("family", ["modern", "bert", "gpt"])
@pytest.mark.parametrize("kind", ["classes", "multilabel", "number"])
def test_a_model_answers_the_same_after_saving_and_loading(tmp_path, family, kind):
    start = small_start(family)
    data = {"classes": labelled, "multilabel": several_labels, "number": numbers}[kind](40)
    for method in ("probe", "full"):
        fitted = transfer(start, data, method, settings=replace(FAST, min_steps=3))
        fitted.save(tmp_path / method, tokenizer=None)
        back = load_readout(tmp_path / method)
        assert (back.kind, back.classes, back.max_length) == (kind, data.classes, 16)
        loaded = replace(fitted, model=back.model, head=back.head, linear=None, cache=None)
        np.testing.assert_allclose(
            fitted.predict(data.inputs), loaded.predict(data.inputs), rtol=1e-4, atol=3e-4
        )


def test_a_probe_of_several_layers_cannot_be_saved_and_says_so(start, tmp_path):
    fitted = transfer(start, labelled(30), "probe", settings=replace(FAST, layers="several"))
    with pytest.raises(InputError) as caught:
        fitted.save(tmp_path / "m", tokenizer=None)
    assert str(caught.value) == (
        "this probe reads several layers, which no model folder can express: use layers=last"
    )
    assert not (tmp_path / "m").exists()


def test_no_texts_give_no_scores(start):
    fitted = transfer(start, labelled(30), "probe", settings=FAST)
    none = Sequences(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64))
    assert fitted.predict(none).shape == (0, 3)


def test_rates_fall_with_the_size_of_the_model_and_a_given_rate_is_kept():
    free = TransferSettings()
    assert free.rate("full", parameters=4_000_000) == 1e-4
    # (5 / 110)^0.5 of 1e-4
    assert free.rate("full", parameters=110_000_000) == pytest.approx(2.13e-5, rel=1e-2)
    assert free.rate("full", parameters=4_000_000, images=True) == 1e-3
    assert replace(free, lr=7e-4).rate("full", parameters=110_000_000, images=True) == 7e-4


@pytest.mark.parametrize(
    ("labels", "passes"), [(1, 10), (500, 10), (2000, 5), (12_500, 2), (1_000_000, 2)]
)
def test_many_labels_are_passed_over_less_often(labels, passes):
    assert TransferSettings().settled(labels).epochs == passes
    assert TransferSettings(epochs=7).settled(labels).epochs == 7
    assert TransferSettings().passes == 10


def test_a_transfer_records_the_passes_that_its_labels_had():
    fitted = transfer(
        small_start("bert"), labelled(40), "probe", settings=replace(FAST, epochs=None)
    )
    assert fitted.settings["epochs"] == 10


def test_fresh_weights_are_spared_what_would_keep_them_from_learning(start):
    how = replace(
        FAST, lr=None, unfreeze="gradual", freeze=("*embed*",), layer_decay=0.5, head_first=True
    )
    fresh = replace(start, pretrained=False)
    options = [one.settings for one in candidates(fresh, labelled(8), "full", how)]
    assert len(options) == 2
    assert {(o.unfreeze, o.freeze, o.layer_decay, o.head_first) for o in options} == {
        ("at_once", (), 1.0, False)
    }
    (kept,) = candidates(start, labelled(8), "full", how)
    assert (kept.settings.unfreeze, kept.settings.layer_decay) == ("gradual", 0.5)
