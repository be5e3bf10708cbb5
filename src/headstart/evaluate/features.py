"""Frozen features: one vector a text or image from a model that is not trained.

In: encoded texts or images. Out: (N, F) fp32, in their order. A text's vector is the mean of its
windows' vectors, weighted by length, so a linear head gives the same whether it is applied to the
text's vector or to each window. `FeatureCache` computes each input once, whatever asks for it.
Gradients are never kept; the model is left as it was.
"""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.batch import Batch, Layout, Sequences
from headstart.data.image_batches import PIXELS
from headstart.errors import CheckpointError
from headstart.families.blocks import shallower
from headstart.families.model import Model
from headstart.families.pooler import Pooler, pool
from headstart.nn.packed import can_pack, pack
from headstart.tasks import Classify, Examples, Frame, average, mean_style
from headstart.tasks.examples import MAX_WINDOWS
from headstart.train.precision import choose_format, choose_precision
from headstart.train.settings import TrainSettings

Layers = Literal["last", "mean_of_last_two", "several"]
Precision = Literal["auto", "bf16", "fp32"]
Read = Callable[[Model, Batch], Tensor]  # (S, F) of a batch's windows

TOKENS_PER_BATCH = 4096  # fits a processor's cache


class FeatureCache:
    """Features by one frozen model; an input that was seen before costs a look-up.

    layers: "last" is what a fine-tuned head sees; "several" are the last, the middle and the
    embedding side by side. pooler: what stands between the last states and the features; by default
    mean pooling as in `tasks.mean_style`. seconds, read: spent in the model so far, on so many
    inputs. spared: seconds that the look-ups would have taken.
    """

    def __init__(
        self,
        model: Model,
        frame: Frame,
        *,
        layers: Layers = "last",
        max_length: int = 128,
        max_windows: int = MAX_WINDOWS,
        tokens_per_batch: int = TOKENS_PER_BATCH,
        precision: Precision = "auto",
        device: str = "cpu",
        pooler: Pooler | None = None,
        poll: Callable[[], None] = lambda: None,
    ):
        self.frame, self.layers, self.max_windows = frame, layers, max_windows
        self.window = frame.room(model.config.max_positions, max_length)
        self.tokens_per_batch, self.poll = tokens_per_batch, poll
        self._given, self._precision, self._device = model, precision, device
        self.model = for_inference(model, precision, device=device)
        self._read = _reader(self.model, layers, pooler)
        self.seconds, self.read, self.spared = 0.0, 0, 0.0
        self._known: dict[bytes, np.ndarray] = {}
        self._cuts: dict[int, FeatureCache] = {}

    def through(self, depth: int) -> FeatureCache:
        """Features after the first `depth` blocks, mean-pooled; 0 are these features themselves."""
        if depth in (0, self._given.config.num_layers):
            return self
        if depth not in self._cuts:
            self._cuts[depth] = FeatureCache(
                shallower(self._given, depth),
                self.frame,
                layers=self.layers,
                max_windows=self.max_windows,
                tokens_per_batch=self.tokens_per_batch,
                precision=self._precision,
                device=self._device,
                poll=self.poll,
            )
        return self._cuts[depth]

    def of(self, inputs: Sequences) -> np.ndarray:
        """(N, F) features of images, or of whole texts given without special tokens."""
        keys = _digests(inputs)
        fresh = {key: n for n, key in enumerate(keys) if key not in self._known}
        if fresh:
            begin = time.perf_counter()
            chosen = np.fromiter(fresh.values(), np.int64, len(fresh))
            examples = Examples(
                inputs.take(chosen), window=self.window, max_windows=self.max_windows
            )
            values = read_out(
                self.model,
                examples,
                self.frame,
                self._read,
                tokens_per_batch=self.tokens_per_batch,
                poll=self.poll,
            )
            self._known.update(zip(fresh, values, strict=True))
            self.seconds += time.perf_counter() - begin
            self.read += len(fresh)
        self.spared += (len(keys) - len(fresh)) * self.seconds / max(1, self.read)
        return np.stack([self._known[key] for key in keys])


