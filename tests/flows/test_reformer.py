"""A Reformer pretrained on long texts opens in stock transformers and scores the same there."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pytest
import torch
import transformers

import headstart as hs
from headstart.data.text import encode, load_tokenizer
from headstart.families import load_model
from layouts import in_order, padded

transformers.logging.set_verbosity_error()
SETTINGS = {
    "model.num_layers": 2,
    "model.hidden_size": 32,
    "model.num_heads": 2,
    "data.vocab_size": 300,
    "data.max_length": 2048,
    "data.tokens_per_batch": 4096,
    "machine.threads": 1,
    "machine.precision": "fp32",
}
TEXT = "the bank card was lost in town and my money is gone please help me 卡 丢 了 请 帮 忙"
WORDS = TEXT.split()


@pytest.fixture
def corpus(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "corpus"
    folder.mkdir()
    for number in range(6):
        text = " ".join(rng.choice(WORDS, 3000))
        (folder / f"{number}.txt").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("objective", "name", "kind"),
    [
        ("mlm", "AutoModelForMaskedLM", "masked"),
        ("causal", "AutoModelForCausalLM", "causal"),
    ],
)
def test_a_reformer_pretrained_on_long_texts_opens_in_transformers(
    corpus, tmp_path, objective, name, kind
):
    result = hs.pretrain(
        corpus,
        out=tmp_path / "run",
        family="reformer",
        objective=objective,
        budget="3 steps",
        settings=SETTINGS,
    )
    assert np.isfinite([result.loss, result.held_out_loss]).all()
    loaded = load_model(result.model)
    assert loaded.model.config.causal == (objective == "causal")
    texts = [" ".join(WORDS * 60), "请 帮 忙"]
    batch = padded(encode(load_tokenizer(result.model), texts))
    with torch.no_grad():
        hidden = in_order(loaded.model.encode(batch), batch)
        ours = loaded.heads[kind](hidden, loaded.model.embed.tokens.weight)
    # where no seed was chosen, stock draws fresh rotations at every call, we those of seed 0
    theirs = getattr(transformers, name).from_pretrained(result.model, hash_seed=0).eval()
    tokens = batch.inputs["tokens"].view(batch.layout["tokens"].rows[0])
    with torch.no_grad():
        lengths = batch.layout["tokens"].lengths.tolist()
        rows = zip(tokens, lengths, strict=True)
        scores = torch.cat([theirs(row[None, :length]).logits[0] for row, length in rows])
    assert lengths[0] > 1200
    assert (ours - scores).abs().max() <= 1e-4
