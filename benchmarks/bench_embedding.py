"""Texts to vectors with all-MiniLM-L6-v2: texts a second, latency of one text, and exactness.

A side takes strings and gives normalised vectors; tokenising is part of it. Speed is only worth as
much as the vectors are right, so each reading holds the smallest and the mean cosine between a
side's vectors and those of sentence-transformers in fp32.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch

import measure
import texts
from measure import Benchmark, Case, Facts, Job, Reading, Side

MIX = {"ag_news": 1000, "sst2": 600, "wikitext": 300, "imdb": 100}
LONGEST = 256  # tokens, [CLS] and [SEP] included, as MiniLM's folder says
BATCHES = (16, 32, 64, 128, 256)
MANY, ONE = "2000 texts", "one text"
WARM_TEXTS, TRIAL_TEXTS = 200, 500
CALLS = 100

Embed = Callable[[list[str]], np.ndarray]
Make = Callable[[list[str]], Embed]


def prepare(folder: Path) -> Facts:
    """Choose the texts and compute the vectors that count as right."""
    found = texts.mixed(MIX)
    (folder / "texts.json").write_text(json.dumps(found), encoding="utf-8")
    np.save(folder / "right.npy", _sentence_transformers(torch.float32, batch=32)(found))
    return texts.described(np.array([len(line) for line in texts.tokenized(found)]))


def ours(precision: Literal["bf16", "fp32"]) -> Make:
    """headstart: its encoder; long texts end at the window, as they do for the peer."""

    def make(_: list[str]) -> Embed:
        from headstart.serve.embed import Encoder

        return Encoder.open(texts.minilm(), precision=precision, cut=True).encode

    return make


def peer(precision: torch.dtype, *, batch: int) -> Make:
    """sentence-transformers; batch 0 takes the fastest batch size of a short trial."""

    def make(found: list[str]) -> Embed:
        if batch:
            return _sentence_transformers(precision, batch=batch)
        trial = found[:TRIAL_TEXTS]
        times: dict[int, float] = {}
        for size in BATCHES:
            embed = _sentence_transformers(precision, batch=size)
            embed(trial[:WARM_TEXTS])
            start = time.perf_counter()
            embed(trial)
            times[size] = time.perf_counter() - start
        return _sentence_transformers(precision, batch=min(times, key=lambda size: times[size]))

    return make


def _sentence_transformers(precision: torch.dtype, *, batch: int) -> Embed:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(
        str(texts.minilm()), device="cpu", model_kwargs={"dtype": precision}
    )

    def embed(given: list[str]) -> np.ndarray:
        found = model.encode(
            given,
            batch_size=batch,
            normalize_embeddings=True,
            show_progress_bar=False,
            convert_to_tensor=True,
        )
        return found.float().numpy()

    return embed


def many(make: Make) -> Callable[[Job], Reading]:
    """Texts a second over all texts, once, after some texts to warm up."""

    def run(job: Job) -> Reading:
        found, right = _inputs(job, 60 if job.quick else None)
        embed = make(found)
        embed(found[:WARM_TEXTS])
        start = time.perf_counter()
        vectors = embed(found)
        seconds = time.perf_counter() - start
        return {"rate": len(found) / seconds, "seconds": seconds, **_exactness(vectors, right)}

    return run


def one(make: Make) -> Callable[[Job], Reading]:
    """Median time of a call with one text, over texts of all lengths."""

    def run(job: Job) -> Reading:
        found, right = _inputs(job, 3 if job.quick else CALLS)
        embed = make(found)
        for text in found[:20]:
            embed([text])
        times, vectors = [], []
        for text in found:
            start = time.perf_counter()
            vectors.append(embed([text]))
            times.append(1e3 * (time.perf_counter() - start))
        return {
            "median_ms": statistics.median(times),
            "slowest_ms": max(times),
            **_exactness(np.concatenate(vectors), right),
        }

    return run


def _inputs(job: Job, count: int | None) -> tuple[list[str], np.ndarray]:
    torch.set_num_threads(job.threads)
    found: list[str] = json.loads((job.folder / "texts.json").read_text(encoding="utf-8"))
    right = np.load(job.folder / "right.npy", allow_pickle=False)
    return found[:count], right[:count]


def _exactness(vectors: np.ndarray, right: np.ndarray) -> Reading:
    """Cosines of normalised vectors to the right ones."""
    cosine = (vectors.astype(np.float64) * right).sum(axis=1)
    cosine /= np.linalg.norm(vectors, axis=1) * np.linalg.norm(right, axis=1)
    return {"cosine_min": float(cosine.min()), "cosine_mean": float(cosine.mean())}


def benchmark() -> Benchmark:
    """Many texts and one text, against sentence-transformers."""
    half, full = torch.bfloat16, torch.float32
    makers = (
        ("ours", "headstart, bf16, 4,096 tokens a batch", ours("bf16")),
        ("ours_fp32", "headstart, fp32, 4,096 tokens a batch", ours("fp32")),
        ("st_bf16_64", "sentence-transformers, bf16, batch 64", peer(half, batch=64)),
        ("st_bf16_best", "sentence-transformers, bf16, fastest batch size", peer(half, batch=0)),
        ("st_default", "sentence-transformers, defaults: fp32, batch 32", peer(full, batch=32)),
    )
    at_once = tuple(Side(name, title, many(make)) for name, title, make in makers)
    singly = tuple(
        Side(name, title, one(make)) for name, title, make in makers if name != "st_bf16_best"
    )
    cases = (
        Case(MANY, "rate", "texts/s", at_once),
        Case(ONE, "median_ms", "ms", singly, higher_is_better=False),
    )
    return Benchmark(
        "embedding",
        "MiniLM-L6 vectors: speed and exactness against sentence-transformers",
        cases,
        prepare,
    )


if __name__ == "__main__":
    measure.main(benchmark())
