"""`headstart check`: every problem of the data in one pass, before any training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from headstart.config import AS_FOUND, LabelSettings, ReadSettings
from headstart.data.check import CheckReport, check_data
from headstart.data.content import LongTexts
from headstart.data.image_check import check_images
from headstart.data.image_kind import holds_images
from headstart.data.record import Problem
from headstart.evaluate.alignment import slipped_captions
from headstart.events import Events, Silent
from headstart.recipes.image_building import refuse_images, refuse_text
from headstart.recipes.results import Fact, Json, to_json
from headstart.words import Phrase, say

SHOWN, SHOWN_OF_A_KIND, SHOWN_FILES = 20, 5, 5


@dataclass(frozen=True)
class CheckResult:
    """What the data room found, in the form that every verb gives back."""

    report: CheckReport

    @property
    def rejected(self) -> int:
        """Rows and whole files that cannot be used; at least 1 where nothing can."""
        wrong = sum(one.outcome == "reject" for one in self.report.problems)
        return max(self.report.rejected, wrong, int(not self.report.usable))

    def facts(self) -> Sequence[Fact]:
        """How files are read, the counts, and the first problems."""
        found = self.report
        counts = say(
            "check_counts",
            rows=found.rows,
            accepted=found.accepted,
            quarantined=found.quarantined,
            rejected=found.rejected,
        )
        long = [_long(one) for one in found.long]
        twice = [say("check_duplicates", count=found.duplicates)] if found.duplicates else []
        notes = list(found.notes[:SHOWN_FILES])
        if len(found.notes) > SHOWN_FILES:
            notes.append(say("check_more", more=len(found.notes) - SHOWN_FILES))
        lines = [*notes, counts, *twice, *long, *_told(found.problems)]
        return [("", line) for line in lines]

    def record(self) -> Mapping[str, Json]:
        """Everything, for machines."""
        json = to_json(self.report)
        assert isinstance(json, Mapping), "a check report is a dataclass"
        return json

    def next_commands(self) -> Sequence[str]:
        """Nothing to suggest."""
        return []


def _told(problems: Sequence[Problem]) -> list[str]:
    """All problems, or the first of each kind where there are many, and how many more of which."""
    if len(problems) <= SHOWN:
        return [str(problem) for problem in problems]
    lines: list[str] = []
    seen: Counter[str] = Counter()
    for problem in problems:
        seen[problem.code] += 1
        if seen[problem.code] <= SHOWN_OF_A_KIND:
            lines.append(str(problem))
    left = {code: count - SHOWN_OF_A_KIND for code, count in seen.items()}
    more = {code: count for code, count in left.items() if count > 0}
    if not more:
        return lines
    kinds = ", ".join(f"{code} {count:,}" for code, count in sorted(more.items()))
    return [*lines, say("check_more_problems", more=sum(more.values()), kinds=kinds)]


def _long(found: LongTexts) -> Phrase:
    """Texts of which a model would see the beginning only."""
    values = {name: getattr(found, name) for name in ("count", "rows", "most", "longest", "line")}
    return say(
        "check_sources_long" if found.read else "check_targets_long",
        source=Path(found.source).name,
        column=found.column,
        **values,
    )


def check(
    data: Sequence[str],
    *,
    text: str | None = None,
    label: str | None = None,
    test: str | None = None,
    read: ReadSettings = AS_FOUND,
    events: Events | None = None,
) -> CheckResult:
    """Find all problems of texts, images or labelled examples."""
    listener = events or Silent()
    image, encoding = read.images.column, read.data.encoding
    if holds_images(list(data), text=text, image=image, encoding=encoding, note=listener.note):
        refuse_text(Path(data[0]), text)
        listener.note(say("data_are_images"))
        return CheckResult(
            check_images(
                list(data),
                image=image,
                label=label,
                test=test,
                encoding=encoding,
                also=slipped_captions,
                progress=lambda done, most: listener.progress("check", done, most),
            )
        )
    refuse_images(read)
    listener.progress("check", 0, 1)
    usual = LabelSettings()
    room = (usual.max_length, usual.target_length)
    found = check_data(list(data), text=text, label=label, test=test, encoding=encoding, room=room)
    listener.progress("check", 1, 1)
    return CheckResult(found)
