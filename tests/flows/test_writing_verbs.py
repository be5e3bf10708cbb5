"""finetune, evaluate and predict with texts to be written; what they refuse, and what they say."""

import csv
from dataclasses import replace

import pytest

import headstart as hs
from flows.test_finetune_goes_on import Listener, history, weights
from headstart import recipes
from headstart.data.dataset import load_labelled
from headstart.data.text import train_tokenizer
from headstart.errors import InputError, Interrupted
from headstart.evaluate.writing import learn_to_write
from headstart.families import find, save_model
from headstart.words import in_language
from small_writing import HABITS, SOURCES, TARGETS, spelling, text_pairs, writing_start
from small_writing import SETTINGS as SMALL

SETTINGS = {
    "data.max_length": 32,
    "data.target_length": 16,
    "machine.threads": 1,
    "machine.precision": "fp32",
    "transfer.min_steps": 20,
    "transfer.epochs": 1,
    "transfer.lr": 5e-3,
}


def table(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("body", "summary"), *rows])
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("writing")
    table(place / "pairs.csv", zip(SOURCES, TARGETS, strict=True))
    start = writing_start("gpt")
    save_model(start.model, {}, place / "gpt", tokenizer=start.tokenizer)
    tokenizer = train_tokenizer(SOURCES, vocab_size=200)
    small = {"num_layers": 1, "hidden_size": 16, "num_heads": 2, "max_positions": 32}
    bert = find("bert").build(vocab_size=tokenizer.get_vocab_size(), **small)
    save_model(bert, {}, place / "bert", tokenizer=tokenizer)
    return place


def finetune(folder, out, events=None, data="pairs.csv", **settings):
    return hs.finetune(
        folder / data,
        start=folder / settings.pop("start", "gpt"),
        method=settings.pop("method", "full"),
        kind=settings.pop("kind", None),
        seeds=2,
        out=folder / out,
        settings={**SETTINGS, **settings},
        events=events,
    )


@pytest.fixture(scope="module")
def straight(folder):
    listener = Listener()
    return finetune(folder, "straight", listener), listener


def test_texts_are_inferred_learnt_measured_beside_controls_and_written(folder, straight):
    model, listener = straight
    assert listener.notes[0] == (
        "pairs.csv: text 'body', label 'summary', text to be written (--task classes: take them "
        "for classes), 16 rows"
    )
    found = model.result.measured
    assert (found.metric, found.rows) == ("ROUGE-L", 3)
    assert set(found.spreads) == {"model", "first_sentence", "first_words", "most_frequent"}
    names = {"ROUGE-1", "ROUGE-2", "ROUGE-L", "exact_match", "BLEU", "chrF"}
    assert set(found.spreads["first_words"]) == names
    assert set(found.spreads["model"]) == {*names, "token_loss"}
    assert found.low <= found.score <= found.high
    again = model.evaluate(folder / "pairs.csv")
    assert again.rows == 16
    assert again.others["token_loss"] == pytest.approx(found.others["token_loss"], rel=0.3)
    # "Thanks!" is no first sentence, and of "The card was lost" no word is in "Re: Card (lost)"
    # but two of three: F = 2 * (2/4) * (2/3) / (2/4 + 2/3)
    assert again.spreads["first_sentence"]["ROUGE-1"][0] == pytest.approx(4 / 7)
    assert again.spreads["most_frequent"]["exact_match"][0] == 1 / 16
    answers = model.predict(["Now The card was lost. Thanks!", "The bank was sold. Thanks!"])
    assert [answer.share for answer in answers] == [None, None]
    assert [answer.text for answer in answers][1] == "The bank was sold. Thanks!"
    assert model.predictor.write(["The bank was sold. Thanks!"]) == [answers[1].label]


def test_a_run_that_is_stopped_goes_on_to_the_same_bits(folder, straight):
    with pytest.raises(Interrupted):
        finetune(folder, "stopped", Listener(stop_at=1.45))
    listener = Listener()
    finetune(folder, "stopped", listener)
    assert f"going on with the run in {folder / 'stopped'}" in listener.notes
    assert listener.done[0] > 1.4  # the first seed is not trained again
    assert weights(folder / "stopped") == weights(folder / "straight")
    assert history(folder / "stopped") == history(folder / "straight")


