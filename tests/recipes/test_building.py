"""From settings to what is told to a transfer: nothing is lost on the way, nothing is unread."""

import ast
from functools import cache
from pathlib import Path

import pytest

import headstart
from headstart.config import FinetuneSettings, PretrainSettings, ReportSettings
from headstart.families import find
from headstart.recipes.building import train_settings, transfer_settings
from headstart.settings_file import make_settings, setting_names

SOURCE = Path(headstart.__file__).parent
DEFINED = {"config.py", "sections.py", "settings.py", "settings_file.py"}

TRANSFER = [
    ("transfer.lr", 3e-4, "lr"),
    ("transfer.epochs", 7, "epochs"),
    ("transfer.min_steps", 30, "min_steps"),
    ("transfer.max_steps", 300, "max_steps"),
    ("transfer.tokens_per_batch", 512, "tokens_per_batch"),
    ("transfer.weight_decay", 0.3, "weight_decay"),
    ("transfer.warmup", 0.4, "warmup"),
    ("transfer.layer_decay", 0.7, "layer_decay"),
    ("transfer.dropout", 0.2, "dropout"),
    ("transfer.head_scale", 0.5, "head_scale"),
    ("transfer.unfreeze", "gradual", "unfreeze"),
    ("transfer.layers", 3, "top_layers"),
    ("transfer.rank", 4, "rank"),
    ("transfer.balanced", True, "balanced"),
    ("transfer.holdout", 0.25, "holdout"),
    ("transfer.patience", 9, "patience"),
    ("transfer.self_training", 2, "self_training"),
    ("transfer.min_steps", 7, "min_steps"),
    ("transfer.max_steps", 999, "max_steps"),
    ("transfer.head", "family", "head"),
    ("transfer.crop", 0.9, "crop"),
    ("images.mirror", False, "mirror"),
    ("images.jitter", 0.2, "jitter"),
    ("transfer.max_windows", 5, "max_windows"),
    ("data.max_length", 77, "max_length"),
    ("machine.precision", "fp32", "precision"),
    ("machine.device", "cpu", "device"),
    ("machine.threads", 3, "threads"),
]


@pytest.mark.parametrize("kind", [FinetuneSettings, ReportSettings])
@pytest.mark.parametrize(("name", "value", "field"), TRANSFER)
def test_every_setting_of_a_transfer_arrives_under_its_name(kind, name, value, field):
    found = []
    for given in ({}, {name: value}):
        made = make_settings(kind, given={"corpus": ["docs"], **given})
        found.append(transfer_settings(made))
    default, told = found
    assert getattr(told, field) == value
    assert getattr(default, field) != value
    for other in vars(default):
        if other != field:
            assert getattr(told, other) == getattr(default, other)


def test_all_settings_of_the_section_are_among_these():
    names = {name for name, _ in setting_names(FinetuneSettings) if name.startswith("transfer.")}
    assert names - {name for name, _, _ in TRANSFER} == {"transfer.method"}


@cache
def attributes_read() -> set[str]:
    """Every `.name` that the source reads, outside of the files that define settings."""
    found = set()
    for path in SOURCE.rglob("*.py"):
        if path.name not in DEFINED:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            found |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return found


@pytest.mark.parametrize("kind", [PretrainSettings, FinetuneSettings, ReportSettings])
def test_there_is_no_setting_that_nothing_reads(kind):
    read = attributes_read()
    sizes = {"size", "num_layers", "hidden_size", "num_heads", "intermediate_size"}  # in `shape`
    names = {name.rsplit(".", 1)[-1] for name, _ in setting_names(kind)}
    assert names - sizes - read == set()
    assert "no_such_setting" not in read


@pytest.mark.parametrize(
    ("family", "stacks"),
    [
        ("bert", {"*attention.qkv.weight": (1.0, 1.0, 1.0)}),
        (
            "t5",  # its scores are not divided by the root of 16: the fourth root is 2
            {
                "*attention.qkv.weight": (0.5, 1.0, 1.0),
                "*mlp.up.weight": (1.0, 1.0),
                "*cross.q.weight": (0.5,),
                "*cross.kv.weight": (1.0, 1.0),
            },
        ),
    ],
)
def test_muon_is_told_of_stacked_matrices_and_of_scores_that_are_not_scaled(family, stacks):
    model = find(family).build(num_layers=1, hidden_size=32, num_heads=2, vocab_size=20)
    settings = make_settings(PretrainSettings, given={"data.paths": ["x"], "model.family": family})
    assert dict(train_settings(settings, model).fused) == stacks
