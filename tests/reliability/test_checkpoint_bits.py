"""Every flipped bit and every way to mix up files of a checkpoint is detected."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from headstart.errors import CheckpointError
from headstart.train.checkpoint import CheckpointFolder, read

FILES = ("manifest.json", "optimizer.safetensors", "trainer.json", "weights.safetensors")


def make(folder: Path, step: int = 7, value: float = 1.5) -> Path:
    tensors = {"weights": {"w": torch.full((4,), value)}, "optimizer": {"m": torch.tensor([value])}}
    with CheckpointFolder(folder) as store:
        return store.save(step, tensors, {"step": step, "lr": value}, digest="settings")


def test_one_flipped_bit_in_any_byte_of_any_file_is_detected(tmp_path: Path):
    path = make(tmp_path)
    assert sorted(os.listdir(path)) == list(FILES)
    read(path)
    flips = 0
    for name in FILES:
        whole = (path / name).read_bytes()
        for place in range(len(whole)):
            bit = place % 8
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            (path / name).write_bytes(damaged)
            with pytest.raises(CheckpointError):
                read(path)
            flips += 1
        (path / name).write_bytes(whole)
    read(path)
    assert flips == sum((path / name).stat().st_size for name in FILES)


@pytest.mark.proof
def test_all_bits_of_all_bytes_of_the_small_files_are_detected(tmp_path: Path):
    path = make(tmp_path)
    for name in FILES:
        whole = (path / name).read_bytes()
        for place in range(len(whole) * 8):
            damaged = bytearray(whole)
            damaged[place // 8] ^= 1 << place % 8
            (path / name).write_bytes(damaged)
            with pytest.raises(CheckpointError):
                read(path)
        (path / name).write_bytes(whole)


def test_a_file_cut_at_any_length_is_detected(tmp_path: Path):
    path = make(tmp_path)
    for name in FILES:
        whole = (path / name).read_bytes()
        for length in range(len(whole)):
            (path / name).write_bytes(whole[:length])
            with pytest.raises(CheckpointError):
                read(path)
        (path / name).write_bytes(whole)


def grow(path: Path, name: str, _: Path) -> None:
    (path / name).write_bytes((path / name).read_bytes() + b"\n")


def lose(path: Path, name: str, _: Path) -> None:
    (path / name).unlink()


def make_empty(path: Path, name: str, _: Path) -> None:
    (path / name).write_bytes(b"")


def take_from_other_step(path: Path, name: str, other: Path) -> None:
    shutil.copy(other / name, path / name)


def swap_with_neighbour(path: Path, name: str, _: Path) -> None:
    neighbour = path / FILES[(FILES.index(name) + 1) % len(FILES)]
    (path / name).rename(path / "x")
    neighbour.rename(path / name)
    (path / "x").rename(neighbour)


def rename(path: Path, name: str, _: Path) -> None:
    (path / name).rename(path / f"{name}.bak")


def add_beside(path: Path, name: str, _: Path) -> None:
    shutil.copy(path / name, path / f"other-{name}")


def link(path: Path, name: str, _: Path) -> None:
    (path / name).rename(path.parent / name)
    (path / name).symlink_to(path.parent / name)


def replace_by_folder(path: Path, name: str, _: Path) -> None:
    (path / name).unlink()
    (path / name).mkdir()


def replace_by_pipe(path: Path, name: str, _: Path) -> None:
    (path / name).unlink()
    os.mkfifo(path / name)


KINDS = [
    grow,
    lose,
    make_empty,
    take_from_other_step,
    swap_with_neighbour,
    rename,
    add_beside,
    link,
    replace_by_folder,
    replace_by_pipe,
]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_mix_up_of_a_file_is_detected(
    tmp_path: Path, kind: Callable[[Path, str, Path], None], name: str
):
    path, other = make(tmp_path / "a"), make(tmp_path / "b", step=8, value=2.5)
    read(path)
    kind(path, name, other)
    with pytest.raises(CheckpointError):
        read(path)


def test_a_folder_under_the_name_of_another_step_is_detected(tmp_path: Path):
    path = make(tmp_path)
    path.rename(tmp_path / "step-000009")
    with pytest.raises(CheckpointError) as error:
        read(tmp_path / "step-000009")
    assert str(error.value) == ("checkpoint step-000009 was renamed: its manifest is of step 7")


def test_a_link_to_a_checkpoint_is_no_checkpoint(tmp_path: Path):
    path = make(tmp_path / "a")
    (tmp_path / "step-000007").symlink_to(path)
    with pytest.raises(CheckpointError, match="checkpoint step-000007 is no folder"):
        read(tmp_path / "step-000007")


def test_a_checkpoint_of_other_settings_is_refused_by_the_trainer(tmp_path: Path):
    from headstart.errors import InputError
    from headstart.train import Trainer
    from toy_training import NextToken, Sequence, make_learner, settings

    for name, lr in (("a", 1e-2), ("b", 2e-2)):
        steps = Trainer(
            make_learner(), NextToken(), Sequence(), settings(lr=lr), folder=tmp_path / name
        ).steps()
        for record in steps:
            if record.step == 9:
                break
        steps.close()
    stale = tmp_path / "b" / "checkpoints" / "step-000008"
    shutil.rmtree(tmp_path / "a" / "checkpoints" / "step-000008")
    shutil.copytree(stale, tmp_path / "a" / "checkpoints" / "step-000008")
    with pytest.raises(InputError, match=r"settings\.lr: 0\.02 -> 0\.01"):
        Trainer(make_learner(), NextToken(), Sequence(), settings(), folder=tmp_path / "a").train()
