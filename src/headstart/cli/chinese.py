"""The help screens in Chinese, by the catalogue `help.zh.json`: each English text and its Chinese.

Names of verbs and options, what they take and the headline "Usage" stay as they are typed and as
other programs have them. The library that draws the screens breaks lines at blanks alone and cuts
off what is wider than its column, so lines are broken here.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from importlib import resources

import typer
import typer.main
from rich.cells import cell_len

OPTIONS, ARGUMENTS, COMMANDS = "选项", "参数", "命令"
BESIDE = 48  # cells that the longest option, what it takes and the frame have of a screen
NARROWEST = 24
KEEP_LINES = "\b\n"  # before a paragraph whose line ends are to stay

# what no line may be broken within: a word that is not Chinese, or a character with its punctuation
_WHOLE = re.compile(
    "[（“《]*(?:[^\\s\u2e80-\u9fff\uff00-\uffef“”]+|[\u2e80-\u9fff\uff00-\uffef])[）”》，。、；：！？]*\\s*"
)


def catalogue() -> dict[str, str]:
    """Every help text and its Chinese."""
    file = resources.files("headstart.cli").joinpath("help.zh.json")
    entries: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    return entries


def in_chinese(app: typer.Typer) -> Callable[..., object]:
    """The program of an app, its help in Chinese; a text without an entry stays as it is."""
    known, program = catalogue(), typer.main.get_command(app)
    width = max(NARROWEST, shutil.get_terminal_size().columns - BESIDE)
    outer: typer.Context | None = None
    waiting = [(program, outer)]
    while waiting:
        command, outer = waiting.pop()
        context = typer.Context(command, parent=outer, **command.context_settings)
        command.help = known.get(command.help or "", command.help)
        for parameter in (*command.params, command.get_help_option(context)):
            if isinstance(parameter, typer.core.TyperOption | typer.core.TyperArgument):
                if parameter.help in known:
                    parameter.help = KEEP_LINES + "\n".join(lines(known[parameter.help], width))
                is_option = isinstance(parameter, typer.core.TyperOption)
                parameter.rich_help_panel = OPTIONS if is_option else ARGUMENTS
        for part in getattr(command, "commands", {}).values():
            part.rich_help_panel = COMMANDS
            waiting.append((part, context))
    return program


def lines(text: str, width: int) -> list[str]:
    """A Chinese text in lines of so many cells at most; a longer word has a line of its own."""
    found = [""]
    for part in _WHOLE.findall(text):
        if found[-1] and cell_len(found[-1] + part.rstrip()) > width:
            found.append("")
        found[-1] += part
    return [line.rstrip() for line in found]
