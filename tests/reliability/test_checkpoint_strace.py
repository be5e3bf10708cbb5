"""The same proof as in test_checkpoint_calls.py, with the kernel's own calls stopped by strace."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from headstart.train.checkpoint import CheckpointFolder, read

SAVE = """
import sys
from pathlib import Path
import torch
from headstart.errors import MachineError
from headstart.train.checkpoint import CheckpointFolder
try:
    with CheckpointFolder(Path(sys.argv[1])) as store:
        for step in (20, 30):
            tensors = {"weights": {"w": torch.full((5,), float(step))}}
            store.save(step, tensors, {"step": step}, digest="d")
            store.prune(store.steps()[-2:])
except MachineError:
    sys.exit(3)
"""


def prepare(folder: Path) -> None:
    with CheckpointFolder(folder) as store:
        for step in (10, 20):
            tensors = {"weights": {"w": torch.full((5,), float(step))}}
            store.save(step, tensors, {"step": step}, digest="d")


def touched(folder: Path) -> list[Path]:
    """Every path of a save, for strace's -P, which takes whole paths only."""
    folders = [folder]
    for step in (10, 20, 30):
        name = f"step-0000{step}"
        hidden = [folder / f".{name}.{end}" for end in ("writing", "old", "going")]
        folders += [folder / name, *hidden]
    files = ("weights.safetensors", "trainer.json", "manifest.json")
    return folders + [path / file for path in folders[1:] for file in files]


def run(folder: Path, injection: str) -> int:
    source = Path(__file__).parents[2] / "src"
    names = [part for path in touched(folder) for part in ("-P", str(path))]
    strace = ["strace", "-qq", "-f", "-o", "/dev/null", *names, "-e", f"inject={injection}"]
    done = subprocess.run(
        [*strace, sys.executable, "-c", SAVE, str(folder)],
        env={**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        check=False,
    )
    return done.returncode


@pytest.mark.proof
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("effect", ["signal=KILL", "error=ENOSPC", "error=EIO"])
@pytest.mark.parametrize("call", ["mkdir", "rename", "fsync", "unlink", "rmdir", "write"])
def test_a_save_stopped_by_the_kernel_at_any_call_loses_no_verified_checkpoint(
    tmp_path: Path, call: str, effect: str
):
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: apt-get install strace")
    points = hits = quiet = 0
    while quiet < 2:  # one harmless failure, such as of a mkdir for what exists, is not the end
        folder = tmp_path / str(points)
        prepare(folder)
        points += 1
        code = run(folder, f"{call}:{effect}:when={points}")
        assert code in (0, 3, -9, 137)
        quiet = quiet + 1 if code == 0 else 0
        hits += code != 0
        with CheckpointFolder(folder) as store:
            found = store.newest()
            assert found is not None
            assert found.step >= 20
            for step in store.steps():
                read(store.path(step))
    assert hits > 0
