"""How a text is continued: one frozen value, refused at once where it contradicts itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from headstart.errors import InputError

EarlyStopping = Literal["no", "yes", "never"]


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """Which token comes next, and when a text ends.

    max_new, min_new: tokens that are written, the end token not counted in the least.
    temperature: 0 takes the likeliest token; above it tokens are drawn, from scores divided by it.
    top_k: draw from the so many likeliest; 0: all. top_p: draw from the fewest that together have
    this probability (Holtzman et al. 2020).
    beams: texts kept at once (beam search); the best is given. length_penalty: its scores are
    divided by length to this power. early_stopping: "yes" ends when there are as many finished
    texts as beams, "no" when no better one is likely, "never" when no better one is possible.
    repetition_penalty: scores of tokens that occur already are divided by it, or multiplied if
    negative (Keskar et al. 2019). no_repeat_ngram: no so many tokens in a row occur twice; 0: may.
    ends: ids that end a text. banned: ids that are never written. forced_end: id with which a text
    ends that reaches max_new. seed: of what is drawn.
    All mean what they do in transformers, where "early_stopping" is spelled True, False, "never".
    """

    max_new: int = 64
    min_new: int = 0
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    beams: int = 1
    length_penalty: float = 1.0
    early_stopping: EarlyStopping = "no"
    repetition_penalty: float = 1.0
    no_repeat_ngram: int = 0
    ends: tuple[int, ...] = ()
    banned: tuple[int, ...] = ()
    forced_end: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        checks = (
            ("max_new", self.max_new >= 1, "at least 1"),
            ("min_new", 0 <= self.min_new <= self.max_new, f"from 0 to max_new {self.max_new}"),
            ("temperature", 0 <= self.temperature <= 100, "from 0 (the likeliest token) to 100"),
            ("top_k", self.top_k >= 0, "0 (all tokens) or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1 (all tokens)"),
            ("beams", 1 <= self.beams <= 1000, "from 1 to 1000"),
            ("length_penalty", abs(self.length_penalty) <= 100, "from -100 to 100"),
            ("repetition_penalty", 0 < self.repetition_penalty <= 100, "above 0 and at most 100"),
            ("no_repeat_ngram", self.no_repeat_ngram >= 0, "0 (off) or more"),
            ("seed", 0 <= self.seed < 2**63, "from 0 to 2^63 - 1"),
        )
        for name, good, allowed in checks:
            if not good:
                raise InputError(f"{name} is {getattr(self, name)}, but must be {allowed}")
        if not self.drawn and (self.top_k or self.top_p < 1):
            raise InputError(
                "top_k and top_p say from which tokens one is drawn, but temperature 0 draws none: "
                "leave them out, or give a temperature above 0"
            )
        if self.beams == 1 and (self.length_penalty != 1 or self.early_stopping != "no"):
            raise InputError(
                "length_penalty and early_stopping belong to beam search: give beams, or leave "
                "them out"
            )
        if self.drawn and self.beams > 1:
            raise InputError(
                "beams looks for the likeliest text, temperature draws one: give one of them"
            )

    @property
    def drawn(self) -> bool:
        """Whether tokens are drawn at random."""
        return self.temperature > 0
