"""A generator: texts of stock libraries, in order, in pieces, and who cannot write is refused."""

import json
import os
import re

os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
import torch
import transformers

import headstart as hs
from headstart.data.text import train_tokenizer
from headstart.errors import CheckpointError, InputError
from headstart.families import find, load_model, make_head, save_model
from headstart.families import load as loading
from headstart.serve import generate as room
from headstart.serve.generate import Generator, refuse

transformers.logging.set_verbosity_error()
TEXTS = [f"card number {n} is lost, 卡丢了 请帮忙 " * (1 + n % 3) for n in range(20)]
PROMPTS = ["card number 7", "卡丢了 请", "is lost, card number 3 is", ""]
SIZES = {"num_layers": 2, "hidden_size": 32, "num_heads": 2, "max_positions": 64}


def made(place, family, **given):
    style = find(family).special_tokens
    tokenizer = train_tokenizer(
        TEXTS, kind="unigram" if style == "t5" else "bpe", vocab_size=420, style=style
    )
    model = find(family).build(vocab_size=tokenizer.get_vocab_size(), pad=0, **SIZES, **given)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.2)
    kind = "causal" if "causal" in find(family).heads else "masked"
    return save_model(model, {kind: make_head(model, kind)}, place, tokenizer=tokenizer)


@pytest.fixture(scope="module")
def gpt(tmp_path_factory):
    return made(tmp_path_factory.mktemp("gpt") / "model", "gpt")


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    return made(tmp_path_factory.mktemp("t5") / "model", "t5")


@pytest.fixture(scope="module")
def writer(gpt):
    return Generator.open(gpt, precision="fp32")


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("family", ["gpt", "t5"])
def test_texts_are_those_that_stock_libraries_write(request, family, beams):
    folder = request.getfixturevalue(family)
    kind = "AutoModelForSeq2SeqLM" if family == "t5" else "AutoModelForCausalLM"
    theirs = getattr(transformers, kind).from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    found = Generator.open(folder, precision="fp32").generate(
        PROMPTS[:3], max_new=12, beams=beams, no_repeat_ngram=2
    )
    for prompt, mine in zip(PROMPTS, found, strict=False):
        inputs = tokenizer(prompt, return_tensors="pt")
        out = theirs.generate(
            inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            max_new_tokens=12,
            num_beams=beams,
            no_repeat_ngram_size=2,
            do_sample=False,
        )[0]
        whole = tokenizer.decode(out, skip_special_tokens=True)
        read = tokenizer.decode(inputs["input_ids"][0], skip_special_tokens=True)
        expected = whole if family == "t5" else whole.removeprefix(read)
        spans = re.compile(r"\s*<extra_id_\d+>")  # stock libraries leave them out
        assert spans.sub("", mine.text).strip() == expected.rstrip("\ufffd").strip()
        assert mine.prompt == prompt


@pytest.mark.parametrize("choices", [{}, {"temperature": 1.5, "seed": 5}])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_stream_is_the_same_text_in_pieces(writer, prompt, choices):
    (whole,) = writer.generate([prompt], max_new=20, stop=["z"], **choices)
    stream = writer.stream(prompt, max_new=20, stop=["z"], **choices)
    pieces = list(stream)
    assert "".join(pieces) == whole.text
    assert stream.text == whole
    assert all(pieces)
    assert len(pieces) > 1


def test_prompts_are_answered_in_their_order_in_small_batches(writer, monkeypatch):
    prompts = [text * (n % 3 + 1) for n, text in enumerate(PROMPTS * 3)]
    expected = writer.generate(prompts, max_new=6)
    monkeypatch.setattr(room, "ROWS", 2)
    assert writer.generate(prompts, max_new=6) == expected
    assert [text.prompt for text in expected] == prompts
    assert len({text.text for text in expected}) > 4
    assert writer.generate([], max_new=6) == []


def test_a_long_prompt_goes_on_from_its_end(writer):
    long = "card number 7 is lost, " * 30
    found, other = writer.generate([long, "card"], max_new=10)
    assert (found.cut, other.cut) == (True, False)
    stream = writer.stream(long, max_new=10)
    assert "".join(stream) == found.text
    assert stream.text.cut
    ids = writer.tokenizer.encode(long, add_special_tokens=False).ids
    kept = writer.tokenizer.decode(ids[-54:])
    assert found.text == writer.generate([kept], max_new=10)[0].text
    assert writer.generate(["card"])[0].tokens == 32  # half of the positions, if nothing is asked
    with pytest.raises(InputError) as caught:
        writer.generate(["card"], max_new=64)
    assert str(caught.value) == ("max_new is 64, but this model has 64 positions: give at most 63")


