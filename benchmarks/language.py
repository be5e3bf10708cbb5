"""Real language-model runs: bits per byte on held-out texts, beside a peer or another attention.

    python benchmarks/language.py gpt --corpus novels_en --minutes 10 --seeds 3
    python benchmarks/language.py reformer --steps 300

`gpt`: `headstart pretrain` with its defaults (families llama and gpt) against a GPT-2 of
transformers of the same layers, width and tokenizer, in a plain loop whose learning rate was chosen
from a grid beforehand (those minutes are not counted). Both train for the same minutes on the same
texts; what ours overran is given to the peer. `reformer`: see `long_context.py`.

Every run is a process of its own, the sides take turns, and the scores of all come from one
function (`bits.py`). Results: results/YYYY-MM-DD-language-NAME.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

import measure
import quiet
from corpora import CORPORA, Split

MARK = "READING "
Values = dict[str, object]


def main() -> None:
    if sys.argv[1:2] == ["--worker"]:
        work(sys.argv[2], json.loads(sys.argv[3]))
        return
    options = arguments()
    options.run(options)


def arguments() -> argparse.Namespace:
    import long_context

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(required=True)
    gpt = verbs.add_parser("gpt", help="ours against transformers at equal minutes")
    gpt.set_defaults(run=compare)
    gpt.add_argument("--corpus", choices=sorted(CORPORA), default="novels_en")
    gpt.add_argument("--minutes", type=float, default=10)
    gpt.add_argument("--seeds", type=int, default=3)
    gpt.add_argument("--family", nargs="+", choices=["llama", "gpt"], default=["llama", "gpt"])
    gpt.add_argument("--width", type=int, default=128, help="tokens of a window, on all sides")
    gpt.add_argument("--vocab-size", type=int, default=8192)
    gpt.add_argument("--set", action="append", default=[], dest="overrides", help="for ours")
    gpt.add_argument("--rates", nargs="+", type=float, default=[5e-4, 1e-3, 2e-3, 4e-3])
    gpt.add_argument("--batch", type=int, default=8192, help="tokens of the peer's steps")
    gpt.add_argument("--tune-share", type=float, default=0.2, help="of the minutes, for each rate")
    long_context.add_arguments(verbs.add_parser("reformer", help="chunks against all tokens"))
    for verb in verbs.choices.values():
        verb.add_argument("--held-bytes", type=int, default=1_000_000, help="to score; 0: all")
        verb.add_argument("--train-bytes", type=int, default=0, help="of the corpus; 0: all")
        verb.add_argument("--threads", type=int, default=measure.cores())
        verb.add_argument("--results", type=Path, default=measure.RESULTS)
        verb.add_argument("--keep", type=Path, help="folder for the runs; they are kept")
    return parser.parse_args()


def compare(options: argparse.Namespace) -> None:
    """All seeds of all sides, one after another."""
    seen = quiet.look()
    with tempfile.TemporaryDirectory() as place, quiet.Others() as others:
        folder = options.keep or Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        split = CORPORA[options.corpus]().cut(train=options.train_bytes, held=options.held_bytes)
        job: Values = {
            "data": str(split.write(folder)),
            "width": options.width,
            "vocab_size": options.vocab_size,
            "seconds": 60 * options.minutes,
            "overrides": dict(pair.split("=", 1) for pair in options.overrides),
            "threads": options.threads,
            "tokens_a_step": options.batch,
        }
        sides: dict[str, list[Values]] = {name: [] for name in (*options.family, "peer")}
        rate: dict[str, float] = {}
        for seed in range(options.seeds):
            done: list[float] = []
            for family in options.family:
                out = str(folder / f"{family}-{seed}")
                job["tokenizer"] = out
                found = alone("ours", {**job, "family": family, "seed": seed, "out": out})
                sides[family].append(found)
                done.append(number(found, "seconds"))
                say(family, seed, found)
            if not rate:
                rate = tuned(job, options)
            best = min(rate, key=rate.__getitem__)
            seconds = max([60 * options.minutes, *done])
            given = {**job, "seed": seed, "rate": float(best), "seconds": seconds}
            sides["peer"].append(alone("peer", given))
            say("peer", seed, sides["peer"][-1])
    settings = {
        name: value
        for name, value in vars(options).items()
        if name not in ("run", "results", "keep")
    }
    record = {
        "inputs": split.described(),
        "settings": {**settings, "peer's rates (bits per byte)": rate},
        "before": asdict(seen),
        "others": round(others.share, 4),
        "busy": bool(seen.faults) or others.share > quiet.MOST_OTHERS,
        "sides": sides,
        "summary": summary(sides, options.family),
    }
    write(f"gpt-{options.corpus}", record, options.results)


def tuned(job: Values, options: argparse.Namespace) -> dict[str, float]:
    """Bits per byte of the peer after a share of the time, by learning rate, on training text."""
    if len(options.rates) == 1:
        return {str(options.rates[0]): float("nan")}
    found = {}
    for rate in options.rates:
        seconds = 60 * options.minutes * options.tune_share
        got = alone("peer", {**job, "seed": 0, "rate": rate, "seconds": seconds, "tuning": True})
        found[str(rate)] = number(got, "bits_per_byte")
        print(
            f"  peer at {rate:g}: {found[str(rate)]:.4f} bits per byte of its last text", flush=True
        )
    return found


def summary(sides: Mapping[str, Sequence[Values]], ours: Sequence[str]) -> Values:
    """Mean and spread of every side, and ours less the peer, seed by seed."""
    bits = {name: [number(one, "bits_per_byte") for one in runs] for name, runs in sides.items()}
    made: Values = {name: spread(values) for name, values in bits.items()}
    for name in ours:
        less = [a - b for a, b in zip(bits[name], bits["peer"], strict=True)]
        made[f"{name} less peer"] = spread(less)
        shown = ", ".join(f"{value:+.4f}" for value in less)
        print(f"{name}: {statistics.mean(bits[name]):.4f} bits per byte; less peer: {shown}")
    print(f"peer: {statistics.mean(bits['peer']):.4f} bits per byte", flush=True)
    return made


def spread(values: Sequence[float]) -> Values:
    """Mean, standard deviation, least and most."""
    return {
        "mean": statistics.mean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else None,
        "lowest": min(values),
        "highest": max(values),
    }


def work(name: str, job: Values) -> None:
    """What the process of one run does."""
    import torch

    import long_context

    torch.set_num_threads(int(number(job, "threads")))
    workers: dict[str, Callable[[Values], Values]] = {"ours": ours, "peer": peer}
    reading = {**workers, **long_context.WORKERS}[name](job)
    reading["peak_memory_gib"] = measure.peak_memory_gib()
    print(MARK + json.dumps(reading), flush=True)


def ours(job: Values) -> Values:
    """`headstart.pretrain` with its defaults for the family, then its score."""
    import headstart

    overrides = job["overrides"]
    assert isinstance(overrides, dict)
    split = Split.read(Path(str(job["data"])))
    run = headstart.pretrain(
        split.train_file(Path(str(job["data"]))),
        family=str(job["family"]),
        budget=f"{number(job, 'seconds'):.3f}s",
        max_length=int(number(job, "width")) + 1,  # the last place only ends a text
        vocab_size=int(number(job, "vocab_size")),
        threads=int(number(job, "threads")),
        seed=int(number(job, "seed")),
        out=str(job["out"]),
        settings=overrides,
    )
    return {**facts_of(run.folder), **score_ours(run.model, split, job)}


def facts_of(folder: Path) -> Values:
    """Steps, tokens and time of a run, from its own history, and its settings."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    steps = [line for line in map(json.loads, lines) if "step" in line and "loss" in line]
    spent = json.loads((folder / "lineage.json").read_text(encoding="utf-8"))["cost"]["seconds"]
    tokens = sum(line["tokens"] for line in steps)
    return {
        "steps": len(steps),
        "tokens": tokens,
        "seconds": spent,
        "tokens_per_s": tokens / max(spent, 1e-9),
        "loss": float(np.mean([line["loss"] for line in steps[-20:]])),
        "settings": (folder / "run.yaml").read_text(encoding="utf-8"),
    }


