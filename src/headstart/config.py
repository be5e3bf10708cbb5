"""The settings of the verbs: what can be chosen, its default, its unit and its default's source.

Settings select from closed lists and never name code; they are frozen values. Nothing is read here:
files and overrides are `settings_file`'s work, numbers that depend on data are the recipes'.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, PlainSerializer, field_validator, model_validator

from headstart.budget import Budget, parse_budget
from headstart.settings import Settings, refuse_overlap, setting

Family = Literal["bert", "roberta", "modernbert", "gpt"]
Size = Literal["mini", "small", "base"]
ObjectiveName = Literal["mlm", "mlm+nsp", "nsp", "causal"]
Method = Literal["auto", "probe", "lora", "partial", "full"]
Kind = Literal["auto", "classes", "multilabel", "number"]
TokenizerKind = Literal["wordpiece", "bpe", "unigram", "bytes"]


def _read_budget(value: object) -> Budget:
    if isinstance(value, Budget):
        return value
    if isinstance(value, str):
        return parse_budget(value)
    raise ValueError(f"needs a unit: for minutes write {value}m")


BudgetField = Annotated[Budget, BeforeValidator(_read_budget), PlainSerializer(str)]


class ModelSettings(Settings):
    """Which network is built when training starts from nothing."""

    family: Family = setting("bert", "Family of Transformers.", source="encoder for labels")
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

    def shape(self) -> tuple[int, int, int, int]:
        """num_layers, hidden_size, num_heads, intermediate_size: the preset, or what was given."""
        layers, hidden, heads = self.SIZES[self.size]
        hidden = self.hidden_size or hidden
        return (
            self.num_layers or layers,
            hidden,
            self.num_heads or heads,
            self.intermediate_size or 4 * hidden,
        )


class ObjectiveSettings(Settings):
    """What is predicted from unlabelled text."""

    name: ObjectiveName = setting(
        "mlm", "What is predicted.", source="Liu et al. 2019: next-sentence loss not needed"
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


class DataSettings(Settings):
    """Which files, which columns, and how text becomes batches."""

    paths: tuple[str, ...] = setting((), "Files and folders, as on the command line.", path=True)
    text: str | None = setting(None, "Column that holds the text; null: inferred.")
    label: str | None = setting(None, "Column that holds the label; null: inferred.")
    kind: Kind = setting("auto", "What labels are: one class, several, or a number.")
    encoding: str | None = setting(
        None, "Encoding of the files; null: UTF-8 or a mark in the file."
    )
    tokenizer: TokenizerKind = setting(
        "wordpiece", "Kind of tokenizer trained on the corpus.", source="Devlin et al. 2019"
    )
    lowercase: bool = setting(True, "Whether the tokenizer ignores case.", source="BERT uncased")
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
    tokens_per_batch: int = setting(
        8192,
        "Tokens in one step.",
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
    unfreeze: Literal["at_once", "gradual"] = setting(
        "at_once", "Whether blocks start training together or from the top down."
    )
    rank: int = setting(8, "Rank of the LoRA matrices.", source="Hu et al. 2021", ge=1, le=1024)
    lr: float | None = setting(None, "Peak learning rate; null: the method's.", gt=0, le=1)
    epochs: int = setting(10, "Passes over the labels.", unit="epochs", ge=1, le=10_000)
    seeds: int = setting(3, "Repeats with other seeds; the spread is reported.", ge=1, le=100)
    layer_decay: float = setting(
        0.9,
        "Factor on the learning rate for each block further from the head.",
        source="Clark et al. 2020: 0.8 for small models",
        gt=0,
        le=1,
    )
    tokens_per_batch: int = setting(
        1024, "Tokens in one step of fine-tuning.", unit="tokens", ge=8, le=16_777_216
    )

    METHOD_LR: ClassVar[dict[Method, float]] = {
        "auto": 3e-4,
        "probe": 1e-2,
        "lora": 3e-3,
        "partial": 5e-4,
        "full": 3e-4,
    }

    def learning_rate(self, method: Method) -> float:
        """The rate given, or the method's own (small models want more than BERT's 2e-5)."""
        return self.METHOD_LR[method] if self.lr is None else self.lr


class MachineSettings(Settings):
    """Where and how precisely it is computed."""

    device: Literal["auto", "cpu", "cuda", "mps"] = setting(
        "auto", "The best there is, or this one."
    )
    precision: Literal["auto", "bf16", "fp32"] = setting(
        "auto", "bf16 where the processor computes in it, or this one.", source="own measurement"
    )
    threads: int | None = setting(None, "CPU threads; null: all cores.", ge=1, le=4096)


class PretrainSettings(Settings):
    """Everything `headstart pretrain` can be told."""

    data: DataSettings = Field(default_factory=DataSettings, description="Files and batches.")
    start: str = setting(
        "scratch", "scratch, a run folder, a Hugging Face folder, or hf:ID.", path=True
    )
    probe: str | None = setting(
        None, "Labelled file that is probed while pretraining runs.", path=True
    )
    model: ModelSettings = Field(default_factory=ModelSettings, description="The network.")
    objective: ObjectiveSettings = Field(
        default_factory=ObjectiveSettings, description="What is predicted."
    )
    optimizer: OptimizerSettings = Field(
        default_factory=OptimizerSettings, description="How weights move."
    )
    schedule: ScheduleSettings = Field(
        default_factory=ScheduleSettings, description="Learning rate over the run."
    )
    budget: BudgetField = Field(
        Budget(1800, "seconds"),
        description="How much work.",
        json_schema_extra={"unit": "time, steps, tokens or epochs", "source": "a first success"},
    )
    save_minutes: float = setting(
        5.0, "Longest time between checkpoints.", unit="minutes", source="work lost by a kill", gt=0
    )
    keep: int = setting(2, "Checkpoints kept.", ge=1, le=1000)
    machine: MachineSettings = Field(
        default_factory=MachineSettings, description="Where it is computed."
    )
    seed: int = setting(0, "Seed of weights, order and masks.", ge=0, lt=2**63)
    out: str | None = setting(None, "Run folder; null: runs/ with a name from the data.", path=True)

    @model_validator(mode="after")
    def _out_apart(self) -> Self:
        refuse_overlap(self.out, self.data.paths)
        return self


class FinetuneSettings(Settings):
    """Everything `headstart finetune` can be told."""

    data: DataSettings = Field(default_factory=DataSettings, description="Files and batches.")
    start: str = setting(
        "scratch", "scratch, a run folder, a Hugging Face folder, or hf:ID.", path=True
    )
    test: str | None = setting(None, "Labelled file, opened once, at the end.", path=True)
    model: ModelSettings = Field(default_factory=ModelSettings, description="For start: scratch.")
    transfer: TransferSettings = Field(
        default_factory=TransferSettings, description="How the task is learnt."
    )
    optimizer: OptimizerSettings = Field(
        default_factory=lambda: OptimizerSettings(name="adamw"), description="How weights move."
    )
    schedule: ScheduleSettings = Field(
        default_factory=lambda: ScheduleSettings(warmup=0.1, decay=0.9),
        description="Learning rate over the run.",
    )
    machine: MachineSettings = Field(
        default_factory=MachineSettings, description="Where it is computed."
    )
    seed: int = setting(0, "First seed; repeats count up from it.", ge=0, lt=2**63)
    out: str | None = setting(None, "Run folder; null: runs/ with a name from the data.", path=True)

    @model_validator(mode="after")
    def _out_apart(self) -> Self:
        refuse_overlap(self.out, self.data.paths)
        return self


class ReportSettings(Settings):
    """Everything `headstart report` can be told."""

    data: DataSettings = Field(default_factory=DataSettings, description="The labelled file.")
    corpus: tuple[str, ...] = setting((), "Unlabelled files and folders to pretrain on.", path=True)
    start: str | None = setting(
        None, "A pretrained run to judge instead of pretraining one.", path=True
    )
    public: str | None = setting(
        None, "A public model to compare with: a folder or hf:ID.", path=True
    )
    test: str | None = setting(
        None, "Labelled test file; null: a fifth of the labels is held out.", path=True
    )
    labels: tuple[str, ...] = setting(
        ("50", "200", "1000", "all"), "Label counts of the curve: numbers, or all.", unit="examples"
    )
    seeds: int = setting(
        5,
        "Repeats of every cell of the table.",
        source="smallest for a usable interval",
        ge=2,
        le=100,
    )
    pretrain_share: float = setting(
        0.5, "Share of the budget that pretraining gets.", unit="share", gt=0, lt=1
    )
    model: ModelSettings = Field(default_factory=ModelSettings, description="The network.")
    objective: ObjectiveSettings = Field(
        default_factory=ObjectiveSettings, description="What pretraining predicts."
    )
    optimizer: OptimizerSettings = Field(
        default_factory=OptimizerSettings, description="How weights move in pretraining."
    )
    schedule: ScheduleSettings = Field(
        default_factory=ScheduleSettings, description="Learning rate in pretraining."
    )
    transfer: TransferSettings = Field(
        default_factory=TransferSettings, description="How every arm learns the task."
    )
    budget: BudgetField = Field(
        Budget(1800, "seconds"),
        description="Time for everything: pretraining and all arms.",
        json_schema_extra={"unit": "time", "source": "a first success"},
    )
    machine: MachineSettings = Field(
        default_factory=MachineSettings, description="Where it is computed."
    )
    seed: int = setting(0, "First seed; repeats count up from it.", ge=0, lt=2**63)
    out: str | None = setting(None, "Run folder; null: runs/ with a name from the data.", path=True)

    @field_validator("labels", mode="before")
    @classmethod
    def _label_counts(cls, value: object) -> object:
        if not isinstance(value, list | tuple):
            return value
        counts = [str(item) for item in value]
        for count in counts:
            if count != "all" and not (count.isdecimal() and count.isascii() and int(count) > 0):
                raise ValueError(f"{count!r} must be a whole number of at least 1, or all")
        return tuple(counts)

    def counts(self, available: int) -> list[int]:
        """The label counts that `available` labelled examples allow, ascending, each once."""
        wanted = {available if count == "all" else int(count) for count in self.labels}
        return sorted(count for count in wanted if count <= available)

    @model_validator(mode="after")
    def _time_budget(self) -> Self:
        if self.budget.unit != "seconds":
            raise ValueError(
                f"budget '{self.budget}' must be a time for a report: write budget: 30m"
            )
        return self

    @model_validator(mode="after")
    def _out_apart(self) -> Self:
        refuse_overlap(self.out, (*self.data.paths, *self.corpus))
        return self


def _divisor(hidden: int, heads: int) -> int:
    return next(count for count in range(heads, 0, -1) if hidden % count == 0)
