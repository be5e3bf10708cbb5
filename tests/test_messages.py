"""Errors, problems and remarks in Chinese: the catalogue has all of them, and they are found."""

import re
import string
import subprocess
import sys

import pytest

import message_templates
from headstart.cli.main import language_asked, main
from headstart.data.record import problem
from headstart.messages import catalogue, in_chinese
from headstart.words import Verbatim, in_language, say

CHINESE = re.compile("[\u4e00-\u9fff]")
SAMPLES = ("7", "3,000", "a b", "列", "x/{y}.csv", "it's", "a\nb")

# words for which there is no other word in Chinese, or which nobody meets
SAME = {
    ", AMX",
    ", line {}, column {}",  # within the place of a message
    "an {}",  # the four that it makes are in COMPUTED
    "budget {} {}",  # of the trainer; settings refuse a budget before
    "model.family {}",
    "{} GFLOP/s",
    "{} MB",
    "{} on {} {}",
}
# what libraries say: the parser of the command line, the system, JSON
OUTSIDE = {
    "Cannot allocate memory",
    "Disk quota exceeded",
    "Expecting ',' delimiter",
    "Expecting ':' delimiter",
    "Expecting property name enclosed in double quotes",
    "Expecting value",
    "Extra data",
    "File exists",
    "File name too long",
    "Got unexpected extra argument ({})",
    "Got unexpected extra argument(s) ({})",
    "Got unexpected extra arguments ({})",
    "Illegal trailing comma before end of array",
    "Illegal trailing comma before end of object",
    "Input should be a valid integer, unable to parse string as an integer",
    "Input should be a valid number, unable to parse string as a number",
    "Input/output error",
    "Invalid \\escape",
    "Invalid \\uXXXX escape",
    "Invalid control character at",
    "Invalid value for '{}': {}",
    "Is a directory",
    "Missing argument '{}'.",
    "Missing command.",
    "Missing option '{}'.",
    "No space left on device",
    "No such command '{}'.",
    "No such command '{}'. Did you mean '{}'?",
    "No such file or directory",
    "No such option: {}",
    "No such option: {} (Possible options: {})",
    "No such option: {} Did you mean {}?",
    "Not a directory",
    "Option '{}' does not take a value.",
    "Option '{}' requires an argument.",
    "Permission denied",
    "Read-only file system",
    "Too many open files",
    "Unterminated string starting at",
    "Value error, {} is not one of {}.",
    "{} is not a valid float.",
    "{} is not a valid integer.",
    "{} is not one of {}.",
}
# made from parts that one file alone does not show: a number and its bounds, a count and its noun
_BOUNDS = [f"{low} {{}}" for low in ("of at least", "above", "at most", "below")]
COMPUTED = {
    *(f"{kind} {bound}" for kind in ("a number", "a whole number") for bound in _BOUNDS),
    *(
        f"{kind} {low} and {high}"
        for kind in ("a number", "a whole number")
        for low in _BOUNDS[:2]
        for high in _BOUNDS[2:]
    ),
    *(f"{{}} {kind}" for kind in ("contained", "exact", "mirrored", "near", "normalised")),
    *(f"{{}} {what}" for what in ("left over", "missing", "of another shape")),
    *(f"{{}} {noun}" for noun in ("weight", "weights")),
    *(f"{column} {{}}" for column in ("caption", "image", "label")),
    *(f"{{}}: {kind}, {{}} images" for kind in ("classes ({})", "multilabel ({})", "number")),
    *(
        f"{{}}: {kind}, {{}} images, {{}} set aside"
        for kind in ("classes ({})", "multilabel ({})", "number")
    ),
    *(
        f"{{}} {state}. Give a run folder, a Hugging Face model folder, or hf:NAME for the Hub"
        for state in ("has no model/config.json and no config.json", "is no folder")
    ),
    *("a decoder", "an encoder", "an encoder-decoder", "an image encoder"),
}
KNOWN = {message_templates.bare(english) for english in catalogue()}


def holes(template):
    """The names of a template's holes, with what is to be done with each value."""
    found = string.Formatter().parse(template)
    return {name: conversion for _, name, _, conversion in found if name is not None}


