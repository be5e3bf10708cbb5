"""Token vectors from which tokens share documents: latent semantic analysis of the corpus.

In: a prepared corpus. Out: one vector a token, to start an embedding table from. Seconds of work
that give a network the words' topics before its first step.

Source: Deerwester et al. 1990. Legend: D documents, V vocabulary, C width.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from sklearn.decomposition import TruncatedSVD

MOST_TOKENS = 20_000_000  # of the corpus, from its beginning; memory stays bounded


def document_frequency(tokens: np.ndarray, offsets: np.ndarray, *, size: int) -> np.ndarray:
    """In how many documents each token occurs, (V,). Reads the corpus in pieces."""
    found = np.zeros(size, dtype=np.int64)
    step = 2000
    for start in range(0, len(offsets) - 1, step):
        some = np.asarray(offsets[start : start + step + 1], dtype=np.int64)
        ids = np.asarray(tokens[some[0] : some[-1]], dtype=np.int64)
        owner = np.repeat(np.arange(len(some) - 1), np.diff(some))
        found += np.bincount(np.unique(owner * size + ids) % size, minlength=size)
    return found


def importance(
    frequency: np.ndarray, documents: int, *, special: tuple[int, ...] = (), least: int = 5
) -> np.ndarray:
    """Inverse document frequency log(D / (1 + frequency)), at least 0: (V,).

    Tokens in fewer than `least` documents and the special ones get 0. A small corpus of few
    documents keeps what occurs twice.
    """
    least = min(least, max(2, documents // 200))
    weight = np.log(max(1, documents) / (1 + frequency)).clip(min=0)
    weight[frequency < least] = 0
    weight[list(special)] = 0
    return weight.astype(np.float32)


def token_vectors(
    tokens: np.ndarray, offsets: np.ndarray, weight: np.ndarray, *, width: int, seed: int = 0
) -> np.ndarray:
    """Latent vectors of the tokens, (V, C): zero for tokens without weight, mean square 1 else.

    weight: (V,) importance of each token. Fewer than `width` directions exist in a tiny corpus;
    the rest of the columns is then zero.
    """
    documents = max(1, int(np.searchsorted(offsets, MOST_TOKENS)) - 1)
    counts = _counts(tokens, offsets[: documents + 1], len(weight))
    counts.data = (1 + np.log(counts.data)) * weight[counts.indices]
    norm = np.sqrt(np.asarray(counts.multiply(counts).sum(1)).ravel())
    counts = sparse.diags(1 / np.maximum(norm, 1e-9)) @ counts
    most = min(width, min(counts.shape) - 1)
    vectors = np.zeros((len(weight), width), dtype=np.float32)
    if most >= 1:
        svd = TruncatedSVD(most, random_state=seed).fit(counts)
        vectors[:, :most] = svd.components_.T * np.sqrt(svd.singular_values_)
    used = weight > 0
    vectors[~used] = 0  # the solver leaves rounding noise there
    scale = np.sqrt((vectors[used] ** 2).mean()) if used.any() else 0.0
    return vectors / scale if scale > 0 else vectors


def _counts(tokens: np.ndarray, offsets: np.ndarray, size: int) -> sparse.csr_matrix:
    begin, end = int(offsets[0]), int(offsets[-1])
    ids = np.asarray(tokens[begin:end], dtype=np.int32)
    counts = sparse.csr_matrix(
        (np.ones(len(ids), dtype=np.float32), ids, np.asarray(offsets) - begin),
        shape=(len(offsets) - 1, size),
    )
    counts.sum_duplicates()
    return counts
