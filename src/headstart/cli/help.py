"""What `--help` shows, in the language of the screen.

The English stands where options and verbs are defined; `help.zh.json` beside this file has its
Chinese, by paragraph. Names of options, what stands for their values and commands to type are the
same in both. The file is only read when help is shown in Chinese.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import resources

from typer.core import TyperCommand, TyperGroup

EXAMPLE = ("Example: ", "例如：")
START = ("Start with: ", "先试：")
USAGE = ("Usage:", "用法：")
# the parser's own words, by the name of their constant
HEADINGS = {
    "ARGUMENTS_PANEL_TITLE": "参数",
    "OPTIONS_PANEL_TITLE": "选项",
    "COMMANDS_PANEL_TITLE": "命令",
    "REQUIRED_LONG_STRING": "[必填]",
}


@cache
def chinese() -> dict[str, str]:
    """Every paragraph of help and its Chinese."""
    file = resources.files("headstart.cli").joinpath("help.zh.json")
    entries: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    return entries


def in_chinese(text: str) -> str:
    """A help text in Chinese, paragraph by paragraph; one without an entry stays as it is."""
    return "\n\n".join(map(_paragraph, text.split("\n\n")))


def _paragraph(text: str) -> str:
    for english, said in (EXAMPLE, START):
        if text.startswith(english):
            return said + text.removeprefix(english)
    return chinese().get(text, text)


class _Chinese:
    """What a verb and the whole program have in common: their help is Chinese when it is shown."""

    def get_usage(self, ctx: object) -> str:
        """The line of usage, whose words to type stay."""
        usage: str = super().get_usage(ctx)  # type: ignore[misc]
        return usage.replace(*USAGE, 1)

    def format_help(self, ctx: object, formatter: object) -> None:
        """Put Chinese in place of every help text, and show them."""
        verbs = vars(self).get("commands", {}).values()
        params = self.get_params(ctx)  # type: ignore[attr-defined]
        for one in [self, *verbs, *params]:
            one.help = in_chinese(one.help or "")
        with _headings():
            super().format_help(ctx, formatter)  # type: ignore[misc]


@contextmanager
def _headings() -> Iterator[None]:
    """Within it the parser's headings are Chinese."""
    from typer import rich_utils

    before = {name: getattr(rich_utils, name) for name in HEADINGS}
    vars(rich_utils).update(HEADINGS)
    try:
        yield
    finally:
        vars(rich_utils).update(before)


class ChineseVerb(_Chinese, TyperCommand):
    """A verb with help in Chinese."""


class ChineseProgram(_Chinese, TyperGroup):
    """The program with help in Chinese."""
