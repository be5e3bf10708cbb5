"""The sentences of the command line and of the report in both languages."""

import re
import string

import pytest

from headstart.cli.chinese import catalogue as help_texts
from headstart.messages import catalogue
from headstart.report import words as report
from headstart.words import WORDS, Phrase, in_language, language_of, say


def fields(template: str) -> set[str]:
    """The names of the values that a template wants."""
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


@pytest.mark.parametrize("key", WORDS)
def test_both_languages_say_the_same_values(key):
    english, chinese = WORDS[key]
    assert fields(english) == fields(chinese)
    assert english != chinese


def test_the_report_and_the_command_line_look_words_up_alike():
    assert report.say("fewer", "zh", n="50") == "不足 50"
    with pytest.raises(KeyError):
        report.say("fewer", "en")
    with pytest.raises(KeyError):
        say("no such key")


def test_a_phrase_is_english_text_that_can_be_said_in_chinese():
    phrase = say("plan_budget", budget="30m")
    assert phrase == "budget 30m"
    assert in_language(phrase, "en") == "budget 30m"
    assert in_language(phrase, "zh") == "预算 30m"
    assert in_language("plain", "zh") == "plain"


def test_what_a_file_name_holds_never_reaches_a_terminal_raw():
    raw = "\x1b[31mred\r\u202egnp\udcff\x9b"
    assert in_language(raw, "en") == "\\x1b[31mred\\x0d\\u202egnp\\udcff\\x9b"
    assert in_language(say("plan_out", out=raw), "zh") == (
        "结果写入 \\x1b[31mred\\x0d\\u202egnp\\udcff\\x9b"
    )
    kept = "two\nlines\tفارسی می\u200cخواهم 👩\u200d👧 全\u3000角"
    assert in_language(kept, "en") == kept


def test_a_missing_value_is_an_error_and_not_a_gap():
    with pytest.raises(KeyError):
        say("plan_budget")
    assert isinstance(say("verdict"), Phrase)


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "en_US.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C.UTF-8"}, "en"),
        ({"LANG": "de_DE", "LC_ALL": "", "LC_MESSAGES": "zh_TW"}, "zh"),
    ],
)
def test_the_language_follows_the_environment_in_the_usual_order(environment, language):
    assert language_of(environment) == language


CHINESE = {
    **{("words", key): said for key, (_, said) in WORDS.items()},
    **{("report", key): said for key, (_, said) in report.WORDS.items()},
    **{("messages", key): said for key, said in catalogue().items()},
    **{("help", key): said for key, said in help_texts().items()},
}
HAN = "[\u4e00-\u9fff]"
# what CONTRIBUTING.md's list of words has others for
REFUSED = "无标签|隔离|两座塔|全新|自预训练|(?<!随机)种子|批(?!次)|你|条标签|提示(?!词)|令牌(?!从)"


@pytest.mark.parametrize(
    ("found", "wrong"),
    [
        (REFUSED, "用无标签数据"),
        (f"{HAN}[A-Za-z0-9]|[A-Za-z0-9]{HAN}", "用GPU 训练"),
        (rf"{HAN}\{{(?!\w+!t)|(?<!!t)\}}{HAN}", "第 {n}行"),
        (rf"{HAN}[,;:!?()\"']|[,;:!?(]{HAN}", "文本,标签"),
    ],
    ids=["words", "blanks", "blanks around values", "punctuation"],
)
def test_chinese_keeps_to_its_words_its_blanks_and_its_punctuation(found, wrong):
    lists = re.compile(r"\{listed\d?\}")  # in brackets, or nothing
    said = {key: lists.sub("", text) for key, text in CHINESE.items()}
    assert {key: text for key, text in said.items() if re.search(found, text)} == {}
    assert re.search(found, wrong)
