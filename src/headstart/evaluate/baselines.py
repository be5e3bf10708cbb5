"""Control arms on text without any transformer: majority, TF-IDF and LSA, each with a tuned linear
head.

A vectoriser is fitted once on the unlabelled corpus plus the training texts (never on test texts)
and then serves every cell of the report. `fit_linear` is the one linear probe of the library:
frozen transformer features go through the same code, so no arm is tuned harder than another.
Surprise: writing systems without spaces get character n-grams; word n-grams would see whole
sentences.
"""

import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.decomposition import TruncatedSVD
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.preprocessing import normalize
from threadpoolctl import threadpool_limits

from headstart.data.labels import Kind
from headstart.evaluate.deadline import Poll, never

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.generic]
Features: TypeAlias = Floats | sparse.csr_matrix

GRID = tuple(10.0**power for power in range(-3, 3))  # inverse strength of the L2 penalty
FIXED_C = 10.0
FEWEST_FOR_CV = 3  # rows of the smallest class, below which C is fixed
FOLDS = 5
LONGEST_WORDS = 25  # letters of a word on average, beyond which runs of letters are no words
FEWEST_WORDS = 1.5  # of a text on average, below which its characters tell more
MANY, FOLDS_OF_MANY = 1000, 3  # rows from which fewer folds tell enough

# Scripts written without spaces: Han, kana, Thai, Lao, Myanmar, Khmer
_UNSPACED = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x323AF), (0x3040, 0x30FF),
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF),
)  # fmt: skip


_RUN = re.compile(r"\w+")


class TextFeatures(Protocol):
    """Texts in, one feature row a text out; fitted once, then frozen."""

    name: str

    def transform(self, texts: Sequence[str]) -> Features:
        """Features of texts, (texts, width)."""
        ...


def written_without_spaces(texts: Iterable[str], *, sample: int = 500) -> bool:
    """Whether words are no unit of the first texts: most letters belong to scripts that put no
    spaces between words, or texts are single runs of letters and digits (names, codes), or the runs
    are much longer than words (sequences of DNA).
    """
    letters = unspaced = runs = inside = seen = 0
    for _, text in zip(range(sample), texts, strict=False):
        seen += 1
        for run in _RUN.findall(text[:2000]):
            runs, inside = runs + 1, inside + len(run)
        for char in text[:2000]:
            if char.isalpha():
                letters += 1
                code = ord(char)
                unspaced += code > 0x0DFF and any(low <= code <= high for low, high in _UNSPACED)
    long = inside > LONGEST_WORDS * runs
    return unspaced > 0.3 * letters or long or runs < FEWEST_WORDS * seen


class TfidfFeatures:
    """Sublinear TF-IDF: words and word pairs, or runs of 1-3 characters for texts without
    spaces, and where no word occurs twice.
    """

    name = "tfidf"

    def __init__(self, texts: Sequence[str], *, longest: int = 2, most: int = 100_000) -> None:
        """Fit on corpus and training texts together; longest: words in an n-gram; most: columns."""
        characters, least = written_without_spaces(texts), 2 if len(texts) >= 200 else 1
        try:
            self._vectoriser = self._fitted(texts, characters, longest, least, most)
        except ValueError:  # no word occurs twice, or there are none at all
            self._vectoriser = self._fitted(texts, True, longest, 1, most)

    @staticmethod
    def _fitted(
        texts: Sequence[str], characters: bool, longest: int, least: int, most: int
    ) -> TfidfVectorizer:
        """least: texts in which an n-gram must stand. Raises ValueError if none does."""
        return TfidfVectorizer(
            analyzer="char" if characters else "word",
            ngram_range=(1, longest + 1 if characters else longest),
            token_pattern=None if characters else r"(?u)\b\w+\b",
            sublinear_tf=True,
            min_df=least,
            max_features=most,
            dtype=np.float32,
        ).fit(texts)

    def transform(self, texts: Sequence[str]) -> Features:
        """Rows of unit length, (texts, n-grams), sparse."""
        return self._vectoriser.transform(texts)