def test_a_holdout_stops_early_by_its_loss():
    start = writing_start("gpt")
    tokenizer = start.tokenizer
    sources = [f"{n} {s}" for n in range(3) for s in SOURCES]
    pairs = text_pairs(tokenizer, sources=sources, targets=TARGETS * 3)

    def records(**changes):
        found = []
        settings = replace(SMALL, holdout=0.25, **changes)
        learn_to_write(
            start, pairs, "full", settings=settings, habits=HABITS, seed=0, watch=found.append
        )
        return found

    still = {"min_steps": 100, "max_steps": 100, "lr": 1e-12}
    for patience in (1, 3):  # ten checks over the run, none better than the first
        assert len(records(**still, patience=patience)) == 10 * patience
    learning = records(min_steps=30, max_steps=30, lr=5e-3, patience=1)
    losses = [one.scores["held-out loss"] for one in learning if one.scores]
    assert len(learning) == 30  # each check is better than the one before
    assert losses == sorted(losses, reverse=True)


def test_what_is_cut_and_what_cannot_be_spelled_is_said(folder):
    listener = Listener()
    rows = [(f"{s} {'more words ' * 20}", t * 3) for s, t in zip(SOURCES, TARGETS, strict=True)]
    table(folder / "long.csv", rows)
    finetune(folder, "long", listener, data="long.csv", kind="text")
    assert (
        "13 of 13 texts to be written are longer than 15 tokens and are learnt up to there, "
        "without an end (the longest has 18: long.csv, line 2); data.target_length says how "
        "far"
    ) in listener.notes
    assert any(
        note.startswith("13 of 13 texts are longer than 31 tokens and are read up to there (the ")
        for note in listener.notes
    )
    lower = train_tokenizer([*SOURCES, *TARGETS], vocab_size=300, style="gpt")
    model = find("gpt").build(
        num_layers=1, hidden_size=16, num_heads=2, vocab_size=300, max_positions=64
    )
    save_model(model, {}, folder / "lower", tokenizer=lower)
    finetune(folder, "respelled", listener, start="lower")
    assert (
        "100 % of the texts to be written cannot be spelled by this tokenizer ('Re: Card (lost)' "
        "becomes 're : card ( lost )'): pretrain with data.tokenizer=bpe and data.lowercase=false"
    ) in listener.notes


def refused(folder, **given) -> str:
    with pytest.raises(InputError) as caught:
        finetune(folder, "refused", **given)
    return str(caught.value)


CANNOT = (
    "texts can be written by a decoder or an encoder-decoder (gpt, llama, t5, marian, reformer), "
    "but {} is of family bert (encoder): start from one of those, or, if the labels are classes, "
    "say so with --task classes"
)


def test_a_model_that_cannot_write_is_refused_before_data_is_read(folder):
    told = refused(folder, start="bert", kind="text", data="nothing.csv")
    assert told == CANNOT.format(f"the model of {folder / 'bert'}")
    inferred = refused(folder, start="bert")
    assert inferred == CANNOT.format(f"the model of {folder / 'bert'}")
    with pytest.raises(InputError) as caught:
        hs.finetune(
            folder / "nothing.csv", kind="text", out=folder / "x", settings={"model.family": "bert"}
        )
    assert str(caught.value) == CANNOT.format("model.family")


def test_a_probe_and_settings_that_say_nothing_of_writing_are_refused(folder):
    assert refused(folder, method="probe", kind="text", data="nothing.csv") == (
        "transfer.method probe is a linear map of a frozen text, which gives scores and cannot "
        "write: choose lora, partial or full"
    )
    assert refused(folder, kind="text", **{"transfer.balanced": True}) == (
        "transfer.balanced True says nothing about texts that are to be written: leave it out"
    )


def test_a_text_longer_than_the_model_and_a_missing_column_are_refused(folder):
    assert refused(folder, **{"data.target_length": 96}) == (
        "data.target_length 96 leaves no room for a source in the 96 positions of this model: set "
        "it to at most 48"
    )
    source = folder / "pairs.csv"
    assert refused(folder, **{"data.label": "sumary"}) == (
        f"E-DATA-021 {source}:2 column \"sumary\": no field 'sumary' (found: body, summary). "
        "Did you mean 'summary'? Write --label summary."
    )


