"""The settings of the verbs, made of shared sections; those that only read data share one.

They are frozen values. Nothing is read here: files and overrides are `settings_file`'s work,
numbers that depend on data are the recipes'.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BeforeValidator, Field, PlainSerializer, field_validator, model_validator

from headstart.abilities import OBJECTIVE_NEEDS, Family, ObjectiveName, families_for
from headstart.budget import Budget, parse_budget
from headstart.image_sections import ColumnSettings, ImageSettings, PairSettings, PictureSettings
from headstart.sections import (
    MachineSettings,
    ModelSettings,
    ObjectiveSettings,
    OptimizerSettings,
    ScheduleSettings,
    Size,
)
from headstart.settings import Settings, refuse_overlap, setting
from headstart.task_sections import (
    ArmName,
    DataSettings,
    FileSettings,
    Kind,
    LabelSettings,
    Method,
    TextSettings,
    TokenizerKind,
    TransferSettings,
)

__all__ = [
    "AS_FOUND",
    "OBJECTIVE_NEEDS",
    "ColumnSettings",
    "DataSettings",
    "Family",
    "FileSettings",
    "FinetuneSettings",
    "ImageSettings",
    "Kind",
    "LabelSettings",
    "MachineSettings",
    "Method",
    "ModelSettings",
    "ObjectiveName",
    "ObjectiveSettings",
    "OptimizerSettings",
    "PairSettings",
    "PictureSettings",
    "PretrainSettings",
    "PromptSettings",
    "ReadSettings",
    "ReportSettings",
    "ScheduleSettings",
    "Size",
    "TextSettings",
    "TokenizerKind",
    "TransferSettings",
]


def _read_budget(value: object) -> Budget:
    if isinstance(value, Budget):
        return value
    if isinstance(value, str):
        return parse_budget(value)
    raise ValueError(f"needs a unit: for minutes write {value}m")


IMAGE_FAMILY: Family = "vit"
PAIR_FAMILY: Family = "clip"
PAIR_FAMILIES: tuple[Family, ...] = (PAIR_FAMILY, "dual")
BudgetField = Annotated[Budget, BeforeValidator(_read_budget), PlainSerializer(str)]


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
    then: ObjectiveName | None = setting(
        None,
        "What is predicted in a second stage, from where the first one ended; null: one stage.",
        source="Lehner et al. 2023, arXiv:2304.10520: contrast after hidden patches",
    )
    then_share: float = setting(
        0.3, "Share of the budget that the second stage gets.", unit="share", gt=0, lt=1
    )
    optimizer: OptimizerSettings = Field(
        default_factory=OptimizerSettings, description="How weights move."
    )
    schedule: ScheduleSettings = Field(
        default_factory=ScheduleSettings, description="Learning rate over the run."
    )
    images: ImageSettings = Field(
        default_factory=ImageSettings, description="How images are read, where data are images."
    )
    pairs: PairSettings = Field(
        default_factory=PairSettings, description="How images and captions are brought together."
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

    @model_validator(mode="before")
    @classmethod
    def _objective_of_family(cls, values: object) -> object:
        return writing_tokenizer(causal_by_default(towers_by_default(values)))

    @model_validator(mode="after")
    def _objective_fits(self) -> Self:
        if self.start == "scratch":
            self.objective.refuse(self.model)
        return self

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        named = self.pairs.named
        if named and self.start != "scratch":
            raise ValueError(
                f"start is {self.start} and {named} is given too: leave one of them out, as start "
                "is for both towers"
            )
        if named and self.model.family not in PAIR_FAMILIES:
            raise ValueError(
                f"{named} is a tower of a model of two, but model.family is {self.model.family}: "
                f"leave model.family out, or write {' or '.join(PAIR_FAMILIES)}"
            )
        return self


class FinetuneSettings(Settings):
    """Everything `headstart finetune` can be told."""

    data: LabelSettings = Field(default_factory=LabelSettings, description="The labelled file.")
    start: str = setting(
        "scratch", "scratch, a run folder, a Hugging Face folder, or hf:ID.", path=True
    )
    test: str | None = setting(None, "Labelled file, opened once, at the end.", path=True)
    corpus: tuple[str, ...] = setting(
        (), "Unlabelled files and folders for transfer.self_training.", path=True
    )
    model: ModelSettings = Field(default_factory=ModelSettings, description="For start: scratch.")
    transfer: TransferSettings = Field(
        default_factory=TransferSettings, description="How the task is learnt."
    )
    images: PictureSettings = Field(
        default_factory=PictureSettings, description="How images are read, where data are images."
    )
    seeds: int = setting(3, "Repeats with other seeds; the spread is reported.", ge=1, le=100)
    machine: MachineSettings = Field(
        default_factory=MachineSettings, description="Where it is computed."
    )
    seed: int = setting(0, "First seed; repeats count up from it.", ge=0, lt=2**63)
    out: str | None = setting(None, "Run folder; null: runs/ with a name from the data.", path=True)

    @model_validator(mode="after")
    def _out_apart(self) -> Self:
        refuse_overlap(self.out, (*self.data.paths, *self.corpus))
        self.transfer.refuse_self_training(self.corpus)
        return self


class ReportSettings(Settings):
    """Everything `headstart report` can be told."""

    data: DataSettings = Field(default_factory=DataSettings, description="The labelled file.")
    corpus: tuple[str, ...] = setting((), "Unlabelled files and folders to pretrain on.", path=True)
    start: str | None = setting(
        None, "A pretrained run to judge instead of pretraining one.", path=True
    )
    public: tuple[str, ...] = setting(
        (), "Public models to compare with: folders or hf:ID.", path=True
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
        ge=1,
        le=100,
    )
    arms: tuple[ArmName, ...] = setting((), "Arms to run; none named: all of them.")
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
    images: ImageSettings = Field(
        default_factory=ImageSettings, description="How images are read, where data are images."
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

    @model_validator(mode="before")
    @classmethod
    def _objective_of_family(cls, values: object) -> object:
        return writing_tokenizer(causal_by_default(values))

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
        self.transfer.refuse_self_training(self.corpus)
        if self.start is None:
            self.objective.refuse(self.model)
        return self


class PromptSettings(Settings):
    """What a verb that reads prompts can be told of their file."""

    data: FileSettings = Field(default_factory=FileSettings, description="How files are read.")


class ReadSettings(PromptSettings):
    """What the verbs that train nothing can be told of the files they read."""

    images: ColumnSettings = Field(
        default_factory=ColumnSettings, description="How tables of images are read."
    )


AS_FOUND = ReadSettings()


# of families that cannot do the usual one
OWN_OBJECTIVES: dict[Family, ObjectiveName] = {
    "gpt": "causal",
    "llama": "causal",
    "t5": "span_corruption",
    "marian": "span_corruption",
    IMAGE_FAMILY: "mae",
    PAIR_FAMILY: "image_text",
    "dual": "image_text",
}


def towers_by_default(values: object) -> object:
    """The values with a family of two towers, where one begins from a folder of its own."""
    if not isinstance(values, dict):
        return values
    pairs, model = values.get("pairs", {}), values.get("model", {})
    towers = isinstance(pairs, dict) and (pairs.get("start_text") or pairs.get("start_images"))
    if not towers or not isinstance(model, dict) or "family" in model:
        return values
    return {**values, "model": {**model, "family": PAIR_FAMILY}}


def causal_by_default(values: object) -> object:
    """The values with the family's objective, where a family but no objective is given."""
    if not isinstance(values, dict):
        return values
    model, objective = values.get("model", {}), values.get("objective", {})
    family = model.get("family") if isinstance(model, dict) else None
    implied = _image_family(objective)
    if family is None and isinstance(model, dict) and implied is not None:
        return {**values, "model": {**model, "family": implied}}
    if not isinstance(family, str) or not isinstance(objective, dict) or "name" in objective:
        return values
    name = OWN_OBJECTIVES.get(family)  # type: ignore[call-overload]
    return values if name is None else {**values, "objective": {**objective, "name": name}}


def _image_family(objective: object) -> Family | None:
    """The family of an objective, a part of which only one family of images can do."""
    name = str(objective.get("name")) if isinstance(objective, dict) else ""
    parts = [part for part in name.split("+") if part in OBJECTIVE_NEEDS]
    for family in (IMAGE_FAMILY, PAIR_FAMILY):
        if any(families_for(part)[0] == family for part in parts):
            return family
    return None


WRITING = ("causal", "span_corruption")  # parts of objectives after which a model writes text


def writing_tokenizer(values: object) -> object:
    """The values with a tokenizer that loses nothing of a text, where the model learns to write.

    A WordPiece model could write neither capitals nor line breaks, and no character it has not met.
    """
    if not isinstance(values, dict):
        return values
    objective, data = values.get("objective", {}), values.get("data", {})
    name = objective.get("name") if isinstance(objective, dict) else None
    if not isinstance(data, dict) or not set(str(name).split("+")) & set(WRITING):
        return values
    return {**values, "data": {"tokenizer": "bpe", "lowercase": False, **data}}
