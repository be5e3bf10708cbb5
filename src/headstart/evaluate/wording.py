"""How near written texts come to the texts wanted: ROUGE, BLEU, chrF and exact match.

In: written texts and one wanted text each. Out: scores with 95 % intervals over the rows, which are
drawn again with replacement. BLEU and chrF are of all rows together, as sacrebleu gives them (0 to
100); the others are means over rows (0 to 1).

The surprise: the library rouge-score drops everything that is not ASCII. `Words` keeps it, and
takes each Chinese character for a word; for ASCII texts it gives what the library gives.

Legend: S seeds, N rows, K numbers of one row.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from headstart.data.vocabulary import CJK
from headstart.evaluate.resampling import DRAWS, LEVEL

LEADING = "ROUGE-L"
LOSS = "token_loss"
_ROUGE = {"ROUGE-1": "rouge1", "ROUGE-2": "rouge2", "ROUGE-L": "rougeL"}
MEANS = (*_ROUGE, "exact_match")
MOSTLY = 0.5  # share of a text's words that are Chinese characters, from which it is Chinese

_WORD = re.compile(rf"[{CJK}]|[^\W_{CJK}]+")
_CHARACTER = re.compile(rf"[{CJK}]")
_SENTENCE = re.compile(r".*?[.!?](?=\s|$)|.*?[。！？]|.+", re.DOTALL)


class Words:
    """What rouge-score counts: lower-case words, and Chinese characters one by one."""

    def tokenize(self, text: str) -> list[str]:
        """The words of a text."""
        return _WORD.findall(text.lower())


@dataclass(frozen=True)
class Spread:
    """A score and its 95 % interval."""

    value: float
    low: float
    high: float


Spreads = Mapping[str, Spread]


@dataclass(frozen=True)
class Counts:
    """What the scores of some texts are made of, a row each.

    means: (N, 4) the scores `MEANS` of each row. bleu, chrf: (N, K) what sacrebleu adds up.
    """

    means: np.ndarray
    bleu: np.ndarray
    chrf: np.ndarray


def wording(
    written: Sequence[Sequence[str]], gold: Sequence[str], *, seed: int = 0
) -> dict[str, Spread]:
    """Scores by name, mean over seeds; rows and seeds are drawn again for the intervals.

    written: (S, N). gold: (N,). Raises ValueError if there is nothing to score.
    """
    if not gold or not written or any(len(texts) != len(gold) for texts in written):
        raise ValueError(f"{[len(texts) for texts in written]} texts for {len(gold)} wanted ones")
    bleu, chrf = _sacrebleu(chinese=is_chinese(gold))
    every = [_counts(texts, gold, bleu, chrf) for texts in written]

    def measure(which: np.ndarray, times: np.ndarray) -> dict[str, float]:
        each = [_scores(every[number], times, bleu, chrf) for number in which]
        return {name: float(np.mean([one[name] for one in each])) for name in each[0]}

    return spreads(measure, seeds=len(written), rows=len(gold), seed=seed)


def rouge_difference(
    first: Sequence[str], second: Sequence[str], gold: Sequence[str], *, seed: int = 0
) -> tuple[Spread, Spread, Spread]:
    """ROUGE-L of two models' texts for the same rows, and the second minus the first."""
    each = np.stack([_rouge(texts, gold)[:, -1] for texts in (first, second)])  # 2 N

    def measure(_: np.ndarray, times: np.ndarray) -> dict[str, float]:
        one, two = (each @ times / times.sum()).tolist()
        return {"first": one, "second": two, "difference": two - one}

    found = spreads(measure, seeds=1, rows=len(gold), seed=seed)
    return found["first"], found["second"], found["difference"]


def loss_spread(sums: np.ndarray, counts: np.ndarray, *, seed: int = 0) -> Spread:
    """Mean loss of a token over all rows and seeds. sums, counts: (S, N)."""

    def measure(which: np.ndarray, times: np.ndarray) -> dict[str, float]:
        return {LOSS: float((sums[which] @ times).sum() / (counts[which] @ times).sum())}

    return spreads(measure, seeds=len(sums), rows=sums.shape[1], seed=seed)[LOSS]