def test_every_message_of_the_source_has_an_entry():
    lacking = message_templates.missing(KNOWN | SAME)
    assert [f"src/headstart/{one.place}: {one.text}" for one in lacking] == []


def test_a_message_without_an_entry_is_noticed():
    known = KNOWN - {"{} does not exist. Check the path."}
    (lacking,) = message_templates.missing(known | SAME)
    assert lacking.place.startswith("data/files.py:")
    assert lacking.text == "{path} does not exist. Check the path."


def test_no_entry_is_left_over():
    made = {text for file in message_templates.files() for text in file.literals()}
    made |= OUTSIDE | COMPUTED
    left = [text for text in KNOWN if text not in made and text.removeprefix("{} ") not in made]
    assert left == []
    assert OUTSIDE | COMPUTED <= KNOWN
    assert not SAME & KNOWN


@pytest.mark.parametrize("english", catalogue())
def test_both_sides_have_the_same_holes_and_one_is_chinese(english):
    chinese = catalogue()[english]
    assert set(holes(chinese)) == set(holes(english)) - {"s"}  # s: the ending of a plural
    assert CHINESE.search(chinese)
    assert not CHINESE.search(english)
    assert english == english.strip()
    assert list(catalogue()) == sorted(catalogue())
    for command in re.findall(r"`[^`]+`|--[a-z-]+|[EQW]-DATA-\d+|\b[a-z]+\.[a-z_]+\b", english):
        assert command in chinese or command in ("labels.csv", "i.e")


@pytest.mark.parametrize("number", range(len(SAMPLES)))
def test_every_entry_is_found_with_the_same_values(number):
    for english, chinese in catalogue().items():
        if " " not in english:  # a word, which is only looked up within a message
            continue
        values = dict.fromkeys(holes(english), SAMPLES[number])
        told = {name for name, conversion in holes(chinese).items() if conversion == "t"}
        values |= dict.fromkeys(told, SAMPLES[number].replace(" ", ""))
        values |= {name: str(40 + n) for n, name in enumerate(values) if re.match(r"n\d*$", name)}
        values |= dict.fromkeys({"hint", "fix"} & values.keys(), "")  # sentences behind
        text = english.format_map(values)
        wanted = chinese.replace("!t}", "}").format_map(values)
        assert without_blanks(in_chinese(text) or text) == without_blanks(wanted)


def without_blanks(text):
    """Blanks between Chinese and Latin letters depend on the value."""
    return re.sub(r"\s", "", text)


