import numpy as np
import pytest

from headstart.data.dataset import Corpus, load_labelled
from headstart.data.leaks import find_leaks
from real_data import data_dir

WORDS = [f"word{n}" for n in range(3000)]
HAN = [chr(0x4E00 + n) for n in range(1500)]


def texts_of(rng, count, *, chinese=False, low=15, high=60):
    alphabet, join = (HAN, "") if chinese else (WORDS, " ")
    # Zipf-like draws, so that common words are shared by many texts
    ranks = np.minimum((rng.pareto(0.8, (count, high)) * 5).astype(int), len(alphabet) - 1)
    sizes = rng.integers(low, high, count)
    return [
        join.join(alphabet[r] for r in row[:size]) for row, size in zip(ranks, sizes, strict=True)
    ]


def token_set(text, chinese):
    return set(text) if chinese else set(text.split())


def jaccard(one, other, chinese):
    one, other = token_set(one, chinese), token_set(other, chinese)
    return len(one & other) / len(one | other)


def test_exact_copies_are_found_with_their_numbers(tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(f"line {n} stands here" for n in range(80)))
    corpus = Corpus(tmp_path)
    report = find_leaks(corpus, test=["line 7 stands here", "unseen", "line 70 stands here"])
    assert report.corpus == {"exact": 2}
    assert report.drop == {7, 70}
    assert report.test_rows == {0, 2}
    assert report.documents == 80
    cleaned = corpus.without(report.drop)
    assert find_leaks(cleaned, test=["line 7 stands here"]).corpus == {}
    assert len(list(cleaned)) == 78


def test_case_punctuation_and_width_do_not_hide_a_copy():
    test = ["It's GREAT, isn't it?", "这家酒店，真的很好！"]
    copies = [
        "its great isnt it",
        "IT 'S GREAT -- ISN 'T IT",
        "这家酒店真的很好",
        "這家酒店真的很好",
    ]
    report = find_leaks(copies, test=test)
    assert report.corpus == {"normalised": 2}
    assert report.drop == {1, 2}


@pytest.mark.parametrize("chinese", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_every_near_duplicate_above_the_threshold_is_found_and_none_below(chinese, seed):
    rng = np.random.default_rng(seed)
    test = texts_of(rng, 150, chinese=chinese)
    planted, rows = [], []
    for row, text in enumerate(test):
        tokens = list(text) if chinese else text.split()
        for place in rng.choice(len(tokens), rng.integers(0, max(2, len(tokens) // 5)), False):
            tokens[place] = "新" if chinese else "changed"
        planted.append(("" if chinese else " ").join(tokens))
        rows.append(row)
    unrelated = texts_of(rng, 300, chinese=chinese)
    report = find_leaks([*planted, *unrelated], test=test)
    best = [max(jaccard(text, other, chinese) for other in test) for text in [*planted, *unrelated]]
    above = {
        n
        for n, value in enumerate(best)
        if value >= 0.8 and len(token_set([*planted, *unrelated][n], chinese)) >= 5
    }
    assert {n for n in report.drop if best[n] < 0.8} == set()
    missed = above - report.drop
    assert len(missed) <= 0.02 * len(above)  # only those whose order was changed too much
    assert len(above) > 60


def test_the_same_words_in_another_order_are_no_copy():
    rng = np.random.default_rng(0)
    words = list(rng.permutation(WORDS[:40]))
    shuffled = list(rng.permutation(words))
    assert find_leaks([" ".join(shuffled)], test=[" ".join(words)]).corpus == {}


def test_a_test_text_inside_a_longer_document_is_contained():
    text = "the quick brown fox jumps over the lazy dog today"
    document = (
        "some chapter begins here and goes on for a while " + text + " and it ends much later"
    )
    report = find_leaks([document, "another document altogether"], test=["unseen", text])
    assert report.corpus == {"contained": 1}
    assert report.examples[0].row == 1
    chinese = "今天我们去公园看了很多花"
    assert find_leaks(
        ["昨天下雨。" + chinese + "，然后回家吃饭睡觉看电视。" * 3], test=[chinese]
    ).corpus == {"contained": 1}


def test_short_texts_inside_longer_ones_are_not_called_leaks():
    assert find_leaks(["yes I think so and more"], test=["I think so", "yes"]).corpus == {}


def test_training_rows_in_the_test_file_are_found():
    test = ["one two three four five six", "seven eight nine"]
    train = [
        "something else entirely here",
        "One, two, three, four, five, six!",
        "seven eight nine",
    ]
    report = find_leaks(test=test, train=train)
    assert report.train == {"exact": 1, "normalised": 1}
    assert report.train_drop == {1, 2}
    assert str(report) == "2 training rows in the test file (1 exact, 1 normalised)"
    assert str(find_leaks(test=test)) == "no test text is in the corpus or the training file"


def test_training_texts_in_the_corpus_are_counted_but_not_dropped():
    report = find_leaks(["a b c", "d e f"], test=["x y z"], train=["A B C", "g h i"])
    assert report.train_in_corpus == 1
    assert report.drop == frozenset()


def test_repeated_test_rows_are_counted():
    assert find_leaks(test=["a b", "A, b", "c d"]).repeated_in_test == 1


def test_empty_texts_match_nothing_but_themselves():
    assert find_leaks(["...", "words"], test=["", "!!!"]).corpus == {}


def test_known_leaks_of_public_data_sets_are_found():
    folder = data_dir("fewclue_eprstmt")
    test = load_labelled(folder / "test_public.json").texts
    report = find_leaks(Corpus(folder / "unlabeled.json.gz"), test=test)
    assert report.corpus["exact"] == 55
    assert len(report.drop) == sum(report.corpus.values())
