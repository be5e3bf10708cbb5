"""A Reformer pretrained on long texts opens in stock transformers, and is fine-tuned like any."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pytest
import torch
import transformers

import headstart as hs
import small_corpus
from headstart.data.text import encode, load_tokenizer
from headstart.evaluate.finetune import finetune
from headstart.evaluate.transfer_settings import TransferSettings
from headstart.families import load_adapter, load_model, reformer, save_adapter
from headstart.families.readout import load_readout
from headstart.nn import add_lora
from layouts import in_order, padded, ragged
from small_corpus import WORDS, write_corpus
from small_tasks import labelled, small_start

transformers.logging.set_verbosity_error()
SETTINGS = {**small_corpus.SETTINGS, "data.max_length": 2048, "data.tokens_per_batch": 4096}


@pytest.fixture
def corpus(tmp_path):
    return write_corpus(tmp_path, words=3000)


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
    batch = padded(encode(load_tokenizer(result.model), texts, max_length=1500))
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


@pytest.mark.parametrize("method", ["full", "partial", "lora"])
def test_a_reformer_learns_a_small_task_and_is_saved_with_its_head(tmp_path, method):
    settings = TransferSettings(
        precision="fp32",
        device="cpu",
        threads=1,
        max_length=24,
        min_steps=60,
        lr=1e-2,
        tokens_per_batch=512,
        top_layers=1,
    )
    learn, test = labelled(60), labelled(60, seed=1)
    fitted = finetune(small_start("reformer"), learn, method, settings=settings, seed=0)
    answers = fitted.answers(test.inputs)
    assert (answers == test.labels).mean() >= 0.7  # one in three by chance
    fitted.save(tmp_path / "model", tokenizer=None)
    again = load_readout(tmp_path / "model")
    batch = padded(test.inputs)
    with torch.no_grad():
        ours = fitted.head(fitted.model.encode(batch), batch.layout["tokens"])
        theirs = again.head(again.model.encode(batch), batch.layout["tokens"])
    assert (ours - theirs).abs().max() <= 1e-6


def test_adapters_of_a_reformer_are_saved_and_loaded(tmp_path):
    sizes = {"num_layers": 2, "hidden_size": 16, "num_heads": 2, "vocab_size": 60}
    one, other = reformer.build(**sizes), reformer.build(**sizes)
    kinds = torch.nn.Linear
    names = [n for n, part in one.named_modules() if isinstance(part, kinds)]
    add_lora(one, names, rank=2)
    with torch.no_grad():
        for name, weight in one.named_parameters():
            if "lora_up" in name:
                weight.normal_(generator=torch.Generator().manual_seed(len(name)))
    save_adapter(one, {}, tmp_path)
    batch = padded(ragged((9, 70)))
    with torch.no_grad():
        expected, before = one.eval().encode(batch), other.eval().encode(batch)
        load_adapter(other, tmp_path)
        assert (other.encode(batch) - expected).abs().max() <= 1e-5
    assert (before - expected).abs().max() > 0.1
