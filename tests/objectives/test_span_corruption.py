from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from headstart.batch import Sequences
from headstart.errors import InputError
from headstart.families import bert, gpt, marian, t5
from headstart.objectives import Pretraining, SpanCorruption
from headstart.objectives.span_corruption import corrupt, divide, hidden_tokens

SENTINELS = (39, 38, 37, 36, 35)
END, PAD, START = 3, 0, 0
SIZES = {"num_layers": 2, "hidden_size": 32, "num_heads": 2, "vocab_size": 40}


@pytest.fixture
def known(vocabulary):
    """A vocabulary of T5's style: no [CLS], sentinels at the end, the first one last."""
    special = (*vocabulary.special, *SENTINELS)
    return replace(vocabulary, cls=None, mask=None, special=special, sentinels=SENTINELS)


@pytest.fixture
def texts():
    rng = np.random.default_rng(2)
    lengths = np.array([40, 7, 1, 2, 25, 13])
    return Sequences(rng.integers(5, 35, lengths.sum()), lengths, np.arange(6))


def prepared(known, texts, seed=0, **options):
    objective = Pretraining([SpanCorruption(known, **options)], known)
    return objective, objective.prepare(texts, np.random.default_rng(seed))


def pieces(texts):
    return [
        texts.tokens[start : start + length].tolist()
        for start, length in zip(texts.starts, texts.lengths, strict=True)
    ]


def test_sentinels_stand_for_spans_by_hand():
    tokens = np.array([10, 11, 12, 13, 14, 15, 16, 20, 30, 31])
    texts = Sequences(tokens, np.array([7, 1, 2]), np.arange(3))
    hidden = np.array([0, 1, 1, 0, 0, 0, 1, 1, 0, 1], dtype=bool)
    shown, written = corrupt(texts, hidden, sentinels=np.array([99, 98, 97]))
    assert pieces(shown) == [[10, 99, 13, 14, 15, 98], [99], [30, 99]]
    assert pieces(written) == [[99, 11, 12, 98, 16], [99, 20], [99, 31]]


def test_spans_put_back_in_place_of_their_sentinels_give_the_text(texts):
    hidden = hidden_tokens(
        texts.lengths, rate=0.4, span_length=2, most=5, rng=np.random.default_rng(3)
    )
    shown, written = corrupt(texts, hidden, sentinels=np.asarray(SENTINELS))
    for text, short, answer in zip(*map(pieces, (texts, shown, written)), strict=True):
        spans: dict[int, list[int]] = {}
        for token in answer:  # slow and plain
            if token in SENTINELS:
                spans[token] = []
                last = token
            else:
                spans[last].append(token)
        assert list(spans) == list(SENTINELS[: len(spans)])
        assert [t for s in short for t in spans.get(s, [s])] == text


@pytest.mark.parametrize(
    ("length", "rate", "hidden", "spans"),
    [
        (40, 0.15, 6, 2),  # 40 * 0.15 = 6 tokens, 6 / 3 = 2 spans
        (100, 0.15, 15, 5),
        (300, 0.15, 45, 5),  # 15 spans, but there are sentinels for 5
        (7, 0.15, 1, 1),
        (10, 0.9, 9, 1),  # one token is kept, so there is one span
        (2, 0.5, 1, 1),
        (1, 0.15, 1, 1),
    ],
)
def test_so_many_tokens_are_hidden_in_so_many_spans(length, rate, hidden, spans):
    lengths = np.full(200, length)
    found = hidden_tokens(
        lengths, rate=rate, span_length=3, most=5, rng=np.random.default_rng(0)
    ).reshape(200, length)
    assert (found.sum(1) == hidden).all()
    begins = np.diff(found.astype(int), axis=1, prepend=0) == 1
    assert (begins.sum(1) == spans).all()
    assert found[:, -1].all()  # as in the released code
    assert length == 1 or not found[:, 0].any()


def test_every_division_is_as_likely_as_any_other():
    sizes = divide(np.full(6000, 5), np.full(6000, 3), np.random.default_rng(0)).reshape(-1, 3)
    assert (sizes.sum(1) == 5).all()
    counts = Counter(map(tuple, sizes.tolist()))
    assert len(counts) == 6  # 4 over 2 places to cut
    assert max(abs(count - 1000) for count in counts.values()) < 120  # four deviations