def test_a_missing_message_stays_as_it_is():
    for text in ("nothing like it", "", "{", "a: b. c; d", "C:\\x. y: z", "label"):
        assert in_chinese(text) is None
        assert in_language(text, "zh") == text
    assert in_language("a.csv does not exist. Check the path.", "en").startswith("a.csv does")


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        (
            "my runs/{a} b.csv does not exist. Check the path.",
            "my runs/{a} b.csv 不存在。请检查路径。",
        ),
        (
            "my 数据/「甲」 is no folder. Give a run folder, "
            "a Hugging Face model folder, or hf:NAME for "
            "the Hub",
            "my 数据/「甲」 不是文件夹。请给出运行目录、Hugging "
            "Face 模型文件夹，或用 hf:NAME 指定 Hub 上的模型",
        ),
        (  # a reason within a message
            "runs/a: cannot load this BERT checkpoint: 2 weights missing (a.weight, b.weight), "
            "0 left over, 1 of another shape (c: file 2 x 3, config 3). Was config.json edited?",
            "runs/a：无法载入该 BERT 检查点：缺少 2 个权重 (a.weight, b.weight)，多出 0 个，"
            "形状不同 1 个 (c: file 2 x 3, config 3)。config.json 被改动过吗？",
        ),
        (  # a place, a message, a hint behind it
            "E-DATA-021 a: b.csv:7 column \"x. y\": no field 'x. y' (found: text, lable). "
            "Did you mean 'lable'? Write --label lable.",
            'E-DATA-021 a: b.csv:7 column "x. y": 没有字段“x. y”（现有：text, lable）。'
            "是否想用“lable”？请写 --label lable。",
        ),
        (  # the user's words are those of the catalogue
            'Q-DATA-022 texts:1 column "label": "label" is not a known label (texts, rows). '
            "Fix the line, or add rows of this class to the training file.",
            'Q-DATA-022 texts:1 column "label": "label" 不是已知标签（texts, rows）。'
            "请改正该行，或在训练文件中补充该类别的行。",
        ),
        (  # several problems, one of them unknown
            "E-DATA-002 x.csv: the file is a PDF, not text. Export it as text, CSV, JSON lines or "
            "Parquet.\n?-DATA-000 y: not ours\n... and 3 more.",
            "E-DATA-002 x.csv: 该文件是 PDF 文件，不是文本"
            "。请导出为文本、CSV、JSON lines 或 Parquet。\n"
            "?-DATA-000 y: not ours\n……另有 3 处。",
        ),
        (
            "4 corpus documents in the test file (3 exact"
            ", 1 near); 2 training rows in the test file "
            "(2 exact).",
            "测试文件中有 4 篇语料文档（3 处完全相同、1 处近"
            "似）；测试文件中有 2 条训练样本（2 处完全相同）。",
        ),
        (
            "objective mlm+causal: no model can do all of it, because mlm needs encoder and causal "
            "needs decoder or encoder-decoder",
            "预训练目标 mlm+causal：没有模型能全部做到，因为 mlm 需要编码器和 causal "
            "需要解码器或编码器-解码器",
        ),
        (
            "stopped by SIGTERM after step 3 of 9; everything is saved in my {run}. Give the same "
            "command again to go on",
            "在第 3 步（共 9 步）被 SIGTERM 停止；一切已保存在 my {run}。用同一命令即可继续",
        ),
        (
            "checkpoint step-000005 is damaged: state.js"
            "on has 5 bytes, expected 9; it is set aside "
            "as step-000005.damaged; going on from step 3: 2 steps are lost",
            "检查点 step-000005 已损坏：state.json 有 5 字节，应为 9 字节；"
            "已将其搁置为 step-000005.damaged；从第 3 步继续：丢失 2 步",
        ),
        (
            "photos: 30 images, 3 class folders, 2 besid"
            "e them; 5 other files passed over (5 .txt): "
            "classes (3), 30 images, 2 set aside",
            "photos：30 张图像，3 个类别文件夹，另有 2 "
            "张在类别文件夹之外；略过其他文件 5 个（5 .txt）："
            "类别（3），30 张图像，搁置 2 张",
        ),
        (  # a value with a line break
            "input 3 is no text but list: a\nb",
            "第 3 个输入不是文本，而是 list：a\nb",
        ),
    ],
)
def test_whole_messages(english, chinese):
    assert in_chinese(english) == chinese


def test_a_problem_keeps_its_code_and_place():
    found = problem(
        22, "quarantine", source="a.csv", line=3, column="text", message="the text is empty.",
        fix="Fill it in, or remove the row.",
    )  # fmt: skip
    assert in_language(str(found), "zh") == (
        'Q-DATA-022 a.csv:3 column "text": 文本为空。请填上，或删除该行。'
    )


def test_the_users_own_text_is_never_translated():
    text = "a.csv does not exist. Check the path."
    assert in_language(Verbatim(text), "zh") == text
    assert in_language(text, "zh") != text
    given_up = say(
        "cell_given_up",
        arm="texts",
        labels=10,
        seed=0,
        why="needs about 9 s, but 3 s of the budget were left",
    )
    assert in_language(given_up, "zh") == (
        "texts，10 条标注，随机种子 0：放弃（约需 9 秒，但预算只剩 3 秒）"
    )


@pytest.mark.parametrize("text", [": " * 5000, "a. " * 5000, "the text is empty. " * 3000])
def test_long_text_takes_no_time(text):
    assert in_chinese(text + "x") is None


