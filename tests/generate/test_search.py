"""The loop: texts that do not touch each other, leave when they end, and are refused if they cannot
fit; beams by hand on a model of three tokens.
"""

import numpy as np
import pytest
import torch

from headstart.errors import InputError
from headstart.families import bert, gpt, make_head, reformer
from headstart.generate import Continuation, Decoding, Writer, generate, steps
from headstart.generate.search import filled_holes
from layouts import ragged

RAGGED = ragged((9, 3, 14, 1, 6))
PROMPTS = [row.tolist() for row in np.split(RAGGED.tokens, RAGGED.starts[1:])]
SIZES = {"num_layers": 2, "hidden_size": 24, "num_heads": 2, "vocab_size": 60}


def writer_of(family=gpt, **given):
    model = family.build(**SIZES, max_positions=64, **given)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.2)
    head = make_head(model, "causal")
    return Writer(model.double().eval(), head.double().eval())


def tokens_of(found):
    return [text.tokens for text in found]


def test_drawn_texts_are_the_same_whatever_else_is_in_the_batch():
    writer, how = writer_of(), Decoding(max_new=12, temperature=1.5, top_p=0.9, ends=(7, 8, 9))
    together = tokens_of(generate(writer, PROMPTS, how))
    alone = [tokens_of(generate(writer, [prompt], how))[0] for prompt in PROMPTS]
    assert together == alone
    assert tokens_of(generate(writer, PROMPTS[::-1], how)) == together[::-1]
    other = Decoding(max_new=12, temperature=1.5, top_p=0.9, ends=(7, 8, 9), seed=1)
    assert tokens_of(generate(writer, PROMPTS, other)) != together


def test_finished_texts_leave_the_batch_and_the_others_stay_as_they_were(monkeypatch):
    writer, how = writer_of(), Decoding(max_new=12, temperature=1.5, ends=tuple(range(20)))
    rows = []
    scores = Continuation.scores
    monkeypatch.setattr(
        Continuation, "scores", lambda self: (rows.append(len(self.lengths)), scores(self))[1]
    )
    found = generate(writer, PROMPTS, how)
    expected = [len(text.tokens) + (text.ended == "end") for text in found]
    assert rows == [sum(n > step for n in expected) for step in range(max(expected))]
    assert rows[0] == 5 > rows[-1]
    assert {text.ended for text in found} == {"end"}
    assert not any(token in how.ends for text in found for token in text.tokens)


def test_holes_are_filled_by_the_last_rows():
    assert filled_holes([0, 1, 3]) == [0, 1, 3]
    assert filled_holes([0, 2, 3, 5]) == [0, 5, 2, 3]
    assert filled_holes([4]) == [4]


def test_tokens_come_step_by_step_and_gradients_can_be_asked_for_between():
    writer = writer_of()
    for found in steps(writer, PROMPTS, Decoding(max_new=3)):
        assert [token.text for token in found] == [0, 1, 2, 3, 4]
        assert not torch.is_inference_mode_enabled()
    assert [token.ended for token in found] == ["length"] * 5


def test_a_text_ends_where_the_caller_says():
    writer, seen = writer_of(), []

    def stop(tokens):
        seen.append(list(tokens))
        return len(tokens) == 2

    (found,) = generate(writer, PROMPTS[:1], Decoding(max_new=9), stop=stop)
    assert (len(found.tokens), found.ended) == (2, "stop")
    assert seen == [found.tokens[:1], found.tokens]
    (found,) = generate(writer, PROMPTS[:1], Decoding(max_new=9, beams=2), stop=stop)
    assert (len(found.tokens), found.ended) == (2, "stop")


class Taught:
    """Stands in for a model: chances of the next token by the last one."""

    caches, longest = False, None
    chances = torch.tensor(
        [
            [0.05, 0.5, 0.45],  # after 0: 1 is a little likelier than 2
            [0.4, 0.3, 0.3],
            [0.9, 0.05, 0.05],  # after 2, 0 is nearly sure
        ]
    )

    def __init__(self):
        self.model = gpt.build(num_layers=1, hidden_size=8, num_heads=1, vocab_size=3).eval()

    def scores(self, states):
        return states


@pytest.fixture
def taught(monkeypatch):
    """The loop over `Taught`."""
    after = lambda self: Taught.chances.log()[self.ids.gather(1, self.lengths[:, None] - 1)[:, 0]]  # noqa: E731
    monkeypatch.setattr(Continuation, "scores", after)
    return Taught()


def test_beams_find_the_likelier_text_that_greed_misses(taught):
    greedy = generate(taught, [[0]], Decoding(max_new=2))
    assert tokens_of(greedy) == [[1, 0]]  # 0.5 * 0.4 = 0.20
    beams = generate(taught, [[0]], Decoding(max_new=2, beams=2))
    assert tokens_of(beams) == [[2, 0]]  # 0.45 * 0.9 = 0.405


@pytest.mark.parametrize(("penalty", "expected"), [(0.0, []), (1.0, [2, 0]), (-1.0, [])])
def test_a_length_penalty_weighs_long_texts_against_short_ones(taught, penalty, expected):
    # token 1 ends. At once: log 0.5 = -0.69. As 2, 0, 1: log(0.45 * 0.9 * 0.5) = -1.60.
    # Divided by length: -0.69 and -1.60 / 3 = -0.53; multiplied by it: -0.69 and -4.79
    how = Decoding(max_new=3, beams=2, ends=(1,), length_penalty=penalty)
    (found,) = generate(taught, [[0]], how)
    assert (found.tokens, found.ended) == (expected, "end")


def test_a_reformer_writes_by_reading_each_text_anew():
    writer = writer_of(reformer, causal=True)
    assert not writer.caches
    found = tokens_of(generate(writer, PROMPTS[:2], Decoding(max_new=5)))
    for prompt, tokens in zip(PROMPTS, found, strict=False):
        for n, token in enumerate(tokens):
            going = Continuation(writer, [prompt + tokens[:n]], new=1)
            assert going.cache is None
            assert going.scores().argmax(-1).item() == token


def test_what_cannot_be_continued_is_refused():
    writer = writer_of()
    with pytest.raises(InputError) as caught:
        generate(writer, [[5] * 60], Decoding(max_new=5))
    assert str(caught.value) == (
        "a text of 60 tokens and 5 new ones do not fit into the 64 positions of this model"
    )
    with pytest.raises(InputError) as caught:
        generate(writer, [[5], []], Decoding(max_new=5))
    assert str(caught.value) == "prompt 2 has no tokens: there is nothing to go on from"
    model = bert.build(**SIZES).eval()
    with pytest.raises(InputError) as caught:
        Writer(model, make_head(model, "masked"))
    assert str(caught.value) == (
        "this model of family bert has no head for next tokens: it cannot write"
    )
    assert generate(writer, [], Decoding()) == []