def test_the_decoder_lags_one_token_behind_what_it_writes(known, texts):
    _, batch = prepared(known, texts)
    inputs, layout = batch.inputs, batch.layout["decoder_tokens"]
    slots, labels = (batch.targets[f"span_corruption.{n}"] for n in ("slots", "labels"))
    follow = torch.full_like(inputs["decoder_tokens"], -1)
    follow[slots] = labels
    for s in range(len(texts)):
        first, length = int(layout.first[s]), int(layout.lengths[s])
        seen = inputs["decoder_tokens"][first : first + length].tolist()
        write = follow[first : first + length].tolist()
        assert (seen[0], seen[1], write[-1]) == (START, SENTINELS[0], END)
        assert seen[1:] == write[:-1]
    assert len(slots) == int(layout.lengths.sum())
    shown = batch.layout["tokens"]
    assert (inputs["tokens"][shown.first + shown.lengths - 1] == END).all()
    assert (shown.lengths <= torch.from_numpy(texts.lengths) + 1).all()


def test_the_same_seed_hides_the_same_spans_and_another_others(known, texts):
    one, same, other = (prepared(known, texts, seed)[1] for seed in (1, 1, 2))
    for stream in ("tokens", "decoder_tokens"):
        assert torch.equal(one.inputs[stream], same.inputs[stream])
    assert one.inputs["tokens"].tolist() != other.inputs["tokens"].tolist()


def test_the_share_of_hidden_tokens_goes_to_its_end_in_a_straight_line(known):
    texts = Sequences(np.full(4000, 7), np.full(40, 100), np.arange(40))
    objective = Pretraining([SpanCorruption(known, rate=0.1, rate_end=0.3)], known)
    for progress, hidden in ((0.0, 10), (0.5, 20), (1.0, 30)):
        batch = objective.prepare(texts, np.random.default_rng(0), progress)
        assert int((batch.targets["span_corruption.labels"] == 7).sum()) == 40 * hidden


@pytest.mark.parametrize("family", [t5, marian], ids=["t5", "marian"])
def test_the_loss_is_the_mean_cross_entropy_of_what_is_to_be_written(known, texts, family):
    objective, batch = prepared(known, texts)
    model = family.build(**SIZES, max_positions=64)
    heads = objective.heads(model)
    with torch.no_grad():
        loss = objective.loss(model, heads, batch)
    layout = batch.layout["decoder_tokens"]
    total = 0.0
    with torch.no_grad():
        states = model.decode(batch, model.encode(batch))
        scores = heads["span_corruption"](states, model.embed.tokens.weight).double()
    for s in range(len(texts)):
        first, length = int(layout.first[s]), int(layout.lengths[s])
        seen = batch.inputs["decoder_tokens"][first : first + length]
        write = torch.cat([seen[1:], torch.tensor([END])])
        total += float(F.cross_entropy(scores[first : first + length], write, reduction="sum"))
    assert loss.count == int(layout.lengths.sum())
    assert float(loss.value) == pytest.approx(total / loss.count, rel=1e-5)
    assert float(loss.value) == pytest.approx(np.log(40), rel=0.05)  # it knows nothing yet


def test_a_small_model_learns_to_write_what_was_hidden(known):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    texts = Sequences(rng.integers(5, 35, 16 * 12), np.full(16, 12), np.arange(16))
    objective, batch = prepared(known, texts)
    model = t5.build(**SIZES)
    heads = objective.heads(model)
    weights = [*model.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=5e-3, weight_decay=0.0)
    for _ in range(120):
        optimizer.zero_grad()
        loss = objective.loss(model, heads, batch).value
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    # a memory that is mixed up between the texts tells the decoder nothing
    with torch.no_grad():
        memory = model.encode(batch).flip(0)
        states = model.decode(batch, memory)
        part = objective.parts[0]
        wrong = part.loss(model, heads["span_corruption"], states, batch).value
    assert float(wrong) > 1.0


def test_a_tokenizer_without_sentinels_is_refused(vocabulary):
    with pytest.raises(InputError) as caught:
        SpanCorruption(vocabulary)
    assert str(caught.value) == (
        "span_corruption needs the tokens <extra_id_0>, <extra_id_1>, ... and </s>, but the "
        "tokenizer lacks them: train one in the style 't5' (families t5 and marian)"
    )


@pytest.mark.parametrize(("family", "what"), [(bert, "an encoder"), (gpt, "a decoder")])
def test_a_model_without_both_stacks_is_refused(known, family, what):
    objective = Pretraining([SpanCorruption(known)], known)
    model = family.build(**SIZES)
    with pytest.raises(InputError) as caught:
        objective.refuse(model)
    assert str(caught.value) == (
        f"objective span_corruption needs encoder-decoder, but family {model.family} is {what}: "
        "choose another family or objective"
    )
