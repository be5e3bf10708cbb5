"""Every script stands on names that the package has today: they run seldom, and by hand."""

import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.mark.parametrize("script", sorted(path.stem for path in FOLDER.glob("*.py")))
def test_a_script_can_be_imported(script):
    importlib.import_module(script)
