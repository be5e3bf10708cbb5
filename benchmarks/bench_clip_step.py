"""Training steps of CLIP on product photos with their names: pairs a second.

Both sides train the same two towers on the same images and captions, 256 pairs a step. Images are
decoded and captions tokenised beforehand; turning bytes into numbers and filling batches count.
The chunked case computes the same gradient while holding the activations of 64 pairs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import measure
import texts
from headstart.batch import Sequences
from headstart.data.caption_batches import TEXT
from headstart.data.image_batches import PIXELS
from headstart.data.pairs import load_pairs
from headstart.data.patches import PixelFrame
from headstart.families import clip
from headstart.nn import Patches
from headstart.objectives import Vocabulary
from headstart.objectives.image_text import ImageText
from headstart.train import Learner, Trainer, TrainSettings
from measure import Benchmark, Case, Facts, Job, Reading, Side, Stopwatch

SIZES = {"4x256": (256, 4, 4, 1024), "6x384": (384, 6, 6, 1536)}  # of both towers
SIDE, PATCH = 64, 8
IMAGES, LONGEST = 1024, 32
PAIRS_A_STEP, CHUNK = 256, 64
STEPS, WARM = 12, 3
NEVER = 10**9
START, END = 30_522, 30_523  # after the ids of the tokenizer
VOCABULARY = END + 1


def prepare(folder: Path) -> Facts:
    """Decode the images and tokenise the captions once."""
    found = load_pairs(texts.data("fashion_products/train.parquet"), side=SIDE).images
    ids = texts.tokenized([captions[0] for captions in found.captions[:IMAGES]])
    texts.save_tokens(folder / "tokens.npz", [line[: LONGEST - 2] for line in ids])
    np.savez(folder / "pixels.npz", pixels=np.asarray(found.pixels[:IMAGES]))
    return {"image side": SIDE, **texts.described(np.array([len(line) for line in ids]))}


def read(job: Job) -> tuple[np.ndarray, Sequences]:
    """The images, and their captions without special tokens."""
    tokens, lengths = texts.load_tokens(job.folder / "tokens.npz")
    with np.load(job.folder / "pixels.npz", allow_pickle=False) as held:
        pixels = held["pixels"]
    number = np.arange(len(lengths))
    return pixels, Sequences(tokens, lengths, number, {PIXELS: pixels, TEXT: number})


class Batches:
    """Batch n: the next so many pairs, round and round."""

    def __init__(self, pairs: Sequences, size: int):
        self.pairs, self.size = pairs, size
        self.batches_per_epoch = max(1, len(pairs) // size)

    def numbers(self, n: int) -> np.ndarray:
        return np.arange(self.size) + n % self.batches_per_epoch * self.size

    def batch(self, n: int) -> Sequences:
        return self.pairs.take(self.numbers(n))


def amounts(job: Job) -> tuple[int, int, int]:
    """Pairs a step, steps that are not timed, and steps that are."""
    return (16, 1, 1) if job.quick else (PAIRS_A_STEP, WARM, STEPS)


def ours(chunk: int | None) -> Callable[[Job], Reading]:
    """Our Trainer in bf16."""

    def run(job: Job) -> Reading:
        size, warm, steps = amounts(job)
        _, pairs = read(job)
        hidden, layers, heads, inner = SIZES[job.case]
        model = clip.build(
            num_layers=layers,
            hidden_size=hidden,
            num_heads=heads,
            intermediate_size=inner,
            vocab_size=VOCABULARY,
            max_positions=LONGEST,
            patches=Patches(image_size=SIDE, patch_size=PATCH),
        )
        starts = np.ones(VOCABULARY, dtype=bool)
        words = Vocabulary(VOCABULARY, END, START, END, None, (START, END), starts)
        part = None if chunk is None else min(chunk, size // 4)
        objective = ImageText(PixelFrame(SIDE, PATCH), words, chunk=part)
        settings = TrainSettings(
            budget=f"{warm + steps + 1} steps",
            precision="bf16",
            device="cpu",
            threads=job.threads,
            save_every=NEVER,
            save_minutes=0.0,
        )
        learner = Learner(model, objective.heads(model))
        trainer = Trainer(learner, objective, Batches(pairs, size), settings)
        watch = Stopwatch(warm=warm)
        with contextlib.closing(trainer.steps()) as records:
            for _ in range(warm + steps):
                next(records)
                watch.step(size)
        return {"rate": watch.rate, "seconds": watch.seconds}

    return run


def peer(job: Job) -> Reading:
    """transformers' CLIPModel in a plain loop, which has no overhead of a trainer."""
    import transformers

    size, warm, steps = amounts(job)
    pixels, pairs = read(job)
    hidden, layers, heads, inner = SIZES[job.case]
    sizes = {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": inner,
    }
    text = {"vocab_size": VOCABULARY, "max_position_embeddings": LONGEST, "eos_token_id": END}
    config = transformers.CLIPConfig(
        text_config={**sizes, **text, "pad_token_id": END, "bos_token_id": START},
        vision_config={**sizes, "image_size": SIDE, "patch_size": PATCH},
        projection_dim=hidden,
        attn_implementation="sdpa",
    )
    torch.set_num_threads(job.threads)
    model = transformers.CLIPModel(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, fused=True)
    scale, source = PixelFrame(SIDE, PATCH).scale, Batches(pairs, size)
    watch = Stopwatch(warm=warm)
    for n in range(warm + steps):
        ids, mask = padded(source.batch(n))
        images = torch.from_numpy(scale.apply(pixels[source.numbers(n)]))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(
                input_ids=ids, attention_mask=mask, pixel_values=images, return_loss=True
            ).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        watch.step(size)
    return {"rate": watch.rate, "seconds": watch.seconds}


def padded(batch: Sequences) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids with start and end, padded to the longest of the batch, and their mask."""
    width = int(batch.lengths.max()) + 2
    ids = np.full((len(batch), width), END, dtype=np.int64)
    for row, (start, length) in enumerate(zip(batch.starts, batch.lengths, strict=True)):
        ids[row, 0] = START
        ids[row, 1 : length + 1] = batch.tokens[start : start + length]
    mask = np.arange(width)[None] < (batch.lengths + 2)[:, None]
    return torch.from_numpy(ids), torch.from_numpy(mask.astype(np.int64))


def benchmark() -> Benchmark:
    """Both sizes against transformers, and what holding a quarter of the activations costs."""
    sides = (
        Side("ours", "headstart Trainer: bf16, 256 pairs a step, captions packed", ours(None)),
        Side(
            "transformers_strongest",
            "transformers CLIPModel in a plain loop: bf16 autocast, SDPA, fused AdamW, 256 pairs a "
            "step, captions padded to the longest",
            peer,
        ),
        Side("ours_chunked", "the same as ours, the activations of 64 pairs at once", ours(CHUNK)),
    )
    cases = tuple(Case(size, "rate", "pairs/s", sides) for size in SIZES)
    return Benchmark(
        "clip_step", "CLIP training: pairs a second against transformers' CLIPModel", cases, prepare
    )


if __name__ == "__main__":
    measure.main(benchmark())
