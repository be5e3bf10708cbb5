"""Pretraining on documents of varied length: real tokens a second.

Both sides train the same network (BERT on masked tokens, GPT on next tokens, T5 on spans) on the
same windows of text with the same share of hidden tokens. Real tokens are tokens of the documents:
neither padding nor [CLS], [SEP] and the like.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import measure
import texts
from headstart.batch import Sequences
from headstart.data.loader import TokenBatches, Windows
from headstart.families import find
from headstart.objectives import CausalLanguage, MaskedLanguage, Pretraining, SpanCorruption
from headstart.objectives.span_corruption import corrupt, hidden_tokens
from headstart.tasks import vocabulary_of
from headstart.train import Learner, Trainer, TrainSettings
from measure import Benchmark, Case, Facts, Job, Reading, Side, Stopwatch
from peer_settings import (
    DEFAULT,
    DEFAULT_TITLE,
    SMALLEST,
    STRONGEST,
    STRONGEST_TITLE,
    PeerSettings,
)

SIZES = {  # hidden size, layers, heads, intermediate size
    "4x256": (256, 4, 4, 1024),
    "6x384": (384, 6, 12, 1536),
}
CASES = ("4x256", "6x384", "gpt-4x256", "gpt-6x384", "t5-4x256")  # BERT where no family is named
MIX = {"wikitext": 1200, "ag_news": 7600, "sst2": 3000, "imdb": 100}
LONGEST = 256  # tokens of a window, [CLS] and [SEP] included; longer documents are cut alike
VOCABULARY = 30_522
SENTINELS = tuple(range(VOCABULARY - 1, VOCABULARY - 101, -1))  # rare pieces stand for spans
TOKENS_A_STEP = 8192
STEPS, WARM = 18, 3  # about the real tokens of the peer's steps
NEVER = 10**9


def prepare(folder: Path) -> Facts:
    """Tokenise the documents once, and cut the long ones into windows."""
    ids = texts.tokenized(texts.mixed(MIX))
    lengths = np.array([len(line) for line in ids])
    documents = Sequences(np.concatenate(ids), lengths, np.arange(len(ids)))
    windows = Windows(documents, length=LONGEST - texts.SPECIAL)
    cut = windows.take(np.arange(len(windows)))
    pieces = np.split(cut.tokens, np.cumsum(cut.lengths)[:-1])
    texts.save_tokens(folder / "tokens.npz", [piece.tolist() for piece in pieces])
    return texts.described(cut.lengths)


def ours(job: Job) -> Reading:
    """Our Trainer: bf16, about 8,192 real tokens a step."""
    trainer, source = _trainer(job)
    warm, steps = (1, 1) if job.quick else (WARM, STEPS)
    watch, targets = Stopwatch(warm=warm), 0
    records = trainer.steps()
    for _ in range(warm + steps):
        record = next(records)
        watch.step(record.tokens)
        targets += record.count if watch.steps > warm else 0
    records.close()
    reading = {"rate": watch.rate, "amount": watch.amount, "seconds": watch.seconds}
    family, size = named(job.case)
    if family != "bert":
        return reading
    lengths = [source.batch(n).lengths + texts.SPECIAL for n in range(warm, warm + steps)]
    flops = model_flops(np.concatenate(lengths), targets, size=size) / watch.seconds
    peak = matrix_product_peak(quick=job.quick)
    return reading | {
        "model_gflops_per_s": flops / 1e9,
        "peak_gflops_per_s": peak / 1e9,
        "share_of_peak": flops / peak,
    }


def named(case: str) -> tuple[str, str]:
    """Family and size of a case."""
    family, _, size = case.rpartition("-")
    return family or "bert", size


def model_flops(lengths: np.ndarray, targets: int, *, size: str) -> float:
    """Floating-point operations that the model's mathematics needs, forward and backward.

    Three times the forward pass (the backward pass needs two products for each one), a product of
    (m, k) and (k, n) counted as 2mkn. With T tokens, lengths l, L layers of hidden size C and
    intermediate size I, N masked tokens and V words:

        6 T L (4 C^2 + 2 C I)  projections and MLP
        + 12 L C sum(l^2)      scores and mixing, each sequence seeing only itself
        + 6 N (C^2 + C V)      transform and decoder, for masked tokens only

    Padding, repeated work, norms, activations, softmax and the optimiser count as nothing.
    """
    hidden, layers, _, inner = SIZES[size]
    body = 6 * float(lengths.sum()) * layers * (4 * hidden**2 + 2 * hidden * inner)
    mixing = 12 * layers * hidden * float((lengths.astype(np.float64) ** 2).sum())
    return body + mixing + 6 * targets * (hidden**2 + hidden * VOCABULARY)


def matrix_product_peak(*, quick: bool) -> float:
    """The highest rate of a large bf16 matrix product seen here, in operations a second."""
    best = 0.0
    for size in (512,) if quick else (1024, 2048, 4096):
        a = torch.randn(size, size).to(torch.bfloat16)
        b = torch.randn(size, size).to(torch.bfloat16)
        for _ in range(3 if quick else 12):
            start = time.perf_counter()
            torch.mm(a, b)
            best = max(best, 2 * size**3 / (time.perf_counter() - start))
    return best


def profile(job: Job) -> Reading:
    """Shares of our step's time by kind of work."""
    import profiling

    trainer, _ = _trainer(job)
    warm, timed = (1, 1) if job.quick else (WARM, 5)
    return profiling.trainer_shares(trainer, warm=warm, timed=timed)


