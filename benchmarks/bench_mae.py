"""Masked-autoencoder pretraining: images a second against transformers' ViTMAEForPreTraining.

Both sides train the same ViT and the same decoder on the same real images, 64 a step, with
normalised pixels as targets and a rate of masking of three quarters. The peer is given its images
as tensors that were scaled beforehand and sees them as they are; ours crops, mirrors, scales and
cuts them in every step. Both have AdamW.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

import measure
import texts
from headstart.data.augment import Augmentation
from headstart.data.image_batches import ImageRows, Views
from headstart.data.images import load_images
from headstart.data.loader import TokenBatches
from headstart.data.patches import PixelFrame
from headstart.families import vit
from headstart.families.style import PatchDecoder
from headstart.nn import Patches
from headstart.objectives import ImagePretraining, MaskedAutoencoder
from headstart.train import Learner, Trainer, TrainSettings
from measure import Benchmark, Case, Facts, Job, Reading, Side, Stopwatch

CASE = "6x384"
HIDDEN, LAYERS, HEADS = 384, 6, 6
DECODER, DECODER_LAYERS, DECODER_HEADS = 192, 2, 6
FRAME = PixelFrame(64, 8)
IMAGES, BATCH = 2048, 64
STEPS, WARM = 24, 3
NEVER = 10**9


def prepare(folder: Path) -> Facts:
    """Decode some images of Tiny ImageNet once."""
    table = pq.ParquetFile(texts.data("tiny_imagenet/validation.parquet"))
    some = next(table.iter_batches(IMAGES))
    place = folder / "images.parquet"
    pq.write_table(pa.Table.from_batches([some]), place)
    pixels = load_images(place, side=FRAME.image_size).pixels
    np.save(folder / "pixels.npy", pixels, allow_pickle=False)
    return {"images": len(pixels), "side": FRAME.image_size, "patch": FRAME.patch_size}


def ours(job: Job) -> Reading:
    """Our Trainer: bf16, 64 images a step, seen anew every epoch."""
    warm, steps = (1, 1) if job.quick else (WARM, STEPS)
    watch = Stopwatch(warm=warm)
    records = _trainer(job).steps()
    for _ in range(warm + steps):
        watch.step(next(records).sequences)
    records.close()
    return {"rate": watch.rate, "amount": watch.amount, "seconds": watch.seconds}


def profile(job: Job) -> Reading:
    """Shares of our step's time by kind of work."""
    import profiling

    warm, timed = (1, 1) if job.quick else (WARM, 8)
    return profiling.trainer_shares(_trainer(job), warm=warm, timed=timed)


def _trainer(job: Job) -> Trainer:
    model = vit.build(
        num_layers=LAYERS,
        hidden_size=HIDDEN,
        num_heads=HEADS,
        intermediate_size=4 * HIDDEN,
        patches=Patches(image_size=FRAME.image_size, patch_size=FRAME.patch_size),
    )
    objective = ImagePretraining([MaskedAutoencoder(_decoder())], FRAME)
    pixels = np.load(job.folder / "pixels.npy", allow_pickle=False)
    rows = ImageRows(pixels, tokens=FRAME.tokens)
    batches = TokenBatches(rows, tokens_per_batch=BATCH * FRAME.tokens, seed=0)
    source = Views(batches, side=FRAME.image_size, seed=0, how=Augmentation())
    settings = TrainSettings(
        budget=f"{WARM + STEPS + 1} steps",
        precision="bf16",
        device="cpu",
        threads=job.threads,
        save_every=NEVER,
        save_minutes=0.0,
    )
    return Trainer(Learner(model, objective.heads(model)), objective, source, settings)


def _decoder() -> PatchDecoder:
    """That of both sides."""
    return PatchDecoder(
        hidden_size=DECODER,
        num_layers=DECODER_LAYERS,
        num_heads=DECODER_HEADS,
        intermediate_size=4 * DECODER,
        normalised=True,
    )


def peer(*, bf16: bool) -> Callable[[Job], Reading]:
    """transformers' model in a plain loop, which has less overhead than its Trainer."""

    def run(job: Job) -> Reading:
        import peer_models

        torch.set_num_threads(job.threads)
        torch.manual_seed(0)
        size = peer_models.Size(HIDDEN, LAYERS, HEADS)
        model = peer_models.vit_mae(
            size, _decoder(), image=FRAME.image_size, patch=FRAME.patch_size
        ).train()
        optimizer = torch.optim.AdamW(model.parameters(), 1e-4, fused=True)
        pixels = np.load(job.folder / "pixels.npy", allow_pickle=False)
        images = torch.from_numpy(FRAME.scale.apply(pixels))
        warm, steps = (1, 1) if job.quick else (WARM, STEPS)
        watch = Stopwatch(warm=warm)
        for n in range(warm + steps):
            start = n * BATCH % len(images)
            some = images[start : start + BATCH]
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss = model(pixel_values=some).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            watch.step(len(some))
        return {"rate": watch.rate, "amount": watch.amount, "seconds": watch.seconds}

    return run


def benchmark() -> Benchmark:
    """One size against transformers at its strongest and as it comes."""
    kind = "64 images a step as ready tensors, no augmentation, SDPA, fused AdamW"
    sides = (
        Side("ours", "headstart Trainer: bf16, 64 images a step, crops and mirrors", ours),
        Side(
            "transformers_strongest",
            f"ViTMAEForPreTraining, bf16 autocast, {kind}",
            peer(bf16=True),
        ),
        Side("transformers_fp32", f"ViTMAEForPreTraining, fp32, {kind}", peer(bf16=False)),
    )
    extras = (Side("profile", "shares of our step's time (torch.profiler)", profile),)
    return Benchmark(
        "mae",
        "masked-autoencoder pretraining: images a second against transformers' ViT-MAE",
        (Case(CASE, "rate", "images/s", sides, extras=extras),),
        prepare,
    )


if __name__ == "__main__":
    measure.main(benchmark())
