"""Settings: what is accepted, what is refused, and the whole message of each refusal.

The numbered tests are the fifteen nasty settings files that the project promises to answer.
"""

import math
from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from headstart.budget import Budget
from headstart.config import (
    Family,
    FinetuneSettings,
    ModelSettings,
    ObjectiveName,
    OptimizerSettings,
    PretrainSettings,
    ReportSettings,
)
from headstart.errors import InputError
from headstart.settings import exact_scalar
from headstart.settings_file import (
    describe,
    make_settings,
    redact,
    setting_names,
    settings_digest,
    to_yaml,
    verb_of,
)

KINDS = (PretrainSettings, FinetuneSettings, ReportSettings)


@pytest.fixture
def written(tmp_path):
    """Writes a settings file and gives its path."""

    def write(text: str) -> Path:
        path = tmp_path / "run.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def read(path: Path, kind=PretrainSettings):
    return make_settings(kind, file=path)


def refusal(kind=PretrainSettings, **sources) -> str:
    with pytest.raises(InputError) as refused:
        make_settings(kind, **sources)
    return str(refused.value)


# --- the fifteen cases -------------------------------------------------------------------------


def test_case_01_a_number_in_scientific_notation_is_a_number(written):
    assert read(written("optimizer:\n  lr: 1e-4\n")).optimizer.lr == 0.0001


def test_case_02_no_and_on_are_text_where_text_is_asked_and_refused_as_truth(written):
    assert read(written("data:\n  text: no\n  label: NO\n")).data.text == "no"
    path = written("objective:\n  whole_word: on\n")
    assert refusal(file=path) == (
        f'{path}, line 2: objective.whole_word = "on": must be true or false.'
    )
    assert read(written("objective:\n  whole_word: true\n")).objective.whole_word is True


def test_case_03_a_version_like_number_keeps_its_zero_where_text_is_asked(written):
    assert read(written("data:\n  text: 3.10\n")).data.text == "3.10"


def test_case_04_clock_times_leading_zeros_and_dates_are_what_the_schema_says(written):
    settings = read(written("data:\n  text: 0123\n  label: 2024-01-02\n"))
    assert (settings.data.text, settings.data.label) == ("0123", "2024-01-02")
    path = written("seed: 0123\n")
    assert refusal(file=path) == f'{path}, line 1: seed = "0123": has a leading zero: write 123.'
    path = written("budget: 12:30\n")
    assert refusal(file=path) == (
        f'{path}, line 1: budget = "12:30": must be a time such as 30m, 4h, 1h30m or 90s, or an '
        "amount such as 2000 steps, 50M tokens, 10 epochs; for 12 minutes and 30 seconds write "
        "12m30s."
    )


def test_case_05_a_repeated_key_is_refused_with_both_lines(written):
    path = written("seed: 1\nkeep: 3\nseed: 2\n")
    assert refusal(file=path) == (
        f"{path}, line 3, column 1: 'seed' is given twice, on lines 1 and 3. Keep one."
    )


def test_case_06_an_unknown_key_names_the_nearest_one(written):
    path = written("optimizer:\n  wieght_decay: 0.1\n")
    assert refusal(file=path) == (
        f"{path}, line 2: optimizer.wieght_decay: no such setting. "
        "Did you mean optimizer.weight_decay?"
    )
    path = written("leraning_rate: 1e-4\n")
    assert refusal(file=path) == (
        f"{path}, line 1: leraning_rate: no such setting. Did you mean optimizer.lr?"
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("0", 'keep = "0": must be a whole number of at least 1 and at most 1,000.'),
        ("-1", 'keep = "-1": must be a whole number of at least 1 and at most 1,000.'),
        (".nan", 'keep = ".nan": must be a whole number of at least 1 and at most 1,000.'),
        ("nan", 'keep = "nan": must be a whole number of at least 1 and at most 1,000.'),
        ("inf", 'keep = "inf": must be a whole number of at least 1 and at most 1,000.'),
        ("true", 'keep = "true": must be a whole number of at least 1 and at most 1,000.'),
        ("2.5", 'keep = "2.5": must be a whole number of at least 1 and at most 1,000.'),
    ],
)
def test_case_07_a_wrong_number_is_refused(written, value, message):
    path = written(f"keep: {value}\n")
    assert refusal(file=path) == f"{path}, line 1: {message} The default is 2."


