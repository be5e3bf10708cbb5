"""Text piece by piece: whole characters, spaces as in the text, nothing from a stop string on."""

import pytest

from headstart.data.text import encode, train_tokenizer
from headstart.serve.pieces import Pieces, Reader

TEXT = "the lost card, 卡丢了 – naïve 😀 end."
KINDS = ("bytes", "bpe", "unigram", "wordpiece")


def reader_of(kind, style="gpt"):
    texts = [TEXT, "a card is lost", "请帮忙 卡丢了"] * 5
    return Reader(train_tokenizer(texts, kind=kind, vocab_size=600, style=style, lowercase=False))


def ids_of(reader, text):
    return encode(reader.tokenizer, [text]).tokens.tolist()


def shown(reader, ids, **given):
    pieces = Pieces(reader, **given)
    found = [pieces.add(token) for token in ids]
    return [*found, pieces.end()], pieces


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("style", ["gpt", "t5"])
def test_pieces_together_are_the_text_and_none_holds_half_a_character(kind, style):
    reader = reader_of(kind, style)
    ids = ids_of(reader, TEXT)
    found, _ = shown(reader, ids)
    assert "".join(found) == reader.text(ids)
    assert "\ufffd" not in "".join(found)
    assert len([piece for piece in found if piece]) > 8


def test_a_character_of_several_tokens_comes_with_its_last_one():
    reader = reader_of("bytes")
    ids = ids_of(reader, "卡丢")
    assert len(ids) == 6
    found, _ = shown(reader, ids)
    assert found == ["", "", "卡", "", "", "丢", ""]
    broken, _ = shown(reader, ids[:5])
    assert "".join(broken) == "卡"  # the half of the second is left out


@pytest.mark.parametrize("kind", KINDS)
def test_a_continuation_has_the_space_that_stands_before_it(kind):
    reader = reader_of(kind)
    ids = ids_of(reader, "the lost card is lost")
    before = ids_of(reader, "the lost card")
    assert ids[: len(before)] == before
    found, _ = shown(reader, ids[len(before) :], before=before)
    assert "".join(found) == " is lost"


@pytest.mark.parametrize("kind", ["bytes", "bpe"])
@pytest.mark.parametrize("stop", [" card", "rd, 卡丢", "卡", "th"])
def test_text_ends_before_a_stop_string_that_lies_across_tokens(kind, stop):
    reader = reader_of(kind)
    ids = ids_of(reader, TEXT)
    found, pieces = shown(reader, ids, stops=["never there", stop])
    assert pieces.stopped
    assert "".join(found) == TEXT[: TEXT.index(stop)]
    done = [n for n in range(1, len(ids) + 1) if reader.ends_with(ids[:n], [stop])]
    written = next(n for n in range(len(ids) + 1) if stop in reader.text(ids[:n]))
    assert done[0] == written  # seen with the very token that completes it


def test_what_only_begins_like_a_stop_string_is_shown_when_that_is_sure():
    reader = reader_of("bytes")
    found, pieces = shown(reader, ids_of(reader, "a card"), stops=["cash", "d!"])
    assert found == ["a", " ", "", "", "car", "", "d"]
    assert not pieces.stopped


def test_special_tokens_are_left_out_but_not_those_that_stand_for_spans():
    reader = reader_of("unigram", "t5")
    span, end = (reader.tokenizer.token_to_id(name) for name in ("<extra_id_0>", "</s>"))
    ids = [span, *ids_of(reader, "card"), end]
    assert reader.text(ids).split() == ["<extra_id_0>", "card"]


def test_blanks_around_a_bare_text_are_left_out_and_those_within_wait():
    tokenizer = train_tokenizer(["  a  b "], kind="bytes", style="gpt")
    ids = tokenizer.encode("  a  b \n", add_special_tokens=False).ids
    pieces = Pieces(Reader(tokenizer), bare=True)
    found = [pieces.add(number) for number in ids]
    assert found == ["", "", "a", "", "", "  b", "", ""]
    assert pieces.end() == ""
    plain = Pieces(Reader(tokenizer))
    assert "".join([*map(plain.add, ids), plain.end()]) == "  a  b \n"
