"""Tokenizers learned from the user's own text.

In: texts (a re-iterable, or an iterator that is then held in memory). Out: a tokenizer whose
tokenizer.json adds the special tokens of its style.
The surprise: the library's WordPiece training numbers pieces in the order of a randomly seeded hash
table; here the alphabet is counted and fixed first, so the same text gives the same tokenizer.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from headstart.errors import InputError

Kind = Literal["wordpiece", "bpe", "unigram", "bytes"]
Style = Literal["bert", "roberta", "gpt", "t5", "clip"]


SENTINELS = 100
CJK = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"
_CJK = re.compile(f"[{CJK}]")


@dataclass(frozen=True)
class _Specials:
    """Special tokens of a style, in the order of their ids, and what is put around a text."""

    tokens: tuple[str, ...]
    single: str
    pair: str
    unknown: str = ""


STYLES: dict[str, _Specials] = {
    "bert": _Specials(
        ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
        "[CLS] $A [SEP]",
        "[CLS] $A [SEP] $B:1 [SEP]:1",
        "[UNK]",
    ),
    "roberta": _Specials(
        ("<s>", "<pad>", "</s>", "<unk>", "<mask>"),
        "<s> $A </s>",
        "<s> $A </s> </s> $B </s>",
        "<unk>",
    ),
    "t5": _Specials(("<pad>", "</s>", "<unk>"), "$A </s>", "$A </s> $B </s>", "<unk>"),
    "gpt": _Specials(("<|endoftext|>",), "$A", "$A $B"),
    "clip": _Specials(
        ("<|startoftext|>", "<|endoftext|>"),
        "<|startoftext|> $A <|endoftext|>",
        "<|startoftext|> $A <|endoftext|> $B <|endoftext|>",
    ),
}


def train_tokenizer(
    texts: Iterable[str],
    *,
    kind: Kind = "wordpiece",
    vocab_size: int = 8192,
    lowercase: bool | None = None,
    style: Style = "bert",
    most_characters: int = 100_000_000,
) -> Tokenizer:
    """A tokenizer learned from the texts, with the special tokens of a style.

    kind: "bytes" needs no learning: 256 byte values plus special tokens.
    lowercase: by default true for WordPiece (and accents are then removed), false for the others,
        which are also used to write text.
    style: which special tokens, and what surrounds a text in the saved tokenizer.json.
    most_characters: learning stops reading after so many, so that memory stays bounded.
    Raises InputError when there is no text, or when the vocabulary has no room for the bytes and
    the special tokens.
    """
    specials = STYLES[style]
    if not specials.unknown and kind in ("wordpiece", "unigram"):
        # these may meet characters they cannot write, which must not become a control id
        specials = replace(specials, tokens=(*specials.tokens, "<unk>"), unknown="<unk>")
    least = len(specials.tokens) + (256 if kind == "bpe" else 32)
    if kind != "bytes" and vocab_size < least:
        raise InputError(
            f"vocab_size is {vocab_size}, but a '{kind}' tokenizer of style '{style}' needs at "
            f"least {least}. Raise vocab_size, or take kind 'bytes'."
        )
    folded = kind == "wordpiece" if lowercase is None else lowercase
    tokenizer = _untrained(kind, specials, lowercase=folded)
    if kind != "bytes":
        sample = _Sample(texts, most_characters)
        _learn(tokenizer, kind, specials, vocab_size, sample)
        if not sample.characters:
            raise InputError("cannot train a tokenizer: the corpus holds no text. Check its path.")
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in specials.tokens])
    if style == "t5":
        names = [f"<extra_id_{number}>" for number in reversed(range(SENTINELS))]
        tokenizer.add_special_tokens([AddedToken(name, special=True) for name in names])
    _surround(tokenizer, kind, specials)
    tokenizer.encode_special_tokens = True
    return tokenizer


class _Sample:
    """The texts up to a number of characters, as often as asked for."""

    def __init__(self, texts: Iterable[str], most: int) -> None:
        self.most, self.characters = most, 0
        self.texts: Iterable[str] = texts
        if isinstance(texts, Iterator):
            self.texts = list(self)

    def __iter__(self) -> Iterator[str]:
        self.characters = 0
        for text in self.texts:
            self.characters += len(text)
            yield text
            if self.characters >= self.most:
                return


def _surround(tokenizer: Tokenizer, kind: Kind, specials: _Specials) -> None:
    template = processors.TemplateProcessing(
        single=specials.single,
        pair=specials.pair,
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in specials.tokens],
    )
    if kind in ("bpe", "bytes"):
        trim = processors.ByteLevel(trim_offsets=True)
        tokenizer.post_processor = processors.Sequence([trim, template])
    else:
        tokenizer.post_processor = template


def _untrained(kind: Kind, specials: _Specials, *, lowercase: bool) -> Tokenizer:
    if kind == "wordpiece":
        tokenizer = Tokenizer(models.WordPiece(unk_token=specials.unknown))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        return tokenizer
    if kind == "unigram":
        tokenizer = Tokenizer(models.Unigram())
        folds = [normalizers.NFKC(), *([normalizers.Lowercase()] if lowercase else [])]
        tokenizer.normalizer = normalizers.Sequence(folds)
        # Unigram's lattice would find "<s>" written in a text among its pieces: a cut after the
        # bracket keeps every special token's spelling out of one piece.
        bracket = pre_tokenizers.Split(Regex(r"[<\[]"), "isolated")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), bracket])
        tokenizer.decoder = decoders.Metaspace()
        return tokenizer
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    plain = {letter: number for number, letter in enumerate(alphabet)} if kind == "bytes" else None
    tokenizer = Tokenizer(models.BPE(vocab=plain, merges=[]) if plain else models.BPE())
    if lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=kind == "bpe"
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _learn(
    tokenizer: Tokenizer, kind: Kind, specials: _Specials, vocab_size: int, texts: _Sample
) -> None:
    if kind == "wordpiece":
        tokenizer.model = _learn_wordpiece(tokenizer, specials, vocab_size, texts)
    elif kind == "unigram":
        tokenizer.model = _learn_unigram(tokenizer, specials, vocab_size, texts)
    else:
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=list(specials.tokens),
            min_frequency=2,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)


def _learn_wordpiece(
    tokenizer: Tokenizer, specials: _Specials, vocab_size: int, texts: _Sample
) -> models.WordPiece:
    """Train with a fixed alphabet: every "##x" is named beforehand, so its number is fixed too."""
    alphabet = _alphabet(texts, tokenizer.normalizer, most=vocab_size * 3 // 4)
    continuing = [f"##{letter}" for letter in alphabet if _continues_words(letter)]
    room = max(0, vocab_size - len(specials.tokens) - len(alphabet))
    teacher = Tokenizer(models.WordPiece(unk_token=specials.unknown))
    teacher.normalizer = tokenizer.normalizer
    teacher.pre_tokenizer = tokenizer.pre_tokenizer
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=[*specials.tokens, *continuing[:room]],
        min_frequency=2,
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    teacher.train_from_iterator(texts, trainer)
    vocabulary = teacher.get_vocab(with_added_tokens=True)
    return models.WordPiece(vocab=vocabulary, unk_token=specials.unknown)


def _learn_unigram(
    tokenizer: Tokenizer, specials: _Specials, vocab_size: int, texts: _Sample
) -> models.Unigram:
    """Train, then round and sort the scores, which the library adds up in a random order.

    On large corpora two trainings may still differ in a few pieces; save the tokenizer.
    """
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab_size,
        special_tokens=list(specials.tokens),
        unk_token=specials.unknown,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    pieces: list[tuple[str, float]] = json.loads(tokenizer.to_str())["model"]["vocab"]
    scores = {piece: round(score, 4) for piece, score in pieces}
    learned = [(piece, score) for piece, score in scores.items() if piece not in specials.tokens]
    learned.sort(key=lambda entry: (-entry[1], entry[0]))
    first = [(token, 0.0) for token in specials.tokens]
    unknown = specials.tokens.index(specials.unknown)
    return models.Unigram(vocab=first + learned, unk_id=unknown, byte_fallback=False)


def _alphabet(texts: _Sample, normalizer: normalizers.Normalizer, *, most: int) -> list[str]:
    """The commonest characters after normalising, commonest first, those seen twice at least."""
    counts = np.zeros(0x110000, dtype=np.int64)
    for text in texts:
        codes = np.frombuffer(text.encode("utf-32-le", "replace"), dtype=np.uint32)
        seen, times = np.unique(codes, return_counts=True)
        counts[seen] += times
    letters: Counter[str] = Counter()
    for code in np.flatnonzero(counts).tolist():
        for letter in normalizer.normalize_str(chr(code)):
            letters[letter] += int(counts[code])
    order = sorted(letters, key=lambda letter: (-letters[letter], letter))
    return [letter for letter in order if letters[letter] > 1 and not letter.isspace()][:most]


def _continues_words(letter: str) -> bool:
    """Whether BERT's splitting can leave this character inside a word."""
    alone = unicodedata.category(letter).startswith("P") or _CJK.match(letter)
    return not alone and not (letter.isascii() and not letter.isalnum())