@pytest.mark.parametrize("value", ["32", "'32'", "32.0", "3.2e1", "+32"])
def test_case_07_the_same_whole_number_in_any_spelling_is_exact(written, value):
    assert read(written(f"keep: {value}\n")).keep == 32


@pytest.mark.parametrize("value", ["nan", ".nan", "inf", "-inf", "1e999"])
def test_case_07_a_float_is_finite(written, value):
    path = written(f"optimizer:\n  clip_norm: {value}\n")
    assert refusal(file=path) == (
        f'{path}, line 2: optimizer.clip_norm = "{value}": must be a number above 0. '
        "The default is 1.0."
    )


def test_case_07_python_values_are_as_exact_as_text():
    assert refusal(given={"keep": True}) == ("keep = true: must be a number, not a truth value.")
    assert refusal(given={"optimizer.lr": math.nan}) == (
        "optimizer.lr = nan: must be a number above 0 and at most 1. The default is 0.002."
    )
    assert make_settings(PretrainSettings, given={"keep": 3}).keep == 3


def test_case_08_a_tab_is_refused_with_line_and_column(written):
    path = written("optimizer:\n  lr: 1e-3\n \tclip_norm: 1\n")
    assert refusal(file=path) == (
        f"{path}, line 3, column 2: a tab (U+0009) in the indentation. Use spaces."
    )


def test_case_09_tags_and_alias_bombs_are_refused(written):
    path = written("seed: !!python/object/apply:os.system ['true']\n")
    assert refusal(file=path) == (
        f"{path}, line 1, column 7: the tag 'tag:yaml.org,2002:python/object/apply:os.system': "
        "values carry no tags. Delete it."
    )
    path = written("seed: &a 1\nkeep: *a\n")
    assert refusal(file=path) == (f"{path}, line 1, column 7: the anchor '&a': write values out.")


def test_case_10_paths_expand_a_home_and_nothing_else(written, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    settings = read(written("out: ~/my runs/\ndata:\n  paths: [a b/]\n"))
    assert settings.out == "/home/somebody/my runs/"
    assert settings.data.paths == ("a b/",)
    path = written("out: $HOME/runs\n")
    assert refusal(file=path) == (
        f'{path}, line 1: out = "$HOME/runs": holds $HOME: variables are not expanded in '
        "settings, write the path out."
    )


@pytest.mark.parametrize("out", ["docs", "docs/", "./docs/runs/a", "x/../docs/runs"])
def test_case_10_an_output_inside_an_input_is_refused(out):
    assert refusal(given={"data.paths": ["docs"], "out": out}) == (
        f"out '{out}' lies inside the input 'docs', which would then read its own output: "
        "choose another folder with --out."
    )


def test_case_10_an_output_beside_an_input_is_accepted():
    assert make_settings(PretrainSettings, given={"data.paths": ["docs"], "out": "docs2"}).out


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"schedule.warmup": 0.7, "schedule.decay": 0.4},
            "schedule.warmup 0.7 + schedule.decay 0.4 is more than 1, the whole run: lower one "
            "of them.",
        ),
        (
            {"data.tokens_per_batch": 64, "data.max_length": 128},
            "data.tokens_per_batch 64 is less than data.max_length 128, one sequence: write "
            "data.tokens_per_batch: 2048.",
        ),
        (
            {"model.hidden_size": 100, "model.num_heads": 3},
            "model.hidden_size 100 is not a multiple of model.num_heads 3: write "
            "model.num_heads: 2.",
        ),
        (
            {"objective.mask_share": 0.95, "objective.random_share": 0.1},
            "objective.mask_share 0.95 + objective.random_share 0.1 is more than 1: lower one "
            "of them.",
        ),
    ],
)
def test_case_11_settings_that_contradict_each_other_are_refused_naming_both(given, message):
    assert refusal(given=given) == message


@pytest.mark.parametrize("text", ["optimizer.lr=", "=3", "optimizer.lr", "", " = "])
def test_case_12_an_empty_override_is_refused(text):
    assert refusal(overrides=[text]) == (
        f"--set {text!r}: must be name=value, for example --set optimizer.lr=3e-4"
    )


