"""The sections of settings that verbs share: network, objective, optimiser, data, transfer.

Each field has its default, its unit and where the default is from. Sections select from closed
lists and never name code; what the verbs make of them is `config`.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self, get_args

from pydantic import model_validator

from headstart.settings import Settings, setting

Family = Literal[
    "modern", "bert", "roberta", "gpt", "llama", "t5", "marian", "reformer", "vit", "clip", "dual"
]
Size = Literal["mini", "small", "base"]
ObjectiveName = Literal[
    "bow",
    "mlm",
    "nsp",
    "mlm+nsp",
    "mlm+bow",
    "mlm+spans",
    "mlm+bow+spans",
    "hybrid",
    "hybrid+bow",
    "spans",
    "contrast",
    "mlm+contrast",
    "causal",
    "causal+bow",
    "span_corruption",
    "mae",
    "simmim",
    "beit",
    "mae+contrast",
    "simmim+contrast",
    "beit+contrast",
    "image_text",
]
Arrangement = Literal["encoder", "decoder", "encoder-decoder", "image encoder", "two towers"]
# What the families can be that are no plain encoders; a Reformer becomes what its objective needs.
ARRANGEMENTS: dict[Family, tuple[Arrangement, ...]] = {
    "gpt": ("decoder",),
    "llama": ("decoder",),
    "t5": ("encoder-decoder",),
    "marian": ("encoder-decoder",),
    "reformer": ("encoder", "decoder"),
    "vit": ("image encoder",),
    "clip": ("two towers",),
    "dual": ("two towers",),
}
# Which arrangements of a model can do each part of an objective.
OBJECTIVE_NEEDS: dict[str, frozenset[str]] = {
    "mlm": frozenset({"encoder"}),
    "nsp": frozenset({"encoder"}),
    "hybrid": frozenset({"encoder"}),
    "causal": frozenset({"decoder"}),
    "bow": frozenset({"encoder", "decoder"}),
    "spans": frozenset({"encoder", "decoder"}),
    "contrast": frozenset({"encoder", "decoder", "image encoder"}),
    "span_corruption": frozenset({"encoder-decoder"}),
    "mae": frozenset({"image encoder"}),
    "simmim": frozenset({"image encoder"}),
    "beit": frozenset({"image encoder"}),
    "image_text": frozenset({"two towers"}),
}
# Which arrangements can write a text.
WRITERS: frozenset[Arrangement] = frozenset({"decoder", "encoder-decoder"})
Method = Literal["auto", "probe", "lora", "partial", "full"]
ArmName = Literal[
    "majority",
    "tfidf",
    "lsa",
    "pixels",
    "pixels-neighbours",
    "hog",
    "scratch",
    "own-probe",
    "own-probe+lsa",
    "own-full",
    "own-lora",
    "own-partial",
    "public-probe",
]
Kind = Literal["auto", "classes", "multilabel", "number", "text"]
TokenizerKind = Literal["wordpiece", "bpe", "unigram", "bytes"]


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


class TextSettings(Settings):
    """Which files, which columns, and how text becomes tokens."""

    paths: tuple[str, ...] = setting((), "Files and folders, as on the command line.", path=True)
    text: str | None = setting(None, "Column that holds the text; null: inferred.")
    label: str | None = setting(None, "Column that holds the label; null: inferred.")
    kind: Kind = setting(
        "auto", "What labels are: one class, several, a number, or a text to be written."
    )
    encoding: str | None = setting(
        None, "Encoding of the files; null: UTF-8 or a mark in the file."
    )
    tokenizer: TokenizerKind = setting(
        "wordpiece",
        "Kind of tokenizer trained on the corpus; bpe where the model learns to write.",
        source="Devlin et al. 2019",
    )
    lowercase: bool = setting(
        True,
        "Whether the tokenizer ignores case; false where the model learns to write.",
        source="BERT uncased",
    )
    vocab_size: int = setting(
        8192,
        "Most entries of a trained vocabulary.",
        unit="tokens",
        source="4 k to 8 k for CPU budgets: the head's cost dominates",
        ge=64,
        le=1_000_000,
    )
    max_length: int = setting(
        128,
        "Longest sequence; longer documents are cut into windows.",
        unit="tokens",
        source="Geiping & Goldstein 2023",
        ge=8,
        le=65_536,
    )


class LabelSettings(TextSettings):
    """The same, and how long the texts are that are to be written."""

    target_length: int = setting(
        64,
        "Longest text that is written, where labels are texts; longer ones are cut, and counted.",
        unit="tokens",
        source="subjects, headlines and one-sentence summaries",
        ge=2,
        le=65_536,
    )


class DataSettings(TextSettings):
    """The same, and how much of it a step of pretraining sees."""

    tokens_per_batch: int = setting(
        8192,
        "Tokens in one step of pretraining.",
        unit="tokens",
        source="4 k to 16 k for CPU",
        ge=8,
        le=16_777_216,
    )

    @model_validator(mode="after")
    def _batch_holds_a_sequence(self) -> Self:
        if self.tokens_per_batch < self.max_length:
            raise ValueError(
                f"data.tokens_per_batch {self.tokens_per_batch} is less than data.max_length "
                f"{self.max_length}, one sequence: write data.tokens_per_batch: "
                f"{16 * self.max_length}"
            )
        return self


class TransferSettings(Settings):
    """How a pretrained model learns a labelled task."""

    method: Method = setting(
        "auto", "What is trained: a head on frozen features up to every weight; auto compares."
    )
    layers: int = setting(2, "Top blocks that train in method partial.", unit="layers", ge=1)
    head: Literal["mean", "family"] = setting(
        "mean",
        "What the last states become: their mean and a linear map, or the family's own head, such "
        "as one on the class token of a vit.",
    )
    crop: float = setting(
        0.6,
        "Least share of an image's area that a view of it keeps while fine-tuning; 1: all.",
        unit="share",
        source="milder than 0.08 (Szegedy et al. 2015), which takes hundreds of passes",
        gt=0,
        le=1,
    )
    unfreeze: Literal["at_once", "gradual"] = setting(
        "at_once", "Whether blocks start training together or from the top down."
    )
    rank: int = setting(8, "Rank of the LoRA matrices.", source="Hu et al. 2021", ge=1, le=1024)
    lr: float | None = setting(None, "Peak learning rate; null: the method's.", gt=0, le=1)
    epochs: int | None = setting(
        None,
        "Passes over the labels; null: 10 over up to 500 texts, 5 over 2,000, 2 over 12,500 and "
        "more; 10 over texts to be written; 30 over images.",
        unit="epochs",
        source="LOG.md: fewer passes over many labels",
        ge=1,
        le=10_000,
    )
    min_steps: int = setting(
        100,
        "Least steps of fine-tuning, however few the labels: more passes are made to reach them.",
        unit="steps",
        source="Mosbach et al. 2021: few steps are what fails with few labels",
        ge=1,
        le=1_000_000,
    )
    max_steps: int = setting(
        20_000,
        "Most steps of fine-tuning, however many the labels; where it is less than min_steps, it "
        "holds.",
        unit="steps",
        source="cost of a run bounded",
        ge=1,
        le=100_000_000,
    )
    layer_decay: float = setting(
        0.9,
        "Factor on the learning rate for each block further from the head.",
        source="Clark et al. 2020: 0.8 for small models",
        gt=0,
        le=1,
    )
    tokens_per_batch: int = setting(
        1024,
        "Tokens in one step of fine-tuning; those of 64 images, unless given.",
        unit="tokens",
        ge=8,
        le=16_777_216,
    )
    warmup: float = setting(
        0.1,
        "Share of fine-tuning that warms up; over the rest the rate decays to zero.",
        unit="share",
        source="Devlin et al. 2019, their released code",
        ge=0,
        lt=1,
    )
    weight_decay: float = setting(
        0.01,
        "Decoupled decay of matrices in fine-tuning; norms and biases never decay.",
        unit="per unit of learning rate",
        source="Devlin et al. 2019, A.2",
        ge=0,
        le=10,
    )
    dropout: float = setting(
        0.1,
        "Share of activations dropped while fine-tuning.",
        unit="share",
        source="Devlin et al. 2019, A.2",
        ge=0,
        lt=1,
    )
    head_scale: float = setting(
        0.1,
        "Factor on the scores of the probe that fine-tuning starts from; below 1 it is less sure "
        "of itself, which leaves the body a gradient.",
        source="own trial on the demo's labels",
        gt=0,
        le=1,
    )
    balanced: bool = setting(
        False,
        "Whether all classes weigh the same, however rare they are.",
        source="scores count rows",
    )
    holdout: float = setting(
        0.0,
        "Share of the labels held out to stop fine-tuning early by; 0: none, every label trains.",
        unit="share",
        source="few labels: each one counts",
        ge=0,
        le=0.5,
    )
    patience: int = setting(
        3,
        "Checks in a row on labels held out (holdout) without a better score, after which "
        "fine-tuning stops.",
        unit="checks",
        ge=1,
        le=1000,
    )
    max_windows: int = setting(
        8,
        "Most windows of one text that are read; of a longer text, windows spread evenly.",
        unit="windows",
        source="cost of a text bounded to 8 times max_length",
        ge=1,
        le=100_000,
    )
    self_training: int = setting(
        0,
        "Rounds in which a probe takes its surest answers on the corpus (texts or images) for "
        "labels, where labels are classes; 0: none.",
        unit="rounds",
        source="Yarowsky 1995",
        ge=0,
        le=100,
    )

    def refuse_self_training(self, corpus: tuple[str, ...]) -> None:
        """Raise ValueError if self-training is asked for and there is nothing to do it with."""
        if self.self_training and not corpus:
            raise ValueError(
                f"transfer.self_training {self.self_training} needs data without labels: name "
                "files or folders of them in corpus, or write transfer.self_training: 0"
            )
        if self.self_training and self.method not in ("auto", "probe"):
            raise ValueError(
                f"transfer.self_training {self.self_training} is for a probe, but transfer.method "
                f"is {self.method}: write transfer.method: probe, or transfer.self_training: 0"
            )


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


def families_for(part: str) -> list[Family]:
    """The families that can do a part of an objective."""
    return families_of(OBJECTIVE_NEEDS[part])


def families_of(needs: frozenset[str]) -> list[Family]:
    """The families that can be of one of these arrangements."""
    return [
        family for family in get_args(Family) if needs & set(ARRANGEMENTS.get(family, ("encoder",)))
    ]


def objectives_for(*arrangements: str) -> list[ObjectiveName]:
    """The objectives that a model of one of these arrangements can do."""
    able = {part for part, needs in OBJECTIVE_NEEDS.items() if needs & set(arrangements)}
    return [name for name in get_args(ObjectiveName) if able.issuperset(name.split("+"))]


def _divisor(hidden: int, heads: int) -> int:
    return next(count for count in range(heads, 0, -1) if hidden % count == 0)
