"""What the verbs give back. Plain values: a result can be printed, written as JSON, or looked into.

Every result answers three questions alike: `facts` for people (keys of `words.WORDS` with values),
`record` for machines, and `next_commands`, what one would type now.
"""

from __future__ import annotations

import dataclasses
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from headstart.budget import format_seconds
from headstart.words import Verbatim

if TYPE_CHECKING:
    from headstart.evaluate.retrieval import Recall, Retrieval

Json = str | int | float | bool | None | Sequence["Json"] | Mapping[str, "Json"]
Fact = tuple[str, str]
Spreads = Mapping[str, tuple[float, float, float]]  # a value and the ends of its interval


@runtime_checkable
class Result(Protocol):
    """What the command line can show."""

    def facts(self) -> Sequence[Fact]:
        """Label (a key of `words.WORDS`, or plain text) and value, in reading order."""

    def record(self) -> Mapping[str, Json]:
        """Everything, as JSON values."""

    def next_commands(self) -> Sequence[str]:
        """Commands to type now."""


def to_json(value: object) -> Json:
    """Any result value as JSON: paths as text, numbers that are not finite as null."""
    json: Json
    match value:
        case None | bool() | str():
            json = value
        case int() | float():
            json = value if math.isfinite(value) else None
        case Mapping():
            json = {str(name): to_json(item) for name, item in value.items()}
        case list() | tuple() | set() | frozenset():
            json = [to_json(item) for item in value]
        case _ if dataclasses.is_dataclass(value):
            json = {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
        case _ if hasattr(value, "tolist"):
            json = to_json(value.tolist())
        case _:
            json = str(value)
    return json


@dataclass(frozen=True)
class Retrieved:
    """How often images and captions find each other.

    baseline: of colours and words alone, where training pairs are at hand. leaked: test images that
    look like one of the run's; None where that cannot be told.
    """

    model: Retrieval
    baseline: Retrieval | None = None
    leaked: int | None = None

    def facts(self) -> Sequence[Fact]:
        """Recall both ways beside the baseline and chance."""
        lines = [
            ("pairs_measured", f"{self.model.images:,} / {self.model.texts:,}"),
            ("image_to_text", _recalls(self.model.to_text)),
            ("text_to_image", _recalls(self.model.to_image)),
        ]
        if self.baseline is not None:
            lines += [
                ("colours_to_text", _recalls(self.baseline.to_text)),
                ("text_to_colours", _recalls(self.baseline.to_image)),
            ]
        by_chance = [" ".join(f"R@{r.at} {r.chance:.3f}" for r in way) for way in self._ways()]
        lines.append(("by_chance", " / ".join(dict.fromkeys(by_chance))))
        if self.leaked is not None:
            lines.append(("leaked_images", f"{self.leaked:,}"))
        return lines

    def record(self) -> Mapping[str, Json]:
        """Everything, for machines."""
        return _record(self)

    def next_commands(self) -> Sequence[str]:
        """Nothing follows from a number alone."""
        return []

    def _ways(self) -> tuple[Sequence[Recall], Sequence[Recall]]:
        return self.model.to_text, self.model.to_image


def _recalls(found: Sequence[Recall]) -> str:
    return "  ".join(f"R@{r.at} {r.value:.3f} [{r.low:.3f}, {r.high:.3f}]" for r in found)


@dataclass(frozen=True)
class PretrainResult:
    """A finished pretraining run.

    folder: the run folder; its `model/` opens anywhere. seconds: wall-clock time.
    loss, held_out_loss: mean loss of the last steps, and on documents held out (nats a target).
    reads: what the model reads; writes: whether it goes on with texts.
    retrieval: of captions for images held out and the reverse.
    """

    folder: Path
    steps: int
    tokens: int
    seconds: float
    loss: float
    held_out_loss: float
    reads: Literal["text", "images", "pairs"] = "text"
    retrieval: Retrieved | None = None
    writes: bool = False

    @property
    def model(self) -> Path:
        """The Hugging Face folder of the trained model."""
        return self.folder / "model"

    def facts(self) -> Sequence[Fact]:
        """What happened, for people."""
        return [
            ("steps", f"{self.steps:,}"),
            ("tokens", f"{self.tokens:,}"),
            ("seconds", format_seconds(round(self.seconds))),
            ("loss", f"{self.loss:.3f}"),
            ("held_out_loss", f"{self.held_out_loss:.3f}"),
            *(() if self.retrieval is None else self.retrieval.facts()),
            ("run_folder", str(self.folder)),
            ("model_folder", str(self.model)),
        ]

    def record(self) -> Mapping[str, Json]:
        """Everything, for machines."""
        return _record(self)

    def next_commands(self) -> Sequence[str]:
        """Transfer the model, ask whether it paid, or let it write."""
        run = shlex.quote(str(self.folder))
        if self.reads == "pairs":
            return [
                f"headstart evaluate {run} pairs.csv",
                f'headstart predict {run} photo.jpg "a red shoe" "a blue shirt"',
            ]
        labels = "labels.csv" if self.reads == "text" else "labelled/"
        return [
            f"headstart finetune {labels} --from {run}",
            f"headstart report {labels} --from {run}",
            *([f'headstart generate {run} "a beginning"'] if self.writes else []),
        ]


@dataclass(frozen=True)
class Measured:
    """One score with its 95 % interval. metric: its name; rows: examples it was measured on.

    spreads: where texts were written, (value, low, high) of every score by its name, of the "model"
    and of the controls beside it.
    """

    metric: str
    score: float
    low: float
    high: float
    rows: int
    per_class: Mapping[str, float] = field(default_factory=dict)
    others: Mapping[str, float] = field(default_factory=dict)
    spreads: Mapping[str, Spreads] = field(default_factory=dict)

    def facts(self) -> Sequence[Fact]:
        """The score, its interval, and each class."""
        lines = [
            (self.metric, f"{self.score:.4f}"),
            ("interval", f"{self.low:.4f} - {self.high:.4f}"),
            ("rows", f"{self.rows:,}"),
        ]
        spread = self.spreads.get("model", {})
        for name, value in self.others.items():
            ends = f" ({spread[name][1]:.4f} - {spread[name][2]:.4f})" if name in spread else ""
            lines.append((name, f"{value:.4f}{ends}"))
        lines += [(f"  {name}", f"{v:.4f}") for name, v in self.per_class.items()]
        controls = [(name, some) for name, some in self.spreads.items() if name != "model"]
        return [*lines, *((name, _in_one_line(some, self.metric)) for name, some in controls)]

    def record(self) -> Mapping[str, Json]:
        """Everything, for machines."""
        return _record(self)

    def next_commands(self) -> Sequence[str]:
        """Nothing follows from a number alone."""
        return []


@dataclass(frozen=True)
class FinetuneResult:
    """A finished transfer: the model of the best seed, and the score over all seeds."""

    folder: Path
    method: str
    measured: Measured
    seeds: int
    seconds: float
    reads: Literal["text", "images"] = "text"

    @property
    def model(self) -> Path:
        """The Hugging Face folder of the trained model."""
        return self.folder / "model"

    def facts(self) -> Sequence[Fact]:
        """What was learnt and how well, for people."""
        return [
            ("method", self.method),
            *self.measured.facts(),
            ("seconds", format_seconds(round(self.seconds))),
            ("model_folder", str(self.model)),
        ]

    def record(self) -> Mapping[str, Json]:
        """Everything, for machines."""
        return _record(self)

    def next_commands(self) -> Sequence[str]:
        """Measure it, or use it."""
        run = shlex.quote(str(self.folder))
        if self.reads == "images":
            return [f"headstart evaluate {run} test/", f"headstart predict {run} photo.jpg"]
        return [f"headstart evaluate {run} test.csv", f'headstart predict {run} "some text"']


@dataclass(frozen=True)
class Prediction:
    """One answer. text: the text, or where the image is. label: the class, the number, or what was
    written. share: the model's probability of a class.
    """

    text: str
    label: str
    share: float | None = None


@dataclass(frozen=True)
class Predictions:
    """Answers in the order of the inputs."""

    answers: Sequence[Prediction]

    def facts(self) -> Sequence[Fact]:
        """Each text with its answer."""
        return [
            (
                Verbatim(answer.label + ("" if answer.share is None else f" {answer.share:.2f}")),
                Verbatim(" ".join(answer.text.split())[:100]),
            )
            for answer in self.answers
        ]

    def record(self) -> Mapping[str, Json]:
        """Everything, for machines."""
        return _record(self)

    def next_commands(self) -> Sequence[str]:
        """Nothing to suggest."""
        return []


@dataclass(frozen=True)
class Generated:
    """What a model wrote. tokens: how many; ended: "end" (by itself), "stop" (before a stop
    string) or "length" (it was long enough).
    """

    prompt: str
    text: str
    tokens: int
    ended: str


@dataclass(frozen=True)
class Generations:
    """Texts in the order of the prompts. shown: whether the screen has the only one already."""

    texts: Sequence[Generated]
    shown: bool = False

    def facts(self) -> Sequence[Fact]:
        """Each prompt with its text."""
        if self.shown:
            return []
        return [
            (Verbatim(" ".join(t.prompt.split())[:40]), Verbatim(" ".join(t.text.split())))
            for t in self.texts
        ]

    def record(self) -> Mapping[str, Json]:
        """Everything, for machines."""
        return {"texts": to_json(self.texts)}

    def next_commands(self) -> Sequence[str]:
        """Nothing to suggest."""
        return []


@dataclass(frozen=True)
class Comparison:
    """Two models on the same examples. difference: second minus first, with its 95 % interval."""

    first: str
    second: str
    metric: str
    first_score: float
    second_score: float
    difference: float
    low: float
    high: float
    verdict: str

    def facts(self) -> Sequence[Fact]:
        """Both scores, the difference, and what it means."""
        return [
            (self.first, f"{self.metric} {self.first_score:.4f}"),
            (self.second, f"{self.metric} {self.second_score:.4f}"),
            ("difference", f"{self.difference:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"),
            ("verdict", self.verdict),
        ]

    def record(self) -> Mapping[str, Json]:
        """Everything, for machines."""
        return _record(self)

    def next_commands(self) -> Sequence[str]:
        """Nothing to suggest."""
        return []


def _in_one_line(scores: Spreads, metric: str) -> str:
    """A control's scores, the one that leads first and with its interval."""
    value, low, high = scores[metric]
    others = "".join(f", {name} {one[0]:.4f}" for name, one in scores.items() if name != metric)
    return f"{metric} {value:.4f} ({low:.4f} - {high:.4f}){others}"


def _record(result: object) -> Mapping[str, Json]:
    json = to_json(result)
    assert isinstance(json, Mapping), "results are dataclasses"
    return json
