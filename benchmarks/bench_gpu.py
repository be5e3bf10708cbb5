"""Pretraining steps on a GPU: real tokens or images a second, and share of its peak.

    python benchmarks/bench_gpu.py
    python benchmarks/bench_gpu.py --case bert-base --rounds 5 --compile

Both sides train the same network in bf16 on the same inputs, in one process and in alternating
rounds. The peer is transformers' model in a plain loop (less overhead than its Trainer) with SDPA,
bf16 autocast, fused AdamW and no dropout, texts grouped by length; its batches lie on the GPU
beforehand, and for images its pixels are seen as they are. It is also measured with a quarter of
the batch: take the better of the two. Ours is the whole Trainer: data, masking, copies, AdamW.
`--compile` adds the peer under torch.compile where its shapes never change; `--profile` shows the
kernels in which our step spends its time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch

import measure
import texts
from headstart.batch import Sequences
from headstart.data.image_batches import ImageRows, Views
from headstart.data.loader import TokenBatches, Windows
from headstart.data.patches import PixelFrame
from headstart.families import find, vit
from headstart.families.style import PatchDecoder
from headstart.nn import Patches
from headstart.objectives import (
    CausalLanguage,
    ImagePretraining,
    MaskedAutoencoder,
    MaskedLanguage,
    Pretraining,
    Vocabulary,
)
from headstart.train import Learner, Trainer, TrainSettings

VOCABULARY = 30_522
CLS, SEP, MASK, PAD = 101, 102, 103, 0  # of BERT's uncased vocabulary
MIX = {"imdb": 8000, "wikitext": 2000, "ag_news": 2000}
NEVER = 10**9
WARM = 6  # steps of each side before the first round
FRAME = PixelFrame(224, 16)
DECODER = PatchDecoder(
    hidden_size=512, num_layers=8, num_heads=16, intermediate_size=2048, normalised=True
)

Step = Callable[[], int]  # takes one step and says how many tokens or images it read


@dataclass(frozen=True)
class Shape:
    """A network and its batch. longest: tokens of a window; batch: real tokens or images."""

    hidden: int
    layers: int
    heads: int
    longest: int
    batch: int
    unit: str = "tokens"


CASES = {
    "bert-base": Shape(768, 12, 12, 512, 65_536),
    "bert-6x384": Shape(384, 6, 6, 512, 65_536),
    "gpt2-small": Shape(768, 12, 12, 1024, 65_536),
    "vit-base-mae": Shape(768, 12, 12, 0, 256, "images"),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", action="append", choices=sorted(CASES), default=[])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12, help="of each side in each round")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--inputs", type=Path, help="folder of inputs; made where it has none")
    parser.add_argument("--results", type=Path, help="folder for the dated JSON file")
    options = parser.parse_args()
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")  # lengths vary
    torch.set_float32_matmul_precision("high")
    record: dict[str, Any] = {
        "benchmark": "gpu",
        "about": __doc__.splitlines()[0],
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "gpu": torch.cuda.get_device_name(0),
        "machine": measure.machine(),
        "versions": measure.versions(),
        "settings": {"rounds": options.rounds, "steps": options.steps},
        "peak_tflops_per_s": matrix_product_peak() / 1e12,
        "cases": {},
    }
    print(f"{record['gpu']}: {record['peak_tflops_per_s']:.0f} TFLOP/s in a large bf16 product")
    with tempfile.TemporaryDirectory() as place:
        inputs = prepared(options.inputs or Path(place))
        for name in options.case or CASES:
            found = compared(name, inputs, options)
            record["cases"][name] = found
            torch.cuda.empty_cache()
    if options.results is not None:
        path = options.results / f"{record['date'][:10]}-gpu.json"
        path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def prepared(folder: Path) -> Path:
    """Tokens and images of real data, kept for the next time."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "tokens.npz").is_file():
        texts.save_tokens(folder / "tokens.npz", texts.tokenized(texts.mixed(MIX)))
    if not (folder / "pixels.npy").is_file():
        from headstart.data.images import load_images

        found = load_images(texts.data("tiny_imagenet/validation.parquet"), side=64)
        np.save(folder / "pixels.npy", found.pixels[:1024], allow_pickle=False)
    return folder


def matrix_product_peak() -> float:
    """Operations a second of a large bf16 matrix product on random data: median of ten."""
    size = 8192
    a, b = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    times = []
    for _ in range(13):
        torch.cuda.synchronize()
        start = time.perf_counter()
        torch.mm(a, b)
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 2 * size**3 / statistics.median(times[3:])