def test_an_empty_text_is_set_aside_and_other_verbs_refuse_texts(folder):
    path = table(folder / "empty.csv", [*zip(SOURCES, TARGETS, strict=True), ("x y", "  ")])
    found = load_labelled(path, written=True)
    assert (found.kind, len(found), found.quarantined) == ("text", 16, 1)
    assert str(found.problems[0]) == (
        f'Q-DATA-023 {path}:18 column "summary": the label is empty. Fill it in, or remove the row.'
    )
    assert found.labels.tolist() == TARGETS
    with pytest.raises(InputError) as caught:
        load_labelled(path)
    assert str(caught.value) == (
        f"{path}: the labels in column 'summary' are texts to be written, which only headstart "
        "finetune learns. If they are classes, say so with --task classes or data.kind: classes"
    )
    assert load_labelled(path, kind="classes").kind == "classes"


def test_a_folder_that_writes_gives_no_scores(folder, straight):
    from headstart.evaluate.fitted import load_fitted

    place = folder / "straight" / "model"
    with pytest.raises(InputError) as caught:
        load_fitted(place, spelling("gpt"))
    assert str(caught.value) == (
        f"{place} has learnt to write texts: headstart evaluate and headstart predict use it, but "
        "it gives no scores of classes"
    )


def test_columns_of_texts_are_found_by_name_else_the_shorter_of_two(folder):
    pairs = list(zip(SOURCES, TARGETS, strict=True))
    for names, found in (
        (("email", "id", "subject"), ("email", "subject")),
        (("a", "b"), ("a", "b")),
    ):
        path = folder / "columns.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = [(s, n, t)[:: 3 - len(names) + 1] for n, (s, t) in enumerate(pairs)]
            csv.writer(file).writerows([names, *rows])
        made = load_labelled(path, kind="text", written=True)
        assert (made.text_column, made.label_column) == found
        assert made.labels.tolist() == TARGETS


def test_check_does_not_take_texts_for_classes_seen_once(folder):
    assert hs.check(folder / "pairs.csv", label="summary").report.problems == ()
    table(folder / "rare.csv", [*zip(SOURCES, ["a"] * 15 + ["b"], strict=True)])
    (only,) = hs.check(folder / "rare.csv", label="summary").report.problems
    assert only.code == "W-DATA-024"


def test_long_class_names_that_repeat_stay_classes():
    from headstart.data.labels import look_written

    assert look_written(TARGETS)
    assert look_written([f"我们第{n}次回家了" for n in "一二三四五六七八九十百千"])
    assert not look_written(TARGETS * 3)  # each occurs three times
    assert not look_written(TARGETS[:8])
    assert not look_written([f"class_{n}" for n in range(40)])


