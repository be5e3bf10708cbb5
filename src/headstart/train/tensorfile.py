"""The safetensors format as pure functions: named tensors to pieces of bytes, bytes to tensors.

In: a dict of tensors, or the whole content of a file. Out: the other. No file is opened here. The
reader is our own and strict, because the format has no checksum and common readers accept
duplicate names: sizes are capped before anything is allocated, every byte must belong to exactly
one tensor, and nothing is guessed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from headstart.errors import CheckpointError

MAX_HEADER = 16_000_000  # bytes
MAX_TENSORS = 100_000
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_SHOWN = re.compile(r"[^\x20-\x7e]")


def encode(tensors: Mapping[str, Tensor]) -> Iterator[memoryview]:
    """The file's content in pieces: header first, then each tensor's bytes, sorted by name.

    The same tensors give the same bytes.
    """
    names = sorted(tensors)
    header: dict[str, object] = {}
    start = 0
    for name in names:
        tensor = tensors[name]
        end = start + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
        start = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=True).encode()
    text += b" " * (-len(text) % 8)
    yield memoryview(len(text).to_bytes(8, "little") + text)
    for name in names:
        flat = tensors[name].detach().cpu().contiguous().reshape(-1)
        if flat.numel():
            yield flat.view(torch.uint8).numpy().data


def size_of(tensors: Mapping[str, Tensor]) -> int:
    """Bytes of the tensors' data, without the header."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def decode(content: bytearray, *, source: str) -> dict[str, Tensor]:
    """The tensors of a file's whole content; they share its memory.

    source: what messages call the file. Raises CheckpointError on anything out of the ordinary.
    """
    if len(content) < 8:
        raise _bad(source, f"has {len(content)} bytes, too few for a header")
    length = int.from_bytes(content[:8], "little")
    if length > min(MAX_HEADER, len(content) - 8):
        raise _bad(source, f"says that its header has {length} bytes")
    entries = parse_json(bytes(content[8 : 8 + length]), source=source)
    entries.pop("__metadata__", None)
    if len(entries) > MAX_TENSORS:
        raise _bad(source, f"names {len(entries)} tensors; at most {MAX_TENSORS} are read")
    data = memoryview(content)[8 + length :]
    spans, found = [], {}
    for name, entry in entries.items():
        dtype, shape, start, end = _entry(name, entry, source=source)
        spans.append((start, end))
        if end > len(data):
            raise _bad(source, f"places {_show(name)} outside of the file")
        found[name] = _tensor(data[start:end], dtype, shape)
    _demand_cover(spans, len(data), source=source)
    return found


def parse_json(content: bytes, *, source: str) -> dict[str, object]:
    """A JSON object. Raises CheckpointError on duplicate names, NaN, bad UTF-8, deep nests."""

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise _bad(source, "has a name twice in one object")
        return found

    def refuse(constant: str) -> object:
        raise _bad(source, f"has {constant} as a number")

    try:
        found = json.loads(content.decode("utf-8"), object_pairs_hook=once, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise _bad(source, f"cannot be read as JSON ({str(error)[:80]})") from None
    if not isinstance(found, dict):
        raise _bad(source, "holds no JSON object")
    return found


def _entry(
    name: str, entry: object, *, source: str
) -> tuple[torch.dtype, tuple[int, ...], int, int]:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _bad(source, f"describes {_show(name)} in an unknown way")
    dtype, shape, offsets = _DTYPES.get(str(entry["dtype"])), entry["shape"], entry["data_offsets"]
    if dtype is None:
        raise _bad(source, f"gives {_show(name)} the unknown type {_show(str(entry['dtype']))}")
    if not (_whole_numbers(shape) and _whole_numbers(offsets) and len(offsets) == 2):
        raise _bad(source, f"gives {_show(name)} a shape or place that is no whole number")
    size = torch.empty((), dtype=dtype).element_size()
    for extent in shape:
        size *= extent
    if offsets[0] > offsets[1] or offsets[1] - offsets[0] != size:
        raise _bad(source, f"gives {_show(name)} a place that does not fit its shape")
    return dtype, tuple(shape), offsets[0], offsets[1]


def _whole_numbers(values: object) -> bool:
    return isinstance(values, list) and all(
        isinstance(v, int) and not isinstance(v, bool) and 0 <= v < 2**62 for v in values
    )


def _demand_cover(spans: list[tuple[int, int]], size: int, *, source: str) -> None:
    place = 0
    for start, end in sorted(spans):
        if start != place:
            raise _bad(source, f"has a hole or an overlap at byte {place} of its data")
        place = end
    if place != size:
        raise _bad(source, f"has {size - place} bytes that belong to no tensor")


def _tensor(data: memoryview, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    if not data:
        return torch.empty(shape, dtype=dtype)
    raw = torch.frombuffer(data, dtype=torch.uint8)
    if raw.data_ptr() % 8:  # a file of another writer may not be aligned
        raw = raw.clone()
    return raw.view(dtype).view(shape)


def _bad(source: str, what: str) -> CheckpointError:
    return CheckpointError(f"{source} {what}")


def _show(name: str) -> str:
    return "'" + _SHOWN.sub("?", name)[:60] + "'"
