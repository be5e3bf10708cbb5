"""Which way of pretraining gives the best frozen features? Variants at equal time, held-out rows.

Run as: python benchmarks/ablation.py imdb --budget 4m --variant objective.name=bow
            --variant objective.name=mlm+bow,objective.latent_start=false

A variant is settings of `headstart pretrain`. Each is scored by the report's linear head on frozen
features, on rows of the training file that the head did not see; the test file is never opened.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from sklearn.preprocessing import normalize

import headstart
from headstart.data.dataset import Labelled, load_labelled
from headstart.data.text import encode
from headstart.evaluate.baselines import fit_linear
from headstart.evaluate.metrics import score
from headstart.evaluate.transfer import TransferSettings, feature_cache
from headstart.families import load_model
from headstart.recipes.text_medium import text_start
from headstart.report.cells import draw
from headstart.tasks import stratified
from worth import SETS

HELD = 3000  # rows to score on, at most a third of the file
COUNTS = (32, 100, 500)


def parts(words: list[str]) -> tuple[str, list[str], dict[str, str]]:
    """Labelled file, corpus files, and data settings of a report's command line."""
    named: dict[str, list[str]] = {}
    for flag, value in zip(words[1::2], words[2::2], strict=True):
        named.setdefault(flag, []).append(value)
    columns = {f"data.{name}": named[f"--{name}"][0] for name in ("text",) if f"--{name}" in named}
    return words[0], named["--corpus"], columns


def probe(folder: Path, rows: Labelled, draws: int, max_length: int) -> dict[int, list[float]]:
    """Accuracy in percent by label count, one a draw."""
    start = text_start(load_model(folder / "model"), str(folder))
    assert start.tokenizer is not None
    share = min(1 / 3, HELD / len(rows))
    learn, held = stratified(rows.labels, share, seed=0)
    cache = feature_cache(start, TransferSettings(max_length=max_length))
    made = cache.of(encode(start.tokenizer, rows.take(held).texts))
    train = rows.take(learn)
    counts = [n for n in COUNTS if n <= len(train)]
    drawn = {
        (n, s): draw(train.labels, n, seed=s, kind=rows.kind) for n in counts for s in range(draws)
    }
    wanted = np.unique(np.concatenate(list(drawn.values())))
    inner = cache.of(encode(start.tokenizer, train.take(wanted).texts))
    centre = np.concatenate([inner, made]).mean(0)
    inner, made = normalize(inner - centre), normalize(made - centre)
    found: dict[int, list[float]] = {n: [] for n in counts}
    for (n, seed), chosen in drawn.items():
        labels = train.labels[chosen]
        head = fit_linear(inner[np.searchsorted(wanted, chosen)], labels, kind=rows.kind, seed=seed)
        value = score(head.predict(made), rows.labels[held], kind=rows.kind).value
        found[n].append(round(100 * float(value), 2))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("set", choices=sorted(SETS))
    parser.add_argument("--budget", default="4m")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--variant", action="append", required=True)
    parser.add_argument("--results", default=str(Path(__file__).parent / "results"))
    options = parser.parse_args()
    kept = []
    with tempfile.TemporaryDirectory() as place:
        labels, corpus, columns = parts(SETS[options.set](Path(place)))
        rows = load_labelled(labels, text=columns.get("data.text"), bad_rows="skip")
        for number, variant in enumerate(options.variant):
            given = dict(pair.split("=", 1) for pair in variant.split(",") if pair)
            run = headstart.pretrain(
                corpus,
                budget=options.budget,
                out=Path(place) / str(number),
                settings={**columns, "data.max_length": options.max_length, **given},
            )
            found = probe(run.folder, rows, options.draws, options.max_length)
            kept.append(
                {"variant": variant, "steps": run.steps, "seconds": run.seconds, "scores": found}
            )
            shown = "  ".join(f"{n}: {np.mean(v):.1f} ±{np.std(v):.1f}" for n, v in found.items())
            print(f"{variant or 'defaults'}: {run.steps} steps, {shown}", flush=True)
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    record = {"set": options.set, "budget": options.budget, "draws": options.draws, "runs": kept}
    file = Path(options.results) / f"{day}-ablation-{options.set}.json"
    file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
