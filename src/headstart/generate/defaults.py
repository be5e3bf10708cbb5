"""What a model folder says of how its texts are continued, and what a person asks for instead.

In: generation_config.json, if the folder has one, and the choices that were given. Out: a
`Decoding`. Keys that mean nothing here are named in a note; values of the wrong kind are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from headstart.data.columns import nearest
from headstart.errors import InputError
from headstart.families.fields import Fields, Json, read_fields
from headstart.generate.settings import Decoding, EarlyStopping
from headstart.words import say

FILE = "generation_config.json"
STOCK_TOP_K = 50  # from how many tokens transformers draws where a folder asks for drawing only

# said elsewhere in the folder, or of how transformers computes, not of what is written
ASIDE = frozenset(
    {
        "bos_token_id",
        "pad_token_id",
        "decoder_start_token_id",
        "transformers_version",
        "use_cache",
        "cache_implementation",
    }
)


class Choices(TypedDict, total=False):
    """Fields of `Decoding` that were chosen."""

    max_new: int
    min_new: int
    temperature: float
    top_k: int
    top_p: float
    beams: int
    length_penalty: float
    early_stopping: EarlyStopping
    repetition_penalty: float
    no_repeat_ngram: int
    ends: tuple[int, ...]
    banned: tuple[int, ...]
    forced_end: int | None
    seed: int


@dataclass(frozen=True)
class Defaults:
    """What the folder asks for. notes: what of it is left aside, for the user."""

    choices: Choices
    notes: tuple[str, ...] = ()


def read_defaults(folder: Path, *, two: bool, end: int | None) -> Defaults:
    """The choices of a model folder.

    two: whether it is an encoder-decoder, whose lengths count only what is written. end: the
    tokenizer's last token, which ends a text where the folder names none.
    """
    path = folder / FILE
    config = read_fields(folder / "config.json")
    ends = _ids(config, "eos_token_id") or (() if end is None else (end,))
    if not path.is_file():
        return Defaults({"ends": ends})
    hf = read_fields(path)
    known = _Keys(hf)
    choices: Choices = {"ends": _ids(hf, "eos_token_id") or ends}
    known.see("eos_token_id", "do_sample", "temperature", "top_k", "top_p")
    if hf.flag("do_sample", False):
        choices["temperature"] = hf.number("temperature", 1.0, low=1e-6, high=100)
        choices["top_k"] = hf.whole("top_k", STOCK_TOP_K, low=0)
        choices["top_p"] = hf.number("top_p", 1.0, low=1e-9, high=1)
    known.see("num_beams", "length_penalty", "early_stopping")
    if (beams := hf.whole("num_beams", 1, high=1000)) > 1:
        choices["beams"] = beams
        choices["length_penalty"] = hf.number("length_penalty", 1.0, low=-100, high=100)
        choices["early_stopping"] = _early(hf)
    known.see("repetition_penalty", "no_repeat_ngram_size")
    choices["repetition_penalty"] = hf.number("repetition_penalty", 1.0, low=1e-6, high=100)
    choices["no_repeat_ngram"] = hf.whole("no_repeat_ngram_size", 0, low=0)
    _read_lengths(hf, known, choices, two=two)
    _read_bans(hf, known, choices)
    return Defaults(choices, known.notes())


class _Keys:
    """The keys of a file, and which of them were understood."""

    def __init__(self, hf: Fields):
        self.hf, self._seen = hf, set(ASIDE)

    def see(self, *names: str) -> None:
        """These keys are understood."""
        self._seen.update(names)

    def notes(self) -> tuple[str, ...]:
        """One note that names the others, if there are any with a value."""
        values = self.hf.values
        left = [
            name
            for name, value in values.items()
            if name not in self._seen and not name.startswith("_") and value not in (None, False)
        ]
        if not left:
            return ()
        return (say("unknown_generation", source=self.hf.source, keys=", ".join(sorted(left))),)


def _read_lengths(hf: Fields, known: _Keys, choices: Choices, *, two: bool) -> None:
    known.see("max_new_tokens", "min_new_tokens")
    if two:  # the start token counts there
        known.see("max_length", "min_length")
        if "max_length" in hf.values:
            choices["max_new"] = max(1, hf.whole("max_length", 20) - 1)
        choices["min_new"] = max(0, hf.whole("min_length", 0, low=0) - 1)
    elif hf.values.get("min_length") == 0:
        known.see("min_length")
    if hf.values.get("max_new_tokens") is not None:
        choices["max_new"] = hf.whole("max_new_tokens")
    if hf.values.get("min_new_tokens") is not None:
        choices["min_new"] = hf.whole("min_new_tokens", low=0)


def _read_bans(hf: Fields, known: _Keys, choices: Choices) -> None:
    known.see("suppress_tokens", "forced_eos_token_id")
    banned = list(_ids(hf, "suppress_tokens"))
    words = hf.values.get("bad_words_ids")
    if isinstance(words, list) and all(isinstance(w, list) and len(w) == 1 for w in words):
        known.see("bad_words_ids")
        for word in words:
            banned += _ids(Fields({"bad_words_ids": word}, hf.source), "bad_words_ids")
    choices["banned"] = tuple(dict.fromkeys(banned))
    forced = _ids(hf, "forced_eos_token_id")
    choices["forced_end"] = forced[0] if forced else None


def _early(hf: Fields) -> EarlyStopping:
    if hf.values.get("early_stopping") == "never":
        return "never"
    return "yes" if hf.flag("early_stopping", False) else "no"


def _ids(hf: Fields, key: str) -> tuple[int, ...]:
    """One id or a list of them."""
    value: Json = hf.values.get(key)
    if value is None:
        return ()
    many = value if isinstance(value, list) else [value]
    for one in many:
        if isinstance(one, bool) or not isinstance(one, int) or one < 0:
            raise hf.refused(key, value, "a token id or a list of them")
    return tuple(one for one in many if isinstance(one, int))


def decoding(defaults: Choices, given: Choices) -> Decoding:
    """The defaults with what was given in their place.

    Who asks for drawing does without the folder's beams, and the other way round. Raises
    InputError where what was given contradicts itself.
    """
    for name in given:
        if name not in Choices.__annotations__:
            near = nearest(name, Choices.__annotations__, cutoff=0.5)
            hint = f" Did you mean {near}?" if near else ""
            raise InputError(f"{name}: no such setting.{hint}")
    kept: Choices = {**defaults}
    drawing: Sequence[str] = ("temperature", "top_k", "top_p")
    if given.get("temperature") == 0 or given.get("beams", 1) > 1:
        _drop(kept, drawing)
    elif any(name in given for name in drawing):
        _drop(kept, ("beams", "length_penalty", "early_stopping"))
        kept.setdefault("temperature", 1.0)
    if given.get("beams") == 1:
        _drop(kept, ("length_penalty", "early_stopping"))
    if "max_new" in given and "min_new" in kept:
        kept["min_new"] = min(kept["min_new"], given["max_new"])
    chosen: Choices = {**kept, **given}
    return Decoding(**chosen)


def _drop(choices: Choices, names: Sequence[str]) -> None:
    for name in names:
        choices.pop(name, None)  # type: ignore[misc]
