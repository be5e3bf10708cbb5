"""The predictor: order, names, and what stands for each kind of label."""

import numpy as np
import pytest

from headstart.data.text import train_tokenizer
from headstart.errors import InputError
from headstart.evaluate.fitted import Fitted
from headstart.families import find
from headstart.families.heads import SequenceHead
from headstart.serve.predict import Predictor
from headstart.tasks import mean_style, vocabulary_of

TEXTS = [f"card number {n} is lost, 卡丢了 " * (1 + n % 7) for n in range(25)]


def predictor(kind="classes", classes=("no", "yes", "maybe")):
    tokenizer = train_tokenizer(TEXTS, vocab_size=120)
    vocabulary = vocabulary_of(tokenizer)
    model = find("modern").build(
        num_layers=1, hidden_size=16, num_heads=2, vocab_size=vocabulary.size, max_positions=32
    )
    head = SequenceHead(model.config, mean_style(model), outputs=len(classes) or 1).eval()
    fitted = Fitted(
        model.eval(), head, kind, classes, vocabulary, "loaded", max_length=32, precision="fp32"
    )
    return Predictor(fitted, tokenizer)


def test_answers_come_in_the_order_of_the_texts_whatever_the_batches():
    ours = predictor()
    whole = ours.scores(TEXTS)
    np.testing.assert_allclose(whole, ours.scores(TEXTS, tokens_per_batch=40), atol=1e-5)
    alone = np.concatenate([ours.scores([text]) for text in TEXTS])
    np.testing.assert_allclose(whole, alone, atol=1e-5)
    assert np.ptp(whole[:, 0]) > 1e-3


def test_progress_counts_the_texts():
    seen = []
    predictor().scores(TEXTS, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(25, 25)]


def test_each_kind_of_label_is_named():
    raw = np.array([[0.0, np.log(3), -50.0]])
    answer = predictor().name(raw)[0]
    assert (answer.label, answer.share) == ("yes", pytest.approx(0.75))
    several = predictor("multilabel")
    both = several.name(np.array([[1.0, np.log(3), -1.0]]))[0]
    assert (both.label, both.share) == ("no|yes", pytest.approx(1 / (1 + np.exp(-1))))
    none = several.name(np.array([[-1.0, -2.0, -1.5]]))[0]
    assert (none.label, none.share) == ("", pytest.approx(1 / (1 + np.exp(-1))))
    number = predictor("number", ())
    assert number.name(np.array([[12.34567891]]))[0].label == "12.3457"
    assert number.name(np.array([[12.34567891]]))[0].share is None


def test_a_stock_model_without_names_counts_its_classes_from_zero():
    assert predictor(classes=("LABEL_0", "LABEL_1")).classes == ["0", "1"]
    assert predictor().classes == ["no", "yes", "maybe"]


def test_no_texts_and_empty_texts_are_answered():
    assert predictor().predict([]) == []
    assert len(predictor().predict(["", "   ", "card"])) == 3


def test_an_input_that_is_no_text_is_refused():
    with pytest.raises(InputError) as caught:
        predictor().predict(["fine", None])
    assert str(caught.value) == "input 2 is no text but NoneType: None"
