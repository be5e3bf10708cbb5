"""A corpus as token ids in one memory-mapped file: prepared once, read by every run.

In: documents and a tokenizer. Out: a folder with tokens.bin, offsets.npy and manifest.json that
appears whole or not at all, and has the same bytes each time it is prepared.
The surprise: document n of the store is the n-th document given, even if it holds no token.

Legend: D documents.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from tokenizers import Tokenizer

from headstart.batch import Sequences, ragged_index
from headstart.data.atomic import (
    MANIFEST,
    FileFacts,
    Sink,
    new_folder,
    sha256_of,
    verify,
    write_manifest,
)
from headstart.data.text import encode, in_groups, special_ids, tokenizer_digest
from headstart.errors import CheckpointError, InputError

FORMAT = "headstart-tokens-1"


class Text(Protocol):
    """Anything with a text: `files.Document`."""

    @property
    def text(self) -> str:
        """The document's characters."""
        ...


@dataclass(frozen=True)
class TokenStore:
    """Token ids of all documents, read from disk as needed.

    tokens: memory map (sum of lengths,), uint16 or uint32. offsets: (D + 1,) int64.
    vocab_size: of the tokenizer. tokenizer: SHA-256 of the tokenizer that made the ids.
    digest: SHA-256 over both files; equal only for equal contents in equal order.
    empty: how many documents hold no token. unknown: how many tokens are the unknown token.
    """

    folder: Path
    tokens: np.ndarray
    offsets: np.ndarray
    vocab_size: int
    tokenizer: str
    digest: str
    empty: int
    unknown: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """(D,) tokens of each document."""
        return np.diff(self.offsets)

    def documents(self, indices: np.ndarray) -> Sequences:
        """The documents of these numbers, as int64 ids."""
        indices = np.asarray(indices, dtype=np.int64)
        starts = self.offsets[indices]
        lengths = self.offsets[indices + 1] - starts
        tokens = self.tokens[ragged_index(starts, lengths)].astype(np.int64)
        return Sequences(tokens, lengths, indices)

    @staticmethod
    def prepare(
        documents: Iterable[Text],
        tokenizer: Tokenizer,
        folder: str | Path,
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> TokenStore:
        """Encode the documents into a new store at `folder`, replacing an older store there.

        Documents are read once and never held together in memory.
        progress: called with (documents, tokens) done so far, about every thousand documents.
        Raises InputError when there is no document, or `folder` holds something else;
        MachineError when the disk is full.
        """
        target = Path(folder)
        full = (
            f"the disk of {target} is full while preparing tokens. Free some space (a "
            "store takes about half the size of its text), or choose another folder."
        )
        with new_folder(target, what="a token store", full=full) as partial:
            facts = _write_tokens(documents, tokenizer, partial, progress)
            values: dict[str, object] = dict(vars(facts))
            values["files"] = {name: vars(file) for name, file in facts.files.items()}
            write_manifest(partial, values)
        return TokenStore.open(target)

    @staticmethod
    def open(folder: str | Path, *, tokenizer: Tokenizer | None = None) -> TokenStore:
        """A prepared store, after every byte of it was compared with its manifest.

        tokenizer: if given, it must be the one that made the ids.
        Raises InputError when there is no store or it was made by another tokenizer,
        CheckpointError naming the file that is damaged.
        """
        folder = Path(folder)
        manifest = _read_manifest(folder)
        for name, facts in manifest.files.items():
            verify(folder / name, facts, fix=_FIX)
        if tokenizer is not None and tokenizer_digest(tokenizer) != manifest.tokenizer:
            raise InputError(
                f"{folder} was prepared with another tokenizer than this one. Prepare the corpus "
                "again with it, or use the tokenizer it was prepared with."
            )
        empty_map = np.zeros(0, dtype=manifest.dtype)
        path = folder / "tokens.bin"
        tokens = np.memmap(path, dtype=manifest.dtype, mode="r") if manifest.tokens else empty_map
        offsets = np.load(folder / "offsets.npy", allow_pickle=False)
        if len(offsets) != manifest.documents + 1 or offsets[-1] != len(tokens):
            raise CheckpointError(f"{folder / 'offsets.npy'} does not agree with {MANIFEST}.{_FIX}")
        parts = "".join(facts.sha256 for _, facts in sorted(manifest.files.items()))
        return TokenStore(
            folder,
            tokens,
            offsets,
            manifest.vocab_size,
            manifest.tokenizer,
            hashlib.sha256(parts.encode()).hexdigest(),
            manifest.empty,
            manifest.unknown,
        )


_FIX = " Delete the folder and prepare the corpus again."


@dataclass(frozen=True)
class _Manifest:
    format: str
    dtype: str
    vocab_size: int
    tokenizer: str
    documents: int
    tokens: int
    empty: int
    unknown: int
    files: dict[str, FileFacts]


def _write_tokens(
    documents: Iterable[Text],
    tokenizer: Tokenizer,
    partial: Path,
    progress: Callable[[int, int], None] | None,
) -> _Manifest:
    vocab_size = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1
    dtype = "<u2" if vocab_size <= 1 << 16 else "<u4"
    unknown_id = special_ids(tokenizer).unk
    lengths: list[np.ndarray] = []
    done, tokens, unknown = 0, 0, 0
    with (partial / "tokens.bin").open("wb") as file:
        sink = Sink(file)
        for texts in in_groups(document.text for document in documents):
            sequences = encode(tokenizer, texts)
            sink.write(sequences.tokens.astype(dtype).tobytes())
            lengths.append(sequences.lengths)
            done, tokens = done + len(texts), tokens + len(sequences.tokens)
            if unknown_id is not None:
                unknown += int((sequences.tokens == unknown_id).sum())
            if progress is not None:
                progress(done, tokens)
        token_facts = sink.close()
    if not done:
        raise InputError("the corpus holds no document, so there is nothing to prepare.")
    sizes = np.concatenate([np.zeros(1, np.int64), *lengths])
    offset_facts = _write_offsets(partial / "offsets.npy", np.cumsum(sizes))
    files = {"offsets.npy": offset_facts, "tokens.bin": token_facts}
    empty = int((sizes[1:] == 0).sum())
    digest = tokenizer_digest(tokenizer)
    return _Manifest(FORMAT, dtype, vocab_size, digest, done, tokens, empty, unknown, files)


def _write_offsets(path: Path, offsets: np.ndarray) -> FileFacts:
    with path.open("w+b") as file:
        np.save(file, offsets.astype("<i8"), allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    return FileFacts(path.stat().st_size, sha256_of(path))


def _read_manifest(folder: Path) -> _Manifest:
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(f"{folder} is not a token store: it has no {MANIFEST}.")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        files = {name: FileFacts(**facts) for name, facts in raw.pop("files").items()}
        manifest = _Manifest(files=files, **raw)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise CheckpointError(f"{path} is damaged: it is not the manifest written.{_FIX}") from None
    if manifest.format != FORMAT or manifest.dtype not in ("<u2", "<u4"):
        raise CheckpointError(
            f"{path} is of format {manifest.format!r}, but this version reads {FORMAT!r}.{_FIX}"
        )
    if set(files) != {"tokens.bin", "offsets.npy"}:
        raise CheckpointError(f"{path} lists other files than a token store has.{_FIX}")
    return manifest
