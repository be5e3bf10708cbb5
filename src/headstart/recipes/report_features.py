"""Features of frozen networks for a report: of the rows that a cell asks for, made once for all.

In: a start, and the rows of a task. Out: pooled states, each of length 1, centred by those of some
training rows that are the same whatever label counts and seeds are asked for: so a cell that is
repeated alone meets the same features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from sklearn.preprocessing import normalize

from headstart.config import ReportSettings
from headstart.evaluate.features import FeatureCache
from headstart.evaluate.transfer import Start, depths, feature_cache
from headstart.recipes.building import transfer_settings
from headstart.recipes.medium import Medium, Rows
from headstart.recipes.report_media import linear, timed
from headstart.report.arms import Linear, Making
from headstart.report.cells import Arm, draw
from headstart.tasks import Kind

CENTRE_ROWS = 2_000  # training rows by which features are centred, at most
_CENTRE_STREAM = 0x63656E  # keeps this draw apart from others


@dataclass(frozen=True)
class Frozen:
    """Features of a frozen model, each row of length 1, and what computes more of them.

    sides: of training rows (NaN where no cell asks for the row), test rows, and perhaps a pool.
    inner: the same after fewer blocks, for models of which a probe chooses its layer.
    """

    sides: list[np.ndarray]
    cache: FeatureCache
    inner: dict[str, list[np.ndarray]]
    making: Making

    def arm(self, arm: Arm, kind: Kind, settings: ReportSettings) -> Linear:
        """A linear head on them."""
        return replace(linear(arm, self.sides, kind, settings, self.making), others=self.inner)


def frozen_features(
    own: Start, rows: Sequence[Rows], medium: Medium, settings: ReportSettings
) -> Frozen:
    """Of training rows, test rows and perhaps a pool."""
    how = transfer_settings(settings)
    cache = feature_cache(own, how)
    train = rows[0]
    used, centre = _used(train, settings), _centre(len(train))
    read = np.union1d(used, centre)
    chosen = (train.take(read), *rows[1:])
    inputs, encode_s = timed(lambda: [medium.encode(some, own) for some in chosen])

    def sides(source: FeatureCache) -> list[np.ndarray]:
        made = [source.of(side) for side in inputs]
        middle = made[0][np.isin(read, centre)].mean(0)
        known, *others = [normalize(side - middle) for side in made]
        of_all = np.full((len(train), known.shape[1]), np.nan, known.dtype)
        of_all[read] = known
        return [of_all, *others]

    caches = {n: cache.through(n) for n in depths(own, how)}
    made = {n: sides(one) for n, one in caches.items()}
    row_s = sum(one.seconds for one in caches.values()) / max(1, cache.read)
    row_s += encode_s / sum(map(len, chosen))
    inner = {f"after {n} blocks": some for n, some in made.items() if n}
    return Frozen(made[0], cache, inner, Making(row_s=row_s))


def _used(train: Rows, settings: ReportSettings) -> np.ndarray:
    """Numbers of the training rows that some cell learns from: draws of one seed are nested."""
    most = settings.counts(len(train))[-1]
    seeds = range(settings.seed, settings.seed + settings.seeds)
    drawn = [draw(train.labels, most, seed=seed, kind=train.kind) for seed in seeds]
    return np.unique(np.concatenate(drawn))


def _centre(rows: int) -> np.ndarray:
    """Numbers of the training rows by which features are centred."""
    order = np.random.default_rng(_CENTRE_STREAM).permutation(rows)
    return np.sort(order[:CENTRE_ROWS])