class LsaFeatures:
    """Latent semantic analysis: a free self-supervised baseline from the same unlabelled texts.

    Unigram TF-IDF, truncated SVD, rows scaled to unit length.
    Source: Deerwester et al. 1990, "Indexing by latent semantic analysis".
    """

    name = "lsa"

    def __init__(self, texts: Sequence[str], *, width: int = 128, seed: int = 0) -> None:
        """Fit on corpus and training texts together; width: dimensions kept (fewer if texts are
        few).
        """
        self._words = TfidfFeatures(texts, longest=1, most=50_000)
        counts = self._words.transform(texts)
        width = max(1, min(width, min(counts.shape) - 1))
        self._svd = TruncatedSVD(width, n_iter=4, random_state=seed).fit(counts)

    def transform(self, texts: Sequence[str]) -> Features:
        """Dense rows of unit length, (texts, width)."""
        reduced = self._svd.transform(self._words.transform(texts))
        return np.asarray(normalize(reduced), dtype=np.float64)


@dataclass(frozen=True)
class LinearHead:
    """A fitted linear head. strength: the C that was chosen (for numbers 1 / ridge penalty)."""

    kind: Kind
    strength: float
    tuned: bool
    weight: Floats  # (outputs, width used)
    bias: Floats  # (outputs,)
    columns: npt.NDArray[np.int64] | None  # columns used of a sparse matrix; None = all
    shift: Floats
    scale: Floats
    labels: Labels  # label number of every output (classes only)
    outputs: int
    loss: float = float("nan")  # cross-validated, if tuned; to compare features of the same rows

    def decision(self, features: Features) -> Floats:
        """Raw outputs, (rows, outputs)."""
        if self.columns is not None:
            return np.asarray(features[:, self.columns] @ self.weight.T) + self.bias
        return (np.asarray(features) - self.shift) / self.scale @ self.weight.T + self.bias

    def predict(self, features: Features) -> Labels:
        """Label numbers (rows,), 0/1 (rows, outputs) for multilabel, or numbers (rows,)."""
        raw = self.decision(features)
        if self.kind == "number":
            return raw[:, 0]
        if self.kind == "multilabel":
            return (raw > 0).astype(np.int64)
        return np.asarray(self.labels[raw.argmax(axis=1)])

    def predict_proba(self, features: Features) -> Floats:
        """Probabilities (rows, outputs): over all `outputs` classes, or of each label by itself.

        Raises ValueError for numbers, which have none.
        """
        if self.kind == "number":
            raise ValueError("a head for numbers has no probabilities: use predict")
        raw = self.decision(features)
        if self.kind == "multilabel":
            return np.asarray(1 / (1 + np.exp(-np.clip(raw, -500, 500))))
        shares = np.exp(raw - raw.max(axis=1, keepdims=True))
        full = np.zeros((len(raw), self.outputs))
        full[:, self.labels.astype(np.int64)] = shares / shares.sum(axis=1, keepdims=True)
        return full


