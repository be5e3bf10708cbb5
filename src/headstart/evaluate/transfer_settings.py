"""What a transfer is told, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from headstart.data.augment import Augmentation
from headstart.errors import InputError
from headstart.evaluate.features import Layers, Precision
from headstart.tasks.classify import HeadForm

Method = Literal["probe", "lora", "partial", "full"]

METHODS: tuple[Method, ...] = ("probe", "lora", "partial", "full")
METHOD_LR: dict[Method, float] = {"probe": 1e-2, "lora": 3e-4, "partial": 3e-4, "full": 1e-4}
SMALL_MODEL = 5_000_000  # parameters, up to which the rates above hold
IMAGE_LR: dict[Method, float] = {**METHOD_LR, "full": 1e-3}  # LOG.md; He et al. 2022, table 9
# of texts to be written: 3e-4 for T5-small, 1.5e-4 for T5-base, where transformers' page on T5
# finds 1e-4 to 3e-4 to do well with AdamW
WRITING_LR: dict[Method, float] = {"lora": 1e-3, "partial": 1e-3, "full": 1e-3}
EPOCHS, LEAST_EPOCHS = 10.0, 2.0  # passes over few labels, and over very many
FEW = 500  # labels, from which on the passes shrink with the root of their number; see LOG.md
RATE_POWER = 0.5  # beyond: 2e-5 for all of 110 M, as Devlin et al. 2019 (A.3) found best


@dataclass(frozen=True, kw_only=True)
class TransferSettings:
    """How a model learns a labelled task.

    lr: peak rate; None is the method's own, lowered for models of more than 5 M parameters.
    epochs, min_steps, max_steps: passes over the labels, but at least and at most so many steps.
        No epochs: ten over up to 500 labels, five over 2,000, two over 12,500 and more.
    head_first: a probe initialises the classifier before other weights move (Kumar et al. 2022).
    head_scale: multiplies its scores (not for numbers): the same answers, less sure of themselves.
        A probe tuned on few labels is so sure that little gradient is left for the body.
    unfreeze: "gradual" trains from the top block down (Howard and Ruder 2018).
    layer_decay: factor on the rate from each block to the one below. dropout: while fine-tuning.
    top_layers: blocks that train in method partial. freeze: further globs that stay fixed.
    rank, alpha: of LoRA. head: see `tasks.Classify`. layers: what a probe reads.
    balanced: classes weigh the same however frequent they are.
    holdout: share of the labels held out to stop early by, with `patience` checks; 0 is none.
    self_training: rounds of pseudo-labels for a probe, where unlabelled texts are given.
    depth: blocks that a probe reads through; 0: all.
    crop, mirror, jitter: how images are varied while fine-tuning, see `data.augment`: least share
        of the area that is kept, left and right swapped, most change of colours.
    max_length: tokens of a window, special ones included. max_windows: of one text.
    target_length: tokens of a text that is written, its end included.
    """

    lr: float | None = None
    epochs: float | None = None
    min_steps: int = 100
    max_steps: int = 20_000
    tokens_per_batch: int = 1024
    weight_decay: float = 0.01
    warmup: float = 0.1
    layer_decay: float = 0.9
    dropout: float = 0.1
    head_first: bool = True
    head_scale: float = 0.1
    unfreeze: Literal["at_once", "gradual"] = "at_once"
    top_layers: int = 2
    freeze: tuple[str, ...] = ()
    rank: int = 8
    alpha: float = 32.0
    head: HeadForm = "mean"
    layers: Layers = "last"
    balanced: bool = False
    holdout: float = 0.0
    patience: int = 3
    self_training: int = 0
    depth: int = 0
    crop: float = 1.0
    mirror: bool = False
    jitter: float = 0.0
    max_length: int = 128
    max_windows: int = 8
    target_length: int = 64
    precision: Precision = "auto"
    device: str = "auto"
    threads: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.holdout < 1:
            raise InputError(f"holdout must be a share below 1, but is {self.holdout}")
        if self.max_windows < 1 or (self.epochs is not None and self.epochs <= 0):
            raise InputError(
                f"max_windows must be at least 1 and epochs more than 0, but they are "
                f"{self.max_windows} and {self.epochs}"
            )

    @property
    def views(self) -> Augmentation:
        """How images are varied while fine-tuning."""
        return Augmentation(
            scale=(self.crop, 1.0),
            mirror=self.mirror,
            brightness=self.jitter,
            contrast=self.jitter,
            saturation=self.jitter,
        )

    def settled(self, labels: int) -> TransferSettings:
        """With the passes over so many labels, if they were not given."""
        if self.epochs is not None:
            return self
        shrunk = EPOCHS * (FEW / max(FEW, labels)) ** 0.5
        return replace(self, epochs=max(LEAST_EPOCHS, shrunk))

    @property
    def passes(self) -> float:
        """How often all labels are seen, if the steps allow it; few labels' where not settled."""
        return EPOCHS if self.epochs is None else self.epochs

    def rate(
        self, method: Method, *, parameters: int, writes: bool = False, images: bool = False
    ) -> float:
        """The peak learning rate of a method for a model of this size.

        writes: whether texts are to be written. images: whether images are read.
        """
        if self.lr is not None:
            return self.lr
        usual = (WRITING_LR if writes else IMAGE_LR if images else METHOD_LR)[method]
        return usual * float(min(1.0, SMALL_MODEL / max(1, parameters)) ** RATE_POWER)

    def record(self, method: Method, *, seed: int) -> dict[str, str | float | int | bool]:
        """Everything that repeats a transfer, as plain values."""
        values = {n: v for n, v in asdict(self).items() if isinstance(v, str | float | int | bool)}
        return {"method": method, "seed": seed, **values}

    @classmethod
    def recorded(cls, record: Mapping[str, Any]) -> TransferSettings:
        """Those of a `record`, which has none of the names to freeze."""
        names = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in record.items() if name in names})
