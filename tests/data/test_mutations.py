"""Damaged files of every format: no traceback, no lost row, no message without a fix."""

import gzip
import io
import json

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from headstart.data.check import check_data
from headstart.data.dataset import load_labelled
from headstart.errors import InputError

RECORDS = [
    {"text": f'words, "quoted" {n} 中文', "label": ("x", "y", "z")[n % 3]} for n in range(40)
]


def seeds():
    table = "text,label\n" + "".join(
        '"' + r["text"].replace('"', '""') + f'",{r["label"]}\n' for r in RECORDS
    )
    lines = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in RECORDS)
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(RECORDS), buffer, write_page_checksum=True)
    return {
        "a.csv": table.encode(),
        "a.tsv": table.replace('",', '"\t').encode(),
        "a.jsonl": lines.encode(),
        "a.json": json.dumps(RECORDS, indent=1).encode(),
        "a.txt": lines.encode(),
        "a.csv.gz": gzip.compress(table.encode(), mtime=0),
        "b.csv": table.encode("utf-16"),
        "a.parquet": buffer.getvalue(),
    }


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(len(changed)))
        kind = rng.integers(5)
        if kind == 0:
            changed[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            changed[at] = int(rng.choice(list(b'\x00"\n\r,\t{}[]\\\xff\xef;|')))
        elif kind == 2:
            del changed[at : at + int(rng.integers(1, 40))]
        elif kind == 3:
            changed[at:at] = changed[at // 2 : at // 2 + int(rng.integers(1, 60))]
        else:
            del changed[at:]
        if not changed:
            return b""
    return bytes(changed)


def survive(tmp_path, name, data, count, seed):
    rng = np.random.default_rng(seed)
    path = tmp_path / name
    for _ in range(count):
        path.write_bytes(mutate(data, rng))
        report = check_data(path)
        assert report.rows == report.accepted + report.quarantined + report.rejected
        for one in report.problems:
            assert one.source == str(path)
            assert str(one).isprintable()
            assert len(str(one)) < 1500
            assert one.fix.endswith(".")
        try:
            loaded = load_labelled(path, text="text", label="label", bad_rows="skip")
        except InputError:
            continue
        assert loaded.rows == len(loaded) + loaded.quarantined


@pytest.mark.parametrize("name", list(seeds()))
def test_damaged_files_are_survived_and_accounted_for(name, tmp_path):
    survive(tmp_path, name, seeds()[name], 60, seed=1)


@pytest.mark.proof
@pytest.mark.parametrize("name", list(seeds()))
def test_thousands_of_damaged_files_are_survived_and_accounted_for(name, tmp_path):
    survive(tmp_path, name, seeds()[name], 3000, seed=2)
