"""Grammar without a lesson: how often a model finds the right one of two sentences likelier.

    python benchmarks/blimp.py --minutes 30 --set model.family=llama
    python benchmarks/blimp.py --minutes 30 --set objective.name=hybrid --reading causal
    python benchmarks/blimp.py --run runs/novels

With `--minutes`, a model is first pretrained for so long on the English texts of `corpora.py`.
BLiMP (Warstadt et al. 2020): 67 sets of 1,000 minimal pairs, by 13 terms of grammar; the figure is
the mean accuracy over the sets. A pair whose sentences get the same score counts as wrong. The data
are found by HEADSTART_DATA or in ../shared/data beside the repository.
"""

from __future__ import annotations

import argparse
import gzip
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

import corpora
import headstart
import measure
import texts
from headstart.data.text import encode, load_tokenizer
from headstart.evaluate.likelihood import Reading, likelihood
from headstart.families import Loaded, load_model, resolve
from headstart.tasks import vocabulary_of


@dataclass(frozen=True)
class Pair:
    """Two sentences that differ in grammar. name: of its set, of which `phenomenon` has several."""

    name: str
    phenomenon: str
    good: str
    bad: str


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--run", help="a run, a Hugging Face folder or hf:ID")
    what.add_argument("--minutes", type=float, help="pretrain for so long first")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=measure.cores())
    parser.add_argument("--out", type=Path, help="run folder of the pretraining; it is kept")
    parser.add_argument("--share", type=float, default=1.0, help="of the English texts")
    parser.add_argument("--reading", choices=["causal", "masked"], action="append", default=[])
    parser.add_argument("--most", type=int, default=1000, help="pairs of each set")
    parser.add_argument("--results", type=Path, help="folder for the dated JSON file")
    options = parser.parse_args()
    pairs = list(blimp(options.most))
    with tempfile.TemporaryDirectory() as place:
        facts: dict[str, object] = {}
        folder = Path(place) / "run" if options.out is None else options.out
        if options.minutes:
            facts = pretrained(options, folder, Path(place) / "english.jsonl")
        source = resolve(str(folder) if options.minutes else options.run)
        loaded, tokenizer = load_model(source), load_tokenizer(source)
        readings: dict[str, object] = {}
        for reading in options.reading or [None]:
            right = found_right(loaded, tokenizer, pairs, reading=reading)
            readings[reading or "usual"] = shown(pairs, right)
    if options.results is not None:
        now = datetime.now(UTC)
        record = {
            "benchmark": "blimp",
            "about": "share of minimal pairs whose right sentence is likelier; ties are wrong",
            "date": now.isoformat(timespec="seconds"),
            "machine": measure.machine(),
            "versions": measure.versions(),
            "settings": {
                "minutes": options.minutes,
                "overrides": options.overrides,
                "seed": options.seed,
                "pairs of a set": options.most,
            },
            "pretraining": facts,
            "pairs": len(pairs),
            "readings": readings,
        }
        name = Path(options.run or options.out or "english").name
        place_of = options.results / f"{now:%Y-%m-%d}-blimp-{name}.json"
        place_of.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def pretrained(options: argparse.Namespace, folder: Path, file: Path) -> dict[str, object]:
    """Pretrain on the English texts; what went in and what was done."""
    from language import facts_of

    counts: dict[str, int] = {}
    with file.open("w", encoding="utf-8") as out:
        for name, documents in corpora.english().items():
            kept = documents[: max(1, round(options.share * len(documents)))]
            counts[name] = sum(len(text.split()) for text in kept)
            out.writelines(json.dumps({"text": text}) + "\n" for text in kept)
    print(f"{sum(counts.values()):,} words: " + ", ".join(f"{n} {c:,}" for n, c in counts.items()))
    run = headstart.pretrain(
        file,
        budget=f"{60 * options.minutes:.3f}s",
        seed=options.seed,
        threads=options.threads,
        out=folder,
        settings=dict(pair.split("=", 1) for pair in options.overrides),
    )
    facts, loss = facts_of(run.folder), run.held_out_loss
    print(
        f"{facts['steps']} steps, {facts['tokens']:,} tokens, held-out loss {loss:.3f}", flush=True
    )
    return {"words": counts, "held_out_loss": loss, **facts}


def blimp(most: int) -> Iterator[Pair]:
    """So many pairs of every set at most."""
    seen: dict[str, int] = defaultdict(int)
    path = texts.data("blimp/blimp.jsonl.gz")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            seen[row["UID"]] += 1
            if seen[row["UID"]] <= most:
                good, bad = row["sentence_good"], row["sentence_bad"]
                yield Pair(row["UID"], row["linguistics_term"], good, bad)


def found_right(
    loaded: Loaded, tokenizer: Tokenizer, pairs: Sequence[Pair], *, reading: Reading | None = None
) -> np.ndarray:
    """(N,) whether the right sentence of each pair is likelier; the same score is wrong."""
    sums = [
        likelihood(
            loaded,
            encode(tokenizer, some),
            vocabulary_of(tokenizer),
            reading=reading,
            precision="auto",
        ).sums
        for some in ([pair.good for pair in pairs], [pair.bad for pair in pairs])
    ]
    better: np.ndarray = sums[0] > sums[1]
    return better


def shown(pairs: Sequence[Pair], right: np.ndarray) -> dict[str, object]:
    """Print the table; accuracy by set and by phenomenon, and the mean over the sets."""
    sets: dict[str, list[bool]] = defaultdict(list)
    belongs: dict[str, set[str]] = defaultdict(set)
    for pair, good in zip(pairs, right, strict=True):
        sets[pair.name].append(bool(good))
        belongs[pair.phenomenon].add(pair.name)
    scores = {name: float(np.mean(values)) for name, values in sets.items()}
    terms = {term: float(np.mean([scores[n] for n in names])) for term, names in belongs.items()}
    mean = float(np.mean(list(scores.values())))
    for title, table in (("set", scores), ("phenomenon, mean over its sets", terms)):
        print(f"       {title}")
        for name, value in ordered(table):
            print(f"{100 * value:5.1f}  {name}")
    print(f"{100 * mean:5.2f}  mean over {len(scores)} sets, {len(pairs):,} pairs", flush=True)
    return {"mean": mean, "phenomena": terms, "sets": scores}


def ordered(table: Mapping[str, float]) -> list[tuple[str, float]]:
    """Lowest first."""
    return sorted(table.items(), key=lambda item: item[1])


if __name__ == "__main__":
    main()
