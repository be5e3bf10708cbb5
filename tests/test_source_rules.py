"""Rules that the source itself keeps: no code from data, no hidden writes, no printing rooms."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "headstart"
FILES = sorted(SOURCE.rglob("*.py"))

FORBIDDEN_MODULES = {
    "pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "transformers",
    "sentence_transformers", "pandas", "datasets", "torchvision", "accelerate", "peft",
}  # fmt: skip
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "breakpoint"}
FORBIDDEN_DOTTED = {
    "torch.load", "torch.save", "yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load",
    "os.system", "os.popen", "numpy.load", "np.load",
}  # fmt: skip
FORBIDDEN_METHODS = {"extractall"}
WEIGHT_FILES = {"families/load.py", "families/weights.py", "train/checkpoint.py"}


def offences(source: str, *, place: str = "code.py") -> list[str]:
    """Every break of the rules in one file's source, as 'place:line: what'."""
    found = []
    for node in ast.walk(ast.parse(source)):
        found += [f"{place}:{node.lineno}: {what}" for what in _offences_of(node)]
    return found


def _offences_of(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [f"import {a.name}" for a in node.names if _root(a.name) in FORBIDDEN_MODULES]
    if isinstance(node, ast.ImportFrom):
        module = node.module or ""
        dotted = [f"{module}.{a.name}" for a in node.names]
        bad = [name for name in dotted if name in FORBIDDEN_DOTTED]
        return [*bad, *([f"from {module}"] if _root(module) in FORBIDDEN_MODULES else [])]
    if not isinstance(node, ast.Call):
        return []
    name = ast.unparse(node.func)
    bad = [name] if name in FORBIDDEN_CALLS | FORBIDDEN_DOTTED else []
    if name in {"np.load", "numpy.load"} and _has(node, "allow_pickle", value=False):
        bad = []
    if isinstance(node.func, ast.Attribute) and node.func.attr in FORBIDDEN_METHODS:
        bad.append(name)
    for keyword in ("shell", "allow_pickle", "trust_remote_code"):
        if _has(node, keyword, value=True):
            bad.append(f"{name}({keyword}=True)")
    return bad


def _has(node: ast.Call, keyword: str, *, value: bool) -> bool:
    return any(
        k.arg == keyword and isinstance(k.value, ast.Constant) and k.value.value is value
        for k in node.keywords
    )


def _root(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_no_file_runs_code_from_data_or_imports_a_test_oracle(path):
    assert offences(path.read_text(encoding="utf-8"), place=path.name) == []


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("import pickle", "import pickle"),
        ("from pickle import loads", "from pickle"),
        ("import torch\ntorch.load('x')", "torch.load"),
        ("from torch import load", "torch.load"),
        ("eval('1')", "eval"),
        ("exec('1')", "exec"),
        ("import yaml\nyaml.load('x', Loader=None)", "yaml.load"),
        ("import subprocess\nsubprocess.run('x', shell=True)", "subprocess.run(shell=True)"),
        ("archive.extractall('x')", "archive.extractall"),
        ("np.load('x')", "np.load"),
        ("np.load('x', allow_pickle=True)", "np.load"),
        ("import transformers.models", "import transformers.models"),
    ],
)
def test_the_rules_catch_what_they_forbid(source, what):
    assert any(found.endswith(f": {what}") for found in offences(source))


def test_the_rules_let_good_code_pass():
    good = "import json\njson.loads('1')\nmodel.eval()\nnp.load('x', allow_pickle=False)"
    assert offences(good) == []


def printed(source: str) -> list[int]:
    """Lines that call print."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
    ]


def test_only_the_command_line_prints():
    for path in FILES:
        if "cli" not in path.parts:
            assert printed(path.read_text(encoding="utf-8")) == [], path


def test_no_file_has_a_name_that_says_nothing():
    names = {path.stem for path in FILES}
    assert not names & {"utils", "util", "helpers", "helper", "misc", "common"}