def score_ours(folder: Path, split: Split, job: Values) -> Values:
    """Bits per byte and size of a model folder of ours."""
    import bits
    from headstart.data.text import load_tokenizer
    from headstart.families import load_model

    loaded, tokenizer = load_model(folder), load_tokenizer(folder)
    reading = split.reading(tokenizer, width=int(number(job, "width")))
    size = tokenizer.get_vocab_size()
    found = bits.bits_per_byte(reading, bits.chances_of_ours(loaded), vocabulary=size)
    return {"bits_per_byte": found, "parameters": sum(p.numel() for p in loaded.model.parameters())}


def peer(job: Values) -> Values:
    """transformers' GPT-2 in a plain loop, on the same tokens; then its score."""
    import torch

    import bits
    import language_peer
    from headstart.config import ModelSettings
    from headstart.data.text import load_tokenizer

    split = Split.read(Path(str(job["data"])))
    tokenizer = load_tokenizer(Path(str(job["tokenizer"])) / "model")
    overrides = job["overrides"]
    assert isinstance(overrides, dict)
    sizes = {
        name.removeprefix("model."): value
        for name, value in overrides.items()
        if name.startswith("model.")
    }
    layers, hidden, heads, _ = ModelSettings.model_validate(sizes).shape()
    width = int(number(job, "width"))
    if job.get("tuning"):
        split = split.tuning()
    model = language_peer.fresh(
        language_peer.Shape(layers, hidden, heads),
        vocabulary=tokenizer.get_vocab_size(),
        width=width,
        seed=int(number(job, "seed")),
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    done = language_peer.train(
        model.to(device),
        language_peer.stream_of(split.tokens_of(tokenizer, split.train), split.lead(tokenizer)),
        width=width,
        tokens_a_step=int(number(job, "tokens_a_step")),
        seconds=number(job, "seconds"),
        rate=number(job, "rate"),
        seed=int(number(job, "seed")),
    )
    reading = split.reading(tokenizer, width=width)
    size = tokenizer.get_vocab_size()
    found = bits.bits_per_byte(reading, bits.chances_of_stock(model), vocabulary=size)
    parameters = sum(p.numel() for p in model.parameters())
    return {**done, "rate": job["rate"], "bits_per_byte": found, "parameters": parameters}


def alone(name: str, job: Values) -> Values:
    """One run in a process of its own."""
    command = [sys.executable, "-W", "ignore", __file__, "--worker", name, json.dumps(job)]
    threads = str(job["threads"])
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if done.returncode or not lines:
        tail = "\n".join(done.stderr.splitlines()[-15:])
        sys.exit(f"{name} ended with {done.returncode}:\n{tail}")
    reading: Values = json.loads(lines[-1].removeprefix(MARK))
    return reading


def write(name: str, record: Values, folder: Path) -> None:
    """The dated file of a comparison."""
    now = datetime.now(UTC)
    head = {
        "benchmark": f"language-{name}",
        "about": "bits per byte of held-out texts (UTF-8), every token counted once",
        "date": now.isoformat(timespec="seconds"),
        "machine": measure.machine(),
        "versions": measure.versions(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{now:%Y-%m-%d}-language-{name}.json"
    path.write_text(json.dumps({**head, **record}, indent=1, default=str) + "\n", encoding="utf-8")
    print(f"written: {path}")
    if record["busy"]:
        print("The machine was BUSY: take no number from this run.", flush=True)


def say(side: str, seed: int, found: Values) -> None:
    print(
        f"  {side} seed {seed}: {number(found, 'bits_per_byte'):.4f} bits per byte after "
        f"{number(found, 'steps'):.0f} steps, {number(found, 'tokens'):,.0f} tokens, "
        f"{number(found, 'seconds'):.0f} s ({number(found, 'tokens_per_s'):,.0f} tokens/s)",
        flush=True,
    )


def number(values: Mapping[str, object], name: str) -> float:
    """One value that is a number."""
    value = values[name]
    assert isinstance(value, int | float), f"{name} is {value!r}, no number"
    return float(value)


if __name__ == "__main__":
    main()
