"""From a corpus to text: networks that learn a repeated pattern write it on, in both languages."""

import json
import re
import sys

import pytest

import headstart as hs
from headstart.cli.main import main
from small_corpus import SETTINGS

ROUND = ["one", "two", "three", "four", "five", "一", "二", "三", "四", "五"]
SETTINGS = {
    **SETTINGS,
    "data.max_length": 48,
    "data.tokens_per_batch": 384,
    "optimizer.lr": 1e-2,
    "model.hidden_size": 48,
}


def corpus(folder):
    place = folder / "corpus"
    place.mkdir(parents=True)
    for number in range(6):
        begin = number * 3
        words = [ROUND[(begin + n) % len(ROUND)] for n in range(400)]
        (place / f"{number}.txt").write_text(" ".join(words), encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def gpt(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpt")
    result = hs.pretrain(
        corpus(folder), out=folder / "run", family="gpt", budget="60 steps", settings=SETTINGS
    )
    assert result.held_out_loss < 0.2  # of next tokens, nats
    return result.folder


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    folder = tmp_path_factory.mktemp("t5")
    result = hs.pretrain(
        corpus(folder), out=folder / "run", family="t5", budget="500 steps", settings=SETTINGS
    )
    assert result.held_out_loss < 0.2  # of hidden tokens, nats
    return result.folder


def after(prompt, count):
    """The words that follow the prompt's last in the round."""
    begin = ROUND.index(prompt.split()[-1]) + 1
    return [ROUND[(begin + n) % len(ROUND)] for n in range(count)]


@pytest.mark.parametrize("prompt", ["three four five", "三 四 五 one two", "four five 一 二"])
@pytest.mark.parametrize("choices", [{}, {"beams": 3}, {"temperature": 0.3, "seed": 4}])
def test_a_gpt_that_learnt_a_round_writes_it_on(gpt, prompt, choices):
    (found,) = hs.generate(gpt, prompt, max_new=16, **choices)
    words = found.text.split()
    assert words[:8] == after(prompt, 8)
    assert (found.prompt, found.tokens, found.ended) == (prompt, 16, "length")


def test_the_command_streams_one_prompt_and_lists_several(gpt, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    pieces = []
    write = sys.stdout.write
    monkeypatch.setattr(sys.stdout, "write", lambda text: (pieces.append(text), write(text))[1])
    with pytest.raises(SystemExit) as left:
        main(["generate", str(gpt), "三 四 五 one", "--max-new", "8"])
    assert left.value.code in (0, None)
    out, err = capsys.readouterr()
    assert out.split()[:4] == ["two", "three", "four", "five"]
    assert out.endswith("\n")
    assert len(pieces) > 4
    assert err.startswith("8 tokens in ")
    (tmp_path / "prompts.txt").write_text("one two\n\n二 三\n", encoding="utf-8")
    with pytest.raises(SystemExit):
        main(
            ["generate", str(gpt), "two three", "--file", str(tmp_path / "prompts.txt"), "--json",
             "--stop", " 一", "--max-new", "40"]
        )  # fmt: skip
    texts = json.loads(capsys.readouterr().out)["texts"]
    assert [text["prompt"] for text in texts] == ["two three", "one two", "二 三"]
    assert texts[0]["text"] == " four five"
    assert texts[1]["text"] == " three four five"
    assert [text["ended"] for text in texts] == ["stop"] * 3


@pytest.mark.slow
def test_a_t5_that_learnt_by_hidden_spans_fills_them(t5):
    prompts = [
        "四 五 one two <extra_id_0> five 一 二 三",
        "one two three four <extra_id_0> 二 三 四 五 one",
    ]
    found = hs.generate(t5, prompts, max_new=12)
    for text, hidden in zip(found, (["three", "four"], ["five", "一"]), strict=True):
        first = re.match(r"<extra_id_0>([^<]+)", text.text)
        assert first is not None, text.text
        words = first[1].split()[:2]  # the span may end a word early, but begins where it must
        assert words == hidden[: len(words)]


def test_what_can_write_is_said_to_go_on_with_a_text(tmp_path):
    found = {}
    for family in ("gpt", "bert"):
        made = hs.pretrain(
            corpus(tmp_path / family), out=tmp_path / family / "run", family=family,
            budget="1 steps", settings=SETTINGS,
        )  # fmt: skip
        found[family] = made.next_commands()[2:]
    assert found == {"gpt": [f'headstart generate {tmp_path}/gpt/run "a beginning"'], "bert": []}
