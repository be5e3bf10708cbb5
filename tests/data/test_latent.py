import numpy as np
import pytest

from headstart.data.latent import document_frequency, importance, token_vectors


def corpus(documents):
    tokens = np.concatenate([np.asarray(d, dtype=np.uint16) for d in documents])
    return tokens, np.concatenate([[0], np.cumsum([len(d) for d in documents])])


def test_a_token_counts_once_for_each_document_that_has_it():
    tokens, offsets = corpus([[5, 5, 6], [6, 7], [6]])
    assert document_frequency(tokens, offsets, size=8).tolist() == [0, 0, 0, 0, 0, 1, 3, 1]


def test_importance_is_the_log_of_documents_over_occurrences():
    weight = importance(np.array([0, 9, 49, 99, 4]), 100, special=(3,), least=5)
    # log(100/10), log(100/50); never seen, special and too rare tokens have none; of 100 documents
    # two are enough, so the last one counts: log(100/5)
    assert weight.tolist() == pytest.approx([0, np.log(10), np.log(2), 0, np.log(20)], abs=1e-6)


def test_rare_tokens_of_a_large_corpus_have_no_importance():
    assert importance(np.array([4, 5]), 10_000)[0] == 0
    assert importance(np.array([4, 5]), 10_000)[1] > 0


def test_tokens_that_share_documents_get_like_vectors():
    rng = np.random.default_rng(0)
    documents = [rng.integers(5 + 10 * (n % 2), 15 + 10 * (n % 2), 30) for n in range(200)]
    tokens, offsets = corpus(documents)
    weight = np.ones(25, dtype=np.float32)
    weight[:5] = 0
    vectors = token_vectors(tokens, offsets, weight, width=4)
    assert (vectors[:5] == 0).all()
    assert (vectors[5:] ** 2).mean() == pytest.approx(1.0, abs=1e-5)
    unit = vectors[5:] / np.linalg.norm(vectors[5:], axis=1, keepdims=True)
    alike = unit @ unit.T
    assert alike[:10, :10].mean() > alike[:10, 10:].mean() + 0.5


def test_a_tiny_corpus_fills_the_directions_it_has():
    tokens, offsets = corpus([[5, 6], [6, 7], [5, 7]])
    vectors = token_vectors(tokens, offsets, np.ones(8, np.float32), width=16)
    assert vectors.shape == (8, 16)
    assert (vectors[:, 2:] == 0).all()
    assert np.isfinite(vectors).all()
