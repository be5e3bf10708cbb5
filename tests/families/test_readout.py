"""Folders with a sequence head, opened by the stock libraries."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from headstart.data.text import encode, train_tokenizer
from headstart.errors import CheckpointError, InputError
from headstart.evaluate.fitted import Start, load_fitted
from headstart.evaluate.transfer import TransferSettings, transfer
from headstart.families import find, save_model
from headstart.families.readout import load_readout
from headstart.tasks import LabelledTokens, vocabulary_of

TEXTS = ["the card was lost", "my card is gone", "where is my money", "send money to them"] * 6
LABELS = np.array([0, 0, 1, 1] * 6)


def fitted_with(family, style, method="probe", head="mean", precision="fp32"):
    tokenizer = train_tokenizer(TEXTS, vocab_size=120, style=style)
    vocabulary = vocabulary_of(tokenizer)
    model = find(family).build(
        num_layers=2, hidden_size=32, num_heads=2, vocab_size=vocabulary.size, max_positions=32
    )
    with torch.no_grad():  # norms of a trained model are not ones
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.mul_(torch.linspace(0.2, 3.0, len(weight)))
    start = Start(model.eval(), vocabulary, tokenizer=tokenizer)
    settings = TransferSettings(
        precision=precision,
        device="cpu",
        threads=1,
        max_length=32,
        min_steps=5,
        epochs=1,
        head=head,
    )
    data = LabelledTokens(encode(tokenizer, TEXTS), LABELS, "classes", ("card", "money"))
    return transfer(start, data, method, settings=settings), tokenizer


def stock_scores(folder, tokenizer, texts):
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    ids = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
    out = []
    for line in ids:
        with torch.no_grad():
            out.append(model(torch.tensor([line])).logits[0].numpy())
    return np.stack(out), model.config


@pytest.mark.parametrize("method", ["probe", "full"])
def test_stock_transformers_gives_the_same_scores_for_our_modern_encoder(tmp_path, method):
    fitted, tokenizer = fitted_with("modern", "bert", method)
    folder = fitted.save(tmp_path / "m", tokenizer=tokenizer)
    theirs, config = stock_scores(folder, tokenizer, TEXTS[:4])
    ours = fitted.predict(encode(tokenizer, TEXTS[:4]))
    np.testing.assert_allclose(theirs, ours, rtol=1e-3, atol=1e-4 * np.abs(ours).max())
    assert config.id2label == {0: "card", 1: "money"}
    assert np.abs(theirs[0] - theirs[2]).max() > 1e-2


def test_stock_transformers_gives_the_same_scores_for_berts_own_head(tmp_path):
    fitted, tokenizer = fitted_with("bert", "bert", "full", head="family")
    folder = fitted.save(tmp_path / "m", tokenizer=tokenizer)
    theirs, _ = stock_scores(folder, tokenizer, TEXTS[:4])
    ours = fitted.predict(encode(tokenizer, TEXTS[:4]))
    np.testing.assert_allclose(theirs, ours, rtol=1e-4)
    assert not (folder / "2_Dense").exists()


@pytest.mark.parametrize(("family", "style"), [("bert", "bert"), ("roberta", "roberta")])
def test_sentence_transformers_gives_the_scores_of_a_mean_pooled_head(tmp_path, family, style):
    from sentence_transformers import SentenceTransformer

    fitted, tokenizer = fitted_with(family, style)
    folder = fitted.save(tmp_path / "m", tokenizer=tokenizer)
    stock = SentenceTransformer(str(folder), device="cpu")
    theirs = stock.encode(TEXTS[:4])
    ours = fitted.predict(encode(tokenizer, TEXTS[:4]))
    np.testing.assert_allclose(theirs, ours, rtol=1e-3, atol=1e-4 * np.abs(ours).max())
    assert "`SentenceTransformer(folder).encode(text)`" in (folder / "README.md").read_text()


@pytest.mark.parametrize("method", ["probe", "full"])
def test_what_is_measured_after_training_in_bf16_is_what_the_folder_answers(tmp_path, method):
    fitted, tokenizer = fitted_with("modern", "bert", method, precision="bf16")
    texts = encode(tokenizer, TEXTS)
    back = load_fitted(
        fitted.save(tmp_path / "m", tokenizer=tokenizer), tokenizer, precision="fp32"
    )
    answers = back.predict(texts)
    size = np.abs(answers).max()
    np.testing.assert_allclose(fitted.deployed().predict(texts), answers, rtol=0, atol=1e-5 * size)
    assert np.abs(fitted.predict(texts) - answers).max() > 1e-4 * size  # bf16 is further away


def test_a_stock_classifier_is_read_with_its_names(tmp_path):
    fitted, tokenizer = fitted_with("bert", "bert", "full", head="family")
    folder = fitted.save(tmp_path / "m", tokenizer=tokenizer)
    (folder / "head.json").unlink()
    back = load_fitted(folder, tokenizer, precision="fp32")
    assert (back.kind, back.classes) == ("classes", ("card", "money"))
    np.testing.assert_allclose(
        back.predict(encode(tokenizer, TEXTS)), fitted.predict(encode(tokenizer, TEXTS)), atol=1e-5
    )


def test_a_pretrained_model_without_a_task_is_refused(tmp_path):
    model = find("bert").build(num_layers=1, hidden_size=16, num_heads=2, vocab_size=40)
    save_model(model, {}, tmp_path / "m", pad=0)
    with pytest.raises(InputError) as caught:
        load_readout(tmp_path / "m")
    assert str(caught.value) == (
        f"{tmp_path / 'm'} has learnt no task: it holds a pretrained model without a classifier. "
        f"Run headstart finetune labels.csv --from {tmp_path / 'm'} first"
    )


def test_a_head_that_is_missing_or_of_another_size_is_refused(tmp_path):
    fitted, tokenizer = fitted_with("bert", "bert")
    folder = fitted.save(tmp_path / "m", tokenizer=tokenizer)
    values = json.loads((folder / "head.json").read_text())
    (folder / "head.json").write_text(json.dumps(values | {"classes": ["a", "b", "c"]}))
    with pytest.raises(CheckpointError, match=r"2_Dense: holds .*\(2, 32\).*need .*\(3, 32\)"):
        load_readout(folder)
    (folder / "head.json").write_text(json.dumps(values | {"kind": "magic"}))
    with pytest.raises(CheckpointError, match="'kind' is \"magic\", but must be one of classes"):
        load_readout(folder)
    (folder / "head.json").write_text(json.dumps(values))
    for path in (folder / "2_Dense").iterdir():
        path.unlink()
    (folder / "2_Dense").rmdir()
    with pytest.raises(CheckpointError) as caught:
        load_readout(folder)
    assert str(caught.value) == (
        f"{folder}: head.json speaks of a linear head, but 2_Dense/ is missing. Copy it again"
    )
