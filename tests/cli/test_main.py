"""The program: its frozen list of flags, what each verb passes on, exit codes and messages."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from shlex import split

import pytest
import typer

from headstart import recipes
from headstart.cli.main import VERBS, answer, main, make_app
from headstart.config import FinetuneSettings, PretrainSettings, ReportSettings
from headstart.errors import CheckpointError, Interrupted, MachineError, NumericError
from headstart.recipes.results import (
    Comparison,
    FinetuneResult,
    Generated,
    Generations,
    Measured,
    Prediction,
    Predictions,
    PretrainResult,
)

COMMON = ["--json", "--lang"]
SETTINGS = ["--config", "--set"]
FROZEN = {
    "report": ["DATA", "--corpus", "--from", "--public", "--test", "--text", "--label", "--task",
               "--labels", "--method", "--family", "--size", "--objective", "--seeds", "--budget",
               "--out", "--threads", "--seed", *SETTINGS, *COMMON],
    "pretrain": ["DATA...", "--family", "--size", "--objective", "--then", "--from",
                 "--from-text", "--from-images", "--budget", "--probe", "--text", "--label",
                 "--vocab-size", "--max-length", "--out", "--threads", "--seed", *SETTINGS,
                 *COMMON],
    "finetune": ["DATA", "--from", "--method", "--task", "--test", "--text", "--label", "--epochs",
                 "--seeds", "--out", "--threads", "--seed", *SETTINGS, *COMMON],
    "evaluate": ["MODEL", "DATA", "--text", "--label", "--set", *COMMON],
    "predict": ["MODEL", "INPUT...", "--text", "--set", *COMMON],
    "generate": ["MODEL", "PROMPT...", "--file", "--max-new", "--temperature", "--top-k", "--top-p",
                 "--beams", "--length-penalty", "--repetition-penalty", "--stop", "--seed",
                 "--set", *COMMON],
    "compare": ["MODEL", "MODEL", "--test", "--text", "--label", "--set", *COMMON],
    "check": ["DATA...", "--text", "--label", "--test", "--set", *COMMON],
    "plan": ["DATA...", "--family", "--size", "--objective", "--then", "--from", "--budget",
             "--text", "--vocab-size", "--max-length", "--threads", *SETTINGS, *COMMON],
    "doctor": ["--measure", *COMMON],
    "demo": ["--out", "--budget", "--threads", *COMMON],
}  # fmt: skip


@dataclass
class Called:
    """What a stand-in recipe was called with."""

    arguments: tuple
    keywords: dict


@pytest.fixture
def stand_in(monkeypatch):
    """Puts a recipe in place that records its call and answers with a given result."""

    def put(name, result=None, *, failure=None):
        called = Called((), {})

        def recipe(*arguments, **keywords):
            called.arguments, called.keywords = arguments, keywords
            if failure is not None:
                raise failure
            return result

        monkeypatch.setitem(vars(recipes), name, recipe)
        return called

    return put


@pytest.fixture(autouse=True)
def _english(monkeypatch):
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.delenv("HEADSTART_DEBUG", raising=False)


def leave(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    return left.value.code


PRETRAINED = PretrainResult(Path("runs/docs"), 2000, 16_000_000, 1800.4, 4.2, 4.5)


def test_the_commands_and_flags_are_exactly_these():
    group = typer.main.get_command(make_app())
    found = {
        name: [p.opts[0] if p.opts[0].startswith("-") else p.metavar for p in command.params]
        for name, command in group.commands.items()
    }
    assert {name: [f for f in flags if f != "--help"] for name, flags in found.items()} == FROZEN


@pytest.mark.parametrize("verb", VERBS, ids=lambda v: v.__name__)
def test_every_verb_shows_an_example_and_explains_every_option(verb, capsys):
    assert "Example: headstart" in verb.__doc__
    assert leave(verb.__name__, "--help") == 0
    assert "Example: headstart" in capsys.readouterr().out
    command = typer.main.get_command(make_app()).commands[verb.__name__]
    for parameter in command.params:
        assert getattr(parameter, "help", ""), f"{verb.__name__} {parameter.name}"


DEFAULTS = {
    "--family": ("model.family", PretrainSettings),
    "--size": ("model.size", PretrainSettings),
    "--budget": ("budget", PretrainSettings),
    "--vocab-size": ("data.vocab_size", PretrainSettings),
    "--max-length": ("data.max_length", PretrainSettings),
    "--from": ("start", FinetuneSettings),
    "--method": ("transfer.method", FinetuneSettings),
    "--task": ("data.kind", FinetuneSettings),
    "--seed": ("seed", FinetuneSettings),
    "--labels": ("labels", ReportSettings),
}


def test_the_defaults_that_the_help_names_are_those_of_the_settings():
    group = typer.main.get_command(make_app())
    told = {}
    for command in group.commands.values():
        for parameter in command.params:
            named = re.search(r"\(default: (\S+)\)$", getattr(parameter, "help", None) or "")
            if named:
                told[parameter.opts[0]] = named[1]
    in_words = {"--objective": "auto", "--out": "runs/NAME", "--text": "inferred",
                "--label": "inferred"}  # fmt: skip
    for flag, (name, kind) in DEFAULTS.items():
        value = kind()
        for part in name.split("."):
            value = getattr(value, part)
        assert told.pop(flag) == (",".join(value) if isinstance(value, tuple) else str(value)), flag
    assert told == in_words


@pytest.mark.parametrize("verb", VERBS, ids=lambda v: v.__name__)
def test_every_verb_has_a_recipe_of_its_name(verb):
    assert verb.__name__ in recipes.RECIPES


def test_pretrain_passes_on_a_second_stage_and_what_each_tower_begins_from(stand_in):
    called = stand_in("pretrain", PRETRAINED)
    leave(*split("pretrain texts/ --objective mlm --then spans"))
    assert called.keywords["settings"].then == "spans"
    leave(*split("pretrain pairs.csv --from-text runs/text --from-images hf:some/vit"))
    pairs = called.keywords["settings"].pairs
    assert (pairs.start_text, pairs.start_images) == ("runs/text", "hf:some/vit")


def test_pretrain_passes_every_flag_on_and_shows_what_to_type_next(stand_in, capsys):
    called = stand_in("pretrain", PRETRAINED)
    code = leave(
        *split("pretrain docs more --family gpt --size small --objective causal --from"),
        *split("runs/old --budget 10m --probe p.csv --text body --label y --vocab-size 4096"),
        *split("--max-length 64 --out runs/new --threads 2 --seed 7 --set"),
        *split("optimizer.lr=1e-4"),
    )
    assert code == 0
    assert called.arguments == ([Path("docs"), Path("more")],)
    s = called.keywords["settings"]
    assert (s.data.paths, s.data.text, s.data.vocab_size) == (("docs", "more"), "body", 4096)
    assert s.data.label == "y"
    assert (s.data.max_length, s.model.family, s.model.size) == (64, "gpt", "small")
    assert (s.objective.name, s.start, str(s.budget)) == ("causal", "runs/old", "10m")
    assert (s.probe, s.out, s.machine.threads, s.seed) == ("p.csv", "runs/new", 2, 7)
    assert s.optimizer.lr == 1e-4
    assert capsys.readouterr().out == (
        "steps          2,000\n"
        "tokens         16,000,000\n"
        "time           30m\n"
        "loss           4.200\n"
        "held-out loss  4.500\n"
        "run            runs/docs\n"
        "model          runs/docs/model\n"
        "\n"
        "next: headstart finetune labels.csv --from runs/docs\n"
        "\n"
        "next: headstart report labels.csv --from runs/docs\n"
    )


def test_the_screen_is_chinese_when_asked(stand_in, capsys):
    stand_in("pretrain", PRETRAINED)
    assert leave("pretrain", "docs", "--lang", "zh") == 0
    out = capsys.readouterr().out
    assert out.startswith("步数      2,000\n词元      16,000,000\n用时      30m\n")
    assert "下一步：headstart finetune" in out


def test_json_is_one_object_on_stdout_and_nothing_else(stand_in, capsys):
    stand_in("pretrain", PRETRAINED)
    assert leave("pretrain", "docs", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "folder": "runs/docs",
        "steps": 2000,
        "tokens": 16_000_000,
        "seconds": 1800.4,
        "loss": 4.2,
        "held_out_loss": 4.5,
        "reads": "text",
        "retrieval": None,
        "writes": False,
    }


def test_a_number_that_is_not_finite_is_null_in_json(stand_in, capsys):
    stand_in("pretrain", PretrainResult(Path("r"), 1, 1, 1.0, float("nan"), float("inf")))
    assert leave("pretrain", "docs", "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["loss"], record["held_out_loss"]) == (None, None)


def test_a_run_yaml_gives_data_and_settings_and_flags_win(stand_in, tmp_path):
    called = stand_in("pretrain", PRETRAINED)
    path = tmp_path / "run.yaml"
    path.write_text("verb: pretrain\ndata:\n  paths: [docs]\nseed: 3\nkeep: 9\n")
    assert leave("pretrain", "--config", str(path), "--seed", "4") == 0
    assert called.arguments == ([Path("docs")],)
    assert (called.keywords["settings"].seed, called.keywords["settings"].keep) == (4, 9)


def test_finetune_and_report_pass_their_flags_on(stand_in):
    measured = Measured("accuracy", 0.9, 0.88, 0.92, 480)
    called = stand_in("finetune", FinetuneResult(Path("r"), "full", measured, 3, 9.0))
    code = leave(
        *split("finetune l.csv --from runs/d --method lora --task multilabel --test t.csv"),
        *split("--text body --label kind --epochs 4 --seeds 5"),
    )
    assert code == 0
    s = called.keywords["settings"]
    assert (called.arguments, called.keywords["start"]) == (([Path("l.csv")],), "runs/d")
    assert (s.transfer.method, s.transfer.epochs, s.seeds) == ("lora", 4, 5)
    assert (s.data.kind, s.data.text, s.data.label, s.test) == (
        "multilabel", "body", "kind", "t.csv",
    )  # fmt: skip

    called = stand_in("report", measured)
    code = leave(
        *split("report l.csv --corpus a --corpus b --public hf:x/y --labels 10,all --seeds"),
        *split("4"),
    )
    assert code == 0
    s = called.keywords["settings"]
    assert (s.corpus, s.public, s.labels, s.seeds) == (("a", "b"), ("hf:x/y",), ("10", "all"), 4)


def test_evaluate_predict_and_compare_pass_their_arguments_on(stand_in, capsys):
    called = stand_in("evaluate", Measured("f1", 0.5, 0.4, 0.6, 10, {"spam": 0.25}))
    assert leave("evaluate", "runs/a", "t.csv", "--label", "y") == 0
    assert called.arguments == ("runs/a", [Path("t.csv")])
    assert called.keywords["label"] == "y"
    assert capsys.readouterr().out == (
        "f1            0.5000\n"
        "95% interval  0.4000 - 0.6000\n"
        "rows          10\n"
        "  spam        0.2500\n"
    )
    called = stand_in("predict", Predictions([Prediction("a\nb", "yes", 0.75)]))
    assert leave("predict", "runs/a", "a\nb") == 0
    assert called.arguments == ("runs/a", ["a\nb"])
    assert capsys.readouterr().out == "yes 0.75  a b\n"
    called = stand_in("compare", Comparison("a", "b", "f1", 0.5, 0.6, 0.1, 0.02, 0.18, "b wins"))
    assert leave("compare", "a", "b", "--label", "y", "--text", "x") == 0
    assert called.arguments == ("a", "b")
    assert (called.keywords["label"], called.keywords["text"]) == ("y", "x")
    assert "difference  +0.1000 [+0.0200, +0.1800]" in capsys.readouterr().out


def test_generate_passes_its_flags_on_and_lists_several_texts(stand_in, capsys):
    texts = [Generated("one two", "three\nfour", 3, "end"), Generated("卡", "丢了", 2, "length")]
    called = stand_in("generate", Generations(texts))
    code = leave(
        *split("generate runs/a 'one two' 卡 --file p.txt --max-new 9 --temperature 0.5 --top-k 4"),
        *split(
            "--top-p 0.9 --beams 1 --length-penalty 1.5 --repetition-penalty 1.2 --stop . --stop"
        ),
        *split("'! ' --seed 3"),
    )
    assert code == 0
    assert called.arguments == ("runs/a", ["one two", "卡"])
    keywords = called.keywords
    assert keywords.pop("show") is not None
    assert keywords.pop("events") is not None
    assert keywords == {
        "file": Path("p.txt"), "encoding": None, "stop": [".", "! "], "max_new": 9,
        "temperature": 0.5, "top_k": 4, "top_p": 0.9, "beams": 1, "length_penalty": 1.5,
        "repetition_penalty": 1.2, "seed": 3,
    }  # fmt: skip
    assert capsys.readouterr().out == "one two  three four\n卡       丢了\n"
    assert leave("generate", "runs/a", "one", "--json") == 0
    assert called.keywords["show"] is None
    assert json.loads(capsys.readouterr().out)["texts"][1] == {
        "prompt": "卡", "text": "丢了", "tokens": 2, "ended": "length",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "generate runs/a",
            'no prompt given. For example: headstart generate runs/docs "Dear customer"\n',
        ),
        ("pretrain", "no text given. For example: headstart pretrain docs/ --budget 30m\n"),
        (
            "report l.csv",
            "no --corpus or --from given. For example: headstart report labels.csv --corpus docs/ "
            "--budget 30m\n",
        ),
        (
            "pretrain docs --budget 30",
            'budget = "30": must be a time such as 30m, 4h, 1h30m or 90s, or an amount such as '
            "2000 steps, 50M tokens, 10 epochs; 30 of what? For minutes write 30m.\n",
        ),
        (
            "pretrain docs --set optimizer.lrr=1",
            "--set: optimizer.lrr: no such setting. Did you mean optimizer.lr?\n",
        ),
        ("pretrain docs --budgt 30m", "No such option: --budgt"),
        ("pretain docs", "No such command 'pretain'"),
        (
            "finetune a.csv --epochs many",
            "Invalid value for '--epochs': Input should be a valid integer",
        ),
    ],
)
def test_a_mistake_is_one_message_on_stderr_and_exit_code_2(line, message, capsys):
    assert leave(*line.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(message)
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("failure", "code", "message"),
    [
        (MachineError("disk full"), 3, "disk full\n"),
        (CheckpointError("digest differs"), 4, "digest differs\n"),
        (NumericError("loss is nan"), 6, "loss is nan\n"),
        (Interrupted("saved at step 12; the same command goes on"), 130,
         "saved at step 12; the same command goes on\n"),
        (KeyboardInterrupt(), 130, "Interrupted. The same command goes on where it stopped: "
         "headstart pretrain 'my docs'\n"),
        (MemoryError(), 3, "not enough memory. Try a smaller --size, --max-length, or --set "
         "data.tokens_per_batch=2048; `headstart plan` forecasts what is needed.\n"),
        (OSError(errno.ENOSPC, "No space left on device", "runs/x"), 3,
         "no space left on the disk of runs/x. Free some, or choose another place with --out; "
         "the same command goes on.\n"),
        (RuntimeError("wide"), 1, "this is a fault of headstart, not yours: RuntimeError: wide. "
         "HEADSTART_DEBUG=1 before the command shows where; please report it.\n"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)  # fmt: skip
def test_each_failure_ends_with_its_code_and_message_and_no_traceback(
    stand_in, capsys, failure, code, message
):
    stand_in("pretrain", failure=failure)
    assert leave("pretrain", "my docs") == code
    out, err = capsys.readouterr()
    assert (out, err) == ("", message)


def test_a_kill_outside_of_training_ends_as_ctrl_c_does(monkeypatch, capsys):
    def killed(*_, **__):
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the signal was not answered")

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setitem(vars(recipes), "pretrain", killed)
    assert leave("pretrain", "docs") == 130
    assert capsys.readouterr().err == (
        "Interrupted. The same command goes on where it stopped: headstart pretrain docs\n"
    )
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_traceback_is_shown_where_it_is_asked_for(monkeypatch, capsys):
    monkeypatch.setenv("HEADSTART_DEBUG", "1")
    assert answer(RuntimeError("shapes"), []) == 1
    assert capsys.readouterr().err.startswith("RuntimeError: shapes\n")


def test_a_reader_that_leaves_early_ends_quietly():
    program = (
        "import sys\nfrom headstart.cli.main import answer\nsys.exit(answer(BrokenPipeError(), []))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_lines_from_stdin_stand_where_a_dash_does_in_any_encoding(stand_in, monkeypatch, capsys):
    import io

    called = stand_in("predict", Predictions([]))

    def pipe(data):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="ascii"))

    pipe("\ufeffone\r\nzwölf\u2028ja\n".encode())
    assert leave("predict", "runs/a", "-", "three") == 0
    assert called.arguments == ("runs/a", ["one", "zwölf\u2028ja", "three"])
    chinese = "我的银行卡丢了\n怎么办\n".encode("gb18030")
    pipe(chinese)
    assert leave("predict", "runs/a", "-") == 2
    assert capsys.readouterr().err == (
        "E-DATA-001 stdin:1: byte 0xce at offset 0 is not UTF-8; the file looks like gb18030. "
        "Convert it to UTF-8, or add --set data.encoding=gb18030.\n"
    )
    for verb in ("predict", "generate"):
        called = stand_in(verb, Predictions([]))
        pipe(chinese)
        assert leave(verb, "runs/a", "-", "--set", "data.encoding=gb18030") == 0
        assert called.arguments == ("runs/a", ["我的银行卡丢了", "怎么办"])
    assert called.keywords["encoding"] == "gb18030"


def test_the_verbs_that_train_nothing_are_told_how_files_are_read(stand_in):
    told = split("--set data.encoding=big5 --set images.column=photo")
    measured = Measured("f1", 0.5, 0.4, 0.6, 10)
    for verb, given, result in (
        ("evaluate", "runs/a t.csv", measured),
        ("predict", "runs/a t.csv", Predictions([])),
        ("compare", "runs/a runs/b", Comparison("a", "b", "f1", 0.5, 0.6, 0.1, 0, 0.2, "")),
        ("check", "t.csv", measured),
    ):
        called = stand_in(verb, result)
        assert leave(verb, *split(given), *told) == 0
        read = called.keywords["read"]
        assert (read.data.encoding, read.images.column) == ("big5", "photo")
