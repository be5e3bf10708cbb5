"""Weight files: safetensors only, their headers checked before a byte of tensor data is read.

Comes in: a folder. Goes out: names, shapes and, on demand, tensors. Pickles are refused: opening
one can run code. A link that leads out of the folder is refused too, except into the blob store of
the Hugging Face cache that the folder itself lies in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from headstart.data.inside import demand_inside
from headstart.errors import CheckpointError
from headstart.families.fields import Fields, parse_object, read_fields

HEADER_BYTES = 16_000_000  # the format allows more, no honest model needs it
MOST_TENSORS = 100_000
SIZES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 1),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 2),
    **dict.fromkeys(("I32", "U32", "F32"), 4),
    **dict.fromkeys(("I64", "U64", "F64"), 8),
}
WEIGHT_DTYPES = ("F32", "F16", "BF16", "F64")


@dataclass(frozen=True)
class Stored:
    """One tensor of a file: where it is, under which name, and what it looks like."""

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: str


def find_weights(folder: Path, *, name: str = "model") -> dict[str, Stored]:
    """All tensors of NAME.safetensors, or of the files that NAME.safetensors.index.json lists."""
    single, index = folder / f"{name}.safetensors", folder / f"{name}.safetensors.index.json"
    if single.exists():
        return read_header(single)
    if index.exists():
        return _read_shards(folder, index)
    pickles = sorted(p.name for p in folder.glob("*.bin")) + sorted(
        p.name for pattern in ("*.pt", "*.pth", "*.ckpt") for p in folder.glob(pattern)
    )
    if pickles:
        raise CheckpointError(
            f"{folder}: the weights are a pickle ({pickles[0]}), which can run code when opened, "
            "so headstart never opens one. Convert it where you trust it: load the model with "
            "transformers and call save_pretrained(folder), which writes model.safetensors"
        )
    raise CheckpointError(f"{folder}: no {name}.safetensors. Is this a complete model folder?")


def _read_shards(folder: Path, index: Path) -> dict[str, Stored]:
    mapping = read_fields(index).inner("weight_map")
    if mapping is None or not mapping.values:
        raise CheckpointError(f"{index}: 'weight_map' is missing or empty")
    files = dict.fromkeys(_shard_name(mapping, tensor) for tensor in mapping.values)
    absent = [name for name in files if not (folder / name).exists()]
    if absent:
        raise CheckpointError(
            f"{folder}: {len(absent)} of {len(files)} weight files missing "
            f"({', '.join(absent[:4])}). Copy or download the folder again"
        )
    found: dict[str, Stored] = {}
    for name in files:
        for tensor, stored in read_header(folder / name).items():
            if tensor in found:
                first = found[tensor].path.name
                raise CheckpointError(f"{folder}: '{tensor}' is in both {first} and {name}")
            if mapping.values.get(tensor) != name:
                raise CheckpointError(f"{index}: does not list '{tensor}', which is in {name}")
            found[tensor] = stored
    lost = [tensor for tensor in mapping.values if tensor not in found]
    if lost:
        where = mapping.values[lost[0]]
        raise CheckpointError(f"{index}: lists '{lost[0]}' in {where}, which does not hold it")
    return found


def _shard_name(mapping: Fields, tensor: str) -> str:
    name = mapping.values[tensor]
    plain = isinstance(name, str) and name.endswith(".safetensors") and Path(name).name == name
    if not isinstance(name, str) or not plain or "\\" in name:
        raise mapping.refused(tensor, name, "the name of a .safetensors file in the same folder")
    return name


def read_header(path: Path) -> dict[str, Stored]:
    """The tensors that a safetensors file says it holds, after checking that it can."""
    demand_inside(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(HEADER_BYTES, size - 8):
            claim = f", and its header would have {length}" if size >= 8 else ""
            raise CheckpointError(
                f"{path}: truncated or no safetensors file ({size} bytes{claim}). Copy or "
                "download it again"
            )
        header = parse_object(file.read(length), str(path))
    header.pop("__metadata__", None)
    if len(header) > MOST_TENSORS:
        raise CheckpointError(
            f"{path}: its header lists {len(header)} tensors; at most {MOST_TENSORS} are read"
        )
    found: dict[str, Stored] = {}
    ranges: list[tuple[int, int]] = []
    for name in header:
        entry = Fields(header, str(path)).inner(name)
        assert entry is not None or header[name] is None, "inner gives an object or raises"
        if entry is None:
            raise CheckpointError(f"{path}: the tensor '{name}' has no description")
        found[name], place = _entry(path, name, entry)
        ranges.append(place)
    _check_ranges(path, ranges, size - 8 - length)
    return found


def _entry(path: Path, name: str, entry: Fields) -> tuple[Stored, tuple[int, int]]:
    dtype = entry.word("dtype", None, tuple(SIZES))
    shape, place = (_whole_numbers(entry, key) for key in ("shape", "data_offsets"))
    if len(place) != 2 or place[1] - place[0] != math.prod(shape) * SIZES[dtype]:
        raise CheckpointError(
            f"{path}: the tensor '{name}' has shape {list(shape)} in {dtype}, which does not fit "
            f"its bytes {list(place)}"
        )
    return Stored(path, name, shape, dtype), (place[0], place[1])


def _whole_numbers(entry: Fields, key: str) -> tuple[int, ...]:
    value = entry.values.get(key)
    good = isinstance(value, list) and all(type(v) is int and 0 <= v < 2**48 for v in value)
    if not isinstance(value, list) or not good:
        raise entry.refused(key, value, "a list of whole numbers")
    return tuple(v for v in value if isinstance(v, int))


def _check_ranges(path: Path, ranges: list[tuple[int, int]], size: int) -> None:
    reached = 0
    for start, end in sorted(ranges):
        if start != reached:
            raise CheckpointError(f"{path}: tensors overlap or leave a gap at byte {reached}")
        reached = end
    if reached != size:
        raise CheckpointError(
            f"{path}: truncated or damaged: its header lists {reached} bytes of tensors, "
            f"the file holds {size}. Copy or download it again"
        )


def read_tensors(stored: Mapping[str, Stored], *, dtype: torch.dtype) -> dict[str, Tensor]:
    """The tensors themselves, converted to one dtype; numbers that are no floats are refused."""
    found: dict[str, Tensor] = {}
    for name, item in stored.items():
        if item.dtype not in WEIGHT_DTYPES:
            raise CheckpointError(
                f"{item.path}: the weight '{name}' is stored as {item.dtype}; headstart reads "
                + ", ".join(WEIGHT_DTYPES)
            )
    for path in dict.fromkeys(item.path for item in stored.values()):
        with safe_open(path, framework="pt") as file:
            for name, item in stored.items():
                if item.path == path:
                    found[name] = file.get_tensor(name).to(dtype)
    return found


def write_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """One safetensors file, marked as coming from PyTorch, as other readers expect."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(plain, str(path), metadata={"format": "pt"})
