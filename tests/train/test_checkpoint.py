import json
import os
from pathlib import Path

import pytest
import torch

from headstart.errors import CheckpointError, InputError, MachineError
from headstart.train import disk
from headstart.train.checkpoint import CheckpointFolder, digest_of, read
from headstart.train.disk import expected_space, write_atomically


def tensors(value: float) -> dict[str, dict[str, torch.Tensor]]:
    return {
        "weights": {"w": torch.full((3, 2), value), "count": torch.tensor(int(value))},
        "optimizer": {"first/w": torch.full((3, 2), -value)},
    }


def save(store: CheckpointFolder, step: int, kind: str = "step") -> Path:
    return store.save(step, tensors(step), {"step": step, "x": 0.1}, digest="d", kind=kind)


def test_what_is_saved_is_read_back_bit_for_bit(tmp_path: Path):
    with CheckpointFolder(tmp_path) as store:
        save(store, 20)
        found = store.newest()
    assert found is not None
    assert (found.step, found.state) == (20, {"step": 20, "x": 0.1})
    for file, named in tensors(20).items():
        assert found.tensors[file].keys() == named.keys()
        for name, tensor in named.items():
            assert torch.equal(found.tensors[file][name], tensor)
            assert found.tensors[file][name].dtype == tensor.dtype


def test_the_newest_is_the_highest_step_whatever_the_order_of_saving(tmp_path: Path):
    with CheckpointFolder(tmp_path) as store:
        for step in (100, 20, 1_000_000, 3):
            save(store, step)
        save(store, 2_000_000, kind="best")
        assert store.steps() == [3, 20, 100, 1_000_000]
        assert store.newest().step == 1_000_000
        assert store.newest(below=99).step == 20


def test_a_fresh_folder_has_no_newest(tmp_path: Path):
    with CheckpointFolder(tmp_path / "new" / "er") as store:
        assert store.newest() is None


def test_saving_a_step_again_replaces_it(tmp_path: Path):
    with CheckpointFolder(tmp_path) as store:
        save(store, 5)
        store.save(5, tensors(6), {}, digest="d")
        assert torch.equal(store.newest().tensors["weights"]["w"], torch.full((3, 2), 6.0))
    assert sorted(os.listdir(tmp_path)) == [".lock", "step-000005"]


def test_a_replacement_cut_between_its_two_renames_is_undone(tmp_path: Path):
    with CheckpointFolder(tmp_path) as store:
        save(store, 5)
    (tmp_path / "step-000005").rename(tmp_path / ".step-000005.old")
    (tmp_path / ".step-000005.writing").mkdir()
    (tmp_path / ".step-000004.going").mkdir()
    (tmp_path / ".mine").mkdir()
    with CheckpointFolder(tmp_path) as store:
        assert store.newest().step == 5
    assert sorted(os.listdir(tmp_path)) == [".lock", ".mine", "step-000005"]


