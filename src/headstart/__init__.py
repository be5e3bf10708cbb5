"""Pretrain transformers on your own data, transfer them, and learn whether pretraining paid.

The verbs of the command line are functions here: `headstart.pretrain`, `finetune`, `report`, ...
Importing this package imports nothing heavy: each public name is fetched when first used.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headstart.errors import HeadstartError, InputError
    from headstart.recipes.api import (
        check,
        compare,
        demo,
        doctor,
        encoder,
        finetune,
        generate,
        generator,
        load,
        plan,
        predict,
        pretrain,
    )
    from headstart.train import Trainer

__version__ = "0.1.0"

_API = "headstart.recipes.api"
_VERBS = frozenset(
    {
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
    }
)
_OTHERS = {
    "HeadstartError": "headstart.errors",
    "InputError": "headstart.errors",
    "Trainer": "headstart.train",
}
_ROOMS = frozenset({"families", "objectives", "tasks", "nn", "data", "train"})

__all__ = [
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


def __getattr__(name: str) -> object:
    if name in _ROOMS:
        return importlib.import_module(f"headstart.{name}")
    home = _API if name in _VERBS else _OTHERS.get(name)
    if home is None:
        raise AttributeError(f"module 'headstart' has no attribute '{name}'")
    value: object = getattr(importlib.import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *_ROOMS])


class _Package(ModuleType):
    """Keeps verbs callable: importing rooms of their names would replace them."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _VERBS and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
