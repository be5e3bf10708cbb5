import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from headstart.data.text import (
    encode,
    frame_of,
    framed,
    in_groups,
    load_tokenizer,
    save_tokenizer,
    sentinel_ids,
    special_ids,
    tokenizer_fit,
    train_tokenizer,
    word_starts,
)
from headstart.errors import CheckpointError, InputError

ENGLISH = [
    "The cat sat on the mat, and the dog didn't care.",
    "A dog and a cat walked home together.",
    "hello again world",
] * 20
CHINESE = ["你好，世界。今天天气很好。", "我喜欢这家酒店，下次还来。"] * 20
BOTH = ENGLISH + CHINESE
KINDS = ["wordpiece", "bpe", "unigram", "bytes"]
STYLES = ["bert", "roberta", "gpt", "t5", "clip"]


@pytest.fixture(scope="module")
def trained():
    return {
        (kind, style): train_tokenizer(BOTH, kind=kind, style=style, vocab_size=420)
        for kind in KINDS
        for style in STYLES
    }


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("kind", KINDS)
def test_stock_autotokenizer_opens_what_we_save_and_gives_the_same_ids(
    kind, style, trained, tmp_path
):
    transformers = pytest.importorskip("transformers")
    ours = trained[kind, style]
    save_tokenizer(ours, tmp_path, model_max_length=77)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert theirs.model_max_length == 77
    for text in ["The dog didn't", "你好，cat", ""]:
        assert theirs(text)["input_ids"] == ours.encode(text).ids
        plain = theirs(text, add_special_tokens=False)["input_ids"]
        assert plain == encode(ours, [text]).tokens.tolist()
    pair = theirs("the cat", "你好")["input_ids"]
    assert pair == ours.encode("the cat", "你好").ids
    ids = special_ids(ours)
    named = (theirs.pad_token_id, theirs.cls_token_id, theirs.sep_token_id, theirs.mask_token_id)
    assert named == (ids.pad, ids.cls, ids.sep, ids.mask)


def test_the_surrounding_tokens_are_those_of_the_style(trained):
    def around(style):
        return trained["wordpiece", style].encode("the cat").tokens

    assert around("bert") == ["[CLS]", "the", "cat", "[SEP]"]
    assert around("roberta") == ["<s>", "the", "cat", "</s>"]
    assert around("gpt") == ["the", "cat"]
    assert around("t5") == ["the", "cat", "</s>"]
    assert around("clip") == ["<|startoftext|>", "the", "cat", "<|endoftext|>"]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_spelled_in_a_text_never_become_control_ids(kind, style, trained):
    tokenizer = trained[kind, style]
    control = {
        number
        for number, token in tokenizer.get_added_tokens_decoder().items()
        if token.special and token.content not in ("[UNK]", "<unk>")
    }
    spelled = "[CLS] x[MASK]y [PAD] <s> a</s><mask> <|endoftext|> <|startoftext|><extra_id_0> <pad>"
    ids = encode(tokenizer, [spelled, *spelled.split()]).tokens.tolist()
    assert not control & set(ids)
    # the check can fail: a tokenizer as others use it gives the control ids
    careless = Tokenizer.from_str(tokenizer.to_str())
    careless.encode_special_tokens = False
    assert control & set(careless.encode(spelled, add_special_tokens=False).ids)


@pytest.mark.parametrize("kind", ["bpe", "bytes"])
def test_byte_level_tokenizers_give_every_text_back(kind, trained):
    tokenizer = trained[kind, "gpt"]
    for text in ["Ünïcode  and\ttabs\n", "你好 👩‍👩‍👧 \x00\x7f", "a\u2028b\u0085c"]:
        assert tokenizer.decode(encode(tokenizer, [text]).tokens.tolist()) == text


@pytest.mark.parametrize("kind", KINDS)
def test_training_twice_gives_the_same_tokenizer(kind):
    one = train_tokenizer(BOTH, kind=kind, vocab_size=380)
    assert one.to_str() == train_tokenizer(BOTH, kind=kind, vocab_size=380).to_str()


