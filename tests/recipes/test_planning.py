"""The forecast: its arithmetic by hand, and its reading of a small corpus."""

import json

import numpy as np
import pytest

from headstart.config import PretrainSettings
from headstart.errors import InputError
from headstart.events import Silent
from headstart.families import load_model
from headstart.recipes import planning
from headstart.recipes.building import first_model
from headstart.recipes.forecasting import CorpusSize, Network, flops_per_token, forecast
from headstart.recipes.planning import estimate_tokens, measure_corpus, plan_texts
from headstart.recipes.pretraining import pretrain
from headstart.settings_file import make_settings
from headstart.train.plan import StepTime
from headstart.words import in_language

CORPUS = CorpusSize(files=2, documents=1000, set_aside=3, rejected=1, tokens=1_000_000)


# bert-mini: 4 layers x 256, body 4 (4 x 256^2 + 2 x 256 x 1024) = 3,145,728 parameters
MINI = Network("bert", 4, 256, 1024, 3_145_728 + 8192 * 256, 3_145_728, 8192)


def settings(**given) -> PretrainSettings:
    return make_settings(
        PretrainSettings, given={k.replace("__", "."): v for k, v in given.items()}
    )


# 8,192 tokens take 0.6 + 0.4 s, and twice as many 1.2 + 0.4 s
TIMED = StepTime(gradient_s=0.3, update_s=0.4, tokens=4096, count=5)


def test_the_forecast_is_the_arithmetic_of_the_steps_that_were_timed():
    made = settings(
        model__family="bert", budget="100s", data__vocab_size=8192, data__max_length=128
    )
    found = forecast(CORPUS, MINI, settings=made, measured=TIMED, machine="test")
    assert found.tokens_per_s == pytest.approx(8192)
    assert (found.steps, found.seconds) == (100, pytest.approx(100))
    assert found.epochs == pytest.approx(0.8192)
    assert found.parameters == 3_145_728 + 8192 * 256
    # checkpoints: 12 bytes x (keep 2 + 1) and a saved fp32 model; token file: 2 bytes a token.
    assert found.disk_gib * 2**30 == pytest.approx(5_242_880 * 40 + 2_000_000)
    wide = settings(model__family="bert", budget="160s", data__tokens_per_batch=16_384)
    assert forecast(CORPUS, MINI, settings=wide, measured=TIMED, machine="test").steps == 100


def test_the_operations_of_a_token_are_counted():
    made = settings(model__family="bert", data__vocab_size=8192, data__max_length=128)
    # 6 (3,145,728 + 0.15 x 8192 x 256) + 12 x 4 x 128 x 256
    assert flops_per_token(made, MINI) == pytest.approx(22_334_668.8)
    assert flops_per_token(settings(model__family="gpt"), MINI) > flops_per_token(made, MINI)


def test_a_network_is_counted_as_it_is():
    model = first_model(settings(model__family="bert"), None, vocab_size=8192)
    found = Network.of(model, vocab_size=8192)
    assert (found.family, found.num_layers, found.hidden_size) == ("bert", 4, 256)
    # biases and norms beside the matrices
    assert MINI.body < found.body < 1.01 * MINI.body
    # 8192 tokens, 128 positions, 2 segments and a norm
    assert found.parameters - found.body == (8192 + 128 + 2 + 2) * 256


@pytest.mark.parametrize(
    ("budget", "steps", "epochs"),
    [("10 steps", 10, 0.08192), ("2 epochs", 244, 2.0), ("8192 tokens", 1, 0.008192)],
)
def test_every_unit_of_budget_becomes_steps(budget, steps, epochs):
    found = forecast(CORPUS, MINI, settings=settings(budget=budget), measured=TIMED, machine="test")
    assert (found.steps, found.epochs) == (steps, pytest.approx(epochs))


def test_predicting_every_token_takes_more_memory_than_predicting_some():
    masked, causal = (
        forecast(
            CORPUS, MINI, settings=settings(model__family=name), measured=TIMED, machine="test"
        )
        for name in ("bert", "gpt")
    )
    assert causal.memory_gib > masked.memory_gib


