import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

from headstart.data.image_store import ImageStore
from headstart.errors import CheckpointError, InputError


@dataclass
class Item:
    pixels: np.ndarray
    digest: bytes
    origin: str


def items(count=5, *, seed=0):
    rng = np.random.default_rng(seed)
    return [
        Item(rng.integers(0, 256, (3, 6, 6), dtype=np.uint8), rng.bytes(16), f"图\ud800 {n}")
        for n in range(count)
    ]


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_store_gives_back_pixels_digests_and_origins(tmp_path):
    given = items()
    store = ImageStore.prepare(given, tmp_path / "store", side=6)
    assert len(store) == 5
    assert store.side == 6
    assert np.array_equal(store.pixels, np.stack([item.pixels for item in given]))
    assert [row.tobytes() for row in store.digests] == [item.digest for item in given]
    assert store.origins() == [item.origin for item in given]


def test_preparing_twice_gives_the_same_bytes_and_leaves_nothing_behind(tmp_path):
    one = ImageStore.prepare(items(), tmp_path / "one", side=6)
    two = ImageStore.prepare(items(), tmp_path / "two", side=6)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert one.digest == two.digest
    again = ImageStore.prepare(items(3), tmp_path / "one", side=6)
    assert len(again) == 3
    assert again.digest != two.digest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_the_digest_changes_with_content_and_order_but_not_with_places(tmp_path):
    given = items()
    moved = [Item(item.pixels, item.digest, "elsewhere") for item in given]
    digests = [
        ImageStore.prepare(images, tmp_path / "store", side=6).digest
        for images in (given, given[::-1], given[:4], moved)
    ]
    assert len(set(digests)) == 3
    assert digests[3] == digests[0]


@pytest.mark.parametrize("name", ["pixels.bin", "digests.bin", "origins.jsonl"])
def test_a_flipped_bit_is_detected_and_the_file_named(name, tmp_path):
    ImageStore.prepare(items(), tmp_path / "store", side=6)
    path = tmp_path / "store" / name
    data = bytearray(path.read_bytes())
    for place in np.linspace(0, len(data) - 1, 20).astype(int):
        damaged = bytearray(data)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError) as caught:
            ImageStore.open(tmp_path / "store")
        assert str(caught.value) == (
            f"{path} is damaged: its SHA-256 is not the one written. "
            "Delete the folder and prepare the images again."
        )


def test_another_folder_is_not_overwritten_and_no_image_makes_no_store(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(InputError, match="exists and is not an image store"):
        ImageStore.prepare(items(), tmp_path / "mine", side=6)
    with pytest.raises(InputError, match="no image that can be used"):
        ImageStore.prepare([], tmp_path / "none", side=6)
    with pytest.raises(InputError, match="is not an image store"):
        ImageStore.open(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


KILLED = """
import os, sys
sys.path[:0] = {path!r}
from headstart.data.image_store import ImageStore
sys.path.insert(0, {here!r})
from test_image_store import items
def until_killed():
    yield from items(3)
    os.kill(os.getpid(), 9)
ImageStore.prepare(until_killed(), {place!r}, side=6)
"""


def test_a_kill_while_writing_leaves_the_old_store_and_the_next_call_cleans_up(tmp_path):
    place = tmp_path / "store"
    ImageStore.prepare(items(), place, side=6)
    before = contents(place)
    here = str(__file__).rpartition("/")[0]
    code = KILLED.format(path=sys.path, here=here, place=str(place))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == -9, done.stderr
    assert contents(place) == before
    assert len(list(tmp_path.iterdir())) == 2
    ImageStore.prepare(items(2), place, side=6)
    assert len(list(tmp_path.iterdir())) == 1