def test_case_12_an_empty_text_is_refused(written):
    path = written("data:\n  text: ''\n")
    assert refusal(file=path) == (
        f'{path}, line 2: data.text = "": is empty: give a value, or leave the setting out.'
    )


def test_case_13_characters_that_only_look_right_are_named(written):
    path = written("seed: −1\n")
    assert refusal(file=path) == (
        f'{path}, line 1: seed = "−1": holds a Unicode minus sign (U+2212): retype the number.'
    )
    path = written("se\u200bed: 1\n")
    assert refusal(file=path) == (
        f"{path}, line 1, column 1: the name 'se\\u200bed' holds a zero-width space (U+200B). "
        "Retype it."
    )
    path = written("start: “scratch”\n")
    assert refusal(file=path) == (
        f"{path}, line 1, column 8: the value '“scratch”' holds a curly quote (U+201C). "
        "Retype it with plain characters."
    )


def test_case_14_a_secret_is_refused_without_being_repeated(written):
    path = written("hub_token: hf_abcdefghijklmnopqrstuvwx\n")
    assert refusal(file=path) == (
        f"{path}, line 1: hub_token: no such setting. Secrets do not belong in settings: a "
        "Hugging Face token is read from the environment variable HF_TOKEN."
    )


def test_case_14_a_secret_inside_a_value_is_redacted_in_every_record():
    secret = "https://user:hunter2@host/data"
    settings = make_settings(PretrainSettings, given={"data.paths": [secret]})
    assert "hunter2" not in to_yaml(settings)
    assert redact("key hf_abcdefghijklmnopqrstuvwx end") == "key hf_*** end"
    assert "sk-abcdefghijklmnop" not in refusal(given={"seed": "sk-abcdefghijklmnop"})


def test_case_15_a_file_of_a_newer_format_or_another_verb_is_refused(written):
    path = written("format: 2\nseed: 1\n")
    assert refusal(file=path) == (
        f"{path}: settings of format '2', but this headstart reads format 1. Use the headstart "
        "version that wrote the file, or delete the line to try."
    )
    path = written("verb: report\n")
    assert refusal(file=path) == (
        f"{path}: settings of 'headstart report', not of 'headstart pretrain'."
    )


def test_case_15_an_edited_file_has_another_digest_and_a_moved_run_has_not():
    plain = make_settings(PretrainSettings)
    moved = make_settings(PretrainSettings, given={"out": "elsewhere", "keep": 9})
    edited = make_settings(PretrainSettings, overrides=["optimizer.lr=1e-4"])
    assert settings_digest(plain) == settings_digest(moved)
    assert settings_digest(plain) != settings_digest(edited)


# --- the rest ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_settings_written_to_a_file_read_back_equal(kind, written):
    settings = make_settings(
        kind,
        given={
            "data.paths": ["文档/数据.csv", "no"],
            "data.text": "null",
            "transfer.lr" if kind is FinetuneSettings else "optimizer.lr": 1.5e-7,
            "seed": 2**62,
        },
    )
    assert read(written(to_yaml(settings)), kind) == settings


def test_later_sources_win_over_earlier_ones(written):
    path = written("seed: 1\nkeep: 5\noptimizer:\n  lr: 0.1\n  clip_norm: 2\n")
    settings = make_settings(
        PretrainSettings,
        file=path,
        given={"seed": 2, "optimizer.lr": 0.2, "keep": None},
        overrides=["optimizer.lr=0.3"],
    )
    assert (settings.seed, settings.keep) == (2, 5)
    assert (settings.optimizer.lr, settings.optimizer.clip_norm) == (0.3, 2.0)


def test_all_problems_of_all_sources_come_in_one_message(written):
    path = written("seed: x\nmodel:\n  family: brt\n")
    assert refusal(file=path, given={"keep": 0}, overrides=["optimizer.lr=fast", "sede=1"]) == (
        "5 settings cannot be used:\n"
        f'  {path}, line 3: model.family = "brt": must be one of {", ".join(get_args(Family))}. '
        "Did you mean bert?\n"
        '  --set: optimizer.lr = "fast": must be a number above 0 and at most 1. '
        "The default is 0.002.\n"
        "  keep = 0: must be a whole number of at least 1 and at most 1,000. The default is 2.\n"
        f'  {path}, line 1: seed = "x": must be a whole number of at least 0 and below '
        "9,223,372,036,854,775,808. The default is 0.\n"
        "  --set: sede: no such setting. Did you mean seed?"
    )


