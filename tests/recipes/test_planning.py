"""The forecast: its arithmetic by hand, and its reading of a small corpus."""

import pytest

from headstart.config import PretrainSettings
from headstart.events import Silent
from headstart.recipes.planning import (
    CorpusSize,
    body_parameters,
    estimate_tokens,
    forecast,
    measure_corpus,
    plan,
)
from headstart.settings_file import make_settings
from headstart.words import in_language

CORPUS = CorpusSize(files=2, documents=1000, set_aside=3, rejected=1, tokens=1_000_000)


def settings(**given) -> PretrainSettings:
    return make_settings(
        PretrainSettings, given={k.replace("__", "."): v for k, v in given.items()}
    )


def test_the_forecast_is_the_arithmetic_of_flops():
    made = settings(
        model__family="bert", budget="100s", data__vocab_size=8192, data__max_length=128
    )
    # mini: 4 layers x 256: body 4 (4 x 256^2 + 2 x 256 x 1024) = 3,145,728 parameters.
    assert body_parameters(made.model) == 3_145_728
    # 6 (3,145,728 + 0.15 x 8192 x 256) + 12 x 4 x 128 x 256 = 22,334,668.8 FLOP a token.
    found = forecast(CORPUS, settings=made, flops_per_s=22_334_668.8 * 8192, machine="test")
    assert found.tokens_per_s == pytest.approx(8192)
    assert (found.steps, found.seconds) == (100, pytest.approx(100))
    assert found.epochs == pytest.approx(0.8192)
    assert found.parameters == 3_145_728 + 8192 * 256
    # checkpoints: 12 bytes x (keep 2 + 1) and a saved fp32 model; token file: 2 bytes a token.
    assert found.disk_gib * 2**30 == pytest.approx(5_242_880 * 40 + 2_000_000)


@pytest.mark.parametrize(
    ("budget", "steps", "epochs"),
    [("10 steps", 10, 0.08192), ("2 epochs", 244, 2.0), ("8192 tokens", 1, 0.008192)],
)
def test_every_unit_of_budget_becomes_steps(budget, steps, epochs):
    found = forecast(CORPUS, settings=settings(budget=budget), flops_per_s=1e12, machine="test")
    assert (found.steps, found.epochs) == (steps, pytest.approx(epochs))


def test_predicting_every_token_costs_more_than_predicting_some():
    bert = settings(model__family="bert")
    masked = forecast(CORPUS, settings=bert, flops_per_s=1e12, machine="test")
    causal = forecast(
        CORPUS, settings=settings(model__family="gpt"), flops_per_s=1e12, machine="test"
    )
    assert causal.tokens_per_s < masked.tokens_per_s
    assert causal.memory_gib > masked.memory_gib


def test_too_little_and_too_much_budget_are_said_in_both_languages():
    few = forecast(CORPUS, settings=settings(budget="1s"), flops_per_s=1e12, machine="test")
    many = forecast(CORPUS, settings=settings(budget="900 epochs"), flops_per_s=1e12, machine="x")
    assert few.lines()[-1].startswith("less than one pass over the corpus fits the budget")
    assert many.lines()[-1].startswith("the corpus is seen 900 times")
    assert in_language(many.lines()[-1], "zh").startswith("语料将被遍历 900 遍")


def test_tokens_are_estimated_for_words_and_for_chinese():
    assert estimate_tokens("one two three four five six seven eight nine ten") == 13
    assert estimate_tokens("我想知道我的卡在哪里") == 10


def test_a_corpus_is_counted_and_planned(tmp_path):
    (tmp_path / "a.csv").write_text("text\n" + "some words here\n" * 50)
    corpus = measure_corpus([tmp_path], settings=settings(), events=Silent())
    assert (corpus.files, corpus.documents, corpus.tokens) == (1, 50, 200)
    found = plan([tmp_path], settings=settings(budget="5 steps"))
    assert found.steps == 5
    assert found.record()["corpus"]["documents"] == 50
    assert next(text for _, text in found.facts()) == (
        "50 texts read from 1 files (0 set aside, 0 rejected)"
    )
