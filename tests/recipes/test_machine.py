"""`headstart doctor`: judgements on planted machines, and one look at the real one."""

import json

import pytest

from headstart.recipes import machine
from headstart.recipes.machine import Diagnosis, Finding, disk, doctor, judge_torch, memory


@pytest.mark.parametrize(
    ("version", "state"),
    [
        ("2.13.0+cpu", "good"),
        ("2.11.0", "good"),
        ("2.10.1", "failure"),
        ("2.14.0", "warning"),
        ("3.0.0a1", "warning"),
    ],
)
def test_torch_is_judged_by_the_versions_that_were_tested(version, state):
    assert judge_torch(version).state == state


def test_little_memory_is_a_warning_with_advice():
    assert memory(1.5) == Finding(
        "memory",
        "1.5 GiB free",
        "warning",
        "less than 2 GiB: close other programs, or use --size mini",
    )
    assert memory(8.0) == Finding("memory", "8.0 GiB free")
    assert memory(None).state == "good"


def test_a_full_disk_is_a_warning_and_a_read_only_one_a_failure(tmp_path, monkeypatch):
    used = type("Usage", (), {"free": 2**28})
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda folder: used)
    assert disk(tmp_path).state == "warning"
    assert disk(tmp_path).found == f"0.2 GiB free in {tmp_path}"
    monkeypatch.setattr(machine.os, "access", lambda folder, mode: False)
    assert disk(tmp_path).state == "failure"


def test_more_threads_than_cores_is_a_warning(monkeypatch):
    import torch

    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(machine, "usable_cores", lambda: 2)
    found = {finding.name: finding for finding in machine.processor()}
    assert found["threads"].state == "warning"
    assert found["threads"].advice.endswith("set --threads 2")


def test_a_missing_package_is_a_failure_with_its_fix(monkeypatch):
    real = machine._version
    monkeypatch.setattr(machine, "_version", lambda name: None if name == "torch" else real(name))
    found = {finding.name: finding for finding in machine.versions()}
    assert (found["torch"].state, found["torch"].advice) == ("failure", "missing: pip install -e .")


def test_a_diagnosis_counts_failures_and_is_json():
    bad = Diagnosis([Finding("a", "x"), Finding("b", "y", "failure", "mend it")])
    assert bad.failures == 1
    assert bad.facts() == [("a", "x"), ("b", "y  (X) mend it")]
    assert bad.next_commands() == []
    assert json.loads(json.dumps(bad.record()))["ready"] is False


def test_this_machine_is_looked_at_and_measured():
    diagnosis = doctor(measure=True)
    names = [finding.name for finding in diagnosis.findings]
    assert names[:3] == ["headstart", "python", "torch"]
    assert {"processor", "threads", "bf16", "gpu", "memory", "disk"} < set(names)
    speeds = [f.found for f in diagnosis.findings if f.name.endswith("products")]
    assert len(speeds) == 2
    assert all(float(speed.split()[0].replace(",", "")) > 0.1 for speed in speeds)
