"""The pages: links lead somewhere, commands and flags exist, both READMEs say the same commands."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from headstart.cli.main import make_app

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
STATIONS = (
    "install",
    "report",
    "pretrain",
    "clip",
    "finetune",
    "writing",
    "generate",
    "images",
    "data",
    "python-api",
    "settings",
    "reliability",
    "speed",
    "faq",
)


def links(text: str) -> list[str]:
    """Targets of a page's relative links."""
    found = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)
    return [link for link in found if "://" not in link]


def commands(text: str) -> list[list[str]]:
    """The headstart commands of a page's fenced blocks, as words."""
    blocks = re.findall(r"```(?:bash|console|text)\n(.*?)```", text, flags=re.S)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("headstart ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_to_files_that_exist(page):
    for link in links(page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_command_and_flag_in_the_pages_exists(page):
    group = typer.main.get_command(make_app())
    for words in commands(page.read_text(encoding="utf-8")):
        if len(words) < 2 or not words[1].isalpha():
            continue  # a line of output
        assert words[1] in group.commands, words
        known = {opt for p in group.commands[words[1]].params for opt in p.opts}
        flags = {word.split("=")[0] for word in words[2:] if word.startswith("--")}
        assert flags <= known, words


@pytest.mark.parametrize("station", STATIONS)
def test_every_station_has_a_page_that_begins_with_a_command(station):
    text = (ROOT / "docs" / f"{station}.md").read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert text.index("```") < 200


def test_both_readmes_show_the_same_commands():
    english, chinese = (
        commands((ROOT / name).read_text(encoding="utf-8"))
        for name in ("README.md", "README.zh-CN.md")
    )
    assert [words[:2] for words in english] == [words[:2] for words in chinese]


def test_the_checks_see_a_wrong_flag_and_a_dead_link():
    assert commands("```bash\nheadstart report a.csv --budgt 3m  # x\n```") == [
        ["headstart", "report", "a.csv", "--budgt", "3m"]
    ]
    assert links("[a](docs/no.md) [b](https://x.y/z)") == ["docs/no.md"]
