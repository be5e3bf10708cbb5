"""`headstart demo`: the report on packaged real data, sized to end within minutes on two cores.

Expect the verdict for "which of 12 card problems is this?" on 600 labelled and 9,400 unlabelled
customer questions (BANKING77, CC BY 4.0); `demo_data/SOURCE.md` says where they come from.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from headstart import recipes
from headstart.config import ReportSettings
from headstart.errors import MachineError
from headstart.events import Events, Silent
from headstart.settings_file import make_settings

BUDGET = "4m"
LABELS = ["60", "200", "all"]


def demo_data() -> Path:
    """Folder of the packaged data: labels.csv, test.csv, corpus/."""
    folder = Path(str(files("headstart") / "demo_data"))
    if not folder.is_dir():
        raise MachineError(f"{folder}: the packaged demo data is missing. Install headstart again.")
    return folder


def demo_settings(
    *, out: str | None = None, budget: str | None = None, threads: int | None = None
) -> ReportSettings:
    """The report that the demo runs: like any other, but small."""
    folder = demo_data()
    return make_settings(
        ReportSettings,
        given={
            "data.paths": [str(folder / "labels.csv")],
            "data.text": "text",
            "data.label": "label",
            "data.vocab_size": 4096,
            "data.max_length": 64,
            "corpus": [str(folder / "corpus")],
            "test": str(folder / "test.csv"),
            "labels": LABELS,
            "seeds": 3,
            "budget": budget or BUDGET,
            "out": out or "runs/demo",
            "machine.threads": threads,
        },
    )


def demo(
    *,
    out: str | None = None,
    budget: str | None = None,
    threads: int | None = None,
    events: Events | None = None,
) -> object:
    """Run the report on the packaged data and give it back.

    budget: time for everything, such as "4m"; out: the run folder, runs/demo if not given.
    """
    settings = demo_settings(out=out, budget=budget, threads=threads)
    paths = [Path(name) for name in settings.data.paths]
    return recipes.report(paths, settings=settings, events=events or Silent())
