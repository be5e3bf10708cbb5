"""One function a verb: data and settings in, a result out; the run folder is written on the way.

Each verb's module is imported when the verb is first asked for, so that importing this package
costs nothing. Modules are named for the activity, because a module named like its function would
take the function's place.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

RECIPES: dict[str, str] = {
    "pretrain": "headstart.recipes.choosing",
    "finetune": "headstart.recipes.finetuning",
    "report": "headstart.recipes.reporting",
    "evaluate": "headstart.recipes.evaluating",
    "predict": "headstart.recipes.predicting",
    "generate": "headstart.recipes.generating",
    "compare": "headstart.recipes.comparing",
    "check": "headstart.recipes.checking",
    "plan": "headstart.recipes.choosing",
    "doctor": "headstart.recipes.machine",
    "demo": "headstart.recipes.demonstration",
}


def __getattr__(name: str) -> Callable[..., object]:
    if name not in RECIPES:
        raise AttributeError(f"module 'headstart.recipes' has no recipe '{name}'")
    recipe: Callable[..., object] = getattr(importlib.import_module(RECIPES[name]), name)
    return recipe
