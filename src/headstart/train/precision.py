"""Which device, which number format, how many threads, and whether every run gives the same bits.

In: what the user asked and what the machine has. Out: a `Precision`, and a context in which the
process computes that way. Everything about devices and formats is decided here; weights are saved
in fp32 under plain names, whatever wraps the model.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn
from torch.utils import deterministic as determinism

from headstart.errors import InputError, MachineError
from headstart.train.settings import TrainSettings

_WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.")
_DEVICES = ("cpu", "cuda", "mps")


@dataclass(frozen=True)
class Precision:
    """How a run computes.

    device: where the weights and batches live.
    dtype: the format of the weights in the forward and backward pass; float32 or bfloat16. The
        optimiser's weights and averages are float32 always.
    threads: processor threads.
    deterministic: only operations that give the same bits each time.
    """

    device: torch.device
    dtype: torch.dtype
    threads: int
    deterministic: bool


def choose_precision(settings: TrainSettings) -> Precision:
    """The precision for these settings on this machine.

    Raises InputError for an unknown device, MachineError for one that is not here or has no bf16
    where that is asked for.
    """
    device = _device(settings.device)
    dtype = choose_format(settings.precision, device)
    deterministic = settings.deterministic == "on" or (
        settings.deterministic == "auto" and device.type == "cpu"
    )
    return Precision(device, dtype, settings.threads or usable_threads(), deterministic)


def choose_format(precision: Literal["auto", "bf16", "fp32"], device: torch.device) -> torch.dtype:
    """The number format that is asked for; "auto" is bf16 where the device computes in it.

    Raises MachineError for bf16 on a GPU that would only imitate it. A processor may: what was
    trained elsewhere is looked into there.
    """
    able = computes_bf16(device)
    if precision == "bf16" and device.type == "cuda" and not able:
        major, minor = torch.cuda.get_device_capability(device)
        raise MachineError(
            f"device '{device}' ({torch.cuda.get_device_name(device)}) does not compute in bf16: "
            f"that takes compute capability 8.0, and it has {major}.{minor}; use precision=fp32, "
            "or auto"
        )
    return (
        torch.bfloat16 if precision == "bf16" or (precision == "auto" and able) else torch.float32
    )


def computes_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 matrices in hardware: this very one, not the current."""
    if device.type == "cuda":
        return bool(torch.version.hip) or torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
    return False


def usable_threads() -> int:
    """Threads that this process may really run at the same time.

    torch counts the machine's cores. A container's quota or a processor mask can be far smaller,
    and two threads on one core are many times slower than one.
    """
    here = torch.get_num_threads()
    if hasattr(os, "sched_getaffinity"):
        here = min(here, len(os.sched_getaffinity(0)))
    quota = _cgroup_cores(Path("/sys/fs/cgroup/cpu.max"))
    return max(1, here if quota is None else min(here, quota))


@contextmanager
def computing(precision: Precision) -> Iterator[None]:
    """Within the context, torch uses these threads and this determinism; afterwards as before."""
    threads = torch.get_num_threads()
    exact = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    fill = determinism.fill_uninitialized_memory  # type: ignore[attr-defined]
    rng = torch.get_rng_state()
    try:
        if precision.threads != threads:
            torch.set_num_threads(precision.threads)
        if precision.deterministic:
            if precision.device.type == "cuda":
                os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            _set_deterministic(True, warn_only=True)
            # Without this every new tensor would be written twice.
            determinism.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        yield
    finally:
        _set_deterministic(exact, warn_only=warn_only)
        determinism.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
        torch.set_rng_state(rng)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


def _set_deterministic(on: bool, *, warn_only: bool) -> None:
    """As torch.use_deterministic_algorithms, which would import the compiler: two seconds."""
    if torch._C is not None:  # it is gone when a run that was broken off ends with the program
        torch._C._set_deterministic_algorithms(on, warn_only=warn_only)


def fingerprint(precision: Precision) -> dict[str, str]:
    """What else decides the bits: versions, processor, threads; as text by name."""
    found = {
        "torch": torch.__version__,
        "device": precision.device.type,
        "dtype": str(precision.dtype).removeprefix("torch."),
        "threads": str(precision.threads),
        "deterministic": str(precision.deterministic),
        "processor": torch.backends.cpu.get_cpu_capability(),
    }
    if precision.device.type == "cuda":
        found["processor"] = torch.cuda.get_device_name(precision.device)
    return found


def plain_name(name: str) -> str:
    """A parameter's name without the prefixes that compiling or wrapping a module adds."""
    for wrapper in _WRAPPERS:
        name = name.replace(wrapper, "")
    return name


def named_parameters(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Every parameter once, under its plain name; a shared one under its first name."""
    return [(plain_name(name), parameter) for name, parameter in module.named_parameters()]


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.split(":", maxsplit=1)[0] not in _DEVICES:
        raise InputError(f"device must be auto, {', '.join(_DEVICES)} or cuda:N, but is {name!r}")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"device {name!r} cannot be read; write for example cuda:0") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise MachineError(
            f"device {name!r} is not here: torch sees {torch.cuda.device_count()} CUDA devices; "
            "use device=cpu, or install a torch build for your GPU"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise MachineError("device 'mps' is not here; use device=cpu")
    return device


def _cgroup_cores(path: Path) -> int | None:
    """Whole cores of a container's quota, rounded up; None where there is no quota."""
    try:
        quota, period = path.read_text().split()
        return None if quota == "max" else max(1, -(-int(quota) // int(period)))
    except (OSError, ValueError):
        return None
