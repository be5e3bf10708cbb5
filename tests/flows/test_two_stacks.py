"""Pretrained decoders and encoder-decoders open in stock transformers, and learn tasks."""

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
from headstart.families import load_adapter, load_model, marian, save_adapter, t5
from headstart.families.readout import load_readout
from headstart.nn import add_lora
from layouts import in_order, packed, padded, ragged, two_streams
from small_corpus import WORDS, write_corpus
from small_tasks import labelled, small_start

transformers.logging.set_verbosity_error()
SETTINGS = {**small_corpus.SETTINGS, "data.max_length": 48, "data.tokens_per_batch": 512}


@pytest.fixture
def corpus(tmp_path):
    return write_corpus(tmp_path, words=300)


def pretrained(corpus, place, family, **given):
    return hs.pretrain(
        corpus, out=place, family=family, budget="3 steps", settings=SETTINGS, **given
    )


@pytest.mark.parametrize("family", ["t5", "marian"])
def test_an_encoder_decoder_pretrained_on_hidden_spans_opens_in_transformers(
    corpus, tmp_path, family
):
    result = pretrained(corpus, tmp_path / "run", family)
    assert np.isfinite([result.loss, result.held_out_loss]).all()
    loaded = load_model(result.model)
    tokenizer = load_tokenizer(result.model)
    sources = encode(tokenizer, [" ".join(WORDS[:15]), "请 帮 忙"])
    targets = encode(tokenizer, ["card was lost", "money is gone in town"])
    batch = two_streams(padded(sources), padded(targets))
    with torch.no_grad():
        hidden = loaded.model.decode(batch, loaded.model.encode(batch))
        states = in_order(hidden, batch, stream="decoder_tokens")
        ours = loaded.heads["causal"](states, loaded.model.embed.tokens.weight)
        theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(result.model).eval()
        inputs = {}
        for name, stream in (("", "tokens"), ("decoder_", "decoder_tokens")):
            layout = batch.layout[stream]
            shape = layout.rows[0]
            inputs[f"{name}input_ids"] = batch.inputs[stream].view(shape)
            inputs[f"{name}attention_mask"] = (layout.sequence >= 0).long().view(shape)
        logits = theirs(**inputs).logits
    lengths = targets.lengths.tolist()
    expected = torch.cat([row[:length] for row, length in zip(logits, lengths, strict=True)])
    assert expected.abs().max() > 0.01
    assert (ours - expected).abs().max() <= 1e-5
    ids = tokenizer.token_to_id("<pad>"), tokenizer.token_to_id("</s>")
    config = theirs.config
    assert (config.pad_token_id, config.eos_token_id) == ids
    assert config.decoder_start_token_id == ids[0]


def test_a_llama_pretrained_on_next_tokens_opens_in_transformers(corpus, tmp_path):
    result = pretrained(corpus, tmp_path / "run", "llama")
    loaded = load_model(result.model)
    batch = padded(encode(load_tokenizer(result.model), [" ".join(WORDS[:15])]))
    with torch.no_grad():
        ours = loaded.heads["causal"](loaded.model.encode(batch), loaded.model.embed.tokens.weight)
        theirs = transformers.AutoModelForCausalLM.from_pretrained(result.model).eval()
        expected = theirs(batch.inputs["tokens"][None]).logits[0]
    assert expected.abs().max() > 0.01
    assert (ours - expected).abs().max() <= 1e-5


def test_an_objective_that_the_checkpoint_cannot_do_is_refused_before_data_is_read(
    corpus, tmp_path
):
    run = pretrained(corpus, tmp_path / "run", "llama")
    with pytest.raises(hs.InputError) as caught:
        hs.pretrain(
            tmp_path / "nothing is here",
            start=run.model,
            out=tmp_path / "other",
            objective="span_corruption",
            budget="1 steps",
        )
    assert str(caught.value) == (
        "objective.name span_corruption: span_corruption needs encoder-decoder (t5, marian), but "
        f"{run.model} holds a model of family llama (decoder)"
    )


@pytest.mark.parametrize("family", ["llama", "t5", "marian"])
@pytest.mark.parametrize("method", ["full", "partial", "lora"])
def test_each_learns_a_small_task_and_is_saved_with_its_head(tmp_path, family, method):
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
    fitted = finetune(small_start(family), learn, method, settings=settings, seed=0)
    assert (fitted.answers(test.inputs) == test.labels).mean() >= 0.55  # one in three by chance
    fitted.save(tmp_path / "model", tokenizer=None)
    again = load_readout(tmp_path / "model")
    batch = padded(test.inputs)
    with torch.no_grad():
        ours = fitted.head(fitted.model.encode(batch), batch.layout["tokens"])
        theirs = again.head(again.model.encode(batch), batch.layout["tokens"])
    assert (ours - theirs).abs().max() <= 1e-6


@pytest.mark.parametrize("family", [t5, marian], ids=["t5", "marian"])
def test_adapters_of_both_stacks_are_saved_and_loaded(tmp_path, family):
    sizes = {"num_layers": 2, "hidden_size": 16, "num_heads": 2, "vocab_size": 60}
    one, other = family.build(**sizes), family.build(**sizes)
    names = [n for n, part in one.named_modules() if isinstance(part, torch.nn.Linear)]
    assert {"decoder.blocks.1.cross.kv", "stack.blocks.0.attention.qkv"} <= set(names)
    add_lora(one, names, rank=2)
    with torch.no_grad():
        for name, weight in one.named_parameters():
            if "lora_up" in name:
                weight.normal_(generator=torch.Generator().manual_seed(len(name)))
    save_adapter(one, {}, tmp_path)
    batch = two_streams(packed(ragged((9, 4))), packed(ragged((3, 5), seed=1)))
    with torch.no_grad():
        expected, before = (m.eval().decode(batch, m.encode(batch)) for m in (one, other))
        load_adapter(other, tmp_path)
        assert (other.decode(batch, other.encode(batch)) - expected).abs().max() <= 1e-5
    assert (before - expected).abs().max() > 0.1
