"""Does pretraining pay on public data? Runs `headstart report` and keeps its cells as a dated file.

Run as: python benchmarks/worth.py imdb ag_news eprstmt --budget 60m
        python benchmarks/worth.py cifar10 --budget 4h --set transfer.method=full

The data sets are found by HEADSTART_DATA or in ../shared/data beside the repository. Nothing else
may run meanwhile: a report fits itself into its budget, so a busy machine trains less.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("HEADSTART_DATA", ROOT.parent / "shared" / "data"))


def rows_of(path: Path) -> list[list[str]]:
    """The rows of a CSV file."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def write(path: Path, rows: list[tuple[str, str]]) -> str:
    """A CSV file of texts and labels; returns its name."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows(rows)
    return str(path)


def imdb(_: Path) -> list[str]:
    """20,000 unlabelled and 10,000 training reviews as corpus, 5,000 test reviews."""
    folder = DATA / "imdb"
    train = str(folder / "train.parquet")
    words = [train, "--test", str(folder / "test.parquet"), "--text", "text", "--label", "label"]
    words += ["--corpus", str(folder / "unsupervised.parquet"), "--corpus", train]
    return [*words, "--labels", "32,100,500,2000"]


def ag_news(place: Path) -> list[str]:
    """4,999 training rows, which with 9,307 other descriptions are the corpus; official test file.

    Classes are numbered from 0 in the training file and from 1 in the test file; here from 0.
    """
    folder = DATA / "ag_news"
    train = [(text, label) for text, label in rows_of(folder / "train_5k.csv.gz")]
    found = rows_of(folder / "test.csv.gz")
    test = [(f"{title} {text}", str(int(label) - 1)) for label, title, text in found]
    labels = write(place / "ag_news.csv", train)
    words = [labels, "--test", write(place / "ag_news_test.csv", test)]
    words += ["--corpus", str(folder / "unlabelled.txt.gz"), "--corpus", labels]
    return [*words, "--labels", "32,100,500,2000"]


def eprstmt(_: Path) -> list[str]:
    """Chinese product reviews: 160 + 160 labelled, 19,565 unlabelled, 610 test rows."""
    folder = DATA / "fewclue_eprstmt"
    words = [str(folder / "train_few_all.json"), "--test", str(folder / "test_public.json")]
    words += ["--text", "sentence", "--label", "label", "--labels", "32,100,160"]
    return [*words, "--corpus", str(folder / "unlabeled.json.gz")]


def cifar10(_: Path) -> list[str]:
    """Small photographs in ten classes: 1 %, 10 % and all of 20,000 labels, 4,000 test images.

    The corpus is the training images and 13,000 of Tiny ImageNet, none of which shows the task.
    """
    folder, other = DATA / "cifar10", DATA / "tiny_imagenet"
    train = str(folder / "train.parquet")
    words = [train, "--test", str(folder / "test.parquet"), "--label", "label", "--corpus", train]
    words += ["--corpus", str(other / "unlabelled.parquet")]
    return [*words, "--corpus", str(other / "train.parquet"), "--labels", "200,2000,all"]


SETS = {"imdb": imdb, "ag_news": ag_news, "eprstmt": eprstmt, "cifar10": cifar10}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="+", choices=sorted(SETS))
    parser.add_argument("--budget", default="60m")
    parser.add_argument("--seeds", default="5")
    parser.add_argument("--out", default="runs")
    parser.add_argument("--results", default=str(ROOT / "benchmarks" / "results"))
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    options = parser.parse_args()
    code = "import sys; from headstart.cli.main import main; sys.exit(main())"
    for name in options.sets:
        out = Path(options.out) / f"worth-{name}"
        with tempfile.TemporaryDirectory() as place:
            words = SETS[name](Path(place))
            words += ["--budget", options.budget, "--seeds", options.seeds, "--out", str(out)]
            for override in options.overrides:
                words += ["--set", override]
            subprocess.run([sys.executable, "-c", code, "report", *words], check=True)
        keep(name, out, Path(options.results))


def keep(name: str, out: Path, results: Path) -> None:
    """The report's JSON under a dated name."""
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    record = json.loads((out / "report.json").read_text(encoding="utf-8"))
    for cell in record["cells"]:
        cell.pop("correct", None)
    text = json.dumps(record, ensure_ascii=False, indent=1) + "\n"
    (results / f"{day}-worth-{name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
