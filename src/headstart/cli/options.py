"""Every argument and option of the command line, once, so that one word means one thing."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from headstart import words


class Language(StrEnum):
    """Languages of the screen."""

    en = "en"
    zh = "zh"


Corpus = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="DATA...",
        help="Files and folders of unlabelled text, images, or images with captions.",
        show_default=False,
    ),
]
Labels = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="DATA",
        help="Labelled table (csv, tsv, jsonl or parquet), or a folder of images for every class.",
        show_default=False,
    ),
]
ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="Run folder, Hugging Face folder, or hf:ID.")
]
Test = Annotated[
    str | None,
    typer.Option("--test", help="Labelled test file or folder, opened once, at the end."),
]
Text = Annotated[str | None, typer.Option("--text", help="Column of the text (default: inferred)")]
Label = Annotated[
    str | None, typer.Option("--label", help="Column of the label (default: inferred)")
]
ProbeLabel = Annotated[
    str | None, typer.Option("--label", help="Column of the label of --probe (default: inferred)")
]
Task = Annotated[
    str | None,
    typer.Option(
        "--task", help="What labels are: auto, classes, multilabel, number, text (default: auto)"
    ),
]
Family = Annotated[
    str | None,
    typer.Option(
        "--family",
        help="modern, bert, roberta, gpt, llama, t5, marian, reformer, vit, clip or dual "
        "(default: modern)",
    ),
]
Size = Annotated[str | None, typer.Option("--size", help="mini, small or base (default: mini)")]
Objective = Annotated[
    str | None,
    typer.Option("--objective", help="mlm, mlm+nsp, causal, hybrid, ... (default: auto)"),
]
Then = Annotated[
    str | None,
    typer.Option("--then", help="Objective of a second stage, such as spans after mlm."),
]
Start = Annotated[
    str | None,
    typer.Option(
        "--from", help="scratch, a run folder, a Hugging Face folder, or hf:ID (default: scratch)"
    ),
]
StartText = Annotated[
    str | None,
    typer.Option(
        "--from-text", help="For images with captions: what the tower of texts begins from."
    ),
]
StartImages = Annotated[
    str | None,
    typer.Option("--from-images", help="The same for the tower of images, such as a ViT run."),
]
Budget = Annotated[
    str | None,
    typer.Option("--budget", help="30m, 4h, 2000 steps, 50M tokens, 10 epochs (default: 30m)"),
]
Probe = Annotated[
    str | None,
    typer.Option("--probe", help="Labelled file or folder probed while pretraining runs."),
]
Method = Annotated[
    str | None, typer.Option("--method", help="auto, probe, lora, partial or full (default: auto)")
]
Epochs = Annotated[
    int | None,
    typer.Option("--epochs", help="Passes over the labels (default: by their number)"),
]
Seeds = Annotated[
    int | None, typer.Option("--seeds", help="Repeats with other seeds (default: 3; report 5)")
]
Seed = Annotated[int | None, typer.Option("--seed", help="First seed (default: 0)")]
Out = Annotated[str | None, typer.Option("--out", help="Run folder (default: runs/NAME)")]
Threads = Annotated[int | None, typer.Option("--threads", help="CPU threads (default: all cores)")]
VocabSize = Annotated[
    int | None,
    typer.Option("--vocab-size", help="Most entries of a trained vocabulary (default: 8192)"),
]
MaxLength = Annotated[
    int | None, typer.Option("--max-length", help="Longest sequence in tokens (default: 128)")
]
CorpusOption = Annotated[
    list[str] | None,
    typer.Option("--corpus", help="Unlabelled file or folder to pretrain on; may repeat."),
]
Public = Annotated[
    list[str] | None,
    typer.Option("--public", help="Public model to compare with, a folder or hf:ID; may repeat."),
]
LabelCounts = Annotated[
    str | None,
    typer.Option(
        "--labels", help="Label counts of the curve, with commas (default: 50,200,1000,all)"
    ),
]
Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT...",
        help="Texts, images, files and folders of them (CLIP: images and texts); - reads stdin.",
    ),
]
Prompts = Annotated[
    list[str] | None,
    typer.Argument(metavar="PROMPT...", help="Texts to go on from; - reads lines from stdin."),
]
PromptFile = Annotated[
    Path | None, typer.Option("--file", help="File of further prompts, one a line or row.")
]
MaxNew = Annotated[
    int | None,
    typer.Option("--max-new", help="Most tokens that are written; 64 if the folder does not say."),
]
Temperature = Annotated[
    float | None,
    typer.Option("--temperature", help="0 takes the likeliest token, more draws more freely."),
]
TopK = Annotated[
    int | None, typer.Option("--top-k", help="Draw from the so many likeliest; 0 is all.")
]
TopP = Annotated[
    float | None,
    typer.Option("--top-p", help="Draw from the fewest tokens with this probability together."),
]
Beams = Annotated[
    int | None, typer.Option("--beams", help="Look for the likeliest text among so many at once.")
]
LengthPenalty = Annotated[
    float | None,
    typer.Option("--length-penalty", help="With beams: above 1 for longer texts, below for short."),
]
RepetitionPenalty = Annotated[
    float | None,
    typer.Option("--repetition-penalty", help="Above 1 to make tokens that occurred less likely."),
]
Stop = Annotated[
    list[str] | None,
    typer.Option("--stop", help="Text before which what is written ends; may repeat."),
]
Paths = Annotated[list[str], typer.Argument(metavar="DATA...", help="Files and folders.")]
Measure = Annotated[
    bool, typer.Option("--measure", help="Also time matrix products (some seconds).")
]
Config = Annotated[
    Path | None, typer.Option("--config", help="Settings file, such as the run.yaml of a run.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any setting, such as optimizer.lr=3e-4."),
]
Reading = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="How files are read, such as data.encoding=gb18030."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout instead of text.")]
Lang = Annotated[
    Language | None,
    typer.Option("--lang", help="Language of the screen: en or zh (default: from LANG)"),
]


def chosen(lang: Language | None) -> words.Lang | None:
    """The language asked for by --lang, if any."""
    return None if lang is None else ("zh" if lang is Language.zh else "en")
