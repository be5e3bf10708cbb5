"""Where tests find the public data sets, which the repository may not ship."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def data_dir(name: str) -> Path:
    """Folder of one public data set; skips the test where it is not at hand."""
    base = Path(os.environ.get("HEADSTART_DATA", ROOT.parent / "shared" / "data"))
    folder = base / name
    if not folder.is_dir():
        pytest.skip(f"needs the public data set '{name}' (set HEADSTART_DATA to its parent folder)")
    return folder
