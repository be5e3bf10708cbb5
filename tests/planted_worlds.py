"""Simulated score tables whose truth is known: the worlds that the verdict is tested in.

Seven arms (three own, majority, TF-IDF, LSA, scratch), label counts 50, 200, 800, 3200, five
seeds. The score of arm a at seed s and count l is mean + draw + own noise: `draw` is shared by all
arms (the luck of the labelled rows), both are correlated over label counts (the subsets are
nested), and the standard deviation of one seed falls from 1-4 points at 50 labels to about a
quarter of that at 3,200.
"""

from dataclasses import dataclass

import numpy as np

from headstart.report.cells import Arm, Cell, ScoreTable

COUNTS = np.array([50, 200, 800, 3200])
SEEDS = 5
ARMS = (
    Arm("own-probe", "own", "yours, frozen", "自有，冻结"),
    Arm("own-lora", "own", "yours, LoRA", "自有，LoRA"),
    Arm("own-full", "own", "yours, full", "自有，全量"),
    Arm("majority", "control", "majority class", "多数类"),
    Arm("tfidf", "control", "TF-IDF + linear", "TF-IDF + 线性"),
    Arm("lsa", "control", "LSA + linear", "LSA + 线性"),
    Arm("scratch", "scratch", "from scratch", "从零训练"),
)
OWN = [arm for arm in ARMS if arm.kind == "own"]
CONTROLS = [arm for arm in ARMS if arm.kind != "own"]
SPREAD = {
    "own-probe": 0.8,
    "own-lora": 1.0,
    "own-full": 1.3,
    "majority": 0.0,
    "tfidf": 0.8,
    "lsa": 0.8,
    "scratch": 1.3,
}
SECONDS = {
    "own-probe": 4.0,
    "own-lora": 40.0,
    "own-full": 90.0,
    "majority": 0.01,
    "tfidf": 1.0,
    "lsa": 2.0,
    "scratch": 80.0,
}


@dataclass(frozen=True)
class World:
    """means: true scores (arms, counts). noise: (arms, counts), of one arm's own part for one
    seed."""

    name: str
    means: np.ndarray
    noise: np.ndarray
    shared: np.ndarray

    @property
    def difference(self) -> np.ndarray:
        """True difference between best own arm and best control, (counts,)."""
        return self.means[:3].max(axis=0) - self.means[3:].max(axis=0)


def noise_of(level: float) -> tuple[np.ndarray, np.ndarray]:
    """Own noise (arms, counts) and shared noise (counts,); level: sd of one seed at 50 labels, in
    points."""
    shape = np.array([1.0, 0.65, 0.4, 0.25])
    own = np.array([SPREAD[arm.name] for arm in ARMS])[:, None] * level / 100 * shape
    return own * np.sqrt(0.5), level / 100 * np.sqrt(0.5) * shape


def standard_error(level: float) -> np.ndarray:
    """Of the paired difference between own-lora and TF-IDF over the five seeds, (counts,)."""
    noise, _ = noise_of(level)
    return np.sqrt((noise[1] ** 2 + noise[4] ** 2) / SEEDS)


def plant(
    name: str,
    difference: np.ndarray,
    *,
    level: float,
    rng: np.random.Generator,
    winner: int = 1,
    gap: float | None = None,
) -> World:
    """A world with this difference between best own arm and best control at each count.

    winner: which own arm is the best one. The others trail by up to three standard errors (or by
    `gap`), and so do the controls behind the best one.
    """
    noise, shared = noise_of(level)
    control = 0.62 + 0.075 * np.log2(COUNTS / 50) / 2
    trails = rng.uniform(0, 3, (5, 1)) if gap is None else np.full((5, 1), gap)
    error = standard_error(level)
    means = np.zeros((len(ARMS), len(COUNTS)))
    means[:3] = control + difference - trails[:3] * error
    means[winner] = control + difference
    means[3] = 0.5
    best = int(rng.integers(4, 6))
    means[4:6] = control - trails[3:] * error
    means[best] = control
    means[6] = control - 0.06
    return World(name, means, noise, shared)


def correlated(rng: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
    """Standard normal noise over label counts with correlation 0.4 between neighbours, 0.16,
    0.064."""
    counts = len(COUNTS)
    matrix = 0.4 ** np.abs(np.subtract.outer(np.arange(counts), np.arange(counts)))
    return rng.standard_normal((*size, counts)) @ np.linalg.cholesky(matrix).T


def sample(world: World, rng: np.random.Generator, *, seeds: int = SEEDS) -> np.ndarray:
    """Scores (arms, seeds, counts)."""
    draw = correlated(rng, (1, seeds)) * world.shared * (np.arange(len(ARMS)) != 3)[:, None, None]
    return world.means[:, None] + draw + correlated(rng, (len(ARMS), seeds)) * world.noise[:, None]


def as_table(scores: np.ndarray) -> ScoreTable:
    """The same as a score table."""
    return ScoreTable(
        [
            Cell(
                arm.name,
                int(count),
                seed,
                float(scores[a, seed, k]),
                SECONDS[arm.name] * (1 + count / 3200),
            )
            for a, arm in enumerate(ARMS)
            for k, count in enumerate(COUNTS)
            for seed in range(scores.shape[1])
        ]
    )
