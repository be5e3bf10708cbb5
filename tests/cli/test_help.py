"""`--help` in Chinese: every text has its Chinese, and what one types is the same in both."""

import re
import subprocess
import sys

import pytest
import typer

from headstart.cli.help import EXAMPLE, START, USAGE, chinese
from headstart.cli.main import VERBS, main, make_app

CHINESE = re.compile("[\u4e00-\u9fff]")
TYPED = re.compile(
    r"`[^`]+`|--[a-z-]+|hf:ID|\(default: |[a-z]+\.[a-z]+|\b[A-Z]{2,}\b|\b\d+(?:,\d+)*\w*", re.ASCII
)


def paragraphs():
    """Every help text of the program, its verbs and their parameters."""
    group = typer.main.get_command(make_app())
    told = {"Show this message and exit."}  # the parser's own
    for one in (group, *group.commands.values()):
        for text in (one.help, *(parameter.help for parameter in one.params)):
            told |= set(text.split("\n\n"))
    return {text for text in told if not text.startswith((EXAMPLE[0], START[0]))}


def shown(capsys, *arguments):
    """What a command line shows on stdout when its screen is 200 columns wide."""
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 0
    return capsys.readouterr().out


def test_every_help_text_has_an_entry_and_none_is_left_over():
    assert paragraphs() == set(chinese())
    assert list(chinese()) == sorted(chinese())


@pytest.mark.parametrize("english", chinese())
def test_what_one_types_is_the_same_in_chinese(english):
    said = chinese()[english].replace("默认：", "(default: ")
    assert set(TYPED.findall(english)) <= set(TYPED.findall(said)) | {"JSON", "CPU", "CLIP"}
    assert CHINESE.search(chinese()[english])
    assert not CHINESE.search(english)
    assert not re.search(r"[\u4e00-\u9fff]\w*[,;:()]|\[", chinese()[english])


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.__name__)
def test_help_of_a_verb_is_chinese_where_the_screen_is(verb, capsys, monkeypatch):
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 200)
    english = shown(capsys, verb.__name__, "--help", "--lang", "en")
    assert not CHINESE.search(english)
    said = shown(capsys, verb.__name__, "--lang=zh", "-h")
    names = re.compile(r"--[a-z-]+|<[^>]+>|\b[A-Z]+(?:\.\.\.)?(?=\s+<)|Example: (headstart .*\S)")
    for name in names.finditer(english):
        assert (name[1] or name[0]) in said, name
    left = [text for text in paragraphs() if text in said]
    assert left == []
    for word in ("Usage:", "Options", "Arguments", "[required]", "Example"):
        assert word not in said, word
    assert "用法：" in said
    assert "例如：headstart" in said
    assert shown(capsys, verb.__name__, "--help", "--lang", "en") == english  # nothing is left over


def test_help_of_the_program_lists_its_verbs_in_chinese(capsys, monkeypatch):
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 200)
    said = shown(capsys, "--help")
    assert f" {USAGE[1]} headstart [OPTIONS] COMMAND [ARGS]..." in said
    assert "先试：headstart demo" in said
    for verb in VERBS:
        assert re.search(rf"│ {verb.__name__} +[\u4e00-\u9fff]", said), verb.__name__
    assert "─ 命令 ─" in said


def test_the_program_alone_says_what_its_help_says(capsys, monkeypatch):
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    with pytest.raises(SystemExit):
        main([])
    alone = capsys.readouterr()
    assert (alone.out + alone.err).strip() == shown(capsys, "--help").strip()


def test_help_in_chinese_reads_neither_torch_nor_the_messages():
    loaded = (
        "import sys\nfrom headstart.cli.main import main\n"
        "try:\n    main(['pretrain', '--lang', 'zh', '--help'])\n"
        "except SystemExit:\n    print({'torch', 'headstart.messages'} & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", loaded], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout.endswith("\nset()\n")
    assert "在您自己的未标注文本或图像上预训练 Transformer。" in done.stdout