def fit_linear(
    features: Features,
    labels: Labels,
    *,
    kind: Kind,
    seed: int,
    centre: bool = False,
    balanced: bool = False,
    poll: Poll = never,
) -> LinearHead:
    """Fit a linear head, its penalty tuned by cross-validation inside these labels only.

    features: (rows, width), dense or sparse. labels: (rows,) integers, (rows, outputs) 0/1, or
    (rows,) floats. C is fixed where the smallest class has fewer than three rows. centre: features
    are counted from their mean, in units of their usual distance from it (dense only). balanced:
    classes weigh the same however frequent they are. poll: called between solutions.
    Raises ValueError if rows do not match or a value is not finite.
    """
    if features.shape[0] != len(labels) or not len(labels):
        raise ValueError(
            f"{features.shape[0]} feature rows for {len(labels)} labels: must be equal, at least 1"
        )
    columns: npt.NDArray[np.int64] | None = None
    shift, scale = np.zeros(1), np.ones(1)
    if sparse.issparse(features):
        matrix = sparse.csr_matrix(features)  # a column without entries gets weight 0: leave it out
        columns = np.unique(matrix.indices).astype(np.int64)
        matrix = matrix[:, columns].astype(np.float64)
    else:
        matrix = np.asarray(features, dtype=np.float64)
        if not np.isfinite(matrix).all():
            raise ValueError("features hold values that are not finite")
        if centre:
            shift = matrix.mean(axis=0)
            # one unit for all: standardising each feature costs 1 to 4 points (LOG.md)
            distance = float(np.sqrt(((matrix - shift) ** 2).sum(axis=1).mean()))
            scale = np.array([distance if distance > 1e-8 else 1.0])
        matrix = (matrix - shift) / scale
    # the products of these solvers are small: sharing them out takes 15 times as long as they do
    with threadpool_limits(1, user_api="blas"):
        strength, loss = _tune(matrix, labels, kind=kind, seed=seed, balanced=balanced, poll=poll)
        weight, bias = _solve(matrix, labels, kind=kind, strength=strength, balanced=balanced)
    names = np.unique(labels) if kind == "classes" else np.arange(len(bias))
    outputs = int(names.max()) + 1 if kind == "classes" else len(bias)
    tuned = bool(np.isfinite(loss))
    return LinearHead(
        kind, strength, tuned, weight, bias, columns, shift, scale, names, outputs, loss
    )


def fit_majority(labels: Labels, *, kind: Kind) -> LinearHead:
    """The trivial control: the commonest class, the labels most rows have, or the mean."""
    if kind == "classes":
        names, counts = np.unique(labels, return_counts=True)
        bias = np.log(counts / counts.sum())
    elif kind == "multilabel":
        share = np.clip(labels.astype(np.float64).mean(axis=0), 1e-6, 1 - 1e-6)
        bias, names = np.log(share / (1 - share)), np.arange(labels.shape[1])
    else:
        bias, names = np.array([labels.astype(np.float64).mean()]), np.zeros(1, dtype=np.int64)
    outputs = int(names.max()) + 1 if kind == "classes" else len(bias)
    zero = np.zeros((len(bias), 0))
    none = np.zeros(0, dtype=np.int64)
    return LinearHead(kind, 0.0, False, zero, bias, none, np.zeros(1), np.ones(1), names, outputs)


def _solve(
    matrix: Features, labels: Labels, *, kind: Kind, strength: float, balanced: bool
) -> tuple[Floats, Floats]:
    """Weights (outputs, width) and biases (outputs,)."""
    return next(_path(matrix, labels, kind=kind, strengths=[strength], balanced=balanced))


def _path(
    matrix: Features, labels: Labels, *, kind: Kind, strengths: Sequence[float], balanced: bool
) -> Iterator[tuple[Floats, Floats]]:
    """The solution for each strength in turn, each found from the one before."""
    if kind == "number" and not matrix.shape[1]:
        for _ in strengths:
            yield np.zeros((1, 0)), np.array([labels.astype(np.float64).mean()])
    elif kind == "number":
        for strength in strengths:
            ridge = Ridge(alpha=1.0 / strength).fit(matrix, labels.astype(np.float64))
            yield ridge.coef_[None, :], np.array([ridge.intercept_])
    elif kind == "multilabel":
        columns = [column.astype(np.int64) for column in labels.T]
        paths = [
            _path(matrix, column, kind="classes", strengths=strengths, balanced=balanced)
            for column in columns
        ]
        for found in zip(*paths, strict=True):
            parts = [_as_one_output(*pair) for pair in zip(found, columns, strict=True)]
            yield np.concatenate([w for w, _ in parts]), np.concatenate([b for _, b in parts])
    elif len(np.unique(labels)) == 1 or not matrix.shape[1]:
        shares = np.unique(labels, return_counts=True)[1] / len(labels)
        for _ in strengths:  # nothing to tell rows apart by: how frequent the classes are
            yield np.zeros((len(shares), matrix.shape[1])), np.log(shares)
    else:
        yield from _logistic_path(matrix, labels, strengths=strengths, balanced=balanced)


