"""Visual tokens: a code book of patches, learnt on the user's own images, and the nearest code.

A patch's token is the number of the nearest centre of k-means over patches of even contrast. BEiT
predicts such tokens where patches are hidden. Its own are those of a discrete autoencoder that was
trained on 250 million images; k-means over a few ten thousand patches is what a small machine
learns in seconds, and tells textures and edges apart, not objects.

Sources: Bao et al. 2022, section 2.1 (tokens of patches); Coates et al. 2011 (k-means over
contrast-normalised patches as a code).

Legend: N patches, D numbers of a patch, K codes.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from headstart.errors import InputError

FLAT = 1e-3  # added to the variance of a patch: one that is even stays even instead of noise
EPOCHS = 20
AT_ONCE = 4096  # patches compared with all codes


@dataclass(frozen=True, eq=False)
class CodeBook:
    """centres: (K, D) fp32 patches of even contrast."""

    centres: np.ndarray

    def __len__(self) -> int:
        return len(self.centres)

    def tokens(self, patches: np.ndarray) -> np.ndarray:
        """(N,) int64 number of the nearest code of each patch (N, D)."""
        half = 0.5 * (self.centres**2).sum(1)
        found = np.empty(len(patches), dtype=np.int64)
        for start in range(0, len(patches), AT_ONCE):
            some = even_contrast(patches[start : start + AT_ONCE])
            found[start : start + AT_ONCE] = (half - some @ self.centres.T).argmin(1)
        return found


def learn_codes(patches: np.ndarray, count: int, *, seed: int) -> CodeBook:
    """A code book of `count` codes from patches (N, D): a pure function of the arguments.

    Raises InputError where there are fewer different patches than codes.
    """
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning

    even = even_contrast(patches)
    different = len(np.unique(even, axis=0))
    if different < count:
        raise InputError(
            f"images.codes is {count}, but only {different:,} different patches were found in the "
            f"images: write images.codes: {max(2, different // 8)}, or give more images"
        )
    means = MiniBatchKMeans(
        count, max_iter=EPOCHS, batch_size=AT_ONCE, n_init=1, random_state=seed % 2**32
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        means.fit(even)
    return CodeBook(np.ascontiguousarray(means.cluster_centers_, dtype=np.float32))


def even_contrast(patches: np.ndarray) -> np.ndarray:
    """(N, D) fp32 with mean 0 and variance 1 each, or less where a patch is nearly even."""
    mean, variance = patches.mean(1, keepdims=True), patches.var(1, keepdims=True)
    even: np.ndarray = ((patches - mean) / np.sqrt(variance + FLAT)).astype(np.float32, copy=False)
    return even