def test_a_text_that_is_cut_still_begins_as_every_text_does(monkeypatch):
    tokenizer = train_tokenizer(TEXTS, kind="bpe", vocab_size=420, style="roberta")
    model = find("llama").build(vocab_size=tokenizer.get_vocab_size(), **SIZES).eval()
    generator = Generator(room.Writer(model, make_head(model, "causal").eval()), tokenizer)
    seen, write = [], room.generate
    monkeypatch.setattr(
        room, "generate", lambda writer, ids, how, **rest: seen.append(ids) or write(
            writer, ids, how, **rest
        )
    )  # fmt: skip
    long = "lost card " * 60
    found = generator.generate([long, "card"], max_new=8)
    assert [text.cut for text in found] == [True, False]
    ids = tokenizer.encode(long, add_special_tokens=False).ids
    begin = tokenizer.token_to_id("<s>")
    ((cut, whole),) = seen
    assert cut == [begin, *ids[-55:]]  # of 64 positions 8 are for what comes
    assert whole == [begin, *tokenizer.encode("card", add_special_tokens=False).ids]


def test_packed_half_precision_writes_nearly_the_same(gpt):
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this processor has no packed products in bf16")
    half, full = (Generator.open(gpt, precision=name).writer for name in ("bf16", "fp32"))
    assert half.model.embed.tokens.weight.dtype == torch.bfloat16
    going = [room.Writer(*_loaded(gpt))]
    scores = [hs_scores(writer, [[5, 9, 30, 12], [7]]) for writer in (half, full, *going)]
    assert (scores[1] - scores[2]).abs().max() < 1e-4 * scores[2].abs().max()
    assert 0 < (scores[0] - scores[2]).square().mean() < 1e-3 * scores[2].square().mean()


def _loaded(folder):
    loaded = load_model(folder)
    return loaded.model, loaded.heads["causal"]


def hs_scores(writer, prompts):
    """Scores of the first and of a later token."""
    from headstart.generate import Continuation

    going = Continuation(writer, prompts, new=3)
    first = going.scores()
    going.add(torch.tensor([4, 5]))
    return torch.stack([first, going.scores()])


def test_who_cannot_write_is_refused_before_weights_are_read(tmp_path, monkeypatch):
    folder = made(tmp_path / "bert", "bert")
    monkeypatch.setattr(loading, "find_weights", lambda *_: pytest.fail("weights were looked for"))
    with pytest.raises(InputError) as caught:
        hs.generate(folder, "card")
    assert str(caught.value) == (
        f"{folder} holds a model of family bert that only reads: it cannot write text. Families "
        "that can: gpt, reformer, llama, t5, marian"
    )


def test_a_model_without_its_head_is_refused(gpt, tmp_path):
    place = tmp_path / "bare"
    save_model(load_model(gpt).model, {}, place)
    with pytest.raises(InputError) as caught:
        refuse(place)
    assert str(caught.value) == (
        f"{place} holds a model without a head for next tokens: it cannot write text. Give the "
        "pretrained run that it was made from"
    )


def test_a_reformer_that_reads_both_ways_is_refused_and_one_that_writes_is_not(tmp_path):
    given = {"vocab_size": 60, "num_layers": 2, "hidden_size": 32, "num_heads": 2}
    for causal in (False, True):
        model = find("reformer").build(**given, causal=causal)
        kind = "causal" if causal else "masked"
        save_model(model, {kind: make_head(model, kind)}, tmp_path / kind, pad=0)
    refuse(tmp_path / "causal")
    with pytest.raises(InputError) as caught:
        refuse(tmp_path / "masked")
    assert str(caught.value).endswith("llama, t5, marian (a Reformer that is a decoder)")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"stop": "z"}, "stop is the text 'z', but must be a list of texts"),
        ({"stop": [""]}, "an empty stop string would end every text: leave it out"),
    ],
)
def test_mistaken_stop_strings_are_refused(writer, given, message):
    with pytest.raises(InputError) as caught:
        writer.generate(["card"], **given)
    assert str(caught.value) == message


def test_what_is_no_text_and_a_stream_of_beams_are_refused(writer):
    with pytest.raises(InputError) as caught:
        writer.generate(["card", 7])
    assert str(caught.value) == "prompt 2 is no text but int: 7"
    with pytest.raises(InputError) as caught:
        writer.stream("card", beams=2)
    assert str(caught.value) == (
        "2 beams are known only when all have ended: leave beams out, or use generate instead of "
        "stream"
    )
    with pytest.raises(InputError) as caught:
        hs.generate("", "card")
    assert str(caught.value) == (
        "no model given: name a run folder, a Hugging Face folder, or hf:NAME"
    )


def test_the_folder_says_how_and_what_it_says_in_vain_is_told(gpt, tmp_path, capsys):
    place = tmp_path / "model"
    save_model(load_model(gpt).model, load_model(gpt).heads, place)
    (place / "tokenizer.json").write_bytes((gpt / "tokenizer.json").read_bytes())
    path = place / "generation_config.json"
    path.write_text(json.dumps({"max_new_tokens": 3, "penalty_alpha": 0.6}))
    generator = Generator.open(place, precision="fp32")
    assert generator.how().max_new == 3
    assert generator.generate(["card"])[0].tokens == 3
    assert len(generator.notes) == 1
    path.write_text(json.dumps({"max_new_tokens": -3}))
    with pytest.raises(CheckpointError, match="'max_new_tokens' is -3"):
        Generator.open(place)
