"""The sections of settings that verbs share: network, objective, optimiser, schedule, machine.

Each field has its default, its unit and where the default is from. Sections select from closed
lists and never name code; what the verbs make of them is `config`.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from headstart.abilities import (
    ARRANGEMENTS,
    OBJECTIVE_NEEDS,
    Arrangement,
    Family,
    ObjectiveName,
    families_for,
    objectives_for,
)
from headstart.settings import Settings, setting

Size = Literal["mini", "small", "base"]


class ModelSettings(Settings):
    """Which network is built when training starts from nothing."""

    family: Family = setting(
        "modern", "Family of Transformers.", source="lowest loss at equal time in our trials"
    )
    size: Size = setting("mini", "Preset of the four sizes below.", source="recipes: 2-core budget")
    num_layers: int | None = setting(None, "Blocks; null: the preset's.", unit="layers", ge=1)
    hidden_size: int | None = setting(None, "Width; null: the preset's.", unit="numbers", ge=1)
    num_heads: int | None = setting(None, "Attention heads; null: the preset's.", ge=1)
    intermediate_size: int | None = setting(
        None, "Width inside the MLP; null: the preset's.", unit="numbers", ge=1
    )
    dropout: float = setting(
        0.0,
        "Share of activations dropped while pretraining.",
        unit="share",
        source="Geiping & Goldstein 2023: none in single-epoch pretraining",
        ge=0,
        lt=1,
    )

    SIZES: ClassVar[dict[Size, tuple[int, int, int]]] = {
        "mini": (4, 256, 4),
        "small": (6, 384, 6),
        "base": (12, 768, 12),
    }

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        _, hidden, heads, _ = self.shape()
        if hidden % heads:
            raise ValueError(
                f"model.hidden_size {hidden} is not a multiple of model.num_heads {heads}: "
                f"write model.num_heads: {_divisor(hidden, heads)}"
            )
        return self

    @property
    def arrangement(self) -> Arrangement:
        """Whether the family sees both sides, or only what came before, or has a stack for each."""
        return self.arrangements[0]

    @property
    def arrangements(self) -> tuple[Arrangement, ...]:
        """What the family can be."""
        return ARRANGEMENTS.get(self.family, ("encoder",))

    @property
    def gated(self) -> bool:
        """Whether the MLP has a gate, a third matrix."""
        return self.family in ("modern", "llama", "t5")

    def shape(self) -> tuple[int, int, int, int]:
        """num_layers, hidden_size, num_heads, intermediate_size: the preset, or what was given.

        A gated MLP is 8/3 as wide as the model instead of 4 times, in steps of 64, so that its
        three matrices cost what two cost elsewhere (Shazeer 2020).
        """
        layers, hidden, heads = self.SIZES[self.size]
        hidden = self.hidden_size or hidden
        inner = 64 * max(1, round(hidden / 24)) if self.gated else 4 * hidden
        return (
            self.num_layers or layers,
            hidden,
            self.num_heads or heads,
            self.intermediate_size or inner,
        )


class ObjectiveSettings(Settings):
    """What is predicted from unlabelled text."""

    name: ObjectiveName = setting(
        "mlm+bow",
        "What is predicted: masked tokens (mlm), words of the rest of the document (bow), whether "
        "a segment follows (nsp), next tokens (causal, hybrid), which spans, or dropout views of a "
        "text or crops of an image, belong together (spans, contrast), spans that are hidden "
        "(span_corruption), patches of an image that are hidden (mae, simmim) or their visual "
        "tokens (beit), which caption belongs to an image (image_text).",
        source="our ablation, LOG.md",
    )
    rate: float = setting(
        0.15,
        "Share of tokens to predict at the start.",
        unit="share",
        source="Devlin et al. 2019, 3.1",
        gt=0,
        lt=1,
    )
    rate_end: float | None = setting(
        None,
        "Share at the end, reached in a straight line; null: constant.",
        unit="share",
        gt=0,
        lt=1,
    )
    whole_word: bool = setting(
        False, "Choose whole words, not pieces.", source="Devlin et al. 2019"
    )
    mask_share: float = setting(
        0.8,
        "Of the chosen tokens, the share shown as [MASK].",
        unit="share",
        source="Devlin et al. 2019, 3.1",
        ge=0,
        le=1,
    )
    random_share: float = setting(
        0.1,
        "Of the chosen tokens, the share shown as a random token; the rest stays.",
        unit="share",
        source="Devlin et al. 2019, 3.1",
        ge=0,
        le=1,
    )

    span_length: float = setting(
        3.0,
        "Mean length of the spans that span_corruption hides.",
        unit="tokens",
        source="Raffel et al. 2020, 3.3.4",
        ge=1,
        le=100,
    )
    mlm_weight: float = setting(
        1.0, "Weight of masked tokens beside other parts.", source="LOG.md", gt=0, le=1000
    )
    patch_weight: float = setting(
        1.0,
        "Weight of hidden patches (mae, simmim, beit) beside contrast.",
        source="Huang et al. 2022: both alike",
        gt=0,
        le=1000,
    )
    causal_share: float = setting(
        0.5,
        "Share of hybrid's batches that are causal.",
        unit="share",
        source="Charpentier & Samuel 2024",
        ge=0,
        le=1,
    )
    temperature: float | None = setting(
        None,
        "Divides cosines in spans and contrast; null: 0.05 for texts, 0.2 for images.",
        source="Gao et al. 2021; Chen et al. 2020, table 5",
        gt=0,
        le=10,
    )
    latent_start: bool = setting(
        True,
        "Whether token vectors start from the corpus' latent semantic analysis.",
        source="our ablation, LOG.md",
    )

    def refuse(self, model: ModelSettings) -> None:
        """Raise ValueError if a model of this arrangement cannot do a part of the objective."""
        for part in self.name.split("+"):
            if not OBJECTIVE_NEEDS[part] & set(model.arrangements):
                able = objectives_for(*model.arrangements)
                raise ValueError(
                    f"objective.name {self.name}: {part} needs "
                    f"{' or '.join(sorted(OBJECTIVE_NEEDS[part]))} "
                    f"({', '.join(families_for(part))}), but model.family "
                    f"{model.family} is {_a(model.arrangement)}, which can do {', '.join(able)}"
                )

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        if self.mask_share + self.random_share > 1 + 1e-9:
            raise ValueError(
                f"objective.mask_share {self.mask_share} + objective.random_share "
                f"{self.random_share} is more than 1: lower one of them"
            )
        return self


class OptimizerSettings(Settings):
    """How weights follow gradients."""

    name: Literal["muon", "adamw"] = setting(
        "muon",
        "Muon for the matrices of the body with AdamW for the rest, or AdamW for all.",
        source="lower loss at equal time than AdamW in our 80 s trial",
    )
    lr: float = setting(
        2e-3, "Peak learning rate of AdamW.", unit="per step", source="own trial", gt=0, le=1
    )
    muon_lr: float = setting(
        0.02, "Peak learning rate of Muon.", unit="per step", source="Jordan 2024", gt=0, le=1
    )
    weight_decay: float = setting(
        0.1,
        "Decoupled decay of matrices; norms and biases never decay.",
        unit="per unit of learning rate",
        source="Loshchilov & Hutter 2019",
        ge=0,
        le=10,
    )
    beta1: float = setting(
        0.9, "AdamW's memory of gradients.", source="Kingma & Ba 2015", ge=0, lt=1
    )
    beta2: float = setting(0.98, "AdamW's memory of squares.", source="Liu et al. 2019", ge=0, lt=1)
    clip_norm: float = setting(
        1.0, "Largest gradient norm; larger ones are scaled down.", unit="norm", gt=0
    )


class ScheduleSettings(Settings):
    """The learning rate over a run: up, flat, down to nothing."""

    warmup: float = setting(
        0.05, "Share of the run that warms up.", unit="share", source="Hu et al. 2024", ge=0, lt=1
    )
    decay: float = setting(
        0.4,
        "Share of the run, at its end, that decays to zero.",
        unit="share",
        source="Kaddour et al. 2023: a fully decayed rate is the baseline",
        ge=0,
        le=1,
    )

    @model_validator(mode="after")
    def _phases_fit(self) -> Self:
        if self.warmup + self.decay > 1 + 1e-9:
            raise ValueError(
                f"schedule.warmup {self.warmup} + schedule.decay {self.decay} is more than 1, the "
                "whole run: lower one of them"
            )
        return self


class MachineSettings(Settings):
    """Where and how precisely it is computed."""

    device: Literal["auto", "cpu", "cuda", "mps"] = setting(
        "auto", "The best there is, or this one."
    )
    precision: Literal["auto", "bf16", "fp32"] = setting(
        "auto", "bf16 where the processor computes in it, or this one.", source="own measurement"
    )
    threads: int | None = setting(None, "CPU threads; null: all cores.", ge=1, le=4096)


def _a(noun: str) -> str:
    if noun.endswith("s"):
        return noun
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def _divisor(hidden: int, heads: int) -> int:
    return next(count for count in range(heads, 0, -1) if hidden % count == 0)
