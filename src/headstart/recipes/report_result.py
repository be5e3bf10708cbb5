"""A finished report with the folder it was written to, in the form that every verb gives back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import RenderableType

from headstart.recipes.results import Fact, Json
from headstart.report.render import render_json, terminal_summary
from headstart.report.report import Report
from headstart.report.verdict import Verdict
from headstart.words import Lang


@dataclass(frozen=True)
class ReportResult:
    """folder: the run folder, which holds report.html and report.json.

    following: commands that make sense now.
    """

    report: Report
    folder: Path
    following: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """Whether pretraining paid."""
        return self.report.verdict

    @property
    def page(self) -> Path:
        """The report as one offline page."""
        return self.folder / "report.html"

    def screen(self, lang: Lang) -> RenderableType:
        """Verdict, table, leaks and next step, for a terminal."""
        return terminal_summary(self.report, lang=lang)

    def facts(self) -> Sequence[Fact]:
        """Where to read more."""
        return [("report_page", str(self.page))]

    def record(self) -> Mapping[str, Json]:
        """The report as in report.json, with its folder."""
        body: dict[str, Json] = json.loads(render_json(self.report))
        return {"folder": str(self.folder), **body}

    def next_commands(self) -> Sequence[str]:
        """The next step of the screen, as a command."""
        return self.following