def test_encoding_cuts_after_the_maximum_and_keeps_empty_texts(trained):
    tokenizer = trained["wordpiece", "bert"]
    sequences = encode(tokenizer, ["the cat and the dog", "", "the"], max_length=3)
    assert sequences.lengths.tolist() == [3, 0, 1]
    assert sequences.tokens[3] == sequences.tokens[0]
    assert sequences.index.tolist() == [0, 1, 2]


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_tokenizer_puts_around_a_text_is_found(kind, trained):
    expected = {"bert": ("[CLS]", "[SEP]"), "roberta": ("<s>", "</s>"), "gpt": (None, None),
                "t5": (None, "</s>"), "clip": ("<|startoftext|>", "<|endoftext|>")}  # fmt: skip
    for style, names in expected.items():
        tokenizer = trained[kind, style]
        ids = tuple(None if name is None else tokenizer.token_to_id(name) for name in names)
        assert frame_of(tokenizer) == ids
        assert framed(tokenizer, *ids) is tokenizer


def test_a_tokenizer_is_made_to_put_other_tokens_around_a_text(trained, tmp_path):
    transformers = pytest.importorskip("transformers")
    plain = trained["bytes", "gpt"]
    end = plain.token_to_id("<|endoftext|>")
    save_tokenizer(framed(plain, None, end), tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in ("The dog didn't", "你好，cat", ""):
        assert theirs(text)["input_ids"] == [*plain.encode(text).ids, end]
    assert frame_of(framed(plain, end, end)) == (end, end)
    assert frame_of(plain) == (None, None)  # the given one stays as it was


def test_more_tokens_around_a_text_than_there_is_room_for_are_refused(trained):
    tokenizer = Tokenizer.from_str(trained["wordpiece", "bert"].to_str())
    ids = [("[CLS]", tokenizer.token_to_id("[CLS]")), ("[SEP]", tokenizer.token_to_id("[SEP]"))]
    tokenizer.post_processor = TemplateProcessing("[CLS] [SEP] $A [SEP]", special_tokens=ids)
    with pytest.raises(InputError) as caught:
        frame_of(tokenizer)
    assert str(caught.value) == (
        "this tokenizer puts 2 tokens before a text and 1 after it, but headstart has room for "
        "one on each side"
    )


def test_an_id_stands_for_a_text_without_tokens_where_one_is_given(trained):
    found = encode(trained["wordpiece", "bert"], ["cat", "", "dog"], empty=9)
    assert found.lengths.tolist() == [1, 1, 1]
    assert found.tokens[1] == 9


def test_half_a_surrogate_pair_is_named(trained):
    with pytest.raises(InputError) as caught:
        encode(trained["wordpiece", "bert"], ["fine", "broken \ud800 text"])
    assert str(caught.value) == (
        "text 2 holds half of a surrogate pair, which is no character: "
        "'broken \\ud800 text'. Remove it, or repair the file's encoding."
    )


def test_groups_of_long_texts_stay_small():
    texts = ["a" * 10, "b" * 90, "c", "d", "e", "f" * 500, "g"]
    groups = list(in_groups(texts, most=3, characters=100))
    assert [len(group) for group in groups] == [2, 3, 1, 1]
    assert [text for group in groups for text in group] == texts


def starts_of(tokenizer, text):
    starts = word_starts(tokenizer)
    encoding = tokenizer.encode(text, add_special_tokens=False)
    return [
        (token, bool(starts[i])) for token, i in zip(encoding.tokens, encoding.ids, strict=True)
    ]


def test_word_starts_of_wordpiece_follow_the_hashes_and_every_chinese_character():
    tokenizer = train_tokenizer(BOTH, vocab_size=90)
    for token, starts in starts_of(tokenizer, "the together walked 你好，世"):
        assert starts == (not token.startswith("##"))
    assert [starts for _, starts in starts_of(tokenizer, "你好，世")] == [True] * 4


def test_word_starts_of_byte_level_pieces_follow_spaces_and_chinese_characters(trained):
    found = starts_of(trained["bytes", "roberta"], "ab c你é")
    # a b | space c | three bytes of 你, the first starts | two bytes of é, none starts
    assert [starts for _, starts in found] == [
        *(False, False, True, False),
        *(True, False, False),
        *(False, False),
    ]
    for token, starts in starts_of(trained["bpe", "roberta"], "a dog and a cat"):
        assert starts == token.startswith("Ġ")


def test_word_starts_of_unigram_follow_the_space_mark(trained):
    for token, starts in starts_of(trained["unigram", "t5"], "a dog and a cat"):
        assert starts == token.startswith("▁")


def test_special_tokens_start_words(trained):
    for style in STYLES:
        tokenizer = trained["bpe", style]
        special = [number for number, _ in tokenizer.get_added_tokens_decoder().items()]
        assert word_starts(tokenizer)[special].all()
        assert len(word_starts(tokenizer)) == tokenizer.get_vocab_size()


def test_sentinels_of_t5_come_last_with_the_first_one_highest(trained):
    ids = sentinel_ids(trained["unigram", "t5"])
    assert len(ids) == 100
    assert ids[0] == trained["unigram", "t5"].get_vocab_size() - 1
    assert (np.diff(ids) == -1).all()
    assert len(sentinel_ids(trained["bpe", "bert"])) == 0


def test_fit_counts_words_tokens_and_what_falls_off():
    tokenizer = train_tokenizer(["aa bb", "aa bb cc"] * 5, vocab_size=80)
    fit = tokenizer_fit(tokenizer, ["aa bb cc", "aa", "你aa ☃"], max_length=4)
    # words: 3 + 1 + (你, aa, ☃); tokens the same; 你 and ☃ unknown; room for 4 - 2 = 2 tokens
    assert (fit.texts, fit.words, fit.tokens, fit.longest) == (3, 7, 7, 3)
    assert fit.fertility == 1.0
    assert fit.unknown_share == pytest.approx(2 / 7)
    assert fit.truncated_share == pytest.approx(2 / 3)
    assert fit.lost_share == pytest.approx(2 / 7)


def test_a_vocabulary_too_small_for_the_bytes_is_refused():
    with pytest.raises(InputError) as caught:
        train_tokenizer(BOTH, kind="bpe", vocab_size=100)
    assert str(caught.value) == (
        "vocab_size is 100, but a 'bpe' tokenizer of style 'bert' needs at least 261. "
        "Raise vocab_size, or take kind 'bytes'."
    )


def test_an_empty_corpus_trains_no_tokenizer():
    with pytest.raises(InputError, match="the corpus holds no text"):
        train_tokenizer([])


def test_reading_stops_after_the_characters_allowed():
    def texts():
        yield "one two three"
        yield "four"
        raise AssertionError("read too far")

    train_tokenizer(texts(), vocab_size=80, most_characters=14)


def test_padding_and_truncation_left_in_a_saved_tokenizer_are_switched_off(trained, tmp_path):
    tokenizer = Tokenizer.from_str(trained["wordpiece", "bert"].to_str())
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=9)
    save_tokenizer(tokenizer, tmp_path)
    assert encode(load_tokenizer(tmp_path), ["the cat and the dog"]).lengths.tolist() == [5]


def test_a_damaged_tokenizer_file_is_named(tmp_path):
    (tmp_path / "tokenizer.json").write_text('{"version": ')
    with pytest.raises(CheckpointError, match=r"tokenizer\.json cannot be read as a tokenizer"):
        load_tokenizer(tmp_path)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"has no tokenizer\.json"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_one_huge_word_is_encoded_in_linear_time(kind, trained):
    assert len(encode(trained[kind, "bert"], ["a" * 1_000_000])) == 1