def test_a_value_in_place_of_a_section_is_refused_with_its_names(written):
    path = written("schedule: 3\n")
    assert refusal(file=path) == (
        f'{path}, line 1: schedule = "3": must be a section with warmup, decay.'
    )
    assert refusal(overrides=["model=gpt"]) == (
        "--set model=gpt: model is a section. Write a name inside it, for example "
        "--set model.family=gpt"
    )


def test_an_override_can_give_a_list_or_null():
    settings = make_settings(ReportSettings, overrides=["labels=[10, all]", "data.text=null"])
    assert settings.labels == ("10", "all")
    assert settings.data.text is None


def test_label_counts_stop_at_what_there_is():
    settings = ReportSettings(labels=("50", "200", "all", "1000"))
    assert settings.counts(600) == [50, 200, 600]
    assert settings.counts(200) == [50, 200]


def test_wrong_label_counts_are_refused():
    assert refusal(ReportSettings, given={"labels": ["50", "some"]}) == (
        "labels = ['50', 'some']: 'some' must be a whole number of at least 1, or all."
    )


@pytest.mark.parametrize("kind", [FinetuneSettings, ReportSettings])
def test_self_training_is_refused_without_texts_to_do_it_with(kind):
    assert refusal(kind, given={"transfer.self_training": 2}) == (
        "transfer.self_training 2 needs data without labels: name files or folders of them in "
        "corpus, or write transfer.self_training: 0."
    )
    given = {"transfer.self_training": 2, "corpus": ["docs"]}
    assert make_settings(kind, given=given).transfer.self_training == 2
    assert refusal(kind, given={**given, "transfer.method": "full"}) == (
        "transfer.self_training 2 is for a probe, but transfer.method is full: write "
        "transfer.method: probe, or transfer.self_training: 0."
    )


def test_a_name_from_elsewhere_is_answered_with_the_one_of_the_verb():
    for kind, name in ((PretrainSettings, "optimizer.lr"), (FinetuneSettings, "transfer.lr")):
        assert refusal(kind, given={"learning_rate": 0.1}) == (
            f"learning_rate: no such setting. Did you mean {name}?"
        )


def test_a_report_budget_is_a_time():
    assert refusal(ReportSettings, given={"budget": "10 epochs"}) == (
        "budget '10 epochs' must be a time for a report: write budget: 30m."
    )


def test_settings_are_frozen():
    settings = PretrainSettings()
    with pytest.raises(ValidationError):
        settings.seed = 3


def test_the_preset_gives_the_shape_and_given_sizes_override_it():
    assert ModelSettings(family="bert").shape() == (4, 256, 4, 1024)
    assert ModelSettings(family="bert", size="base").shape() == (12, 768, 12, 3072)
    assert ModelSettings(size="base").shape() == (12, 768, 12, 2048)
    given = ModelSettings(family="gpt", num_layers=2, hidden_size=64, num_heads=2)
    assert given.shape() == (2, 64, 2, 256)


def test_a_gated_mlp_costs_what_a_plain_one_costs():
    for size in ("mini", "small", "base"):
        _, hidden, _, inner = ModelSettings(size=size).shape()
        assert 3 * inner == pytest.approx(2 * 4 * hidden, rel=0.04)