def extract(
    model: Model,
    inputs: Sequences,
    frame: Frame,
    *,
    layers: Layers = "last",
    max_length: int = 128,
    tokens_per_batch: int = TOKENS_PER_BATCH,
    precision: Precision = "auto",
    pooler: Pooler | None = None,
    poll: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """(N, F) fp32 features of images, or of whole texts without special tokens, in their order.

    precision: "auto" computes in bf16 where the processor has it. Raises InputError if max_length
    leaves no room for text.
    """
    cache = FeatureCache(
        model,
        frame,
        layers=layers,
        max_length=max_length,
        tokens_per_batch=tokens_per_batch,
        precision=precision,
        pooler=pooler,
        poll=poll,
    )
    return cache.of(inputs)


def read_out(
    model: Model,
    examples: Examples,
    frame: Frame,
    read: Read,
    *,
    tokens_per_batch: int = TOKENS_PER_BATCH,
    poll: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """(N, F) of all examples: `read` of each window, averaged over the windows by length.

    Batches hold inputs of like length within the token budget. poll: called between batches.
    """
    if not len(examples):
        return np.zeros((0, 0), dtype=np.float32)
    task = Classify("number", outputs=1, frame=frame)
    device = model.embed.tokens.weight.device
    found: np.ndarray | None = None
    with frozen(model):
        for chosen in examples.in_batches(tokens_per_batch):
            poll()
            batch = task.lay_out(examples.take(chosen), pack=False).to(device)
            lengths, owner = batch.layout["tokens"].lengths, batch.targets["owner"]
            values = average(read(model, batch), lengths, owner, len(chosen)).cpu().numpy()
            if found is None:
                found = np.empty((len(examples), values.shape[1]), dtype=np.float32)
            found[batch.targets["documents"].cpu().numpy()] = values
    assert found is not None, "there is at least one batch"
    return found


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Within it a model or head only answers: no dropout, no gradients. Afterwards as before."""
    training = model.training
    if training:
        model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        if training:
            model.train()


def for_inference(model: Model, precision: Precision, *, device: str = "") -> Model:
    """The model itself, or a copy in bf16 where that is asked for or pays, on the wanted device.

    A copy on a CPU has its weights packed where the machine can: it can only answer. device: as in
    the settings; empty is where the model is.
    """
    weight = model.embed.tokens.weight
    wanted = find_device(device) if device else weight.device
    half = choose_format(precision, wanted) == torch.bfloat16
    dtype = torch.bfloat16 if half else weight.dtype
    stacks = [stack for stack in (model.stack, model.decoder) if stack is not None]
    packable = any(can_pack(stack) for stack in stacks)
    if (weight.dtype, weight.device) == (dtype, wanted) and not packable:
        return model
    ready = copy.deepcopy(model).to(wanted, dtype)
    for stack in (ready.stack, ready.decoder):
        if stack is not None and can_pack(stack):
            pack(stack)
    return ready


def demand_finite(answers: np.ndarray, *, before: int = 0) -> np.ndarray:
    """The scores or vectors (N, C) of some inputs, `before` of which came before.

    Raises CheckpointError if one is NaN or infinite: such an answer would be wrong in silence.
    """
    wrong = np.flatnonzero(~np.isfinite(answers).all(axis=1))
    if len(wrong):
        raise CheckpointError(
            f"the scores of input {before + int(wrong[0]) + 1} are NaN or infinite: weights of the "
            "model are damaged, or too large for its number format. Copy or train it again"
        )
    return answers


def find_device(name: str) -> torch.device:
    """The device that the settings mean by "auto", "cpu", "cuda", ..."""
    return choose_precision(TrainSettings(device=name)).device


def _reader(model: Model, layers: Layers, pooler: Pooler | None) -> Read:
    if layers == "last":
        part = pooler if pooler is not None else Pooler(model.config, mean_style(model))
        part = copy.deepcopy(part).float().eval().to(model.embed.tokens.weight.device)
        return lambda net, batch: part(net.encode(batch).float(), batch.layout["tokens"])
    if pooler is not None:
        raise ValueError("a pooler reads the last layer: leave it out, or use layers='last'")
    return _mean_of_last_two if layers == "mean_of_last_two" else _several


def _mean_of_last_two(model: Model, batch: Batch) -> Tensor:
    states, layout = model.hidden_states(batch), batch.layout["tokens"]
    return (_level(states[-1], layout) + _level(states[-2], layout)) / 2


def _several(model: Model, batch: Batch) -> Tensor:
    states, layout = model.hidden_states(batch), batch.layout["tokens"]
    chosen = (states[-1], states[len(states) // 2], states[0])
    return torch.cat([_level(state, layout) for state in chosen], 1)


def _level(states: Tensor, layout: Layout) -> Tensor:
    """Mean over tokens, each brought to one scale: inner states of pre-norm stacks have any."""
    return pool(F.layer_norm(states.float(), states.shape[-1:]), layout, "mean")


def _digests(inputs: Sequences) -> list[bytes]:
    if PIXELS in inputs.fields:
        return [
            hashlib.blake2b(image.tobytes(), digest_size=16).digest()
            for image in inputs.fields[PIXELS]
        ]
    tokens = inputs.tokens.astype(np.int64)
    starts = inputs.starts
    return [
        hashlib.blake2b(tokens[begin : begin + length].tobytes(), digest_size=16).digest()
        for begin, length in zip(starts.tolist(), inputs.lengths.tolist(), strict=True)
    ]
