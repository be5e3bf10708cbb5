"""The commands that a report gives: how to repeat it or one cell of it, and what to run next.

In: the settings that a report was given. Out: command lines that give the same settings again.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from headstart.config import FinetuneSettings, ReportSettings
from headstart.report.report import Report, budget_for
from headstart.report.sentences import MOST_SEEDS
from headstart.settings_file import make_settings, setting_names

# names of settings that have a flag of their own
FLAGS = {
    "labels": "--labels",
    "seed": "--seed",
    "data.text": "--text",
    "data.label": "--label",
    "data.kind": "--task",
}
APART = frozenset({"data.paths", "corpus", "start", "public", "test", "budget", "seeds", "out"})


def repeat(data: Sequence[Path], settings: ReportSettings) -> str:
    """The whole report, with file names but without folders of this machine."""
    words = _report(data, settings, start=settings.start, whole=False)
    return shlex.join([*words, "--budget", str(settings.budget), "--seeds", str(settings.seeds)])


def repeat_cell(data: Sequence[Path], settings: ReportSettings, *, run: str) -> str:
    """One cell of it, in a folder of its own: {arm}, {labels} and {seed} are to be filled in.

    run: the report's own pretrained run, judged where the settings name none.
    """
    without = frozenset({"labels", "seed", "arms"})
    words = _report(data, settings, start=settings.start or run, whole=False, without=without)
    words += ["--budget", str(settings.budget), "--out", "runs/cell", "--seeds", "1"]
    fixed = shlex.join(words).replace("{", "{{").replace("}", "}}")
    return fixed + " --set arms=[{arm}] --labels {labels} --seed {seed}"


def following(
    made: Report, data: Sequence[Path], settings: ReportSettings, *, folder: Path, run: str
) -> tuple[str, ...]:
    """Use the winner if it is ours; where nothing can be told yet, repeat with more seeds.

    folder: of the report. run: as in `repeat_cell`.
    """
    gaps, kind, need = made.verdict.gaps, made.verdict.kind, made.verdict.need
    if kind.startswith("pays") and gaps:
        method = gaps[0 if kind == "pays below" else -1].own.split("+")[0].removeprefix("own-")
        words = ["headstart", "finetune", *map(str, data), "--from", settings.start or run]
        words += ["--method", method, "--out", str(folder / "task")]
        words += ["--test", settings.test] if settings.test else []
        known = frozenset(name for name, _ in setting_names(FinetuneSettings))
        known -= {"transfer.method", *(("corpus",) if not settings.transfer.self_training else ())}
        words += _changed(settings, whole=True, names=known - (APART - {"corpus"}))
        return (shlex.join(words),)
    if kind == "cannot tell" and need is not None and need.what == "seeds":
        seeds = settings.seeds + need.more
        if seeds > MOST_SEEDS:
            return ()
        budget = budget_for(made, seeds) or str(settings.budget)
        words = _report(data, settings, start=settings.start, whole=True)
        words += ["--out", settings.out] if settings.out else []
        return (shlex.join([*words, "--budget", budget, "--seeds", str(seeds)]),)
    return ()


def _report(
    data: Sequence[Path],
    settings: ReportSettings,
    *,
    start: str | None,
    whole: bool,
    without: frozenset[str] = frozenset(),
) -> list[str]:
    words = ["headstart", "report", *(_shown(str(path), whole=whole) for path in data)]
    named = {
        "--corpus": settings.corpus,
        "--from": (start,),
        "--test": (settings.test,),
        "--public": settings.public,
    }
    for flag, given in named.items():
        for name in given:
            # a run of this report is named from its own folder on
            own = name is not None and name == start != settings.start
            words += [flag, _shown(name, whole=whole or own)] if name else []
    names = frozenset(name for name, _ in setting_names(ReportSettings)) - APART - without
    return words + _changed(settings, whole=whole, names=names)


def _changed(settings: ReportSettings, *, whole: bool, names: frozenset[str]) -> list[str]:
    """Settings of these names that are not the usual ones, as flags."""
    usual, words = dict(_values(make_settings(ReportSettings))), []
    for name, value in _values(settings):
        if name not in names or value == usual[name]:
            continue
        if name == "labels":
            words += [FLAGS[name], ",".join(settings.labels)]
        elif name in FLAGS and value is not None:
            words += [FLAGS[name], str(value)]
        else:
            words += ["--set", f"{name}={_text(value, whole=whole or name != 'corpus')}"]
    return words


def _values(settings: ReportSettings) -> Iterator[tuple[str, object]]:
    tree = json.loads(settings.model_dump_json())
    for name, _ in setting_names(ReportSettings):
        section, _, last = name.rpartition(".")
        yield name, (tree[section] if section else tree)[last]


def _text(value: object, *, whole: bool) -> str:
    if isinstance(value, list):
        parts = (_shown(part, whole=whole) if isinstance(part, str) else part for part in value)
        return json.dumps(list(parts), ensure_ascii=False)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _shown(name: str, *, whole: bool) -> str:
    """A file or folder; names of the Hub are no folders."""
    return name if whole or name.startswith("hf:") else Path(name).name
