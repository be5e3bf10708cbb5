"""Kill -9 and signals at random moments: the run goes on and ends with the same bits."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def supervise(folder: Path, *, seed: int, how: str, times: int) -> dict[str, object]:
    paths = [str(HERE.parent), str(HERE.parents[1] / "src")]
    done = subprocess.run(
        [sys.executable, HERE / "supervise.py", folder / "runs", str(seed), how, str(times)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def check(found: dict[str, object], times: int, seed: int) -> None:
    assert found["problems"] == [], f"seed {seed}: {found['problems']}"
    assert found["landed"] == times
    assert int(found["expected"]["lines"]) > 60


def test_three_kills_at_random_moments_change_no_bit_of_the_end(tmp_path: Path):
    check(supervise(tmp_path, seed=1, how="kill", times=3), 3, 1)


def test_three_signals_at_random_moments_save_and_change_no_bit_of_the_end(tmp_path: Path):
    check(supervise(tmp_path, seed=2, how="signal", times=3), 3, 2)


@pytest.mark.proof
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [11, 12, 13, 14])
def test_fifty_kills_at_random_moments_change_no_bit_of_the_end(tmp_path: Path, seed: int):
    check(supervise(tmp_path, seed=seed, how="kill", times=50), 50, seed)


@pytest.mark.proof
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [21, 22])
def test_fifty_signals_at_random_moments_save_and_change_no_bit(tmp_path: Path, seed: int):
    check(supervise(tmp_path, seed=seed, how="signal", times=50), 50, seed)