def spreads(
    measure: Callable[[np.ndarray, np.ndarray], Mapping[str, float]],
    *,
    seeds: int,
    rows: int,
    seed: int = 0,
) -> dict[str, Spread]:
    """Scores and their intervals. measure: gets which seeds, and how often each row was drawn."""
    values = measure(np.arange(seeds), np.ones(rows))
    rng = np.random.default_rng([0xB007, seed])
    draws: dict[str, list[float]] = {name: [] for name in values}
    for _ in range(DRAWS):
        times = np.bincount(rng.integers(0, rows, rows), minlength=rows).astype(np.float64)
        for name, value in measure(rng.integers(0, seeds, seeds), times).items():
            draws[name].append(value)
    share = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    ends = {name: np.quantile(found, share) for name, found in draws.items()}
    return {
        name: Spread(v, float(ends[name][0]), float(ends[name][1])) for name, v in values.items()
    }


def is_chinese(texts: Sequence[str]) -> bool:
    """Whether most words of the texts are Chinese characters."""
    words = [word for text in texts for word in Words().tokenize(text)]
    return sum(bool(_CHARACTER.match(word)) for word in words) > MOSTLY * max(1, len(words))


def most_frequent(texts: Sequence[str]) -> str:
    """The text that occurs most often; of several, the first."""
    return Counter(texts).most_common(1)[0][0]


def usual_words(texts: Sequence[str]) -> int:
    """The median number of words of a text, at least 1."""
    sizes = [len(Words().tokenize(text)) for text in texts]
    return max(1, round(float(np.median(sizes))))


def first_sentence(text: str) -> str:
    """Up to the first full stop, question or exclamation mark."""
    found = _SENTENCE.match(text.strip())
    return found.group().strip() if found else ""


def first_words(text: str, count: int) -> str:
    """The beginning of a text that has so many words."""
    ends = [match.end() for match, _ in zip(_WORD.finditer(text), range(count), strict=False)]
    return text[: ends[-1]].strip() if ends else ""


def _counts(written: Sequence[str], gold: Sequence[str], bleu: _Corpus, chrf: _Corpus) -> Counts:
    same = [[float(one.strip() == two.strip())] for one, two in zip(written, gold, strict=True)]
    means = np.hstack([_rouge(written, gold), np.asarray(same)])
    return Counts(means, bleu.rows(written, gold), chrf.rows(written, gold))


def _rouge(written: Sequence[str], gold: Sequence[str]) -> np.ndarray:
    """(N, 3) F1 of ROUGE-1, ROUGE-2 and ROUGE-L."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(list(_ROUGE.values()), tokenizer=Words())
    found = [scorer.score(wanted, text) for text, wanted in zip(written, gold, strict=True)]
    return np.asarray([[one[name].fmeasure for name in _ROUGE.values()] for one in found])


def _scores(counts: Counts, times: np.ndarray, bleu: _Corpus, chrf: _Corpus) -> dict[str, float]:
    """Scores of the rows, each counted so many times (N,)."""
    means = times @ counts.means / times.sum()
    found = dict(zip(MEANS, means.tolist(), strict=True))
    return {
        **found,
        "BLEU": bleu.score(times @ counts.bleu),
        "chrF": chrf.score(times @ counts.chrf),
    }


class _Corpus:
    """A score of sacrebleu in two halves: numbers of each row, and the score of their sum."""

    def __init__(self, metric: object):
        self.metric = metric

    def rows(self, written: Sequence[str], gold: Sequence[str]) -> np.ndarray:
        """(N, K) of texts and the texts wanted."""
        found = self.metric._extract_corpus_statistics(list(written), [list(gold)])  # type: ignore[attr-defined]
        return np.asarray(found, dtype=np.float64)

    def score(self, total: np.ndarray) -> float:
        """From the sum (K,) over rows."""
        whole = [round(value) for value in total.tolist()]
        return float(self.metric._aggregate_and_compute([whole]).score)  # type: ignore[attr-defined]


def _sacrebleu(*, chinese: bool) -> tuple[_Corpus, _Corpus]:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    logging.getLogger("sacrebleu").setLevel(logging.ERROR)
    return _Corpus(BLEU(tokenize="zh" if chinese else "13a", force=True)), _Corpus(CHRF())
