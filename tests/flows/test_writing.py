"""Pairs of texts are learnt, and stock transformers writes the same texts token for token."""

import json
import os
import shutil
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
import torch
import transformers

import headstart as hs
from headstart.data.text import encode
from headstart.errors import InputError
from headstart.evaluate.writing import learn_to_write
from headstart.serve.author import Author
from headstart.serve.generate import Generator
from small_writing import HABITS, SETTINGS, SOURCES, TARGETS, text_pairs, writing_start

transformers.logging.set_verbosity_error()
SLOW = [pytest.param(family, marks=pytest.mark.slow) for family in ("marian", "llama")]
FAMILIES = ("t5", "gpt", *SLOW)


def per_token(found) -> float:
    sums, counts = found
    return float(sums.sum() / counts.sum())


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """Models that know sixteen pairs by heart, by family, each made when it is first asked for."""
    made = {}

    def of(family: str):
        if family not in made:
            start = writing_start(family)
            writing = learn_to_write(
                start, text_pairs(start.tokenizer), "full", settings=SETTINGS, habits=HABITS, seed=0
            )
            folder = tmp_path_factory.mktemp(family) / "model"
            writing.save(folder, tokenizer=start.tokenizer)
            made[family] = (start, writing, folder)
        return made[family]

    return of


@pytest.mark.parametrize("family", FAMILIES)
def test_sixteen_pairs_are_learnt_by_heart_and_shuffled_ones_are_not_known(learnt, family):
    start, writing, folder = learnt(family)
    shuffled = text_pairs(start.tokenizer, targets=[*TARGETS[5:], *TARGETS[:5]])
    assert per_token(writing.losses(text_pairs(start.tokenizer))) < 0.15
    assert per_token(writing.losses(shuffled)) > 0.5
    author = Author.open(folder)
    assert author.write(SOURCES) == TARGETS
    assert per_token(author.losses(SOURCES, TARGETS)) < 0.15
    assert author.writing.habits == HABITS


@pytest.mark.parametrize("family", FAMILIES)
def test_stock_transformers_writes_the_same_tokens_and_has_the_same_loss(learnt, family):
    start, _, folder = learnt(family)
    author = Author.open(folder)
    two = start.model.decoder is not None
    kind = transformers.AutoModelForSeq2SeqLM if two else transformers.AutoModelForCausalLM
    stock = kind.from_pretrained(folder).eval()
    spell = transformers.AutoTokenizer.from_pretrained(folder)
    unseen = ["the card was", "Dear town, thanks!", "money money money " * 4]
    every = [*SOURCES[:6], *unseen]
    ours = author.writing.write(encode(author.tokenizer, every))
    end = start.frame.sep
    for text, tokens in zip(every, ours, strict=True):
        inputs = spell(text, return_tensors="pt", return_token_type_ids=False)
        with torch.no_grad():
            found = stock.generate(**inputs)[0].tolist()  # as its generation_config.json says
        found = found[1 if two else inputs["input_ids"].shape[1] :]
        assert found[: len(tokens)] == tokens
        assert found[len(tokens) :] in ([end], [])
        assert len(found) <= SETTINGS.target_length
    sums, counts = author.losses(SOURCES[:1], TARGETS[:1])
    assert (sums / counts)[0] == pytest.approx(stock_loss(stock, spell, author, two=two), abs=1e-5)
    other, _ = author.losses(SOURCES[:1], TARGETS[1:2])
    assert abs(other[0] - sums[0]) > 0.1


