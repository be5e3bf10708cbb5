"""Grammar without a lesson: how often a model finds the right one of two sentences likelier.

Run as: python benchmarks/blimp.py runs/novels [--reading causal] [--results benchmarks/results]

BLiMP (Warstadt et al. 2020): 67 sets of 1,000 minimal pairs; the figure is the mean accuracy over
the sets. A pair whose sentences get the same score counts as wrong. The data are found by
HEADSTART_DATA or in ../shared/data beside the repository.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from headstart.data.text import encode, load_tokenizer
from headstart.evaluate.likelihood import likelihood
from headstart.families import load_model, resolve
from headstart.tasks import vocabulary_of

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("HEADSTART_DATA", ROOT.parent / "shared" / "data"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--reading", choices=["causal", "masked"])
    parser.add_argument("--most", type=int, default=1000, help="pairs of each set")
    parser.add_argument("--results", type=Path, help="folder for the dated JSON file")
    options = parser.parse_args()
    folder = resolve(options.run)
    loaded, tokenizer = load_model(folder), load_tokenizer(folder)
    sets: dict[str, list[tuple[str, str]]] = defaultdict(list)
    with gzip.open(DATA / "blimp" / "blimp.jsonl.gz", "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            sets[row["UID"]].append((row["sentence_good"], row["sentence_bad"]))
    pairs = [(name, pair) for name, found in sorted(sets.items()) for pair in found[: options.most]]
    sums = [
        likelihood(
            loaded,
            encode(tokenizer, [pair[side] for _, pair in pairs]),
            vocabulary_of(tokenizer),
            reading=options.reading,
            precision="auto",
        ).sums
        for side in (0, 1)
    ]
    right: dict[str, list[bool]] = defaultdict(list)
    for (name, _), better in zip(pairs, sums[0] > sums[1], strict=True):
        right[name].append(bool(better))
    scores = {name: float(np.mean(values)) for name, values in right.items()}
    mean = float(np.mean(list(scores.values())))
    for name, value in sorted(scores.items(), key=lambda item: item[1]):
        print(f"{100 * value:5.1f}  {name}")
    print(f"{100 * mean:5.2f}  mean over {len(scores)} sets, {len(pairs):,} pairs")
    if options.results is not None:
        day = datetime.now(UTC).strftime("%Y-%m-%d")
        record = {"mean": mean, "reading": options.reading, "sets": scores, "pairs": len(pairs)}
        place = options.results / f"{day}-blimp-{Path(options.run).name}.json"
        place.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
