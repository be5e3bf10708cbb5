"""Settings from a file, flags and overrides; back to a file; and every mistake in one message.

Order of precedence, the later wins: defaults, the file of `--config`, flags (or Python keywords),
`--set name=value`. All problems of all sources come in one `InputError`: where each value was
given, what was met, what is allowed, and what to write.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import ValidationError

from headstart.errors import InputError
from headstart.settings import Settings
from headstart.strict_yaml import parse_yaml, read_yaml

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

S = TypeVar("S", bound=Settings)

FORMAT = 1
# what people call some settings; the first place that a verb has is suggested
OTHER_NAMES: dict[str, tuple[str, ...]] = {
    "learning_rate": ("optimizer.lr", "transfer.lr"),
    "batch_size": ("data.tokens_per_batch", "transfer.tokens_per_batch"),
    "weight_decay": ("optimizer.weight_decay", "transfer.weight_decay"),
    "max_seq_length": ("data.max_length",),
    "mlm_probability": ("objective.rate",),
    "mask_rate": ("objective.rate",),
    "warmup_ratio": ("schedule.warmup", "transfer.warmup"),
    "max_grad_norm": ("optimizer.clip_norm",),
    "output_dir": ("out",),
    "num_train_epochs": ("transfer.epochs",),
    "class_weight": ("transfer.balanced",),
    "label_column": ("data.label",),
    "text_column": ("data.text",),
    "model_type": ("model.family",),
}
EXAMPLES = ("optimizer.lr=3e-4", "transfer.lr=3e-4", "data.encoding=gb18030")
_SECRET = re.compile(r"token$|password|passwd|secret|api_?key|credential", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"\b(hf_|sk-|ghp_|github_pat_|AKIA)[A-Za-z0-9_-]{12,}")
_SECRET_URL = re.compile(r"(://[^/\s:@]+:)[^@\s/]+@")


@dataclass
class _Given:
    """Nested values with the place each was given at."""

    tree: dict[str, object] = field(default_factory=dict)
    places: dict[tuple[str | int, ...], str] = field(default_factory=dict)

    def put(self, name: str, value: object, place: str) -> None:
        """Set one dotted name, replacing whatever stood there."""
        *parents, last = name.split(".")
        at = self.tree
        for parent in parents:
            inner = at.get(parent)
            if not isinstance(inner, dict):
                inner = at[parent] = {}
            at = inner
        at[last] = value
        self.places[tuple(name.split("."))] = place


def make_settings(
    kind: type[S],
    *,
    file: Path | None = None,
    given: Mapping[str, object] | None = None,
    overrides: Sequence[str] = (),
) -> S:
    """Settings of one verb from all that the user gave.

    file: a `run.yaml` or a file like it; given: dotted names to values, from flags or keywords
    (None means not given); overrides: `name=value` texts of `--set`.
    Raises InputError with every problem: source, value, what is allowed, fix.
    """
    values = _Given()
    if file is not None:
        _take_file(values, file, kind)
    for name, value in (given or {}).items():
        if value is not None:
            values.put(name, value, "given")
    for text in overrides:
        _take_override(values, text, kind)
    try:
        return kind.model_validate(values.tree)
    except ValidationError as error:
        problems = [_problem(kind, values, detail) for detail in error.errors()]
        raise InputError(_one_message(problems)) from None


def to_yaml(settings: Settings) -> str:
    """The settings as the text of a `run.yaml`, secrets redacted; `make_settings` reads it back."""
    head = {"format": FORMAT, "verb": verb_of(type(settings))}
    tree = {**head, **json.loads(settings.model_dump_json())}
    text: str = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=100)
    return redact(text)


def settings_digest(settings: Settings, *, without: frozenset[str] = frozenset()) -> str:
    """SHA-256 of all settings that matter to the numbers: equal digests, equal work.

    without: dotted names of further settings that do not matter here.
    """
    decisive = decisive_settings(settings, without=without)
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def decisive_settings(
    settings: Settings, *, without: frozenset[str] = frozenset()
) -> dict[str, object]:
    """The settings that matter to the numbers, by their dotted names, as JSON has them.

    without: dotted names of further settings that do not matter here.
    """
    tree = json.loads(settings.model_dump_json())
    left_out = {"out", "keep", "save_minutes", *without}
    found: dict[str, object] = {}
    for name, value in tree.items():
        inner = value.items() if isinstance(value, dict) else [(None, value)]
        found |= {name if key is None else f"{name}.{key}": one for key, one in inner}
    return {name: value for name, value in found.items() if name not in left_out}


def verb_of(kind: type[Settings]) -> str:
    """The verb that a settings class belongs to: PretrainSettings -> pretrain."""
    return kind.__name__.removesuffix("Settings").lower()


def setting_names(kind: type[Settings]) -> Iterator[tuple[str, FieldInfo]]:
    """Every dotted name of a settings class with its field, sections left out."""
    for name, info in kind.model_fields.items():
        section = _section(info)
        if section is None:
            yield name, info
        else:
            yield from ((f"{name}.{inner}", found) for inner, found in setting_names(section))


def redact(text: str) -> str:
    """The text with access tokens and passwords of addresses replaced by ***."""
    return _SECRET_URL.sub(r"\1***@", _SECRET_VALUE.sub(r"\1***", text))


def describe(info: FieldInfo) -> str:
    """What a field allows, in words: 'a whole number of at least 1, or null'."""
    kinds, choices, nullable = _kinds(info.annotation)
    if choices:
        words = "one of " + ", ".join(choices)
    elif tuple in kinds:
        words = "a list such as [a, b]"
    elif bool in kinds:
        words = "true or false"
    elif int in kinds or float in kinds:
        number = "a whole number" if int in kinds else "a number"
        words = " ".join([number, _bounds(info)]).strip()
    else:
        words = "text"
    return words + (", or null" if nullable else "")


def _take_file(values: _Given, file: Path, kind: type[Settings]) -> None:
    document = read_yaml(file)
    tree: dict[str, object] = dict(document.tree)
    found = str(tree.pop("format", FORMAT))
    if found != str(FORMAT):
        raise InputError(
            f"{file}: settings of format {found!r}, but this headstart reads format {FORMAT}. "
            "Use the headstart version that wrote the file, or delete the line to try."
        )
    verb, wanted = tree.pop("verb", None), verb_of(kind)
    if verb not in (None, wanted):
        raise InputError(f"{file}: settings of 'headstart {verb}', not of 'headstart {wanted}'.")
    values.tree = tree
    values.places = {where: f"{file}, line {line}" for where, line in document.lines.items()}


def _take_override(values: _Given, text: str, kind: type[Settings]) -> None:
    name, equals, value = text.partition("=")
    name, value = name.strip(), value.strip()
    if not equals or not name or not value:
        raise InputError(
            f"--set {redact(text)!r}: must be name=value, for example --set {_example(kind)}"
        )
    parsed: object = value
    if value in ("null", "~"):
        parsed = None
    elif value.startswith("["):
        document = parse_yaml(f"value: {value}".encode(), source=f"--set {name}")
        parsed = document.tree["value"]
    section = kind.model_fields.get(name)
    if section is not None and _section(section) is not None:
        inner = next(iter(setting_names(kind.model_fields[name].annotation)))  # type: ignore[arg-type]
        raise InputError(
            f"--set {name}={value}: {name} is a section. Write a name inside it, for example "
            f"--set {name}.{inner[0]}={value}"
        )
    values.put(name, parsed, "--set")


def _example(kind: type[Settings]) -> str:
    """A setting that the verb has."""
    names = {name for name, _ in setting_names(kind)}
    return next(one for one in EXAMPLES if one.partition("=")[0] in names)


def _problem(kind: type[Settings], values: _Given, detail: ErrorDetails) -> str:
    where = detail["loc"]
    name = ".".join(str(part) for part in where if not isinstance(part, int))
    place = _place(values, where)
    if detail["type"] == "extra_forbidden":
        return f"{place}{name}: no such setting.{_did_you_mean(kind, where)}"
    message = detail["msg"].removeprefix("Value error, ")
    info = _field(kind, where)
    section = _section(info) if info else None
    if info is None or (section and detail["type"] == "value_error"):
        return f"{place}{message}."
    if section is not None:
        return (
            f"{place}{name} = {_shown(detail['input'])}: must be a section with {_inside(section)}."
        )
    own = detail["type"] == "value_error"
    rule = message if own else f"must be {describe(info)}"
    if isinstance(where[-1], int):
        return f"{place}{name}, item {where[-1] + 1} = {_shown(detail['input'])}: {message}."
    return f"{place}{name} = {_shown(detail['input'])}: {rule}.{_fix(name, info, detail)}"


def _one_message(problems: list[str]) -> str:
    if len(problems) == 1:
        return problems[0]
    return "\n  ".join([f"{len(problems)} settings cannot be used:", *problems])


def _place(values: _Given, where: tuple[str | int, ...]) -> str:
    for end in range(len(where), 0, -1):
        place = values.places.get(where[:end])
        if place:
            return "" if place == "given" else f"{place}: "
    return ""


def _did_you_mean(kind: type[Settings], where: tuple[str | int, ...]) -> str:
    name = ".".join(map(str, where))
    if _SECRET.search(name):
        return (
            " Secrets do not belong in settings: a Hugging Face token is read from the environment"
            " variable HF_TOKEN."
        )
    names = [known for known, _ in setting_names(kind)]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.7)
    if not near:
        last = {known.rsplit(".", 1)[-1]: known for known in names}
        for other, places in OTHER_NAMES.items():
            here = [place for place in places if place in names]
            last |= {other: here[0]} if here else {}
        near = [
            last[found]
            for found in difflib.get_close_matches(str(where[-1]), list(last), n=1, cutoff=0.7)
        ]
    if near:
        return f" Did you mean {near[0]}?"
    parent = where[:-1]
    info = _field(kind, parent) if parent else None
    section = (_section(info) if info else None) or kind
    return f" Known here: {_inside(section)}."


def _fix(name: str, info: FieldInfo, detail: ErrorDetails) -> str:
    _, choices, _ = _kinds(info.annotation)
    value = detail["input"]
    if choices and isinstance(value, str):
        near = difflib.get_close_matches(value.lower(), choices, n=1, cutoff=0.6)
        return f" Did you mean {near[0]}?" if near else ""
    default = info.get_default(call_default_factory=False)
    if default is None or default == () or detail["type"] == "value_error":
        return ""
    shown = list(default) if isinstance(default, tuple) else default
    return f" The default is {str(shown).lower() if isinstance(shown, bool) else shown}."


def _field(kind: type[Settings], where: tuple[str | int, ...]) -> FieldInfo | None:
    info: FieldInfo | None = None
    at: type[Settings] | None = kind
    for part in where:
        if isinstance(part, int) or at is None:
            break
        info = at.model_fields.get(part)
        at = _section(info) if info else None
    return info


def _section(info: FieldInfo) -> type[Settings] | None:
    kind = info.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Settings) else None


def _inside(section: type[Settings]) -> str:
    return ", ".join(section.model_fields)


def _kinds(annotation: object) -> tuple[set[object], list[str], bool]:
    """Plain types, closed choices, and whether null is allowed, of a field's annotation."""
    origin = get_origin(annotation)
    if origin is Literal:
        return set(), [str(choice) for choice in get_args(annotation)], False
    if origin in (tuple, list):
        return {tuple}, [], False
    if origin is None:
        return {annotation}, [], annotation is type(None)
    kinds: set[object] = set()
    choices: list[str] = []
    nullable = False
    for part in get_args(annotation):
        inner, named, null = _kinds(part)
        kinds |= inner
        choices += named
        nullable = nullable or null
    return kinds, choices, nullable


def _bounds(info: FieldInfo) -> str:
    words = []
    for name, text in (
        ("ge", "of at least"),
        ("gt", "above"),
        ("le", "at most"),
        ("lt", "below"),
    ):
        limit = next((getattr(m, name) for m in info.metadata if hasattr(m, name)), None)
        if limit is not None:
            words.append(f"{text} {limit:,}" if isinstance(limit, int) else f"{text} {limit:g}")
    return " and ".join(words)


def _shown(value: object) -> str:
    if isinstance(value, bool) or value is None:
        text = {True: "true", False: "false", None: "null"}[value]
    elif isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False)
    else:
        text = str(value)
    return redact(text if len(text) <= 80 else text[:77] + "...")