def test_how_a_text_goes_on_is_read_from_the_folder(learnt, tmp_path):
    _, _, folder = learnt("gpt")
    place = Path(shutil.copytree(folder, tmp_path / "model"))
    said = json.loads((place / "generation_config.json").read_text())
    assert said == {
        **{"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0},
        "max_new_tokens": SETTINGS.target_length,
    }
    changed = json.dumps({**said, "num_beams": 4, "max_new_tokens": 6})
    (place / "generation_config.json").write_text(changed)
    stock = transformers.AutoModelForCausalLM.from_pretrained(place).eval()
    spell = transformers.AutoTokenizer.from_pretrained(place)
    author, greedy = Author.open(place), Author.open(folder)
    assert author.how.beams == 4
    differ = 0
    for text in ("The card was", "money money sold town", "Thanks! lost", *SOURCES[:2]):
        inputs = spell(text, return_tensors="pt", return_token_type_ids=False)
        with torch.no_grad():
            found = stock.generate(**inputs)[0, inputs["input_ids"].shape[1] :]
        expected = spell.decode(found, skip_special_tokens=True).strip()
        assert author.write([text]) == [expected]
        differ += greedy.write([text]) != [expected]
    assert differ


def stock_loss(stock, spell, author, *, two: bool) -> float:
    source = spell(SOURCES[0], return_tensors="pt", return_token_type_ids=False)["input_ids"]
    target = encode(author.tokenizer, TARGETS[:1]).tokens.tolist()
    labels = torch.tensor([[*target, author.writing.task.end]])
    if not two:
        hidden = torch.full_like(source, -100)
        ids, labels = torch.cat([source, labels], 1), torch.cat([hidden, labels], 1)
        with torch.no_grad():
            return float(stock(input_ids=ids, labels=labels).loss)
    with torch.no_grad():
        return float(stock(input_ids=source, labels=labels).loss)


@pytest.mark.parametrize("family", ["t5", "gpt"])
@pytest.mark.parametrize("method", ["lora", "partial"])
def test_the_other_methods_learn_too_and_leave_the_rest_as_it_was(family, method):
    start = writing_start(family)
    pairs = text_pairs(start.tokenizer)
    settings = {**vars(SETTINGS), "top_layers": 1, "lr": 2e-2, "min_steps": 40}
    made = learn_to_write(
        start, pairs, method, settings=type(SETTINGS)(**settings), habits=HABITS, seed=0
    )
    before = {name: weight.clone() for name, weight in start.model.named_parameters()}
    after = dict(made.model.named_parameters())
    assert after.keys() == before.keys()  # adapters are folded in
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    writes = "decoder" if family == "t5" else "stack"
    if method == "partial":
        assert all(name.startswith((f"{writes}.blocks.1.", f"{writes}.norm.")) for name in moved)
    assert f"{writes}.blocks.1.attention.qkv.weight" in moved
    assert ("stack.blocks.0.attention.qkv.weight" in moved) == (method == "lora")
    assert "embed.tokens.weight" not in moved
    untouched = learn_to_write(
        start,
        pairs,
        method,
        settings=type(SETTINGS)(**{**settings, "lr": 1e-9}),
        habits=HABITS,
        seed=0,
    )
    losses = [per_token(one.losses(pairs)) for one in (made, untouched)]
    assert losses[0] < losses[1] - 0.5


LONG = ["The card was lost. " * 30, *SOURCES[:5], "money money money " * 4, ""]


@pytest.mark.parametrize("family", FAMILIES)
def test_generate_lays_prompts_out_as_predict_does(learnt, family):
    _, _, folder = learnt(family)
    answers = [answer.label for answer in hs.predict(folder, LONG)]
    assert answers[1:6] == TARGETS[:5]
    writer = hs.generator(folder, precision="fp32")
    found = writer.generate(LONG)
    assert [text.text for text in found] == answers
    assert [text.cut for text in found] == [True] + 7 * [False]
    assert [text.ended for text in found[1:6]] == 5 * ["end"]
    for prompt, answer in zip(LONG, answers, strict=True):
        stream = writer.stream(prompt)
        assert "".join(stream) == answer
    if writer.writer.model.decoder is None:  # a decoder that is shown no separator goes on reading
        plain = Generator(writer.writer, writer.tokenizer, writer.defaults)
        assert [text.text for text in plain.generate(SOURCES[:5])] != answers[1:6]


def test_a_text_to_be_written_must_leave_room_for_its_source(learnt):
    _, _, folder = learnt("gpt")
    writer = hs.generator(folder, precision="fp32")
    with pytest.raises(InputError) as caught:
        writer.generate(SOURCES, max_new=95)
    assert str(caught.value) == (
        "max_new is 95, which leaves no room for a prompt in the 96 positions of this model: give "
        "at most 48"
    )
    # 96 positions, of which 94 are to be written, hold a token of the source and the separator
    (text,) = writer.generate(SOURCES[:1], max_new=94)
    assert text.cut
