"""What importing costs, measured in modules, not in time: clocks differ, module lists do not."""

import json
import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "numpy",
    "scipy",
    "sklearn",
    "pyarrow",
    "tokenizers",
    "matplotlib",
    "transformers",
)


def modules_after(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after running some code."""
    program = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin"},
    )
    return {name.split(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


def test_importing_headstart_imports_nothing_heavy_and_no_third_party_package():
    loaded = modules_after("import headstart")
    assert loaded.isdisjoint([*HEAVY, "pydantic", "yaml", "typer", "rich"])


@pytest.mark.parametrize("line", ["--help", "--version", "report --help", "demo -h"])
def test_help_imports_no_torch_and_no_numpy(line):
    code = (
        "from headstart.cli.main import main\n"
        f"try: main({line.split()!r})\n"
        "except SystemExit as left: assert left.code == 0, left.code"
    )
    assert modules_after(code).isdisjoint(HEAVY)


def test_a_wrong_command_line_is_answered_before_anything_heavy_is_imported():
    code = (
        "from headstart.cli.main import main\n"
        "try: main(['pretrain', 'x', '--set', 'optimizer.lrr=1'])\n"
        "except SystemExit as left: assert left.code == 2, left.code"
    )
    assert modules_after(code).isdisjoint(HEAVY)


def test_the_measurement_sees_a_heavy_import():
    assert "numpy" in modules_after("import numpy")
