import json

import pytest
import torch
from safetensors import torch as library

from headstart.errors import CheckpointError
from headstart.train.tensorfile import decode, encode


def some_tensors() -> dict[str, torch.Tensor]:
    return {
        "b": torch.arange(6, dtype=torch.float32).view(2, 3),
        "a.weight": torch.randn(3, 5).bfloat16(),
        "flags": torch.tensor([True, False, True]),
        "count": torch.tensor(7),
        "none": torch.empty(0, 4),
        "汉": torch.tensor([1, 2], dtype=torch.int32),
    }


def content(tensors: dict[str, torch.Tensor]) -> bytearray:
    return bytearray(b"".join(encode(tensors)))


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(
        a[n].dtype == b[n].dtype and a[n].shape == b[n].shape and torch.equal(a[n], b[n]) for n in a
    )


def test_what_we_write_the_safetensors_library_reads():
    tensors = some_tensors()
    assert same(library.load(bytes(content(tensors))), tensors)


def test_what_the_safetensors_library_writes_we_read():
    tensors = some_tensors()
    assert same(decode(bytearray(library.save(tensors)), source="x"), tensors)


def test_the_same_tensors_give_the_same_bytes_in_any_order():
    tensors = some_tensors()
    backwards = dict(reversed(tensors.items()))
    assert content(tensors) == content(backwards)


def crafted(header: str, data: bytes = b"") -> bytearray:
    text = header.encode()
    return bytearray(len(text).to_bytes(8, "little") + text + data)


def one(entry: str, name: str = "t") -> str:
    return "{" + f'"{name}": {entry}' + "}"


def two(name: str, entry: str, other: str, more: str) -> str:
    return "{" + f'"{name}": {entry}, "{other}": {more}' + "}"


def entry(shape: list[object], offsets: list[object], dtype: str = "U8") -> str:
    return json.dumps({"dtype": dtype, "shape": shape, "data_offsets": offsets})


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (bytearray(b"1234"), "x has 4 bytes, too few for a header"),
        (
            bytearray((2**63).to_bytes(8, "little") + b"{}"),
            "x says that its header has 9223372036854775808 bytes",
        ),
        (
            crafted(two("t", entry([4], [0, 4]), "t", entry([1], [0, 4], "F32")), b"abcd"),
            "x has a name twice in one object",
        ),
        (crafted(one(entry([2**61, 16], [0, 4])), b"abcd"),
         "x gives 't' a place that does not fit its shape"),
        (crafted(one(entry([4], [0, 4]))), "x places 't' outside of the file"),
        (crafted(one(entry([2], [0, 2])), b"abcd"),
         "x has 2 bytes that belong to no tensor"),
        (crafted(two("s", entry([3], [0, 3]), "t", entry([2], [2, 4])), b"abcd"),
         "x has a hole or an overlap at byte 3 of its data"),
        (crafted(one(entry([4], [0, 4], "PY")), b"abcd"),
         "x gives 't' the unknown type 'PY'"),
        (crafted(one(entry([4.0], [0, 4])), b"abcd"),
         "x gives 't' a shape or place that is no whole number"),
        (crafted(one(entry([True], [0, 1])), b"a"),
         "x gives 't' a shape or place that is no whole number"),
        (crafted(one(entry([4], [0, 4], "PY"), "\\u001b[31m"), b"abcd"),
         "x gives '?[31m' the unknown type 'PY'"),
        (crafted('{"t": NaN}'), "x has NaN as a number"),
        (crafted("[]"), "x holds no JSON object"),
        (crafted('{"t": {"dtype": "U8"}}'), "x describes 't' in an unknown way"),
    ],
)  # fmt: skip
def test_every_malformed_file_is_refused_with_its_own_message(file: bytearray, message: str):
    with pytest.raises(CheckpointError) as error:
        decode(file, source="x")
    assert str(error.value) == message


def test_deeply_nested_headers_are_refused():
    with pytest.raises(CheckpointError, match=r"^x cannot be read as JSON"):
        decode(crafted("[" * 100_000), source="x")


def test_a_file_cut_at_any_length_is_refused():
    whole = content({"a": torch.arange(9.0), "b": torch.tensor([1])})
    for length in range(len(whole)):
        with pytest.raises(CheckpointError):
            decode(whole[:length], source="x")
