from dataclasses import replace
from pathlib import Path

import pytest
import torch

from headstart.errors import InputError, MachineError
from headstart.train import precision
from headstart.train.precision import choose_precision, computing, named_parameters, plain_name
from toy_training import make_learner, settings


def test_precision_follows_what_is_asked_and_else_the_processor(monkeypatch: pytest.MonkeyPatch):
    assert choose_precision(settings(precision="bf16")).dtype == torch.bfloat16
    assert choose_precision(settings(precision="fp32")).dtype == torch.float32
    for able, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(precision, "computes_bf16", lambda _, able=able: able)
        assert choose_precision(settings(precision="auto")).dtype == dtype


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch):
    """An old GPU, which is the current one, and a newer."""
    able = {"cuda:0": (7, 0), "cuda:1": (8, 0)}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda d: able[str(d)])
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda d: f"GPU {d.index}")


def test_the_gpu_that_is_asked_for_decides_the_format_not_the_current_one(two_gpus):
    asked = [choose_precision(settings(device=f"cuda:{n}", precision="auto")) for n in (0, 1)]
    assert [one.dtype for one in asked] == [torch.float32, torch.bfloat16]


def test_bf16_is_refused_on_a_gpu_that_has_none(two_gpus):
    bf16 = settings(device="cuda:1", precision="bf16")
    assert choose_precision(bf16).dtype == torch.bfloat16
    with pytest.raises(MachineError) as error:
        choose_precision(replace(bf16, device="cuda:0"))
    assert str(error.value) == (
        "device 'cuda:0' (GPU 0) does not compute in bf16: that takes compute capability 8.0, and "
        "it has 7.0; use precision=fp32, or auto"
    )


def test_threads_are_no_more_than_the_container_allows(tmp_path: Path):
    cases = (("150000 100000", 2), ("50000 100000", 1), ("max 100000", None), ("", None))
    for text, cores in cases:
        (tmp_path / "cpu.max").write_text(text)
        assert precision._cgroup_cores(tmp_path / "cpu.max") == cores
    assert precision._cgroup_cores(tmp_path / "missing") is None


def test_an_unknown_device_is_refused():
    with pytest.raises(InputError) as error:
        choose_precision(settings(device="tpu"))
    assert str(error.value) == "device must be auto, cpu, cuda, mps or cuda:N, but is 'tpu'"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_device_that_is_not_here_is_refused():
    with pytest.raises(MachineError) as error:
        choose_precision(settings(device="cuda"))
    assert str(error.value) == (
        "device 'cuda' is not here: torch sees 0 CUDA devices; use device=cpu, or install a torch "
        "build for your GPU"
    )


def test_indexing_backward_is_deterministic_within_the_context_and_as_before_outside():
    chosen = choose_precision(settings())
    assert chosen.deterministic
    with computing(chosen):
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
    with computing(replace(chosen, deterministic=False)):
        assert not torch.are_deterministic_algorithms_enabled()


def test_saved_names_carry_no_prefix_of_a_wrapper():
    assert plain_name("model._orig_mod.blocks.0._orig_mod.w") == "model.blocks.0.w"
    learner = make_learner()
    names = [name for name, _ in named_parameters(learner)]
    learner.model = torch.compile(learner.model)
    assert [name for name, _ in named_parameters(learner)] == names
