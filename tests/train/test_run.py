from pathlib import Path

import pytest
import torch

from headstart.errors import CheckpointError, InputError
from headstart.train import Outcome, RunFolder, make_lineage
from headstart.train.precision import Precision

OUTCOME = Outcome("budget", 60, 60, 40, 0.8, 12.345, 1.234, exact=True)
CPU = Precision(torch.device("cpu"), torch.bfloat16, 2, deterministic=True)


def test_the_lineage_is_read_back_as_it_was_written(tmp_path: Path):
    run = RunFolder(tmp_path / "run").create()
    lineage = make_lineage(
        OUTCOME, CPU, data={"语料": "sha256:1"}, parent="hf:x/y", seeds={"order": 3}
    )
    run.write_lineage(lineage)
    found = run.read_lineage()
    assert found["data"] == {"语料": "sha256:1"}
    assert found["cost"] == {"steps": 60, "seconds": 12.3, "probe_s": 1.2}
    assert found["seeds"] == {"order": 3}
    assert found["exact"] is True
    libraries = {"torch", "numpy", "tokenizers", "safetensors"}
    assert found["versions"].keys() == {"headstart", "python"} | libraries
    assert found["machine"]["dtype"] == "bfloat16"


def test_a_folder_with_other_files_is_not_taken_for_a_run(tmp_path: Path):
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(InputError) as error:
        RunFolder(tmp_path).create()
    assert str(error.value) == (
        f"{tmp_path} holds other files (holiday.jpg); choose a new or empty folder for the run"
    )


def test_a_begun_run_is_taken_up(tmp_path: Path):
    RunFolder(tmp_path).create().write_settings("seed: 1\n")
    assert RunFolder(tmp_path).create().settings.read_text() == "seed: 1\n"


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path):
    (tmp_path / "run").write_text("")
    with pytest.raises(InputError, match="is a file; choose another name for the run folder"):
        RunFolder(tmp_path / "run").create()


def test_a_missing_or_torn_lineage_is_named(tmp_path: Path):
    run = RunFolder(tmp_path)
    with pytest.raises(CheckpointError, match=r"lineage\.json cannot be read: No such file"):
        run.read_lineage()
    run.lineage.write_text('{"data": ')
    with pytest.raises(CheckpointError, match=r"lineage\.json cannot be read as JSON"):
        run.read_lineage()
