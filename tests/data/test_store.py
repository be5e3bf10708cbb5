import os
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

from headstart.data.store import TokenStore
from headstart.data.text import encode, train_tokenizer
from headstart.errors import CheckpointError, InputError


@dataclass
class Doc:
    text: str


TEXTS = ["the cat sat", "", "你好，世界", "a dog and a cat and the mat"] * 700


def docs(texts=TEXTS):
    return (Doc(text) for text in texts)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, vocab_size=200)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_store_gives_back_the_tokens_of_every_document(tokenizer, tmp_path):
    store = TokenStore.prepare(docs(), tokenizer, tmp_path / "tokens")
    assert len(store) == len(TEXTS)
    assert store.empty == 700
    chosen = np.array([3, 1, 2799, 2])
    expected = encode(tokenizer, [TEXTS[n] for n in chosen])
    found = store.documents(chosen)
    assert found.tokens.tolist() == expected.tokens.tolist()
    assert found.lengths.tolist() == expected.lengths.tolist()
    assert found.index.tolist() == chosen.tolist()
    assert store.tokens.dtype == np.uint16
    assert store.vocab_size == tokenizer.get_vocab_size()


def test_preparing_twice_gives_the_same_bytes_and_leaves_nothing_behind(tokenizer, tmp_path):
    one = TokenStore.prepare(docs(), tokenizer, tmp_path / "one")
    two = TokenStore.prepare(docs(), tokenizer, tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert one.digest == two.digest
    TokenStore.prepare(docs(TEXTS[:5]), tokenizer, tmp_path / "one")
    assert len(TokenStore.open(tmp_path / "one")) == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_the_digest_changes_with_content_and_order(tokenizer, tmp_path):
    digests = {
        TokenStore.prepare(docs(texts), tokenizer, tmp_path / "store").digest
        for texts in (["the cat", "a dog"], ["a dog", "the cat"], ["the", "cat a dog"])
    }
    assert len(digests) == 3


@pytest.mark.parametrize("name", ["tokens.bin", "offsets.npy"])
def test_a_flipped_bit_is_detected_and_the_file_named(name, tokenizer, tmp_path):
    folder = tmp_path / "store"
    TokenStore.prepare(docs(), tokenizer, folder)
    path = folder / name
    data = bytearray(path.read_bytes())
    for place in np.linspace(0, len(data) - 1, 25).astype(int):
        damaged = bytearray(data)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError) as caught:
            TokenStore.open(folder)
        assert str(caught.value) == (
            f"{path} is damaged: its SHA-256 is not the one written. "
            "Delete the folder and prepare the corpus again."
        )
    path.write_bytes(data)
    assert len(TokenStore.open(folder)) == len(TEXTS)


def test_a_cut_or_missing_file_is_named(tokenizer, tmp_path):
    folder = tmp_path / "store"
    TokenStore.prepare(docs(), tokenizer, folder)
    path = folder / "tokens.bin"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match=f"it has {size - 3} bytes instead of {size}"):
        TokenStore.open(folder)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"tokens\.bin is missing"):
        TokenStore.open(folder)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"files": {}}', '{"files": 3}'])
def test_a_damaged_manifest_is_named(text, tokenizer, tmp_path):
    folder = tmp_path / "store"
    TokenStore.prepare(docs(TEXTS[:4]), tokenizer, folder)
    (folder / "manifest.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"manifest\.json is damaged"):
        TokenStore.open(folder)


def test_another_tokenizer_is_refused(tokenizer, tmp_path):
    TokenStore.prepare(docs(), tokenizer, tmp_path / "store")
    TokenStore.open(tmp_path / "store", tokenizer=tokenizer)
    with pytest.raises(InputError, match="was prepared with another tokenizer"):
        TokenStore.open(tmp_path / "store", tokenizer=train_tokenizer(TEXTS, kind="bytes"))


def test_a_folder_that_is_no_store_is_never_overwritten(tokenizer, tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match="is not a token store, so it is not overwritten"):
        TokenStore.prepare(docs(), tokenizer, tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_an_empty_corpus_leaves_no_store(tokenizer, tmp_path):
    with pytest.raises(InputError, match="the corpus holds no document"):
        TokenStore.prepare(docs([]), tokenizer, tmp_path / "store")
    assert list(tmp_path.iterdir()) == []


def test_a_failure_midway_keeps_the_older_store(tokenizer, tmp_path):
    TokenStore.prepare(docs(TEXTS[:4]), tokenizer, tmp_path / "store")
    before = contents(tmp_path / "store")

    def failing():
        yield from docs()
        raise RuntimeError("the reader died")

    with pytest.raises(RuntimeError, match="the reader died"):
        TokenStore.prepare(failing(), tokenizer, tmp_path / "store")
    assert contents(tmp_path / "store") == before
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


KILLED = """
import os, signal, sys
from headstart.data.store import TokenStore
from headstart.data.text import load_tokenizer
class Doc:
    text = "the cat sat"
def documents():
    for number in range(5000):
        if number == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
        yield Doc
TokenStore.prepare(documents(), load_tokenizer(sys.argv[1]), sys.argv[2])
"""


def test_after_a_kill_the_next_preparation_cleans_up_and_gives_the_same_bytes(tokenizer, tmp_path):
    from headstart.data.text import save_tokenizer

    save_tokenizer(tokenizer, tmp_path / "tokenizer")
    home = tmp_path / "home"
    home.mkdir()
    command = [sys.executable, "-c", KILLED, str(tmp_path / "tokenizer"), str(home / "store")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    for moment in ("3", "3700"):
        died = subprocess.run([*command, moment], env=environment, check=False)
        assert died.returncode == -9
        assert not (home / "store").exists()
        assert len(list(home.iterdir())) == 1
    TokenStore.prepare(docs(["the cat sat"] * 5000), tokenizer, home / "store")
    TokenStore.prepare(docs(["the cat sat"] * 5000), tokenizer, tmp_path / "other")
    assert contents(home / "store") == contents(tmp_path / "other")
    assert [path.name for path in home.iterdir()] == ["store"]