def test_what_learns_to_write_gets_a_tokenizer_that_loses_nothing():
    def tokenizer(**given):
        values = {name.replace("__", "."): value for name, value in given.items()}
        data = make_settings(PretrainSettings, given=values).data
        return data.tokenizer, data.lowercase, data.max_length

    writes = ("bpe", False, 128)
    assert tokenizer(model__family="gpt") == tokenizer(model__family="llama") == writes
    assert tokenizer(model__family="t5") == tokenizer(model__family="marian") == writes
    reformer = {"model__family": "reformer"}
    assert tokenizer(**reformer, objective__name="causal") == writes
    assert tokenizer(**reformer) == tokenizer() == ("wordpiece", True, 128)
    assert tokenizer(model__family="gpt", objective__name="bow") == ("wordpiece", True, 128)
    assert tokenizer(objective__name="hybrid") == ("wordpiece", True, 128)
    gpt = {"model__family": "gpt", "data__max_length": 64}
    assert tokenizer(**gpt, data__tokenizer="bytes") == ("bytes", False, 64)
    assert tokenizer(**gpt, data__lowercase=True) == ("bpe", True, 64)
    report = make_settings(ReportSettings, given={"model.family": "gpt"})
    assert (report.data.tokenizer, report.data.lowercase) == ("bpe", False)


def test_an_objective_is_checked_against_the_family():
    gpt = make_settings(PretrainSettings, given={"model.family": "gpt"})
    assert gpt.objective.name == "causal"
    assert make_settings(ReportSettings, given={"model.family": "gpt"}).objective.name == "causal"
    assert refusal(given={"model.family": "gpt", "objective.name": "mlm"}) == (
        "objective.name mlm: mlm needs encoder (modern, bert, roberta, reformer), but "
        "model.family gpt is a decoder, which can do bow, spans, contrast, causal, causal+bow."
    )
    assert refusal(given={"objective.name": "span_corruption"}).startswith(
        "objective.name span_corruption: span_corruption needs encoder-decoder (t5, marian), but "
        "model.family modern is an encoder, which can do "
    )
    t5 = make_settings(PretrainSettings, given={"model.family": "t5"})
    assert t5.objective.name == "span_corruption"
    assert refusal(given={"objective.name": "causal"}).startswith(
        "objective.name causal: causal needs decoder (gpt, llama, reformer), but model.family "
        "modern is an encoder"
    )


def test_the_settings_know_the_families_and_objectives_that_there_are():
    from headstart import families, objectives
    from headstart.config import OBJECTIVE_NEEDS

    assert sorted(get_args(Family)) == sorted(family.name for family in families.FAMILIES)
    parts = [
        objectives.MaskedLanguage,
        objectives.NextSentence,
        objectives.HybridLanguage,
        objectives.CausalLanguage,
        objectives.BagOfWords,
        objectives.SpanCorruption,
        objectives.MaskedAutoencoder,
        objectives.SimpleMaskedImage,
        objectives.VisualTokens,
    ]
    needs = {part.name: part.needs for part in parts}
    contrast = [objectives.Contrast(kind) for kind in ("dropout", "spans", "crops")]
    needs["contrast"] = frozenset.union(*(part.needs for part in contrast))
    assert {name: OBJECTIVE_NEEDS[name] for name in needs} == needs
    assert {part for name in get_args(ObjectiveName) for part in name.split("+")} == set(
        OBJECTIVE_NEEDS
    )


def test_a_budget_has_its_default_and_reads_text():
    assert PretrainSettings().budget == Budget(1800, "seconds")
    assert PretrainSettings.model_validate({"budget": "3 epochs"}).budget == Budget(3, "epochs")
    assert refusal(given={"budget": 30}) == "budget = 30: needs a unit: for minutes write 30m."


@pytest.mark.parametrize("kind", KINDS)
def test_every_setting_says_what_it_is_and_numbers_have_bounds(kind):
    for name, info in setting_names(kind):
        assert info.description, f"{name} has no description"
        assert info.description.endswith("."), name
        words = describe(info)
        if words.startswith(("a number", "a whole number")):
            assert " at " in words or " above " in words, f"{name} has no bounds: {words}"


def test_each_settings_class_belongs_to_one_verb():
    assert [verb_of(kind) for kind in KINDS] == ["pretrain", "finetune", "report"]


def test_text_for_a_field_without_numbers_is_left_alone():
    assert exact_scalar("007", kinds=frozenset({str})) == "007"
    assert OptimizerSettings(name="adamw").name == "adamw"


def test_the_page_of_all_settings_is_current():
    from settings_page import page

    docs = Path(__file__).resolve().parents[1] / "docs" / "settings.md"
    assert docs.read_text(encoding="utf-8") == page(), (
        "run: python tests/settings_page.py > docs/settings.md"
    )