def flip(path: Path, byte: int = -1, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[byte] ^= 1 << bit
    path.write_bytes(content)


def digest(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_it_used(tmp_path: Path):
    notes: list[str] = []
    with CheckpointFolder(tmp_path, note=notes.append) as store:
        save(store, 20)
        path = save(store, 40) / "weights.safetensors"
        before = digest(path)
        flip(path)
        after = digest(path)
        assert store.newest().step == 20
    assert notes == [
        f"checkpoint step-000040 is damaged: weights.safetensors has SHA-256 {after}, expected "
        f"{before}; it is set aside as step-000040.damaged; going on from step 20: 20 steps are "
        "lost"
    ]
    assert (tmp_path / "step-000040.damaged" / "weights.safetensors").exists()


def test_three_damaged_in_a_row_still_leave_the_fourth(tmp_path: Path):
    notes: list[str] = []
    with CheckpointFolder(tmp_path, note=notes.append) as store:
        for step in (10, 20, 30, 40):
            save(store, step)
        for step in (20, 30, 40):
            flip(tmp_path / f"step-0000{step}" / "trainer.json")
        (tmp_path / "step-000040.damaged").mkdir()  # from an earlier time
        assert store.newest().step == 10
    assert [note[:22] for note in notes] == [f"checkpoint step-0000{n}" for n in (40, 30, 20)]
    assert (tmp_path / "step-000040.damaged-2").is_dir()


def test_if_none_verifies_training_does_not_silently_begin_again(tmp_path: Path):
    with CheckpointFolder(tmp_path) as store:
        save(store, 7)
        os.unlink(tmp_path / "step-000007" / "optimizer.safetensors")
        with pytest.raises(CheckpointError) as error:
            store.newest()
    assert str(error.value) == (
        f"none of the 1 checkpoints in {tmp_path} verifies; the newest: checkpoint step-000007 is "
        "incomplete: optimizer.safetensors is missing. They are set aside as *.damaged; to train "
        "from the beginning, choose another run folder"
    )
    assert (tmp_path / "step-000007.damaged").is_dir()


def test_a_format_of_the_future_is_refused_by_its_number(tmp_path: Path):
    with CheckpointFolder(tmp_path) as store:
        path = save(store, 7)
    manifest = json.loads((path / "manifest.json").read_bytes())
    body = manifest["body"] | {"format": 9}
    text = json.dumps({"body": body, "sha256": digest_of(body)}, sort_keys=True, indent=1) + "\n"
    (path / "manifest.json").write_text(text)
    with pytest.raises(CheckpointError) as error:
        read(path)
    assert str(error.value) == (
        "checkpoint step-000007 has format 9, and this version reads format 1; use the version of "
        "headstart that wrote it"
    )


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "a/b", ".."])
def test_a_manifest_cannot_name_a_file_outside_of_its_folder(tmp_path: Path, name: str):
    with CheckpointFolder(tmp_path) as store:
        path = save(store, 7)
    body = json.loads((path / "manifest.json").read_bytes())["body"]
    body["files"][name] = {"size": 1, "sha256": "0"}
    text = json.dumps({"body": body, "sha256": digest_of(body)}, sort_keys=True, indent=1) + "\n"
    (path / "manifest.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"manifest\.json lists a file of a wrong name"):
        read(path)


def test_a_disk_that_gives_other_bytes_back_keeps_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with CheckpointFolder(tmp_path) as store:
        save(store, 1)
        real = disk.write_file

        def lying(path: Path, pieces):
            entry = real(path, pieces)
            if path.name == "optimizer.safetensors":
                flip(path)
            return entry

        monkeypatch.setattr("headstart.train.checkpoint.write_file", lying)
        for step in (1, 2):  # also when the step is saved again
            with pytest.raises(MachineError, match="this disk or memory cannot be trusted; the"):
                save(store, step)
        assert sorted(os.listdir(tmp_path)) == [".lock", "step-000001"]
        assert read(tmp_path / "step-000001").step == 1


def test_too_little_space_is_refused_with_both_numbers(tmp_path: Path):
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    expected_space(free // 8, copies=3, folder=tmp_path / "not" / "yet")
    with pytest.raises(MachineError) as error:
        expected_space(free, copies=3, folder=tmp_path)
    message = str(error.value)
    assert message.startswith(f"the disk of {tmp_path} has ")
    assert f"3 checkpoints of {free / 1e6:,.1f} MB need {3 * free / 1e6:,.1f} MB" in message


def test_a_lock_ends_with_its_process_and_not_before(tmp_path: Path):
    with CheckpointFolder(tmp_path), pytest.raises(InputError), CheckpointFolder(tmp_path):
        pass
    with CheckpointFolder(tmp_path):
        pass


def test_a_small_file_is_either_the_old_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "run.yaml"
    write_atomically(path, b"old")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(MachineError) as error:
        write_atomically(path, b"new")
    assert str(error.value) == (
        f"{path} cannot be written: No space left on device. What was saved before is intact; free "
        "some space or choose another folder, then give the same command again to go on"
    )
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["run.yaml"]
