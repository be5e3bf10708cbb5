"""Tokenizers applied to text, described, saved for others and loaded.

In: texts. Out: `Sequences` of ids without special tokens; `pack.lay_out` adds those.
The surprise: text that spells a special token ("[MASK]", "<|endoftext|>") is always encoded as
plain characters, never as the control id.

Legend: V vocabulary entries.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from headstart.batch import Sequences
from headstart.data.content import count_words
from headstart.data.inside import demand_inside
from headstart.data.vocabulary import CJK, STYLES, Kind, Style, train_tokenizer
from headstart.errors import CheckpointError, InputError

__all__ = [
    "STYLES",
    "Kind",
    "SpecialIds",
    "Style",
    "TokenizerFit",
    "encode",
    "frame_of",
    "framed",
    "in_groups",
    "load_tokenizer",
    "save_tokenizer",
    "sentinel_ids",
    "special_ids",
    "tokenizer_digest",
    "tokenizer_fit",
    "train_tokenizer",
    "word_starts",
]

TEXTS_AT_ONCE = 1000
TOKENIZER_BYTES = 64 * 2**20
CHARACTERS_AT_ONCE = 4_000_000
_CJK_START = re.compile(f"[{CJK}]")


# How each role is spelled by the families we read, the first one found counts.
_SPELLINGS: dict[str, tuple[str, ...]] = {
    "pad": ("[PAD]", "<pad>", "<|endoftext|>"),
    "unk": ("[UNK]", "<unk>"),
    "cls": ("[CLS]", "<s>", "<|startoftext|>", "<|endoftext|>"),
    "sep": ("[SEP]", "</s>", "<|endoftext|>"),
    "mask": ("[MASK]", "<mask>"),
}


@dataclass(frozen=True)
class SpecialIds:
    """Ids of the special tokens by role; None where the tokenizer has none.

    RoBERTa's <s> and </s> are cls and sep; GPT's <|endoftext|> is pad, cls and sep at once.
    """

    pad: int | None
    unk: int | None
    cls: int | None
    sep: int | None
    mask: int | None


@dataclass(frozen=True)
class TokenizerFit:
    """How well a tokenizer suits some texts.

    fertility: tokens per word; a CJK character counts as one word.
    unknown_share: of the tokens. truncated_share: of the texts, longer than the maximum.
    lost_share: of the tokens, behind the maximum length. longest: tokens, without special ones.
    """

    texts: int
    words: int
    tokens: int
    fertility: float
    unknown_share: float
    truncated_share: float
    lost_share: float
    longest: int


def encode(
    tokenizer: Tokenizer,
    texts: Iterable[str],
    *,
    max_length: int | None = None,
    empty: int | None = None,
) -> Sequences:
    """Ids of the texts, without special tokens, cut after `max_length` tokens.

    A text may give no token at all (length 0), unless `empty` is an id that then stands for it.
    Raises InputError naming the text that is not valid Unicode.
    """
    tokenizer.encode_special_tokens = True
    parts: list[np.ndarray] = []
    lengths: list[int] = []
    for group in in_groups(texts):
        for ids in _encode_group(tokenizer, group, len(lengths)):
            kept = ids if max_length is None else ids[:max_length]
            if not kept and empty is not None:
                kept = [empty]
            parts.append(np.asarray(kept, dtype=np.int32))
            lengths.append(len(kept))
    tokens = np.concatenate(parts) if parts else np.zeros(0, dtype=np.int32)
    return Sequences(tokens, np.asarray(lengths, dtype=np.int64), np.arange(len(lengths)))


def _encode_group(tokenizer: Tokenizer, texts: list[str], before: int) -> list[list[int]]:
    try:
        encoded = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    except TypeError:  # lone surrogates cannot be written as UTF-8
        for number, text in enumerate(texts):
            if any("\ud800" <= letter <= "\udfff" for letter in text):
                raise InputError(
                    f"text {before + number + 1} holds half of a surrogate pair, which is no "
                    f"character: {text[:60]!r}. Remove it, or repair the file's encoding."
                ) from None
        raise
    except BaseException as error:
        if _is_panic(error):
            raise CheckpointError(
                f"the tokenizer broke down on one of texts {before + 1} to {before + len(texts)} "
                f"({error}): its tokenizer.json is damaged, or was made to. Copy the model folder "
                "again, or leave the text out."
            ) from None
        raise
    return [encoding.ids for encoding in encoded]


def in_groups(
    texts: Iterable[str], *, most: int = TEXTS_AT_ONCE, characters: int = CHARACTERS_AT_ONCE
) -> Iterator[list[str]]:
    """Lists of at most `most` texts, in order, closed early when they hold enough characters."""
    group: list[str] = []
    size = 0
    for text in texts:
        group.append(text)
        size += len(text)
        if len(group) == most or size >= characters:
            yield group
            group, size = [], 0
    if group:
        yield group


def special_ids(tokenizer: Tokenizer) -> SpecialIds:
    """Which ids play the roles of padding, unknown, first, last and mask token."""
    named = {
        token.content: number
        for number, token in tokenizer.get_added_tokens_decoder().items()
        if token.special
    }
    found = {
        role: next((named[name] for name in names if name in named), None)
        for role, names in _SPELLINGS.items()
    }
    return SpecialIds(**found)


def frame_of(tokenizer: Tokenizer) -> tuple[int | None, int | None] | None:
    """The ids that the tokenizer itself puts before and after a text; None if it cannot be told.

    Raises InputError if there are several on one side.
    """
    encoded = tokenizer.encode("a")
    own = [place for place, added in enumerate(encoded.special_tokens_mask) if not added]
    if not own:
        return None
    before, after = encoded.ids[: own[0]], encoded.ids[own[-1] + 1 :]
    if max(len(before), len(after)) > 1:
        raise InputError(
            f"this tokenizer puts {len(before)} tokens before a text and {len(after)} after it, "
            "but headstart has room for one on each side"
        )
    return next(iter(before), None), next(iter(after), None)


def framed(tokenizer: Tokenizer, before: int | None, after: int | None) -> Tokenizer:
    """The tokenizer if it puts these special tokens around a text by itself, else a copy that does.

    So that stock libraries, which ask the tokenizer, show a model what it was trained on.
    """
    if frame_of(tokenizer) == (before, after):
        return tokenizer
    ids = [number for number in (before, after) if number is not None]
    first, last = (
        "" if number is None else tokenizer.id_to_token(number) for number in (before, after)
    )
    made = Tokenizer.from_str(tokenizer.to_str())
    made.post_processor = TemplateProcessing(
        single=f"{first} $A {last}".strip(),
        pair=f"{first} $A {last} $B {last}".strip(),
        special_tokens=[(tokenizer.id_to_token(number), number) for number in dict.fromkeys(ids)],
    )
    return made


def sentinel_ids(tokenizer: Tokenizer) -> np.ndarray:
    """Ids of <extra_id_0>, <extra_id_1>, ... (T5), as many as there are."""
    ids: list[int] = []
    while (number := tokenizer.token_to_id(f"<extra_id_{len(ids)}>")) is not None:
        ids.append(number)
    return np.asarray(ids, dtype=np.int64)


def word_starts(tokenizer: Tokenizer) -> np.ndarray:
    """Whether each vocabulary entry begins a new word: (V,) bool, for masking whole words.

    WordPiece: no "##" in front. Byte-level BPE: a space or line break in front. Unigram: "▁".
    A CJK character begins a word of its own, and so does every special token. The first token of a
    sequence begins a word whatever this says. A vocabulary that marks word ends instead (CLIP)
    gives true everywhere: each token is its own word.
    """
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    described = json.loads(tokenizer.to_str())
    model = described["model"]
    starts = np.ones(max(vocabulary.values(), default=-1) + 1, dtype=bool)
    special = {entry["content"] for entry in described["added_tokens"] if entry["special"]}
    byte_level = "ByteLevel" in json.dumps(described.get("pre_tokenizer"))
    continuing = model.get("continuing_subword_prefix") or ""
    for piece, number in vocabulary.items():
        if piece in special or model.get("end_of_word_suffix"):
            continue
        if model["type"] == "WordPiece":
            starts[number] = not piece.startswith(continuing)
        elif byte_level:
            starts[number] = _byte_piece_starts_word(piece)
        else:
            starts[number] = piece.startswith("▁") or bool(_CJK_START.match(piece))
    return starts


def _byte_piece_starts_word(piece: str) -> bool:
    """Whether a piece of byte letters begins with white space or the first byte of a CJK letter."""
    spelled = _letter_bytes()
    raw = bytes(spelled[letter] for letter in piece if letter in spelled)
    if raw[:1] in (b" ", b"\n", b"\t", b"\r"):
        return True
    text = raw.decode("utf-8", errors="replace")
    if text[:1] != "\ufffd":
        return bool(_CJK_START.match(text))
    return len(raw) < 3 and raw[:1] in _CJK_LEADS


_CJK_LEADS = frozenset(bytes([lead]) for lead in (*range(0xE3, 0xEA), 0xEF, 0xF0))


def _letter_bytes() -> dict[str, int]:
    """The letter by which byte-level vocabularies write each byte (GPT-2's table)."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    table = {chr(byte): byte for byte in shown}
    table.update({chr(256 + place): byte for place, byte in enumerate(hidden)})
    return table


def tokenizer_fit(tokenizer: Tokenizer, texts: Sequence[str], *, max_length: int) -> TokenizerFit:
    """How many tokens the texts need, how many are unknown, and how many fall off the end.

    max_length: of the model, special tokens included.
    """
    sequences = encode(tokenizer, texts)
    room = max_length - tokenizer.num_special_tokens_to_add(False)
    words = sum(map(count_words, texts))
    tokens = len(sequences.tokens)
    unknown = special_ids(tokenizer).unk
    missing = int((sequences.tokens == unknown).sum()) if unknown is not None else 0
    lost = np.maximum(sequences.lengths - room, 0)
    return TokenizerFit(
        texts=len(texts),
        words=words,
        tokens=tokens,
        fertility=tokens / max(1, words),
        unknown_share=missing / max(1, tokens),
        truncated_share=float((lost > 0).mean()) if len(texts) else 0.0,
        lost_share=float(lost.sum()) / max(1, tokens),
        longest=int(sequences.lengths.max(initial=0)),
    )


def tokenizer_digest(tokenizer: Tokenizer) -> str:
    """SHA-256 of everything that decides how text becomes ids."""
    return hashlib.sha256(tokenizer.to_str().encode()).hexdigest()


def save_tokenizer(
    tokenizer: Tokenizer, folder: str | Path, *, model_max_length: int = 512
) -> None:
    """Write tokenizer.json and tokenizer_config.json, as Hugging Face's AutoTokenizer reads them.

    model_max_length: tokens, special ones included.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    (target / "tokenizer.json").write_text(tokenizer.to_str(pretty=True) + "\n", encoding="utf-8")
    ids = special_ids(tokenizer)
    names = {
        "pad_token": ids.pad,
        "unk_token": ids.unk,
        "cls_token": ids.cls,
        "sep_token": ids.sep,
        "mask_token": ids.mask,
        "bos_token": ids.cls,
        "eos_token": ids.sep,
    }
    if tokenizer.token_to_id("[CLS]") is not None:
        del names["bos_token"], names["eos_token"]
    inputs = ["input_ids", "attention_mask"]
    if tokenizer.token_to_id("[SEP]") is not None:
        inputs.insert(1, "token_type_ids")
    config: dict[str, object] = {
        "clean_up_tokenization_spaces": False,
        "model_input_names": inputs,
        "model_max_length": model_max_length,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    config |= {role: tokenizer.id_to_token(id_) for role, id_ in names.items() if id_ is not None}
    text = json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False)
    (target / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """The tokenizer of a model folder (its tokenizer.json), without padding or truncation.

    Raises InputError when there is none, CheckpointError when it cannot be read.
    """
    path = Path(folder) / "tokenizer.json"
    if not path.exists():
        raise InputError(
            f"{folder} has no tokenizer.json. Give a model folder that has one, or train a "
            "tokenizer on your corpus."
        )
    demand_inside(path, most=TOKENIZER_BYTES)
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except BaseException as error:  # the library raises nothing narrower, and panics besides
        if isinstance(error, Exception) or _is_panic(error):
            raise CheckpointError(
                f"{path} cannot be read as a tokenizer: {error}. Copy the model folder again."
            ) from None
        raise
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    return tokenizer


def demand_ids(tokenizer: Tokenizer, folder: str | Path, *, size: int) -> Tokenizer:
    """The tokenizer, if the model has a vector for every id.

    size: entries of the model. Raises CheckpointError if the tokenizer is another model's.
    """
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
    if largest >= size:
        raise CheckpointError(
            f"{Path(folder) / 'tokenizer.json'} has ids up to {largest}, but the model has {size} "
            "entries: it is another model's. Copy the model folder again."
        )
    return tokenizer


def _is_panic(error: BaseException) -> bool:
    """Whether the tokenizers library broke down, which it shows by a class of its own."""
    return type(error).__name__ == "PanicException"
