"""Reformer's attention against attention to all tokens: bits per byte at equal steps, and memory.

    python benchmarks/language.py reformer --steps 200 --lengths 1024 2048 4096

All sides are the same reversible network of family reformer with the same first weights; only what
a token sees differs: "lsh" (tokens that hash alike, in so many rounds), "local" (its chunk and the
one before), "mixed" (both in turn, one round: what `--family reformer` gives), "full" (one chunk of
the whole window: every token before it). Memory is that of one training step on one text, each in a
fresh process; there family gpt, whose attention is a fused kernel, stands beside them.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import measure
import quiet
from corpora import CORPORA, Split

KINDS = ("lsh", "local", "mixed", "full")
BYTES_A_SCORE = 24  # of full attention by products: scores in bf16 and fp32, and their gradients
SHARE_OF_MEMORY = 0.6  # beyond, a step is not tried


def add_arguments(verb: argparse.ArgumentParser) -> None:
    """What the command line can say."""
    verb.set_defaults(run=compare)
    verb.add_argument("--corpus", choices=sorted(CORPORA), default="novels_en")
    verb.add_argument("--lengths", nargs="*", type=int, default=[1024, 2048, 4096])
    verb.add_argument("--steps", type=int, default=200)
    verb.add_argument("--seeds", type=int, default=1)
    verb.add_argument("--kinds", nargs="+", choices=KINDS, default=["lsh", "local", "full"])
    verb.add_argument("--hashes", type=int, default=4, help="rounds of lsh")
    verb.add_argument("--layers", type=int, default=4)
    verb.add_argument("--hidden", type=int, default=256)
    verb.add_argument("--batch", type=int, default=16384, help="tokens of a step")
    verb.add_argument("--vocab-size", type=int, default=4096)
    lengths = [1024, 2048, 4096, 8192, 16384]
    verb.add_argument("--memory-lengths", nargs="*", type=int, default=lengths)


def compare(options: argparse.Namespace) -> None:
    """All lengths, kinds and seeds, then memory."""
    from headstart.data.text import train_tokenizer
    from language import alone, number, say, spread, write

    seen = quiet.look()
    runs: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as place, quiet.Others() as others:
        folder = options.keep or Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        split = CORPORA[options.corpus]().cut(train=options.train_bytes, held=options.held_bytes)
        split.write(folder)
        tokenizer = train_tokenizer(
            split.train, kind="bpe", vocab_size=options.vocab_size, lowercase=False, style="gpt"
        )
        network = {name: getattr(options, name) for name in ("layers", "hidden", "hashes")}
        for length in options.lengths:
            for seed in range(options.seeds):
                for kind in options.kinds:
                    name = f"{kind}-{length}-{seed}"
                    save_start(network, kind, length, seed, tokenizer, folder / f"start-{name}")
                    job = {
                        "data": str(folder),
                        "start": str(folder / f"start-{name}"),
                        "out": str(folder / name),
                        "width": length - 1,  # the last place only ends a text
                        "steps": options.steps,
                        "batch": max(options.batch, length),
                        "seed": seed,
                        "threads": options.threads,
                    }
                    found = {"kind": kind, "length": length, **alone("reformer", job)}
                    runs.append(found)
                    say(f"{kind} at {length}", seed, found)
        memory = measured_memory(network, options, alone)
    bits: dict[str, list[float]] = {}
    for run in runs:
        name = f"{run['kind']} at {run['length']}"
        bits.setdefault(name, []).append(number(run, "bits_per_byte"))
    record = {
        "inputs": split.described(),
        "settings": {k: v for k, v in vars(options).items() if k not in ("run", "results", "keep")},
        "before": asdict(seen),
        "others": round(others.share, 4),
        "busy": bool(seen.faults) or others.share > quiet.MOST_OTHERS,
        "runs": runs,
        "summary": {name: spread(values) for name, values in bits.items()},
        "memory": memory,
    }
    write(f"reformer-{options.corpus}", record, options.results)


def measured_memory(
    network: Mapping[str, object],
    options: argparse.Namespace,
    alone: Callable[[str, dict[str, object]], dict[str, object]],
) -> list[dict[str, object]]:
    """Memory of one step by kind and length, with the power of the length it grows by."""
    found: list[dict[str, object]] = []
    for kind in (*options.kinds, "gpt"):
        before: float | None = None
        for length in options.memory_lengths:
            row: dict[str, object] = {"kind": kind, "length": length}
            heads = max(1, options.hidden // 64)
            need = BYTES_A_SCORE * heads * length**2 / 2**30 if kind == "full" else 0.0
            if need > SHARE_OF_MEMORY * free_gib():
                row["left out"] = f"would take about {need:.0f} GiB"
                print(f"  memory of {kind} at {length}: left out, about {need:.0f} GiB", flush=True)
            else:
                job = {**network, "kind": kind, "length": length, "threads": options.threads}
                row |= alone("memory", job)
                step = float(str(row["step_gib"]))
                row["power"] = None if before is None else round(math.log2(step / before), 2)
                before = step
                print(
                    f"  memory of {kind} at {length}: {step:.3f} GiB beyond the model, "
                    f"grows by the power {row['power']}",
                    flush=True,
                )
            found.append(row)
    return found


def free_gib() -> float:
    """Memory that may be used without harm, where the system says it."""
    place = Path("/proc/meminfo")
    if not place.is_file():
        return 8.0
    line = next(x for x in place.read_text().splitlines() if x.startswith("MemAvailable"))
    return int(line.split()[1]) / 2**20


def build(network: Mapping[str, object], kind: str, length: int, *, vocabulary: int, seed: int):
    """A fresh decoder of this kind of attention."""
    from headstart.families import build_model, find

    layers, hidden, hashes = (int(str(network[n])) for n in ("layers", "hidden", "hashes"))
    sizes = {"num_layers": layers, "hidden_size": hidden, "vocab_size": vocabulary}
    family = find("gpt" if kind == "gpt" else "reformer")
    made = family.build(**sizes, max_positions=length, causal=True, seed=seed)
    settings = made.config.long_range
    if settings is None or kind == "mixed":
        return made
    chosen = replace(
        settings,
        attn_layers=("lsh" if kind == "lsh" else "local",) * layers,
        num_hashes=hashes if kind == "lsh" else 1,
    )
    if kind == "full":
        whole = replace(settings.local, length=made.config.max_positions, before=0)
        chosen = replace(chosen, local=whole)
    config = replace(made.config, long_range=chosen)
    return build_model(config, family="reformer", style=family.style, seed=seed)


def save_start(
    network: Mapping[str, object], kind: str, length: int, seed: int, tokenizer, folder: Path
) -> None:
    """A model folder with fresh weights, for `pretrain` to start from."""
    from headstart.families import make_head, save_model

    size = tokenizer.get_vocab_size()
    model = build(network, kind, length, vocabulary=size, seed=seed)
    heads = {"causal": make_head(model, "causal", seed=seed)}
    save_model(model, heads, folder, tokenizer=tokenizer)


def train(job: Mapping[str, object]) -> dict[str, object]:
    """`headstart.pretrain` from these weights for so many steps, then its score."""
    import headstart
    from language import facts_of, score_ours

    split = Split.read(Path(str(job["data"])))
    run = headstart.pretrain(
        split.train_file(Path(str(job["data"]))),
        start=str(job["start"]),
        objective="causal",
        budget=f"{job['steps']} steps",
        max_length=int(str(job["width"])) + 1,
        threads=int(str(job["threads"])),
        seed=int(str(job["seed"])),
        out=str(job["out"]),
        settings={"data.tokens_per_batch": job["batch"]},
    )
    return {**facts_of(run.folder), **score_ours(run.model, split, dict(job))}


def memory(job: Mapping[str, object]) -> dict[str, object]:
    """Peak of a process that takes two training steps on one text of so many random tokens."""
    import numpy as np

    from headstart.batch import Sequences
    from headstart.data.loader import TokenBatches
    from headstart.data.text import train_tokenizer
    from headstart.objectives import CausalLanguage, Pretraining
    from headstart.tasks import vocabulary_of
    from headstart.train import Learner, Trainer, TrainSettings

    vocabulary = vocabulary_of(train_tokenizer(["a"], kind="bytes", style="gpt"))
    length = int(str(job["length"]))
    model = build(job, str(job["kind"]), length, vocabulary=vocabulary.size, seed=0)
    objective = Pretraining([CausalLanguage(vocabulary)], vocabulary)
    tokens = np.random.default_rng(0).integers(1, vocabulary.size, length - 1)
    held = Sequences(tokens, np.array([length - 1]), np.arange(1))
    trainer = Trainer(
        Learner(model, objective.heads(model)),
        objective,
        TokenBatches(held, tokens_per_batch=length, seed=0),
        TrainSettings(budget="2 steps", optimizer="muon", threads=int(str(job["threads"]))),
    )
    before = measure.peak_memory_gib()
    trainer.train()
    return {"step_gib": measure.peak_memory_gib() - before, "model_gib": before}


WORKERS = {"reformer": train, "memory": memory}
