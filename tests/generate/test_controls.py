"""Controls against numbers by hand, and against transformers' own processors."""

import pytest
import torch
from transformers.generation import logits_process as stock

from headstart.generate import Decoding
from headstart.generate.controls import control

NEVER = float("-inf")
IDS = torch.tensor([[1, 2, 1, 2, -1, -1], [3, 4, 5, 3, 4, 0]])
LENGTHS = torch.tensor([4, 6])


def controlled(scores, *, ids=IDS, lengths=LENGTHS, new=0, **given):
    how = Decoding(**given)
    return control(scores.clone(), how, ids=ids, lengths=lengths, new=new)


def test_a_repeated_token_is_divided_or_multiplied_once():
    scores = torch.tensor([[1.0, 2.0, -3.0, 4.0, 5.0, 6.0]] * 2)
    found = controlled(scores, repetition_penalty=2.0)
    # the first text holds 1 and 2, each twice: 2 / 2 and -3 * 2
    assert found[0].tolist() == [1.0, 1.0, -6.0, 4.0, 5.0, 6.0]
    # the second holds 0, 3, 4 and 5
    assert found[1].tolist() == [0.5, 2.0, -3.0, 2.0, 2.5, 3.0]


def test_a_run_that_was_there_cannot_be_completed_again():
    found = controlled(torch.zeros(2, 6), no_repeat_ngram=2)
    assert found[0].tolist() == [0, NEVER, 0, 0, 0, 0]  # 2 is followed by 1 already
    assert found[1].tolist() == [0] * 6  # nothing has followed 0
    found = controlled(torch.zeros(2, 6), no_repeat_ngram=1)
    assert [row.isinf().nonzero().flatten().tolist() for row in found] == [[1, 2], [0, 3, 4, 5]]
    short = torch.tensor([[7], [2]])
    assert (
        controlled(torch.zeros(2, 9), ids=short, lengths=torch.ones(2).long(), no_repeat_ngram=2)
        .eq(0)
        .all()
    )


def test_ends_wait_and_banned_tokens_never_come():
    given = {"ends": (1, 3), "min_new": 2, "max_new": 4, "banned": (5,)}
    early, late = (controlled(torch.zeros(2, 6), new=new, **given)[0] for new in (1, 2))
    assert early.isinf().nonzero().flatten().tolist() == [1, 3, 5]
    assert late.isinf().nonzero().flatten().tolist() == [5]


def test_the_last_token_is_the_forced_end():
    given = {"max_new": 3, "forced_end": 2}
    assert controlled(torch.ones(2, 6), new=1, **given).eq(1).all()
    last = controlled(torch.ones(2, 6), new=2, **given)
    assert last.argmax(-1).tolist() == [2, 2]
    assert last[0].isinf().sum() == 5


@pytest.mark.parametrize("size", [1, 2, 3])
def test_controls_are_the_processors_of_transformers(size):
    generator = torch.Generator().manual_seed(size)
    ids = torch.randint(0, 8, (16, 20), generator=generator)
    scores = torch.randn(16, 8, generator=generator)
    lengths = torch.full((16,), 20)
    found = controlled(
        scores, ids=ids, lengths=lengths, no_repeat_ngram=size, repetition_penalty=1.3
    )
    expected = stock.RepetitionPenaltyLogitsProcessor(1.3)(ids, scores)
    expected = stock.NoRepeatNGramLogitsProcessor(size)(ids, expected)
    assert torch.equal(found, expected)
    assert not torch.equal(found, scores)
