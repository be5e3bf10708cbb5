"""The sections of settings that belong to labelled data: how they are read and learnt."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from headstart.settings import Settings, setting

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


ENCODING = "Encoding of the files; null: UTF-8 or a mark in the file."


class FileSettings(Settings):
    """How files are read by what trains nothing."""

    encoding: str | None = setting(None, ENCODING)


class TextSettings(Settings):
    """Which files, which columns, and how text becomes tokens."""

    paths: tuple[str, ...] = setting((), "Files and folders, as on the command line.", path=True)
    text: str | None = setting(None, "Column that holds the text; null: inferred.")
    label: str | None = setting(None, "Column that holds the label; null: inferred.")
    kind: Kind = setting(
        "auto", "What labels are: one class, several, a number, or a text to be written."
    )
    encoding: str | None = setting(None, ENCODING)
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
        "Share of activations dropped while fine-tuning; 0 for images, unless given.",
        unit="share",
        source="Devlin et al. 2019, A.2",
        ge=0,
        lt=1,
    )
    head_scale: float = setting(
        0.1,
        "Factor on the scores of the probe that fine-tuning starts from; below 1 it is less sure "
        "of itself, which leaves the body a gradient; 1 for images, unless given.",
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
