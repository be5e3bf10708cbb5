"""The help screens in Chinese: complete, without leftovers, and nothing of them is cut off."""

import re

import pytest
import typer
import typer.main
from rich.cells import cell_len

from headstart.cli.chinese import catalogue, in_chinese, lines
from headstart.cli.main import VERBS, main, make_app


def texts(command):
    """Every help text of a command and of its own commands."""
    yield command.help
    yield from (parameter.help for parameter in command.params)
    for part in getattr(command, "commands", {}).values():
        yield from texts(part)


def test_every_help_text_has_a_chinese_one_and_none_is_left_over():
    found = set(texts(typer.main.get_command(make_app())))
    assert found | {"Show this message and exit."} == set(catalogue())


def test_examples_and_defaults_stay_as_they_are_typed():
    for english, chinese in catalogue().items():
        for verb in re.findall(r"Example: (headstart \w+)", english):
            assert f"例如：{verb}" in chinese
        for default in re.findall(r"\(default: ([\w/,:]+)", english):
            if default not in ("inferred", "all", "by", "from"):
                assert f"默认：{default}" in chinese


@pytest.mark.parametrize("width", [10, 24, 32, 33, 60])
def test_lines_are_full_and_hold_the_whole_text(width):
    for chinese in catalogue().values():
        for paragraph in chinese.split("\n\n"):
            found = lines(paragraph, width)
            assert "".join(found).replace(" ", "") == paragraph.replace(" ", "")
            for line, after in zip(found, [*found[1:], None], strict=True):
                assert cell_len(line) <= width or len(lines(line, 1)) == 1
                assert line[0] not in "，。、；：）”"
                assert line[-1] not in "（“"
                assert after is None or cell_len(line + " " + lines(after, 1)[0]) > width


def shown(capsys, monkeypatch, *arguments, columns=80):
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out = capsys.readouterr()
    return ended.value.code, out.out + out.err


@pytest.mark.parametrize("columns", [80, 81, 97, 120])
@pytest.mark.parametrize("verb", [verb.__name__ for verb in VERBS])
def test_the_screen_of_each_verb_is_chinese_with_the_options_of_the_english_one(
    verb, columns, capsys, monkeypatch
):
    code, chinese = shown(capsys, monkeypatch, verb, "--help", "--lang", "zh", columns=columns)
    same, english = shown(capsys, monkeypatch, verb, "-h", columns=columns)
    assert (code, same) == (0, 0)
    flags = re.compile(r"--[a-z-]+(?= )")
    assert set(flags.findall(chinese)) == set(flags.findall(english))
    assert "╭─ 选项 ─" in chinese
    assert "╭─ Options ─" in english
    assert "…" not in chinese
    assert not re.search(r"[A-Z][a-z]+ [a-z]+ [a-z]+", chinese)  # no sentence in English


def test_the_first_screen_and_the_short_option_follow_the_environment(capsys, monkeypatch):
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    code, screen = shown(capsys, monkeypatch, "-h")
    assert code == 0
    assert "╭─ 命令 ─" in screen
    assert "在自己的文本和图像上预训练" in screen
    assert "…" not in screen
    assert shown(capsys, monkeypatch, "report", "-h")[0] == 0


def test_a_command_without_an_entry_keeps_its_english():
    app = typer.Typer()

    @app.command()
    def only(word: str) -> None:
        """Does one thing."""

    command = in_chinese(app)
    assert command.help == "Does one thing."
    assert command.params[0].rich_help_panel == "参数"