def _trainer(job: Job) -> tuple[Trainer, TokenBatches]:
    family, size = named(job.case)
    hidden, layers, heads, inner = SIZES[size]
    tokens, lengths = texts.load_tokens(job.folder / "tokens.npz")
    vocabulary = replace(vocabulary_of(texts.tokenizer()), sentinels=SENTINELS)
    model = find(family).build(
        num_layers=layers,
        hidden_size=hidden,
        num_heads=heads,
        intermediate_size=inner,
        vocab_size=VOCABULARY,
        max_positions=LONGEST,
    )
    parts = {
        "bert": lambda: MaskedLanguage(vocabulary),
        "gpt": lambda: CausalLanguage(vocabulary),
        "t5": lambda: SpanCorruption(vocabulary),
    }
    objective = Pretraining([parts[family]()], vocabulary)
    held = Sequences(tokens, lengths, np.arange(len(lengths)))
    source = TokenBatches(held, tokens_per_batch=TOKENS_A_STEP, seed=0)
    settings = TrainSettings(
        budget=f"{WARM + STEPS + 1} steps",
        precision="bf16",
        device="cpu",
        threads=job.threads,
        save_every=NEVER,
        save_minutes=0.0,
    )
    learner = Learner(model, objective.heads(model, seed=0))
    return Trainer(learner, objective, source, settings), source


def peer(settings: PeerSettings) -> Callable[[Job], Reading]:
    """transformers' Trainer with the same network."""

    def run(job: Job) -> Reading:
        import transformers

        import peers

        chosen = replace(SMALLEST, bf16=settings.bf16) if job.quick else settings
        family, size = named(job.case)
        tokenizer = transformers.AutoTokenizer.from_pretrained(texts.minilm())
        tokens, lengths = texts.load_tokens(job.folder / "tokens.npz")
        first, last = tokenizer.cls_token_id, tokenizer.sep_token_id
        pieces = np.split(tokens, np.cumsum(lengths)[:-1])
        collator = transformers.DataCollatorForLanguageModeling(tokenizer, mlm=family == "bert")
        return peers.train(
            peer_model(family, size, dropout=chosen.dropout),
            peers.TokenLists([[first, *piece.tolist(), last] for piece in pieces]),
            SpanCollator(first, last) if family == "t5" else collator,
            chosen,
            amount=_read_and_written if family == "t5" else _real_tokens,
            folder=job.folder,
            threads=job.threads,
        )

    return run


def peer_model(family: str, size: str, *, dropout: float) -> torch.nn.Module:
    """transformers' network of the same shape."""
    import transformers

    import peer_models

    hidden, layers, heads, inner = SIZES[size]
    whole = peer_models.Size(hidden, layers, heads, inner)
    if family == "gpt":
        return peer_models.gpt2(whole, vocabulary=VOCABULARY, width=LONGEST, dropout=dropout)
    if family == "t5":
        t5 = transformers.T5Config(
            vocab_size=VOCABULARY,
            d_model=hidden,
            d_kv=hidden // heads,
            d_ff=inner,
            num_layers=layers,
            num_heads=heads,
            feed_forward_proj="gated-gelu",
            tie_word_embeddings=False,
            dropout_rate=dropout,
            use_cache=False,
            decoder_start_token_id=0,
        )
        return transformers.T5ForConditionalGeneration(t5)
    return peer_models.bert(whole, vocabulary=VOCABULARY, dropout=dropout)


class SpanCollator:
    """Batches of hidden spans for the peer, padded; spans are chosen by our fast code."""

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last = first, last
        self.rng = np.random.default_rng(0)

    def __call__(self, items: list[dict[str, object]]) -> dict[str, torch.Tensor]:
        rows = [np.asarray(item["input_ids"])[1:-1] for item in items]
        lengths = np.array([len(row) for row in rows])
        whole = Sequences(np.concatenate(rows), lengths, np.arange(len(rows)))
        hidden = hidden_tokens(
            lengths, rate=0.15, span_length=3.0, most=len(SENTINELS), rng=self.rng
        )
        shown, written = corrupt(whole, hidden, sentinels=np.asarray(SENTINELS))
        inputs = self._padded(shown, before=[self.first], fill=0)
        return {
            "input_ids": inputs,
            "attention_mask": (inputs != 0).long(),
            "labels": self._padded(written, before=[], fill=-100),
        }

    def _padded(self, ragged: Sequences, *, before: list[int], fill: int) -> torch.Tensor:
        pieces = np.split(ragged.tokens, np.cumsum(ragged.lengths)[:-1])
        rows = [torch.tensor([*before, *piece.tolist(), self.last]) for piece in pieces]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=fill)


def _real_tokens(inputs: Mapping[str, torch.Tensor]) -> int:
    mask = inputs["attention_mask"]
    return int(mask.sum()) - texts.SPECIAL * len(mask)


def _read_and_written(inputs: Mapping[str, torch.Tensor]) -> int:
    """Tokens of the documents: neither what is read nor what is written counts its sentinels."""
    labels = inputs["labels"]
    spans = int((labels > SENTINELS[-1] - 1).sum())
    return _real_tokens(inputs) + int((labels >= 0).sum()) - len(labels) - 2 * spans


def benchmark() -> Benchmark:
    """All cases against transformers at its strongest and as it comes."""
    sides = (
        Side("ours", "headstart Trainer: bf16, about 8,192 real tokens a step, packed", ours),
        Side("transformers_strongest", STRONGEST_TITLE, peer(STRONGEST)),
        Side("transformers_default", DEFAULT_TITLE, peer(DEFAULT)),
    )
    extras = (Side("profile", "shares of our step's time (torch.profiler)", profile),)
    cases = tuple(Case(size, "rate", "real tokens/s", sides, extras=extras) for size in CASES)
    return Benchmark(
        "pretraining",
        "pretraining of BERT, GPT and T5: real tokens a second against transformers' Trainer",
        cases,
        prepare,
    )


if __name__ == "__main__":
    measure.main(benchmark())
