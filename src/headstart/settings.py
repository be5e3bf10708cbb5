"""What all settings have in common: closed, frozen, and exact about numbers, truth and paths.

Values may come from a file or the command line as text. Text becomes a number or a truth value only
if the field asks for one and the text says it exactly: `1e3` is an integer, `on` is not a truth
value, `0123` and a Unicode minus are refused with what to write instead.
"""

from __future__ import annotations

import math
import os
import re
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from headstart.strict_yaml import LOOKALIKES, describe_character

T = TypeVar("T")


def setting(
    default: T,
    about: str,
    *,
    unit: str = "",
    source: str = "",
    path: bool = False,
    gt: float | None = None,
    ge: float | None = None,
    lt: float | None = None,
    le: float | None = None,
) -> T:
    """One field: its default, one sentence about it, its unit and the source of its default.

    path: whether it names a file or folder: `~` is expanded, an unexpanded `$NAME` refused.
    gt, ge, lt, le: bounds of a number. Floats must be finite.
    """
    made: T = Field(
        default,
        description=about,
        json_schema_extra={"unit": unit, "source": source, "path": path},
        gt=gt,
        ge=ge,
        lt=lt,
        le=le,
        allow_inf_nan=False if isinstance(default, float) else None,
    )
    return made


class Settings(BaseModel):
    """Base of all settings: frozen, closed, and exact about numbers and truth values."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    @field_validator("*", mode="before")
    @classmethod
    def _exact(cls, value: object, info: ValidationInfo) -> object:
        field = cls.model_fields[str(info.field_name)]
        extra = field.json_schema_extra
        if isinstance(value, str) and not value.strip():
            raise ValueError("is empty: give a value, or leave the setting out")
        if isinstance(extra, dict) and extra.get("path"):
            value = _expand_all(value)
        return exact_scalar(value, kinds=_plain_types(field.annotation))


def exact_scalar(value: object, *, kinds: frozenset[type]) -> object:
    """Text as the number or truth value that the schema asks for, exactly or not at all.

    kinds: the plain types the field takes. A value they do not concern comes back as it is.
    Raises ValueError that names a lookalike character or the number to write.
    """
    if isinstance(value, bool) and bool not in kinds and kinds & {int, float}:
        raise ValueError("must be a number, not a truth value")
    if not isinstance(value, str) or str in kinds:
        return value
    if bool in kinds and value not in ("true", "false"):
        raise ValueError("must be true or false")
    if not kinds & {int, float}:
        return value
    odd = [c for c in value if c in LOOKALIKES]
    if odd:
        raise ValueError(f"holds {describe_character(odd[0])}: retype the number")
    digits = value.lstrip("+-")
    if len(digits) > 1 and digits[0] == "0" and digits.isdigit():
        raise ValueError(f"has a leading zero: write {int(value)}")
    if int in kinds and not digits.isdigit():
        return _whole(value)
    return value


def _whole(value: str) -> object:
    try:
        number = float(value)
    except ValueError:
        return value
    return int(number) if math.isfinite(number) and number == int(number) else value


def _plain_types(annotation: object) -> frozenset[type]:
    if isinstance(annotation, type):
        return frozenset({annotation}) if annotation in (int, float, bool, str) else frozenset()
    inner = [_plain_types(part) for part in typing.get_args(annotation)]
    if typing.get_origin(annotation) in (tuple, list, dict, Literal):
        return frozenset()
    return frozenset().union(*inner)


def refuse_overlap(out: str | None, inputs: Iterable[str | None]) -> None:
    """Raise ValueError if the output folder is one of the inputs or lies inside one."""
    if out is None:
        return
    target = Path(os.path.abspath(out))
    for name in inputs:
        source = Path(os.path.abspath(name)) if name else None
        if source is not None and (source == target or source in target.parents):
            raise ValueError(
                f"out '{out}' lies inside the input '{name}', which would then read its own "
                "output: choose another folder with --out"
            )


def _expand_all(value: object) -> object:
    if isinstance(value, list | tuple):
        return tuple(_expand_all(item) for item in value)
    if isinstance(value, Path):
        value = str(value)
    if not isinstance(value, str):
        return value
    variable = re.search(r"\$\w+|\$\{\w+\}|%\w+%", value)
    if variable:
        raise ValueError(
            f"holds {variable[0]}: variables are not expanded in settings, write the path out"
        )
    return os.path.expanduser(value) if value.startswith("~") else value
