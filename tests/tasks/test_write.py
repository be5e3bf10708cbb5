import numpy as np
import pytest
import torch

from headstart.batch import Sequences
from headstart.errors import InputError
from headstart.evaluate.writing import text_losses
from headstart.objectives import Vocabulary
from headstart.tasks import Room, TextPairs, Write
from small_writing import text_pairs, writing_start

PAD, END, BEGIN = 0, 1, 2


def vocabulary(*, begin: int | None = None) -> Vocabulary:
    return Vocabulary(40, PAD, begin, END, None, (0, 1, 2), np.ones(40, dtype=bool))


def sequences(*texts: list[int]) -> Sequences:
    lengths = np.asarray([len(text) for text in texts])
    return Sequences(np.concatenate(texts).astype(np.int64), lengths, np.arange(len(texts)))


PAIRS = TextPairs(sequences([10, 11, 12], [20]), sequences([30], [31, 32, 33]))


def rows(batch, stream: str) -> list[list[int]]:
    layout = batch.layout[stream]
    return [
        batch.inputs[stream][first : first + length].tolist()
        for first, length in zip(layout.first.tolist(), layout.lengths.tolist(), strict=True)
    ]


def learnt(batch, stream: str) -> dict[tuple[int, int], int]:
    """What is to come, by pair and position."""
    layout, targets = batch.layout[stream], batch.targets
    places = zip(targets["owner"].tolist(), targets["slots"].tolist(), strict=True)
    for owner, slot in places:
        assert layout.sequence[slot] == owner
    at = layout.positions[targets["slots"]].tolist()
    return dict(
        zip(
            zip(targets["owner"].tolist(), at, strict=True), targets["labels"].tolist(), strict=True
        )
    )


def test_a_decoder_reads_source_and_separator_and_learns_only_the_target_and_its_end():
    batch = Write(vocabulary(begin=BEGIN), start=None).prepare(PAIRS.fitted(Room(8, 8)))
    assert rows(batch, "tokens") == [[2, 10, 11, 12, 1, 30], [2, 20, 1, 31, 32, 33]]
    assert learnt(batch, "tokens") == {
        **{(0, 4): 30, (0, 5): END},
        **{(1, 2): 31, (1, 3): 32, (1, 4): 33, (1, 5): END},
    }


def test_an_encoder_decoder_reads_the_source_and_writes_the_target_behind_its_start():
    batch = Write(vocabulary(), start=7).prepare(PAIRS.fitted(Room(8, 8)))
    assert rows(batch, "tokens") == [[10, 11, 12, 1], [20, 1]]
    assert rows(batch, "decoder_tokens") == [[7, 30], [7, 31, 32, 33]]
    assert learnt(batch, "decoder_tokens") == {
        **{(0, 0): 30, (0, 1): END},
        **{(1, 0): 31, (1, 1): 32, (1, 2): 33, (1, 3): END},
    }


@pytest.mark.parametrize("start", [None, 7])
def test_what_is_too_long_is_cut_and_a_cut_target_has_no_end_to_learn(start):
    task = Write(vocabulary(), start=start)
    batch = task.prepare(PAIRS.fitted(Room(2, 2)))
    assert rows(batch, "tokens")[0][:3] == [10, 11, 1]
    labels, owner = batch.targets["labels"], batch.targets["owner"]
    assert labels[owner == 0].tolist() == [30, END]
    assert labels[owner == 1].tolist() == [31, 32]


def test_prompts_are_what_stands_before_a_target():
    assert Write(vocabulary(begin=BEGIN), start=None).prompts(PAIRS.sources) == [
        [2, 10, 11, 12, 1],
        [2, 20, 1],
    ]


def test_an_empty_target_is_its_end_alone():
    pairs = TextPairs(
        sequences([10, 11]), Sequences(np.zeros(0, int), np.zeros(1, int), np.arange(1))
    )
    for start, stream in ((None, "tokens"), (7, "decoder_tokens")):
        batch = Write(vocabulary(), start=start).prepare(pairs.fitted(Room(8, 8)))
        assert list(learnt(batch, stream).values()) == [END]


@pytest.mark.parametrize("family", ["t5", "marian", "gpt", "llama"])
def test_the_loss_is_the_mean_over_all_target_tokens_however_pairs_share_rows(family):
    start = writing_start(family)
    task = Write.of(start.model, start.frame)
    pairs = text_pairs(start.tokenizer).fitted(Room(40, 20))
    heads = task.heads(start.model)
    with torch.no_grad():
        together = task.loss(start.model, heads, task.prepare(pairs))
        alone = [
            task.loss(start.model, heads, task.prepare(pairs.take(np.array([n]))))
            for n in range(16)
        ]
    weights = np.array([one.count for one in alone])
    values = np.array([float(one.value) for one in alone])
    assert together.count == weights.sum()
    assert float(together.value) == pytest.approx(
        (values * weights).sum() / weights.sum(), abs=1e-5
    )
    assert values.std() > 1e-3
    sums, counts = text_losses(start.model, heads["causal"], task, pairs)
    assert counts.tolist() == weights.tolist()
    assert sums == pytest.approx(values * weights, abs=1e-4)


def test_a_target_longer_than_the_model_is_refused():
    start = writing_start("gpt")
    task = Write.of(start.model, start.frame)
    assert task.room(start.model, max_length=64, target_length=32) == Room(62 + 1, 31)
    with pytest.raises(InputError) as refused:
        task.room(start.model, max_length=64, target_length=96)
    assert str(refused.value) == (
        "data.target_length 96 leaves no room for a source in the 96 positions of this model: set "
        "it to at most 48"
    )


def test_a_tokenizer_without_an_end_is_refused():
    with pytest.raises(InputError) as refused:
        Write(Vocabulary(40, PAD, None, None, None, (0,), np.ones(40, dtype=bool)), start=None)
    assert str(refused.value) == (
        "texts to be written need a token that ends them, but the tokenizer has none of </s>, "
        "<|endoftext|> and [SEP]"
    )
