"""Fine-tuning all weights of all-MiniLM-L6-v2 to classify AG News: texts a second.

Both sides start from the same weights and see about 64 texts a step, whole (AG News has none longer
than 256 tokens).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import measure
import texts
from headstart.batch import Sequences
from headstart.data.loader import TokenBatches
from headstart.families import load_model
from headstart.tasks import Classify, Examples, vocabulary_of
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

CLASSES = 4
LONGEST = 256  # tokens, [CLS] and [SEP] included
TEXTS_A_STEP = 64
STEPS, WARM = 30, 3
NEVER = 10**9


def prepare(folder: Path) -> Facts:
    """Tokenise the texts once."""
    found, labels = texts.ag_news_labelled()
    ids = [line[: LONGEST - texts.SPECIAL] for line in texts.tokenized(found)]
    texts.save_tokens(folder / "tokens.npz", ids)
    (folder / "labels.json").write_text(json.dumps(labels), encoding="utf-8")
    return texts.described(np.array([len(line) for line in ids]))


def ours(job: Job) -> Reading:
    """Our Trainer on the task Classify, as `evaluate.finetune` uses it for the method full."""
    tokens, lengths = texts.load_tokens(job.folder / "tokens.npz")
    labels = np.array(json.loads((job.folder / "labels.json").read_text(encoding="utf-8")))
    held = Sequences(tokens, lengths, np.arange(len(lengths)))
    loaded = load_model(texts.minilm())
    vocabulary = vocabulary_of(texts.tokenizer())
    task = Classify("classes", outputs=CLASSES, frame=vocabulary)
    window = vocabulary.room(loaded.model.config.max_positions, LONGEST)
    source = TokenBatches(
        Examples(held, window=window, labels=labels),
        tokens_per_batch=round(TEXTS_A_STEP * float(lengths.mean())),
        seed=0,
    )
    _without_dropout(loaded.model)
    settings = TrainSettings(
        budget=f"{WARM + STEPS + 1} steps",
        lr=3e-4,
        precision="bf16",
        device="cpu",
        threads=job.threads,
        save_every=NEVER,
        save_minutes=0.0,
    )
    learner = Learner(loaded.model, task.heads(loaded.model, seed=0, start=loaded.heads))
    _without_dropout(learner)
    warm, steps = (1, 1) if job.quick else (WARM, STEPS)
    watch = Stopwatch(warm=warm)
    records = Trainer(learner, task, source, settings).steps()
    for _ in range(warm + steps):
        watch.step(next(records).sequences)
    records.close()
    return {"rate": watch.rate, "amount": watch.amount, "seconds": watch.seconds}


def _without_dropout(module: torch.nn.Module) -> None:
    """The peer at its strongest has none either."""
    for part in module.modules():
        for name in ("dropout", "attention_dropout"):
            if isinstance(getattr(part, name, None), float):
                setattr(part, name, 0.0)


def peer(settings: PeerSettings) -> Callable[[Job], Reading]:
    """transformers' Trainer with BertForSequenceClassification."""

    def run(job: Job) -> Reading:
        import transformers

        import peers

        chosen = replace(SMALLEST, bf16=settings.bf16) if job.quick else settings
        tokenizer = transformers.AutoTokenizer.from_pretrained(texts.minilm())
        model = transformers.BertForSequenceClassification.from_pretrained(
            texts.minilm(),
            num_labels=CLASSES,
            hidden_dropout_prob=chosen.dropout,
            attention_probs_dropout_prob=chosen.dropout,
            attn_implementation="sdpa",
        )
        tokens, lengths = texts.load_tokens(job.folder / "tokens.npz")
        labels = json.loads((job.folder / "labels.json").read_text(encoding="utf-8"))
        first, last = tokenizer.cls_token_id, tokenizer.sep_token_id
        pieces = np.split(tokens, np.cumsum(lengths)[:-1])
        return peers.train(
            model,
            peers.TokenLists([[first, *piece.tolist(), last] for piece in pieces], labels),
            transformers.DataCollatorWithPadding(tokenizer),
            chosen,
            amount=_texts,
            folder=job.folder,
            threads=job.threads,
        )

    return run


def _texts(inputs: Mapping[str, torch.Tensor]) -> int:
    return len(inputs["input_ids"])


def benchmark() -> Benchmark:
    """Against transformers at its strongest and as it comes."""
    sides = (
        Side("ours", "headstart Trainer: bf16, about 64 texts a step, packed, no dropout", ours),
        Side("transformers_strongest", STRONGEST_TITLE, peer(STRONGEST)),
        Side("transformers_default", DEFAULT_TITLE, peer(DEFAULT)),
    )
    case = Case("ag_news", "rate", "texts/s", sides)
    return Benchmark(
        "finetuning",
        "fine-tuning MiniLM-L6 on AG News: texts a second against transformers' Trainer",
        (case,),
        prepare,
    )


if __name__ == "__main__":
    measure.main(benchmark())