def test_images_have_no_texts_to_write_after_them(tmp_path):
    from PIL import Image

    photos = tmp_path / "photos"
    for name in ("cat", "dog"):
        (photos / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(photos / name / "1.png")
    with pytest.raises(InputError) as caught:
        hs.finetune(photos, kind="text", out=tmp_path / "run")
    assert str(caught.value) == (
        f"{photos} holds images, but data.kind text is for texts that follow texts: leave it out"
    )


def test_two_runs_that_write_are_compared_on_the_same_rows(folder, straight):
    better = finetune(folder, "better", **{"transfer.min_steps": 120, "transfer.layer_decay": 1.0})
    names = str(folder / "straight"), str(folder / "better")
    found = hs.compare(*names, test=folder / "pairs.csv")
    assert found.metric == "ROUGE-L"
    assert found.difference == pytest.approx(found.second_score - found.first_score)
    assert found.low <= found.difference <= found.high
    assert found.second_score > 0.9
    assert better.evaluate(folder / "pairs.csv").score == pytest.approx(found.second_score)
    assert found.verdict == (
        f"{names[1]} is better: the 95% interval over 16 rows excludes no difference"
    )
    swapped = hs.compare(*names[::-1], test=folder / "pairs.csv")
    assert (swapped.low, swapped.high) == pytest.approx((-found.high, -found.low))


class Heard(Listener):
    """Keeps notes as they are, so that they can be said in Chinese."""

    def note(self, text):
        self.notes.append(text)


def test_what_is_cut_is_said_by_every_verb_in_both_languages(folder, straight):
    pairs = zip(SOURCES, TARGETS, strict=True)
    long = [(s + " more words" * (20 + n), t) for n, (s, t) in enumerate(pairs)]
    long[3] = (SOURCES[3], f"{TARGETS[3]} and then" + " some more words" * 30)
    table(folder / "cut.csv", long)

    def said(key, events):
        (found,) = [note for note in events.notes if getattr(note, "key", "") == key]
        return found, in_language(found, "zh")

    tokenizer = straight[0].predictor.tokenizer
    sources = [len(ids) for ids in encode_all(tokenizer, [s for s, _ in long])]
    target = len(encode_all(tokenizer, [long[3][1]])[0])
    heard = Heard()
    recipes.evaluate(straight[0].predictor, [folder / "cut.csv"], events=heard)
    # a window of 32 tokens, one of them the separator; a target of 16, one of them its end
    assert said("measured_sources_cut", heard) == (
        "measured: 15 of 16 texts are longer than 31 tokens and are read up to there, as in "
        f"training (the longest has {sources[15]}: cut.csv, line 17)",
        "评测：16 条文本中有 15 条超过 31 个词元，与训练时一样只读到该处"
        f"（最长的有 {sources[15]} 个：cut.csv 第 17 行）",
    )
    assert said("measured_targets_cut", heard) == (
        "measured: 1 of 16 texts to be written are longer than 15 tokens, and their loss is taken "
        f"up to there (the longest has {target}: cut.csv, line 5)",
        "评测：16 条目标文本中有 1 条超过 15 个词元，损失只计到该处"
        f"（最长的有 {target} 个：cut.csv 第 5 行）",
    )
    heard = Heard()
    recipes.predict(straight[0].predictor, [SOURCES[0], long[7][0], long[4][0]], events=heard)
    assert said("inputs_cut", heard) == (
        "2 of 3 texts are longer than 31 tokens and are read up to there, as in training (the "
        f"longest has {sources[7]}: text 2)",
        "3 条文本中有 2 条超过 31 个词元，与训练时一样只读到该处"
        f"（最长的有 {sources[7]} 个：第 2 条）",
    )
    heard = Heard()
    recipes.predict(straight[0].predictor, SOURCES[:2], events=heard)
    assert not [note for note in heard.notes if getattr(note, "key", "") == "inputs_cut"]
    heard = Heard()
    recipes.generate(straight[0].folder, [long[0][0], SOURCES[0]], events=heard, max_new=8)
    assert said("prompts_cut_behind", heard) == (
        "1 of the prompts are longer than what this model learnt to read: their end was left out",
        "1 条提示词超出该模型训练时的可读长度：已略去其结尾",
    )


def encode_all(tokenizer, texts):
    return [found.ids for found in tokenizer.encode_batch(texts, add_special_tokens=False)]


def test_check_counts_texts_of_which_only_the_beginning_would_be_read(folder):
    rows = list(zip(SOURCES, TARGETS, strict=True))
    rows[2] = (" ".join(["word"] * 129), "Re: " + " ".join(["word"] * 70))
    rows[5] = ("词" * 200, TARGETS[5])
    rows[6] = (" ".join(["word"] * 128), "Re: " + " ".join(["word"] * 63))  # just fits
    table(folder / "lengths.csv", rows)
    found = recipes.check([str(folder / "lengths.csv")], label="summary")
    lines = [line for _, line in found.facts()]
    assert lines[2:4] == [
        "lengths.csv: 2 of 16 texts in 'body' have more than 128 words (the longest 200: line 7); "
        "data.max_length, 128 tokens by default, says how far they are read",
        "lengths.csv: 1 of 16 texts to be written in 'summary' have more than 64 words (the "
        "longest 71: line 4); data.target_length, 64 tokens by default, says how far they are "
        "learnt",
    ]
    assert in_language(lines[2], "zh") == (
        "lengths.csv：“body”列 16 条文本中有 2 条超过 128 个词（最长的有 200 个：第 7 行）；"
        "读到何处由 data.max_length 决定，默认 128 个词元"
    )
    long = found.record()["long"]
    assert [(one["column"], one["count"], one["read"]) for one in long] == [
        ("body", 2, True),
        ("summary", 1, False),
    ]
    # labels that are classes are not counted, however long the texts are
    table(folder / "classes.csv", [(s, "ab"[n % 2]) for n, (s, _) in enumerate(rows)])
    assert recipes.check([str(folder / "classes.csv")], label="summary").report.long == ()
