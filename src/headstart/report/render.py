"""From a Report to what people and programs read: report.html, report.json, and the terminal
summary.

The page is one file that needs no network: styles, charts and a few lines of script are inside. It
holds both languages; a button switches. All text from the user's data is escaped.
"""

import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from importlib import resources
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from headstart.report import sentences
from headstart.report.cells import Arm
from headstart.report.curves import Point
from headstart.report.figures import arm_styles, curve_chart, gap_chart
from headstart.report.report import Report
from headstart.report.words import (
    about,
    count,
    duration,
    metric_name,
    of,
    points,
    say,
    share,
    signed_interval,
)
from headstart.words import LANGS, Lang, in_language

MARKS = {"pays": "▲", "pays below": "◢", "pays from": "◣", "does not pay": "▼", "cannot tell": "◆"}
_COLOURS = {
    "pays": "green",
    "pays below": "green",
    "pays from": "green",
    "does not pay": "red",
    "cannot tell": "yellow",
}


def write_report(report: Report, folder: Path, *, lang: Lang = "en") -> tuple[Path, Path]:
    """Write report.html and report.json into a folder, each appearing whole; returns their
    paths.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page, data = folder / "report.html", folder / "report.json"
    _write_whole(page, render_html(report, lang=lang))
    _write_whole(data, render_json(report))
    return page, data


def render_json(report: Report) -> str:
    """The report as JSON. Numbers that are infinite or unknown become null; sentences are
    included.
    """
    body = asdict(report)
    body["sentences"] = {lang: summary_sentences(report, lang=lang) for lang in LANGS}
    return json.dumps(_finite(body), ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def summary_sentences(report: Report, *, lang: Lang) -> dict[str, str]:
    """Headline, evidence, worth, need and next step in one language; "" where there is nothing to
    say.
    """
    verdict = report.verdict
    return {
        "headline": sentences.headline(verdict, lang),
        "evidence": sentences.evidence(report, verdict, lang),
        "worth": sentences.worth(verdict, lang),
        "need": sentences.need(verdict, lang),
        "next": sentences.next_step(report, lang),
    }


def render_html(report: Report, *, lang: Lang = "en") -> str:
    """The page as one string; lang is the language it opens in, in a Chinese browser Chinese."""
    template = (
        resources.files("headstart.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    )
    facts, verdict, reads = report.facts, report.verdict, report.facts.data.reads
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(count=count, points=points)
    return environment.from_string(template).render(
        lang=lang,
        report=report,
        facts=facts,
        verdict=verdict,
        mark=MARKS[report.verdict.kind],
        tone=report.verdict.kind.replace(" ", "-"),
        chart=curve_chart(report) if report.label_counts else None,
        gaps=gap_chart(report),
        styles=arm_styles(report),
        rows=_table_rows(report),
        t=lambda key, **values: _both(of(reads, key), **values),
        svg=_both_svg,
        by=_by_language,
        sentence={
            key: partial(_sentence, report, key)
            for key in ("headline", "evidence", "worth", "need", "next")
        },
        leaks=partial(leak_line, report),
        name_of=lambda name: partial(sentences.arm_title, report, name),
        phrase=lambda key, before="": lambda lang: before + say(of(reads, key), lang),
        note_of=lambda note: partial(in_language, note),
        time_of=lambda seconds: partial(duration, seconds),
        once=lambda lang: say("table.once", lang, time=duration(facts.pretrain_seconds, lang)),
        budget=lambda lang: say(
            "budget",
            lang,
            spent=duration(facts.spent_seconds, lang),
            budget=duration(facts.budget_seconds, lang),
        ),
        metric=partial(metric_name, facts.metric),
        chips=partial(_chips, report),
        table_note=partial(_table_note, report),
        method=partial(_method, report),
        alt_gap=say("alt.gap", lang, values=_gap_values(report)),
        crossing_text=about(verdict.at.estimate) if verdict.at is not None else "",
        opinion={name: partial(sentences.short, report, v) for name, v in report.opinions.items()},
        share=share,
        say=say,
    )


def terminal_summary(report: Report, *, lang: Lang = "en") -> RenderableType:
    """About one screen for the terminal: verdict, table, second opinions, leaks and next step."""
    said = summary_sentences(report, lang=lang)
    kind, colon = report.verdict.kind, say("colon", lang)
    head = Text(f"{MARKS[kind]} {said['headline']}", style=f"bold {_COLOURS[kind]}")
    body = [said["evidence"], said["worth"], said["need"]]
    text = Text("\n").join([head, *(Text(part) for part in body if part)])
    parts: list[RenderableType] = [
        Panel(text, title=say("title", lang), border_style=_COLOURS[kind])
    ]
    if report.label_counts:
        parts.append(_terminal_table(report, lang))
    for name, verdict in report.opinions.items():
        short = sentences.short(report, verdict, lang)
        parts.append(Text(f"{say(f'opinion.{name}', lang)}{colon}{short}"))
    parts.append(Text(f"{say('leaks', lang)}{colon}{leak_line(report, lang)}"))
    parts.append(Text(f"{say('next.title', lang)}{colon}{said['next']}", style="bold"))
    return Group(*parts)


def leak_line(report: Report, lang: Lang) -> str:
    """The outcome of the leak check in one or two sentences."""
    leaks, reads = report.facts.leaks, report.facts.data.reads
    total = leaks.exact + leaks.near
    line = say(of(reads, "leaks.none") if leaks.checked else "leaks.unchecked", lang)
    if total:
        numbers = {
            "total": total,
            "exact": leaks.exact,
            "near": leaks.near,
            "removed": leaks.removed,
        }
        shown = {name: count(n) for name, n in numbers.items()}
        key = "leaks.some.given" if leaks.given else "leaks.some"
        line = say(of(reads, key), lang, **shown)
    if leaks.train_test:
        more = say(of(reads, "leaks.train"), lang, n=count(leaks.train_test))
        line += (" " if lang == "en" else "") + more
    return line


def _terminal_table(report: Report, lang: Lang) -> Table:
    caption = _table_note(report, lang)
    table = Table(caption=caption, caption_justify="left", pad_edge=False)
    table.add_column(say("table.arm", lang))
    for labels in report.label_counts:
        table.add_column(count(labels), justify="right")
    two_lines = say("table.cost", lang).replace(" ", "\n", 1)  # room for four label counts in 80
    table.add_column(two_lines, justify="right")
    for arm, cells, seconds in _table_rows(report):
        texts = [
            Text(f"{value}{spread}", style="bold" if best else "") if value else Text("–")
            for value, spread, best in cells
        ]
        title = arm.title if lang == "en" else arm.title_zh
        table.add_row(title, *texts, duration(seconds, lang) if seconds is not None else "–")
    return table


def _table_rows(report: Report) -> list[tuple[Arm, list[tuple[str, str, bool]], float | None]]:
    """For each arm: (mean, " ±half", best of its column) at each label count, and the cost of a
    cell.
    """
    best = {
        labels: max(
            (p.mean for arm in report.arms if (p := report.point(arm.name, labels))), default=0.0
        )
        for labels in report.label_counts
    }
    rows = []
    for arm in report.arms:
        places = [report.point(arm.name, labels) for labels in report.label_counts]
        cells = [_cell(p, best[p.labels]) if p else ("", "", False) for p in places]
        known = [p for p in places if p]
        rows.append((arm, cells, known[-1].seconds if known else None))
    return rows


def _cell(point: Point, best: float) -> tuple[str, str, bool]:
    half = point.interval.high - point.mean
    if math.isfinite(half):
        half = (point.interval.high - point.interval.low) / 2
    return (
        points(point.mean),
        f" ±{points(half)}" if math.isfinite(half) else "",
        point.mean == best,
    )


def _sentence(report: Report, key: str, lang: Lang) -> str:
    return summary_sentences(report, lang=lang)[key]


def _chips(report: Report, lang: Lang) -> str:
    sizes = {
        "rows": count(report.facts.data.test_rows),
        "seeds": count(len(report.seeds)),
        "counts": count(len(report.label_counts)),
    }
    key = of(report.facts.data.reads, "evidence")
    return say(key, lang, metric=metric_name(report.facts.metric, lang), **sizes)


def _table_note(report: Report, lang: Lang) -> str:
    metric = metric_name(report.facts.metric, lang)
    return say("table.note", lang, metric=metric, level=share(report.verdict.level))


def _method(report: Report, lang: Lang) -> str:
    packed = all(cell.correct for cell in report.cells if cell.status == "done")
    test = say("method.test" if packed else "method.notest", lang)
    return say("method.text", lang, points=points(report.verdict.margin), test=test)


def _gap_values(report: Report) -> str:
    return "; ".join(
        f"{count(g.labels)}: {signed_interval(g.mean, g.interval)}" for g in report.verdict.gaps
    )


def _both(key: str, **values: str) -> Markup:
    """A phrase in both languages; the page shows one of them."""
    return _by_language(lambda lang: say(key, lang, **values))


def _by_language(text: Callable[[Lang], str]) -> Markup:
    spans = [
        f'<span class="{lang}" lang="{_tag(lang)}">{escape(text(lang))}</span>' for lang in LANGS
    ]
    return Markup("".join(spans))  # every value went through escape above


def _both_svg(text: Callable[[Lang], str], attributes: str) -> Markup:
    """The same inside a chart. attributes: of the text element, from the template only."""
    parts = [
        f'<text class="{lang}" lang="{_tag(lang)}" {attributes}>{escape(text(lang))}</text>'
        for lang in LANGS
    ]
    return Markup("".join(parts))  # as above


def _tag(lang: Lang) -> str:
    return "zh-Hans" if lang == "zh" else lang


def _finite(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return value


def _write_whole(path: Path, text: str) -> None:
    draft = path.with_name(path.name + ".part")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