def test_too_little_and_too_much_budget_are_said_in_both_languages():
    few = forecast(CORPUS, MINI, settings=settings(budget="1s"), measured=TIMED, machine="test")
    many = forecast(
        CORPUS, MINI, settings=settings(budget="900 epochs"), measured=TIMED, machine="x"
    )
    assert few.lines()[-1].startswith("less than one pass over the corpus fits the budget")
    assert many.lines()[-1].startswith("the corpus is seen 900 times")
    assert in_language(many.lines()[-1], "zh").startswith("语料将被遍历 900 遍")


def test_tokens_are_estimated_for_words_and_for_chinese():
    assert estimate_tokens("one two three four five six seven eight nine ten") == 13
    assert estimate_tokens("我想知道我的卡在哪里") == 10


@pytest.fixture
def quick(monkeypatch):
    """Less time to measure."""
    monkeypatch.setattr(planning, "MEASURE_S", 0.2)


TINY = {
    "model__num_layers": 1,
    "model__hidden_size": 64,
    "model__num_heads": 2,
    "data__vocab_size": 400,
    "data__max_length": 32,
    "data__tokens_per_batch": 1024,
    "machine__threads": 1,
    "machine__precision": "fp32",
}


def test_a_corpus_is_counted_and_planned(tmp_path, quick):
    (tmp_path / "a.csv").write_text("text\n" + "some words here\n" * 50)
    corpus = measure_corpus([tmp_path], settings=settings(), events=Silent())
    assert (corpus.files, corpus.documents, corpus.tokens) == (1, 50, 200)
    found = plan_texts([tmp_path], settings=settings(budget="5 steps", **TINY))
    assert found.steps == 5
    assert found.record()["corpus"]["documents"] == 50
    assert found.corpus.tokens == 150  # three known words a text, as the tokenizer has them
    lines = [text for _, text in found.facts()]
    assert lines[0] == "50 texts read from 1 files (0 set aside, 0 rejected)"
    measured = found.measured
    assert measured.count >= 3
    assert lines[4] == (
        f"measured here: {measured.count} gradients of {measured.tokens:.0f} tokens, "
        f"{measured.gradient_s:.3f} s each, and an update of the weights, {measured.update_s:.3f} s"
    )
    assert found.record()["measured"]["gradient_s"] == measured.gradient_s


def test_a_corpus_without_text_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("text\n\n")
    with pytest.raises(InputError) as caught:
        plan_texts([tmp_path], settings=settings(**TINY))
    assert str(caught.value) == (
        f"E-DATA-036 {tmp_path / 'a.csv'}: the file has a header but no rows. Add rows, or leave "
        "it out."
    )


def test_the_forecast_is_close_to_what_a_run_takes(tmp_path, quick):
    rng = np.random.default_rng(0)
    words = [f"word{n}" for n in range(300)]
    lines = [" ".join(rng.choice(words, 60)) for _ in range(200)]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    wide = {**TINY, "model__hidden_size": 128, "data__tokens_per_batch": 4096}
    made = settings(budget="8 steps", out=str(tmp_path / "run"), **wide)
    found = plan_texts([tmp_path / "a.txt"], settings=made)
    pretrain([tmp_path / "a.txt"], settings=made, events=Silent())
    history = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    seconds = [json.loads(line)["seconds"] for line in history if "loss" in line]
    assert len(seconds) == 8
    # within a factor that a busy machine may bring; the forecast by matrix speed was off by more
    assert found.seconds / 8 == pytest.approx(float(np.median(seconds)), rel=0.6)
    assert found.corpus.tokens == pytest.approx(200 * 60, rel=0.5)


def test_a_wide_network_is_timed_in_small_steps(monkeypatch, quick):
    monkeypatch.setattr(planning, "matrix_gflops", lambda kind, **_: 100.0)  # on any machine
    made = settings(model__size="base", data__tokens_per_batch=65_536, machine__threads=1)
    wide = Network("modern", 12, 768, 3072, 110_000_000, 85_000_000, 8192)
    small = planning._smaller(made, wide)
    assert 128 <= small.data.tokens_per_batch < 65_536
    narrow = Network("modern", 1, 64, 256, 91_008, 65_408, 400)
    assert planning._smaller(settings(**TINY), narrow).data.tokens_per_batch == 1024