def compared(name: str, inputs: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Both sides in alternating rounds; the ratio is taken in each round."""
    shape = CASES[name]
    sides: dict[str, Step] = {"ours": ours(name, shape, inputs)}
    quarter = replace(shape, batch=shape.batch // 4)
    sides["transformers"] = peer(name, shape, inputs, compiled=False)
    sides["transformers_quarter"] = peer(name, quarter, inputs, compiled=False)
    if options.compile and not name.startswith("bert"):
        sides["transformers_compiled"] = peer(name, shape, inputs, compiled=True)
    for step in sides.values():
        for _ in range(WARM):
            step()
    rates: dict[str, list[float]] = {side: [] for side in sides}
    memory: dict[str, float] = {}
    for _ in range(options.rounds):
        for side, step in sides.items():
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            torch.cuda.synchronize()
            start = time.perf_counter()
            count = options.steps * (4 if side.endswith("quarter") else 1)
            amount = sum(step() for _ in range(count))
            torch.cuda.synchronize()
            rates[side].append(amount / (time.perf_counter() - start))
            memory[side] = (torch.cuda.max_memory_allocated() - before) / 2**30
    if options.profile:
        kernels(sides["ours"])
    flops = model_flops(name, shape, inputs)
    found: dict[str, Any] = {"unit": f"{shape.unit}/s", "rates": rates, "activations_gib": memory}
    for side, values in rates.items():
        middle = statistics.median(values)
        share = middle * flops / matrix_product_peak()
        found[f"{side}_share_of_peak"] = share
        ratios = [a / b for a, b in zip(rates["ours"], values, strict=True)]
        print(
            f"  {name} {side}: {middle:,.0f} {shape.unit}/s, {100 * share:.0f} % of peak, "
            f"{memory[side]:.1f} GiB; ours is {statistics.median(ratios):.2f} times as fast "
            f"({min(ratios):.2f} to {max(ratios):.2f})",
            flush=True,
        )
    return found


def kernels(step: Step) -> None:
    """Print where the GPU's time goes in three steps."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as seen:
        for _ in range(3):
            step()
    table = seen.key_averages()
    total = sum(event.self_device_time_total for event in table)
    for event in sorted(table, key=lambda event: -event.self_device_time_total)[:14]:
        share = event.self_device_time_total / max(total, 1)
        print(f"    {100 * share:4.1f} %  {event.count:6}  {event.key[:90]}")
    print(f"    {total / 3e3:.1f} ms of kernels a step")


def windows(inputs: Path, shape: Shape, *, special: int) -> Sequences:
    """Documents cut into windows."""
    tokens, lengths = texts.load_tokens(inputs / "tokens.npz")
    documents = Sequences(tokens, lengths, np.arange(len(lengths)))
    cut = Windows(documents, length=shape.longest - special)
    return cut.take(np.arange(len(cut)))


def joined(inputs: Path, shape: Shape) -> np.ndarray:
    """All documents as rows of the full width, (N, width)."""
    tokens, _ = texts.load_tokens(inputs / "tokens.npz")
    rows = len(tokens) // shape.longest
    found: np.ndarray = tokens[: rows * shape.longest].reshape(rows, shape.longest)
    return found


def ours(name: str, shape: Shape, inputs: Path) -> Step:
    """Our Trainer."""
    objective: Any
    source: Any
    sizes = {
        "num_layers": shape.layers,
        "hidden_size": shape.hidden,
        "num_heads": shape.heads,
        "intermediate_size": 4 * shape.hidden,
    }
    if shape.unit == "images":
        model = vit.build(
            **sizes, patches=Patches(image_size=FRAME.image_size, patch_size=FRAME.patch_size)
        )
        objective = ImagePretraining([MaskedAutoencoder(DECODER)], FRAME)
        rows = ImageRows(upscaled(inputs), tokens=FRAME.tokens)
        batches = TokenBatches(rows, tokens_per_batch=shape.batch * FRAME.tokens, seed=0)
        source = Views(batches, side=FRAME.image_size, seed=0)
    else:
        family = "gpt" if name.startswith("gpt") else "bert"
        model = find(family).build(**sizes, vocab_size=VOCABULARY, max_positions=shape.longest)
        starts = np.ones(VOCABULARY, dtype=bool)
        special = (PAD, CLS, SEP, MASK)
        vocabulary = Vocabulary(VOCABULARY, PAD, CLS, SEP, MASK, special, starts)
        if family == "gpt":
            ids = joined(inputs, shape)[:, : shape.longest - 2]  # [CLS] and [SEP] come around them
            lengths = np.full(len(ids), ids.shape[1])
            held = Sequences(ids.ravel(), lengths, np.arange(len(ids)))
            objective = Pretraining([CausalLanguage(vocabulary)], vocabulary)
        else:
            held = windows(inputs, shape, special=2)
            objective = Pretraining([MaskedLanguage(vocabulary)], vocabulary)
        source = TokenBatches(held, tokens_per_batch=shape.batch, seed=0)
    settings = TrainSettings(
        budget=f"{NEVER} steps",
        precision="bf16",
        device="cuda",
        save_every=NEVER,
        save_minutes=0.0,
    )
    trainer = Trainer(Learner(model, objective.heads(model, seed=0)), objective, source, settings)
    records = trainer.steps()

    def step() -> int:
        record = next(records)
        return record.sequences if shape.unit == "images" else record.tokens

    return step


def upscaled(inputs: Path) -> np.ndarray:
    """Images brought to the network's size once."""
    from headstart.data.augment import resize

    side = FRAME.image_size
    return resize(np.load(inputs / "pixels.npy", allow_pickle=False), (side, side))


def peer(name: str, shape: Shape, inputs: Path, *, compiled: bool) -> Step:
    """transformers' model in a plain loop; all its batches lie on the GPU."""
    import peer_models

    torch.manual_seed(0)
    model: Any
    size = peer_models.Size(shape.hidden, shape.layers, shape.heads)
    if shape.unit == "images":
        model = peer_models.vit_mae(size, DECODER, image=FRAME.image_size, patch=FRAME.patch_size)
        pixels = FRAME.scale.apply(upscaled(inputs)[: 2 * shape.batch])
        batches = [
            ({"pixel_values": some.cuda()}, shape.batch)
            for some in torch.from_numpy(pixels).split(shape.batch)
        ]
    elif name.startswith("gpt"):
        model = peer_models.gpt2(size, vocabulary=VOCABULARY, width=shape.longest)
        ids = torch.from_numpy(joined(inputs, shape)).cuda()
        rows = ids[: 16 * (shape.batch // shape.longest)].split(shape.batch // shape.longest)
        batches = [({"input_ids": some, "labels": some}, some.numel()) for some in rows]
    else:
        model = peer_models.bert(size, vocabulary=VOCABULARY, width=shape.longest)
        batches = list(masked_batches(windows(inputs, shape, special=2), shape))
    model = model.cuda().train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, fused=True)
    run = torch.compile(model) if compiled else model
    turn = cycle(batches)

    def step() -> int:
        given, amount = next(turn)
        with torch.autocast("cuda", torch.bfloat16):
            loss = run(**given).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return amount

    return step


def masked_batches(held: Sequences, shape: Shape) -> Iterator[tuple[dict[str, torch.Tensor], int]]:
    """Padded batches of about the batch's real tokens, texts of like length together.

    Mixed as they come: the batches are drawn from all lengths.
    """
    rng = np.random.default_rng(0)
    order = np.argsort(held.lengths, kind="stable")
    ends = np.cumsum(held.lengths[order]) // shape.batch
    groups = [order[ends == n] for n in range(int(ends[-1]))]
    pieces = np.split(held.tokens, np.cumsum(held.lengths)[:-1])
    for number in rng.permutation(len(groups)):
        rows = [pieces[n] for n in groups[number]]
        width = max(len(row) for row in rows) + 2
        ids = np.full((len(rows), width), PAD)
        for at, row in enumerate(rows):
            ids[at, : len(row) + 2] = [CLS, *row, SEP]
        seen = ids != PAD
        chosen = seen & (ids != CLS) & (ids != SEP) & (rng.random(ids.shape) < 0.15)
        labels = np.where(chosen, ids, -100)
        given = {
            "input_ids": np.where(chosen, MASK, ids),
            "attention_mask": seen.astype(np.int64),
            "labels": labels,
        }
        yield (
            {k: torch.from_numpy(v).cuda() for k, v in given.items()},
            int(seen.sum()) - 2 * len(rows),
        )


def model_flops(name: str, shape: Shape, inputs: Path) -> float:
    """Operations that the mathematics of one token or image needs, forward and backward.

    As in bench_pretraining.py: three times the forward pass; padding and repeated work count as
    nothing. Of causal attention the lower half is counted.
    """
    per_token = 6 * shape.layers * 12 * shape.hidden**2
    if shape.unit == "images":
        kept, every = FRAME.tokens // 4 + 1, FRAME.tokens
        encoder = kept * per_token + 12 * shape.layers * shape.hidden * kept**2
        wide, deep = DECODER.hidden_size, DECODER.num_layers
        decoder = every * 6 * deep * 12 * wide**2 + 12 * deep * wide * every**2
        patch = 3 * FRAME.patch_size**2
        return float(encoder + decoder + 6 * every * (wide * patch + shape.hidden * patch))
    if name.startswith("gpt"):
        mixing = 6 * shape.layers * shape.hidden * shape.longest
        return float(per_token + mixing + 6 * shape.hidden * VOCABULARY)
    lengths = windows(inputs, shape, special=2).lengths + 2
    mixing = 12 * shape.layers * shape.hidden * float((lengths**2).sum()) / float(lengths.sum())
    head = 0.15 * 6 * (shape.hidden**2 + shape.hidden * VOCABULARY)
    return float(per_token + mixing + head)


if __name__ == "__main__":
    main()
