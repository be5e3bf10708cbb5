"""What colours and words alone find: canonical correlation of colour histograms and TF-IDF.

In: images and captions of training. Out: vectors of both in one space, to be compared as those of a
trained model are. It learns no shapes, so a model that is no better has learnt none either.

Legend: N images, P pairs, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headstart.evaluate.baselines import Floats, LsaFeatures
from headstart.evaluate.retrieval import Gold, retrieval

LEVELS = 4  # of each colour
DIMENSIONS = 64
RIDGES = (1e-3, 1e-2, 1e-1, 1.0)  # shares of a feature's mean variance
WORDS = 256
MOST_IMAGES = 50_000
AT_ONCE = 1024


class ColourBaseline:
    """Both sides mapped to where their correlation is largest."""

    def __init__(
        self,
        pixels: np.ndarray,
        captions: Sequence[Sequence[str]],
        *,
        numbers: np.ndarray | None = None,
        seed: int = 0,
    ) -> None:
        """Fit on training images and their captions; the ridge is chosen on a fifth of the images.

        pixels: (N, 3, S, S) uint8, perhaps a memory map. captions: of the images of these numbers;
        None: of all.
        """
        order = np.random.default_rng([0xCCA, seed]).permutation(len(captions))
        chosen = np.sort(order[:MOST_IMAGES])
        images = colour_histograms(pixels, chosen if numbers is None else numbers[chosen])
        captions = _picked(captions, chosen)
        self._words = LsaFeatures([c for each in captions for c in each], width=WORDS)
        held = np.arange(len(captions)) % 5 == 0
        scores = {ridge: self._score(images, captions, held, ridge) for ridge in RIDGES}
        self.ridge = max(scores, key=lambda ridge: scores[ridge])
        self._map = self._fit(images, captions, self.ridge)

    def images(self, pixels: np.ndarray) -> Floats:
        """(N, D) unit vectors."""
        return self._map.ones(colour_histograms(pixels))

    def texts(self, texts: Sequence[str]) -> Floats:
        """(M, D) unit vectors."""
        return self._map.others(self._words.transform(texts))

    def _fit(self, images: Floats, captions: Sequence[Sequence[str]], ridge: float) -> Canonical:
        repeats = [len(each) for each in captions]
        words = self._words.transform([c for each in captions for c in each])
        return Canonical.of(np.repeat(images, repeats, axis=0), words, ridge=ridge)

    def _score(
        self, images: Floats, captions: Sequence[Sequence[str]], held: np.ndarray, ridge: float
    ) -> float:
        """Recall at 10 both ways on the images held out."""
        fitted = self._fit(images[~held], _picked(captions, np.flatnonzero(~held)), ridge)
        gold = Gold.of(_picked(captions, np.flatnonzero(held)))
        texts = fitted.others(self._words.transform(gold.texts))
        found = retrieval(fitted.ones(images[held]), texts, gold, at=(10,))
        return found.to_text[0].value + found.to_image[0].value


def _picked(captions: Sequence[Sequence[str]], numbers: np.ndarray) -> list[Sequence[str]]:
    return [captions[n] for n in numbers.tolist()]


@dataclass(frozen=True, eq=False)
class Canonical:
    """Linear maps of two kinds of features to one space.

    Source: Hotelling 1936; directions weigh as much as they correlate (Gong et al. 2014, 3.2).
    """

    one_mean: Floats
    one_map: Floats  # (F, D)
    other_mean: Floats
    other_map: Floats

    @classmethod
    def of(cls, one: Floats, other: Floats, *, ridge: float, width: int = DIMENSIONS) -> Canonical:
        """From paired rows (P, F) and (P, G); ridge: added to variances, as a share of their mean.

        The singular values of the whitened cross-covariance are the canonical correlations.
        """
        means = one.mean(0), other.mean(0)
        a, b = one - means[0], other - means[1]
        white_a, white_b = (_whitening(x.T @ x / len(x), ridge) for x in (a, b))
        u, correlation, vt = np.linalg.svd(white_a @ (a.T @ b / len(a)) @ white_b)
        kept = min(width, len(correlation))
        weight = correlation[:kept]
        return cls(
            means[0],
            white_a @ u[:, :kept] * weight,
            means[1],
            white_b @ vt[:kept].T * weight,
        )

    def ones(self, features: Floats) -> Floats:
        """(N, D) unit vectors of the first kind."""
        return _unit((features - self.one_mean) @ self.one_map)

    def others(self, features: Floats) -> Floats:
        """(N, D) unit vectors of the second kind."""
        return _unit((features - self.other_mean) @ self.other_map)


def _whitening(covariance: Floats, ridge: float) -> Floats:
    """The inverse square root of a covariance, with a ridge on its diagonal."""
    level = max(float(np.trace(covariance)) / len(covariance), 1e-12)
    values, vectors = np.linalg.eigh(covariance + ridge * level * np.eye(len(covariance)))
    white: Floats = (vectors / np.sqrt(values)) @ vectors.T
    return white


def _unit(vectors: Floats) -> Floats:
    unit: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return unit


def colour_histograms(pixels: np.ndarray, numbers: np.ndarray | None = None) -> Floats:
    """(N, 5 * 64): square roots of the shares of 64 colours, in the whole and in its quarters.

    pixels: (M, 3, S, S) uint8. numbers: (N,) which of them; None: all.
    """
    chosen = np.arange(len(pixels)) if numbers is None else numbers
    parts = [
        _histograms(np.asarray(pixels[chosen[n : n + AT_ONCE]]))
        for n in range(0, len(chosen), AT_ONCE)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, 5 * LEVELS**3))


def _histograms(pixels: np.ndarray) -> Floats:
    size, count = LEVELS**3, len(pixels)
    level = pixels.astype(np.int64) * LEVELS // 256  # N 3 S S
    colour = (level[:, 0] * LEVELS + level[:, 1]) * LEVELS + level[:, 2]
    side = pixels.shape[-1]
    lower = np.arange(side) >= side // 2
    quarter = 2 * lower[:, None] + lower[None, :]  # S S
    place = (np.arange(count)[:, None, None] * 4 + quarter) * size + colour
    counts = np.bincount(place.ravel(), minlength=count * 4 * size).reshape(count, 4, size)
    shares = np.concatenate([counts.sum(1, keepdims=True), counts], 1) / side**2
    roots: Floats = np.sqrt(shares).reshape(count, -1)
    return roots
