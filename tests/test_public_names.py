"""The names that `import headstart` promises."""

import importlib

import pytest

import headstart


def test_the_public_names_are_these():
    assert headstart.__all__ == [
        "HeadstartError",
        "InputError",
        "Trainer",
        "__version__",
        "check",
        "compare",
        "demo",
        "doctor",
        "encoder",
        "evaluate",
        "finetune",
        "generate",
        "generator",
        "load",
        "plan",
        "predict",
        "pretrain",
        "report",
    ]


@pytest.mark.parametrize("room", ["report", "evaluate", "generate"])
def test_a_verb_stays_callable_after_the_room_of_its_name_was_imported(room):
    importlib.import_module(f"headstart.{room}")
    assert callable(getattr(headstart, room))


def test_rooms_are_found_as_attributes():
    assert headstart.families.__name__ == "headstart.families"
    assert headstart.objectives.__name__ == "headstart.objectives"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'headstart' has no attribute 'pretrian'"):
        headstart.pretrian  # noqa: B018 - the access is the test


def test_the_version_is_the_one_of_the_project_file():
    import tomllib
    from pathlib import Path

    text = (Path(__file__).resolve().parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    assert tomllib.loads(text)["project"]["version"] == headstart.__version__