def write_words(folder, *, words, lines=200):
    rng = np.random.default_rng(0)
    known = [f"word{n}" for n in range(words)]
    path = folder / f"{words}.txt"
    path.write_text("\n".join(" ".join(rng.choice(known, 30)) for _ in range(lines)))
    return path


@pytest.fixture
def begun(tmp_path):
    """A run with a vocabulary and a shape of its own."""
    wide = {**TINY, "model__num_layers": 3, "model__family": "bert", "data__vocab_size": 180}
    made = settings(budget="2 steps", out=str(tmp_path / "run"), **wide)
    pretrain([write_words(tmp_path, words=40)], settings=made, events=Silent())
    return tmp_path / "run"


def entries(run):
    return json.loads((run / "model" / "config.json").read_text())["vocab_size"]


def test_the_vocabulary_is_the_one_that_the_run_will_have(tmp_path, quick, begun):
    path = write_words(tmp_path, words=40)
    made = settings(budget="2 steps", out=str(tmp_path / "own"), **TINY)
    found = plan_texts([path], settings=made)
    pretrain([path], settings=made, events=Silent())
    assert found.vocab_size == entries(tmp_path / "own") < 400
    weights = load_model(tmp_path / "own" / "model").model
    assert found.parameters == sum(weight.numel() for weight in weights.parameters())
    assert f"vocabulary {found.vocab_size:,}" in found.lines()[1]


def test_more_text_is_read_where_the_vocabulary_could_still_grow(tmp_path, monkeypatch):
    path = write_words(tmp_path, words=300)
    for most, full in ((400, False), (40_000, True)):
        monkeypatch.setattr(planning, "SAMPLE_CHARACTERS", 400)
        monkeypatch.setattr(planning, "TOKENIZER_CHARACTERS", most)
        tokenizer = planning.first_tokenizer([path], settings=settings(**TINY))
        assert (tokenizer.get_vocab_size() > 300) == full


def test_a_run_that_goes_on_is_planned_with_its_own_network(tmp_path, quick, begun):
    path = write_words(tmp_path, words=300)
    made = settings(start=str(begun), budget="4 steps", **TINY)
    found = plan_texts([path], settings=made)
    assert found.vocab_size == entries(begun) < 180
    assert (found.family, found.num_layers, found.hidden_size) == ("bert", 3, 64)
    assert found.lines()[1] == (
        f"from {begun}: bert, 3 layers x 64, {found.parameters / 1e6:.1f} M parameters"
    )
    with pytest.raises(InputError) as caught:
        plan_texts([path], settings=settings(start=str(begun), objective__name="causal", **TINY))
    assert str(caught.value).startswith("objective.name causal: causal needs decoder")
    long = settings(**{**TINY, "start": str(begun), "data__max_length": 64})
    with pytest.raises(InputError) as caught:
        plan_texts([path], settings=long)
    assert str(caught.value) == (
        f"data.max_length is 64, but {begun} has 32 positions: lower data.max_length to that"
    )


def test_both_stages_are_planned(tmp_path, quick):
    path = write_words(tmp_path, words=300)
    given = {**TINY, "objective__name": "mlm", "then": "spans", "then_share": 0.25}
    found = plan_texts([path], settings=settings(budget="8 steps", **given))
    assert found.then is not None
    assert (found.steps, found.then.steps) == (6, 2)
    assert (found.objective, found.then.objective) == ("mlm", "spans")
    assert found.then.measured != found.measured
    lines = [str(line) for line in found.lines()]
    assert [line for line in lines if line.startswith("stage ")] == [
        "stage 1 of 2: mlm, budget 6 steps",
        "stage 2 of 2: spans, budget 2 steps",
    ]
    begun = lines.index("stage 2 of 2: spans, budget 2 steps")
    assert lines[begun + 1].startswith("about 2 steps of 1,024 tokens")
    assert in_language(found.lines()[2], "zh") == "第 1 阶段（共 2 个）：mlm，预算 6 steps"
    assert found.record()["then"]["steps"] == 2
    with pytest.raises(InputError) as caught:
        plan_texts([path], settings=settings(**{**given, "then": "mlm"}))
    assert str(caught.value) == (
        "then is mlm, as objective.name is: leave it out, for one long stage"
    )
