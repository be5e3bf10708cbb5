"""How fast transformers' Trainer trains: the same stopwatch for every benchmark that trains."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import transformers
from torch import Tensor, nn
from torch.utils.data import Dataset

from measure import Reading, Stopwatch
from peer_settings import PeerSettings

Inputs = Mapping[str, Tensor]


class TokenLists(Dataset[dict[str, object]]):
    """Tokenised texts as transformers wants them, with labels if there are any."""

    def __init__(self, ids: list[list[int]], labels: list[int] | None = None) -> None:
        self.ids, self.labels = ids, labels

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, number: int) -> dict[str, object]:
        item: dict[str, object] = {"input_ids": self.ids[number]}
        if self.labels is not None:
            item["labels"] = self.labels[number]
        return item


class _CountingTrainer(transformers.Trainer):
    """Counts the work of each step when the step has ended.

    amount: of one batch, in the unit that is compared.
    """

    amount: Callable[[Inputs], int]
    watch: Stopwatch

    def training_step(self, model: nn.Module, inputs: dict[str, Tensor], *rest: object) -> Tensor:
        self._amount = self.amount(inputs)
        return super().training_step(model, inputs, *rest)


class _StepEnd(transformers.TrainerCallback):
    def __init__(self, trainer: _CountingTrainer) -> None:
        self.trainer = trainer

    def on_step_end(self, *_: object, **__: object) -> None:
        self.trainer.watch.step(self.trainer._amount)


def train(
    model: nn.Module,
    dataset: TokenLists,
    collator: Callable[[list[dict[str, object]]], dict[str, Tensor]],
    settings: PeerSettings,
    *,
    amount: Callable[[Inputs], int],
    folder: Path,
    threads: int,
) -> Reading:
    """Train for the set steps; the rate is in `amount` a second."""
    steps = settings.timed_steps(len(dataset))
    torch.set_num_threads(threads)
    transformers.logging.set_verbosity_error()
    arguments = transformers.TrainingArguments(
        str(folder / "peer"),
        per_device_train_batch_size=settings.batch,
        max_steps=settings.warm + steps,
        train_sampling_strategy="group_by_length" if settings.grouped else "random",
        bf16=settings.bf16,
        use_cpu=True,
        seed=0,
        logging_steps=10**6,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    trainer = _CountingTrainer(
        model=model, args=arguments, train_dataset=dataset, data_collator=collator
    )
    trainer.amount, trainer.watch = amount, Stopwatch(warm=settings.warm)
    trainer.add_callback(_StepEnd(trainer))
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        trainer.train()
    watch = trainer.watch
    return {"rate": watch.rate, "amount": watch.amount, "seconds": watch.seconds}
