"""Time until something useful has happened in a fresh Python process.

Nothing that uses torch can start faster than `import torch`, and nothing at all faster than Python:
both floors are among the sides.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import measure
import texts
from measure import Benchmark, Case, Facts, Job, Reading, Side

STARTS = 5
PYTHON = "pass"
TORCH = "import torch"
HELP = "import sys; sys.argv = ['headstart', '--help']; from headstart.cli.main import main; main()"
LOADING = {
    "ours": "from headstart.families import load_model; load_model({folder!r})",
    "transformers": "from transformers import AutoModel; AutoModel.from_pretrained({folder!r})",
    "sentence_transformers": "from sentence_transformers import SentenceTransformer; "
    "SentenceTransformer({folder!r}, device='cpu')",
    "torch_only": "import torch; from safetensors.torch import load_file; "
    "load_file({folder!r} + '/model.safetensors')",
}
TRAINING = {
    "ours": "from headstart import Trainer",
    "transformers": "from transformers import Trainer, TrainingArguments, BertForMaskedLM",
    "torch_only": TORCH,
}


def prepare(_: Path) -> Facts:
    """There are no inputs but the model."""
    return {"model": texts.minilm().parent.name}


def started(code: str) -> Callable[[Job], Reading]:
    """Median wall time of fresh processes that run this code, after one that is not timed."""

    def run(job: Job) -> Reading:
        command = [sys.executable, "-W", "ignore", "-c", code.format(folder=str(texts.minilm()))]
        times = []
        for _ in range(2 if job.quick else STARTS + 1):
            start = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            times.append(time.perf_counter() - start)
            if done.returncode:
                sys.exit(f"{code}\n{done.stderr[-2000:]}")
        return {"seconds": statistics.median(times[1:])}

    return run


def _case(name: str, codes: dict[str, str]) -> Case:
    sides = tuple(Side(side, code, started(code)) for side, code in codes.items())
    return Case(name, "seconds", "s", sides, higher_is_better=False)


def benchmark() -> Benchmark:
    """Importing, being ready to train, loading a model, and the help of the command line."""
    cases = (
        _case("import", {"ours": "import headstart", "torch_only": TORCH, "python_only": PYTHON}),
        _case("ready to train", TRAINING),
        _case("model loaded", LOADING),
        _case("help", {"ours": HELP, "torch_only": TORCH, "python_only": PYTHON}),
    )
    return Benchmark(
        "start",
        "start-up time against transformers, sentence-transformers and torch itself",
        cases,
        prepare,
    )


if __name__ == "__main__":
    measure.main(benchmark())
