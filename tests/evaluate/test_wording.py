import numpy as np
import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

from headstart.evaluate.wording import (
    LOSS,
    Words,
    first_sentence,
    first_words,
    is_chinese,
    loss_spread,
    most_frequent,
    spreads,
    usual_words,
    wording,
)

GOLD = ["the cat sat on the mat.", "Re: a_b meeting at 10:30, don't", "we go home", "all is well"]
TEXTS = ["a cat sat on a mat", "meeting at ten don't go", "we go home", "is all well?"]


def test_scores_of_english_are_those_of_the_libraries():
    found = wording([TEXTS], GOLD)
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])
    for name, key in (("ROUGE-1", "rouge1"), ("ROUGE-2", "rouge2"), ("ROUGE-L", "rougeL")):
        each = [scorer.score(g, t)[key].fmeasure for g, t in zip(GOLD, TEXTS, strict=True)]
        assert found[name].value == pytest.approx(np.mean(each))
    assert found["BLEU"].value == pytest.approx(sacrebleu.corpus_bleu(TEXTS, [GOLD]).score)
    assert found["chrF"].value == pytest.approx(sacrebleu.corpus_chrf(TEXTS, [GOLD]).score)
    assert found["exact_match"].value == 0.25
    assert all(0 <= one.low <= one.value <= one.high for one in found.values())
    assert all(one.low < one.high for one in found.values())


def test_rouge_of_chinese_counts_characters_where_the_library_sees_nothing():
    gold, text = "我们去回家", "我们回家"
    found = wording([[text]], [gold])
    # 4 of 5 wanted characters, all 4 written ones are right: F = 2 * 0.8 * 1 / 1.8
    assert found["ROUGE-1"].value == pytest.approx(1.6 / 1.8)
    assert found["ROUGE-L"].value == pytest.approx(1.6 / 1.8)
    # of 4 wanted pairs 2 are there (我们, 回家), of 3 written ones 2 are right
    assert found["ROUGE-2"].value == pytest.approx(2 * 0.5 * (2 / 3) / (0.5 + 2 / 3))
    assert RougeScorer(["rouge1"]).score(gold, text)["rouge1"].fmeasure == 0
    expected = sacrebleu.corpus_bleu([text], [[gold]], tokenize="zh").score
    assert found["BLEU"].value == pytest.approx(expected)
    assert expected > 1.5 * sacrebleu.corpus_bleu([text], [[gold]]).score


def test_words_are_lower_case_with_digits_and_accents_and_without_marks():
    assert Words().tokenize("L'Été_2 à 10:30 — 我们OK！") == [
        *("l", "été", "2", "à", "10", "30", "我", "们", "ok"),
    ]
    assert is_chinese(["我们回家", "OK"])
    assert not is_chinese(["we go home 我", "집에 간다"])


def test_seeds_are_averaged_and_widen_the_interval():
    one, other = wording([GOLD], GOLD), wording([TEXTS], GOLD)
    both = wording([GOLD, TEXTS], GOLD)
    assert one["ROUGE-L"].value == one["ROUGE-L"].low == 1
    assert one["BLEU"].value == pytest.approx(100)
    for name in ("ROUGE-L", "BLEU", "exact_match"):
        assert both[name].value == pytest.approx((one[name].value + other[name].value) / 2)
    assert both["ROUGE-L"].high == 1  # both draws may be of the first seed


def test_the_interval_of_a_mean_covers_it_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(60):
        right = (rng.random(80) < 0.3).astype(float)
        found = spreads(
            lambda _, times, right=right: {"share": float(times @ right / times.sum())},
            seeds=1,
            rows=80,
            seed=trial,
        )["share"]
        assert found.value == right.mean()
        covered += found.low <= 0.3 <= found.high
    assert covered >= 50  # of 60 at 95 %


def test_the_loss_of_a_token_is_over_all_tokens():
    sums, counts = np.array([[2.0, 9.0]]), np.array([[1, 9]])
    found = loss_spread(sums, counts)
    assert LOSS == "token_loss"
    assert (found.value, found.low, found.high) == (1.1, 1.0, 2.0)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("  It is 3.5 m long. Then more.", "It is 3.5 m long."),
        ("他来了。我走了。", "他来了。"),
        ("no mark at all", "no mark at all"),
        ("", ""),
    ],
)
def test_the_first_sentence_ends_at_the_first_mark(text, sentence):
    assert first_sentence(text) == sentence


def test_controls_take_as_many_words_as_training_texts_have():
    assert first_words("Hello, my dear 我们 go", 4) == "Hello, my dear 我"
    assert first_words("Hi!", 4) == "Hi"
    assert first_words("...", 4) == ""
    assert usual_words(["a b c", "a", "我们回家吧"]) == 3
    assert most_frequent(["b", "a", "a", "b"]) == "b"


def test_texts_that_are_not_as_many_as_the_wanted_ones_are_refused():
    with pytest.raises(ValueError, match=r"^\[3\] texts for 4 wanted ones$"):
        wording([TEXTS[:3]], GOLD)
