"""Control arms: they learn what is there, nothing from shuffled labels, and never see the test
texts."""

import time

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression, Ridge

from headstart.evaluate.baselines import (
    FIXED_C,
    GRID,
    LsaFeatures,
    TfidfFeatures,
    _path,
    fit_linear,
    fit_majority,
    written_without_spaces,
)
from real_data import data_dir

TOPICS = (
    ("lease tenant rent deposit landlord", "loan bank interest credit repay"),
    ("租赁房屋押金租客合同", "银行贷款利息信用还款"),
)


def topic_texts(language, count, seed):
    """Texts of two topics, each a random half of its topic's words among noise words."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    texts = []
    for label in labels:
        words = TOPICS[language][label].split() if language == 0 else list(TOPICS[1][label])
        noise = (
            [f"w{n}" for n in rng.integers(0, 50, 4)]
            if language == 0
            else list(rng.choice(list("的是在了和有这"), 4))
        )
        chosen = [*rng.choice(words, 3), *noise]
        texts.append((" " if language == 0 else "").join(rng.permutation(chosen)))
    return texts, labels


@pytest.mark.parametrize("language", [0, 1])
@pytest.mark.parametrize("kind", [TfidfFeatures, LsaFeatures])
def test_topics_are_learned_in_english_and_in_chinese_but_not_from_shuffled_labels(kind, language):
    texts, labels = topic_texts(language, 300, 0)
    test, gold = topic_texts(language, 200, 1)
    features = kind(texts) if kind is TfidfFeatures else kind(texts, width=32)
    train, held_out = features.transform(texts[:80]), features.transform(test)
    head = fit_linear(train, labels[:80], kind="classes", seed=0)
    assert (head.predict(held_out) == gold).mean() > 0.9
    shuffled = np.random.default_rng(5).permutation(labels[:80])
    control = fit_linear(train, shuffled, kind="classes", seed=0)
    assert (control.predict(held_out) == gold).mean() < 0.75


def test_scripts_without_spaces_are_recognised():
    assert written_without_spaces(["银行贷款合同 with words"])
    assert written_without_spaces(["これはペンです"])
    assert not written_without_spaces(["a text with one 字 in it", "und noch einer"])
    assert not written_without_spaces(["12 345"])


def test_a_sparse_head_equals_scikit_learn_on_all_columns():
    rng = np.random.default_rng(0)
    matrix = sparse.random(60, 400, density=0.05, random_state=0, format="csr")
    labels = rng.integers(0, 3, 60)
    head = fit_linear(matrix, labels, kind="classes", seed=0)
    theirs = LogisticRegression(C=head.strength, max_iter=300).fit(matrix, labels)
    other = sparse.random(30, 400, density=0.05, random_state=1, format="csr")
    np.testing.assert_allclose(head.predict_proba(other), theirs.predict_proba(other), atol=2e-3)


def test_the_penalty_is_chosen_by_what_the_data_need_and_fixed_where_labels_are_too_few():
    rng = np.random.default_rng(0)
    direction = rng.standard_normal(30)
    clear = rng.standard_normal((200, 30))
    labels = (clear @ direction > 0).astype(int)
    weak = fit_linear(clear, labels, kind="classes", seed=0)
    strong = fit_linear(clear, rng.integers(0, 2, 200), kind="classes", seed=0)
    assert weak.tuned
    assert weak.strength >= 100 * strong.strength
    few = fit_linear(clear[:4], np.array([0, 0, 1, 1]), kind="classes", seed=0)
    assert (few.strength, few.tuned) == (FIXED_C, False)


def test_centring_makes_unit_and_origin_irrelevant_but_not_the_weight_of_a_column():
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((120, 5))
    labels = (matrix[:, 0] > 0).astype(int)
    moved = matrix * 1e4 + 3e5
    plain = fit_linear(matrix, labels, kind="classes", seed=0, centre=True)
    other = fit_linear(moved, labels, kind="classes", seed=0, centre=True)
    np.testing.assert_allclose(plain.decision(matrix), other.decision(moved), rtol=1e-4, atol=1e-4)
    without = fit_linear(moved, labels, kind="classes", seed=0)
    assert np.abs(without.decision(moved) - plain.decision(matrix)).max() > 0.5
    first = matrix * np.array([1e-3, 1, 1, 1, 1])
    hidden = fit_linear(first, labels, kind="classes", seed=0, centre=True)
    assert (hidden.predict(first) == labels).mean() < (plain.predict(matrix) == labels).mean()


def test_a_path_of_penalties_gives_what_separate_fits_give():
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((150, 8))
    labels = rng.integers(0, 3, 150)
    for strength, (weight, bias) in zip(
        GRID,
        _path(matrix, labels, kind="classes", strengths=GRID, balanced=False),
        strict=True,
    ):
        alone = LogisticRegression(C=strength, max_iter=2000, tol=1e-8).fit(matrix, labels)
        found = matrix @ weight.T + bias
        expected = matrix @ alone.coef_.T + alone.intercept_
        difference = (found - found.mean(1, keepdims=True)) - (
            expected - expected.mean(1, keepdims=True)
        )
        assert np.abs(difference).max() < 0.02


def test_numbers_go_through_ridge_and_several_labels_through_one_head_each():
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((80, 4))
    head = fit_linear(matrix, matrix[:, 0] * 2 + 1, kind="number", seed=0)
    theirs = Ridge(alpha=1 / head.strength).fit(matrix, matrix[:, 0] * 2 + 1)
    np.testing.assert_allclose(head.predict(matrix), theirs.predict(matrix))
    labels = np.stack([matrix[:, 0] > 0, matrix[:, 1] > 1, np.ones(80, bool)], axis=1).astype(int)
    several = fit_linear(matrix, labels, kind="multilabel", seed=0)
    assert (several.predict(matrix) == labels).mean() > 0.95
    assert several.predict_proba(matrix)[:, 2].min() > 0.99


def test_probabilities_cover_classes_that_a_small_draw_did_not_have():
    head = fit_linear(np.eye(4), np.array([0, 0, 2, 2]), kind="classes", seed=0)
    shares = head.predict_proba(np.eye(4))
    assert shares.shape == (4, 3)
    assert (shares[:, 1] == 0).all()
    np.testing.assert_allclose(shares.sum(axis=1), 1)


def test_the_majority_arm_names_the_commonest_class_for_any_text():
    head = fit_majority(np.array([2, 1, 2, 2]), kind="classes")
    assert head.predict(sparse.csr_matrix((3, 10))).tolist() == [2, 2, 2]
    assert head.predict_proba(np.zeros((1, 5)))[0].tolist() == pytest.approx([0, 0.25, 0.75])
    assert fit_majority(np.array([1.0, 3.0]), kind="number").predict(np.zeros((2, 3))).tolist() == [
        2,
        2,
    ]


def test_rows_that_do_not_match_and_values_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="3 feature rows for 2 labels"):
        fit_linear(np.zeros((3, 2)), np.array([0, 1]), kind="classes", seed=0)
    with pytest.raises(ValueError, match="features hold values that are not finite"):
        fit_linear(np.full((2, 2), np.nan), np.array([0, 1]), kind="classes", seed=0)


@pytest.mark.proof
def test_imdb_controls_reach_their_reference_scores():
    """Reference, same protocol: TF-IDF 73.0 / 81.2, LSA 76.2 / 82.8 at 100 / 500 labels."""
    parquet = pytest.importorskip("pyarrow.parquet")
    folder = data_dir("imdb")
    rng = np.random.default_rng(0)
    tables = {
        name: parquet.read_table(folder / f"{name}.parquet")
        for name in ("unsupervised", "train", "test")
    }
    rows = {
        name: rng.permutation(len(tables[name]))[:size]
        for name, size in (("train", 10000), ("test", 3000), ("unsupervised", 20000))
    }
    texts = {name: [tables[name]["text"][int(k)].as_py() for k in rows[name]] for name in rows}
    labels = {
        name: np.array([tables[name]["label"][int(k)].as_py() == "pos" for k in rows[name]]).astype(
            int
        )
        for name in ("train", "test")
    }
    print("\narm    labels  accuracy  sd    seconds")
    floors = {("tfidf", 100): 0.72, ("tfidf", 500): 0.805, ("lsa", 100): 0.755, ("lsa", 500): 0.82}
    for kind in (TfidfFeatures, LsaFeatures):
        features = kind(texts["unsupervised"] + texts["train"])
        train, test = features.transform(texts["train"]), features.transform(texts["test"])
        for count in (100, 500):
            start, scores = time.perf_counter(), []
            for seed in range(10):
                order = np.random.default_rng(seed).permutation(10000)
                drawn = np.concatenate(
                    [order[labels["train"][order] == c][: count // 2] for c in (0, 1)]
                )
                head = fit_linear(train[drawn], labels["train"][drawn], kind="classes", seed=seed)
                scores.append((head.predict(test) == labels["test"]).mean())
            seconds = time.perf_counter() - start
            print(
                f"{features.name:6} {count:6}  {100 * np.mean(scores):6.1f}  "
                f"{100 * np.std(scores, ddof=1):5.1f}  {seconds:6.1f}"
            )
            assert np.mean(scores) > floors[features.name, count]


def strands(rng, rows):
    """Sequences of 60 bases, each once; those of class 1 have more of G and C."""
    labels = np.arange(rows) % 2
    odds = np.where(labels[:, None] == 1, [[0.2, 0.3, 0.3, 0.2]], [[0.3, 0.2, 0.2, 0.3]])
    return ["".join(rng.choice(list("ACGT"), 60, p=p)) for p in odds], labels


@pytest.mark.parametrize("maker", [TfidfFeatures, LsaFeatures])
def test_sequences_names_and_signs_without_words_are_seen_as_characters(maker):
    texts, labels = strands(np.random.default_rng(0), 600)
    made = maker(texts)
    head = fit_linear(made.transform(texts[:300]), labels[:300], kind="classes", seed=0)
    assert (head.predict(made.transform(texts[300:])) == labels[300:]).mean() > 0.75
    names = [f"{stem}{ending}" for stem in map(str, range(150)) for ending in ("ski", "sson")]
    made = maker(names)  # no two are the same
    head = fit_linear(made.transform(names[:100]), np.arange(100) % 2, kind="classes", seed=0)
    assert (head.predict(made.transform(names[100:])) == np.arange(200) % 2).all()
    made = maker(["😀😀", "😢"] * 50)
    signs = made.transform(["😀", "😢"])
    assert np.abs(signs[0] - signs[1]).sum() > 0.5


def test_texts_in_which_no_word_occurs_twice_still_give_features():
    texts = [f"a{n} b{n} c{n}" for n in range(300)]
    assert TfidfFeatures(texts).transform(texts).shape[0] == 300


@pytest.mark.parametrize(
    ("kind", "labels", "answer"),
    [
        ("classes", np.array([0, 2, 2]), [2, 2]),
        ("classes", np.array([1, 1, 1]), [1, 1]),
        ("multilabel", np.array([[1, 0], [1, 0], [0, 0]]), [[1, 0], [1, 0]]),
        ("number", np.array([1.0, 2.0, 6.0]), [3.0, 3.0]),
    ],
)
def test_rows_without_any_known_word_are_answered_by_frequency(kind, labels, answer):
    made = TfidfFeatures(["good film", "bad film"] * 10)
    strange = made.transform(["xx yy", "zz", "uu"])
    assert strange.nnz == 0
    head = fit_linear(strange, labels, kind=kind, seed=0)
    assert head.predict(made.transform(["good film", "other"])).tolist() == answer