def _logistic_path(
    matrix: Features, labels: Labels, *, strengths: Sequence[float], balanced: bool
) -> Iterator[tuple[Floats, Floats]]:
    weighting = "balanced" if balanced else None
    model = LogisticRegression(max_iter=300, tol=1e-4, class_weight=weighting, warm_start=True)
    for strength in strengths:
        model.set_params(C=strength)
        with warnings.catch_warnings():  # a weak penalty need not be followed to its end
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(matrix, labels)
        weight, bias = model.coef_, model.intercept_
        if len(bias) == 1:  # two classes: scikit-learn keeps only the second one's
            weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
        yield weight.copy(), bias.copy()


def _as_one_output(part: tuple[Floats, Floats], column: Labels) -> tuple[Floats, Floats]:
    weight, bias = part
    if len(bias) == 2:
        return weight[1:] - weight[:1], bias[1:] - bias[:1]
    return weight, np.array([10.0 if column[0] else -10.0])  # every row had (or lacked) this label


def _tune(
    matrix: Features, labels: Labels, *, kind: Kind, seed: int, balanced: bool, poll: Poll
) -> tuple[float, float]:
    """The C with the smallest cross-validated loss (ties: the stronger penalty), and that loss; NaN
    if not tuned.
    """
    rows = len(labels)
    count = FOLDS if rows < MANY else FOLDS_OF_MANY
    folds: StratifiedKFold | KFold
    if kind == "classes":
        smallest = int(np.unique(labels, return_counts=True)[1].min())
        if smallest < FEWEST_FOR_CV or len(np.unique(labels)) < 2:
            return FIXED_C, float("nan")
        # every fold's training part has all classes
        labels = np.unique(labels, return_inverse=True)[1]
        folds = StratifiedKFold(min(count, smallest), shuffle=True, random_state=seed)
    else:
        if rows < 2 * FOLDS:
            return (FIXED_C if kind == "multilabel" else 1.0), float("nan")
        folds = KFold(count, shuffle=True, random_state=seed)
    losses, done = np.zeros(len(GRID)), 0
    all_ = folds.get_n_splits() * len(GRID) + 1  # and the solution on all rows
    for inside, outside in folds.split(np.zeros(rows), labels if kind == "classes" else None):
        solutions = _path(
            matrix[inside], labels[inside], kind=kind, strengths=GRID, balanced=balanced
        )
        for place, found in enumerate(solutions):
            losses[place] += _loss(matrix[outside], labels[outside], found, kind=kind)
            done += 1
            poll(done, all_)
    best = 0
    for place in range(1, len(GRID)):
        if losses[place] < losses[best] * (1 - 1e-4):
            best = place
    return GRID[best], float(losses[best])


def _loss(matrix: Features, labels: Labels, part: tuple[Floats, Floats], *, kind: Kind) -> float:
    """Summed squared error for numbers, summed log-loss otherwise."""
    raw = np.asarray(matrix @ part[0].T) + part[1]
    if kind == "number":
        return float(((raw[:, 0] - labels.astype(np.float64)) ** 2).sum())
    if kind == "multilabel":
        return float(np.logaddexp(0, np.where(labels.astype(bool), -raw, raw)).sum())
    shares = np.exp(raw - raw.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    chosen = shares[np.arange(len(raw)), labels.astype(np.int64)]
    return float(-np.log(np.maximum(chosen, 1e-300)).sum())