def test_nothing_is_read_where_the_language_is_english():
    code = (
        "import sys, headstart.cli.main, headstart.words as w; w.in_language('a', 'en'); "
        "sys.exit('headstart.messages' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def run(arguments, capsys):
    """Exit code, stdout and stderr of one command."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out, err = capsys.readouterr()
    return ended.value.code, out, err


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A labelled table with a gap, in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text("text,label\ngood,a\n,b\nfine,a\n", encoding="utf-8")
    return "rows.csv"


def test_an_error_is_said_in_chinese_and_then_as_it_is_searched_for(table, capsys, monkeypatch):
    wanted = "nope.csv 不存在。请检查路径。\nnope.csv does not exist. Check the path.\n"
    for arguments in (["--lang", "zh"], ["--lang=zh"]):
        code, out, err = run(["check", "nope.csv", *arguments], capsys)
        assert (code, out) == (2, "")
        assert err.endswith(wanted)
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    assert run(["check", "nope.csv"], capsys)[2].endswith(wanted)
    english = run(["check", "nope.csv", "--lang", "en"], capsys)[2]
    assert english.endswith("nope.csv does not exist. Check the path.\n")
    assert not CHINESE.search(english)


def test_the_last_language_on_the_command_line_counts(monkeypatch):
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    assert language_asked([]) == "zh"
    assert language_asked(["check", "--lang", "zh", "--lang=en"]) == "en"
    assert language_asked(["check", "--lang"]) == "zh"
    assert language_asked(["check", "--lang", "fr"]) == "zh"
    assert language_asked(["predict", "run", "--", "--lang", "en"]) == "zh"


def test_a_check_is_said_in_chinese_and_json_stays_english(table, capsys):
    code, out, _ = run(["check", table, "--lang", "zh"], capsys)
    assert code == 0
    assert [line.strip() for line in out.splitlines()] == [
        "rows.csv: 以逗号分隔，有表头，列：text, label；文本 'text'，标签 'label'",
        "共 3 行：接受 2，搁置 1，拒绝 0",
        'Q-DATA-022 rows.csv:3 column "text": 文本为空。请填上，或删除该行。',
    ]
    code, out, _ = run(["check", table, "--lang", "zh", "--json"], capsys)
    assert "the text is empty." in out
    assert not CHINESE.search(out)


def test_mistakes_in_settings_are_said_in_chinese(table, capsys):
    wrong = ["--set", "objective.rate=3", "--set", "objective.nam=mlm", "--size", "huge"]
    code, out, err = run(["pretrain", table, *wrong, "--budget", "30", "--lang", "zh"], capsys)
    assert (code, out) == (2, "")
    assert err == (
        "有 4 项设置不能使用：\n"
        '  model.size = "huge": 必须是 mini, small, base 之一。\n'
        '  --set: objective.rate = "3": 必须是大于 0 且小于 1 的数。默认值为 0.15。\n'
        "  --set: objective.nam：没有这个设置。是否想用 objective.name？\n"
        '  budget = "30": 必须是 30m、4h、1h30m 或 90s 这样的时间，或 2000 steps、50M tokens、'
        "10 epochs 这样的数量；30 是什么单位？分钟请写作 30m。\n"
        "4 settings cannot be used:\n"
        '  model.size = "huge": must be one of mini, small, base.\n'
        '  --set: objective.rate = "3": must be a numb'
        "er above 0 and below 1. The default is 0.15.\n"
        "  --set: objective.nam: no such setting. Did you mean objective.name?\n"
        '  budget = "30": must be a time such as 30m, 4h, 1h30m or 90s, or an amount such as 2000 '
        "steps, 50M tokens, 10 epochs; 30 of what? For minutes write 30m.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "chinese"),
    [
        (["reprot"], "没有命令“reprot”。是否想用“report”？"),
        (["check", "--tex", "a", "x"], "没有选项 --tex（可能的选项：--set, --test, --text）"),
        (["pretrain", "--seed", "x"], "“--seed”的值无效：必须是整数"),
        (["compare", "a", "b", "c"], "多余的参数（c）"),
        (["pretrain", "--seed"], "选项“--seed”需要一个值。"),
    ],
)
def test_a_wrong_command_line_is_said_in_chinese(arguments, chinese, capsys, monkeypatch):
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    code, _, err = run(arguments, capsys)
    assert code == 2
    said, original = err.splitlines()
    assert said == chinese
    assert not CHINESE.search(original)
