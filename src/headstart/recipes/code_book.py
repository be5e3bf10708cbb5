"""The code book of a run on images: learnt once from what training sees, kept in the run folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch

from headstart.data.code_book import CodeBook, learn_codes
from headstart.data.image_batches import Batches
from headstart.data.patches import PixelFrame
from headstart.errors import CheckpointError
from headstart.events import Events
from headstart.train.checkpoint import digest_of
from headstart.train.disk import read_file, write_atomically
from headstart.train.tensorfile import decode, encode
from headstart.words import say

SAMPLE = 40_000  # patches that the code book is learnt from
LARGEST = 1 << 30  # bytes of a file


def code_book(
    place: Path,
    source: Batches,
    frame: PixelFrame,
    *,
    count: int,
    seed: int,
    data: str,
    events: Events,
) -> tuple[CodeBook, str]:
    """The code book in this folder, or a new one, and the SHA-256 of its file.

    source: the batches that are trained on. data: digest of the images; a code book of other data,
    another count or another frame has another file name and is left alone.
    """
    made_from = {"data": data, "codes": str(count), "seed": str(seed), "frame": str(frame)}
    path = place / f"codes-{digest_of(made_from)[:16]}.safetensors"
    if not path.exists():
        events.progress("codes", 0, 1)
        codes = learn_codes(sample(source, frame), count, seed=seed)
        held = {"centres": torch.from_numpy(codes.centres)}
        write_atomically(path, b"".join(bytes(piece) for piece in encode(held)))
        events.progress("codes", 1, 1)
        events.note(say("codes_learnt", codes=count, path=path))
    content, _ = read_file(path, LARGEST, label=str(path))
    digest = hashlib.sha256(content).hexdigest()
    found = decode(content, source=str(path)).get("centres")
    if found is None or found.shape[0] != count or found.dtype != torch.float32:
        raise CheckpointError(f"{path} holds no code book of {count} codes: remove it")
    return CodeBook(found.numpy()), digest


def sample(source: Batches, frame: PixelFrame) -> np.ndarray:
    """Patches (N, D) of the first images of training, the same number of each image."""
    images, wanted = [], -(-SAMPLE // frame.grid**2)
    for n in range(source.batches_per_epoch):
        images.append(frame.patches(source.batch(n)))
        if sum(map(len, images)) >= wanted:
            break
    chosen = np.concatenate(images)[:wanted]
    return chosen.reshape(-1, chosen.shape[-1])
