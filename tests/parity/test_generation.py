"""Token for token what transformers writes, from saved folders, whatever shares the batch."""

import numpy as np
import pytest
import torch
import transformers

from headstart.families import load_model
from headstart.generate import Decoding, Writer, generate
from layouts import VOCAB, ragged
from parity.compare import randomise

PAD, END = 0, (7, 23, 31, 44)
NEW = 14
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64}
LLAMA = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
T5 = {
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_decoder_layers": 2,
    "num_heads": 3,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 10,
    "decoder_start_token_id": 0,
}
MARIAN = {
    "d_model": 32,
    "max_position_embeddings": 64,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "decoder_start_token_id": 0,
    "forced_eos_token_id": None,
}
STOCK = {
    "gpt": ("GPT2LMHeadModel", "GPT2Config", GPT),
    "llama": ("LlamaForCausalLM", "LlamaConfig", LLAMA),
    "t5 1.0": ("T5ForConditionalGeneration", "T5Config", T5),
    "t5 1.1": (
        "T5ForConditionalGeneration",
        "T5Config",
        {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    ),
    "marian": ("MarianMTModel", "MarianConfig", MARIAN),
}
RAGGED = ragged((9, 3, 14, 1, 6))
PROMPTS = [row.tolist() for row in np.split(RAGGED.tokens, RAGGED.starts[1:])]
VARIED = {"no_repeat_ngram": 2}  # random networks repeat themselves, which hides what beams do
CHOICES = {
    "greedy": {},
    "repetition": {"repetition_penalty": 1.7},
    "n-grams": VARIED,
    "no token twice": {"no_repeat_ngram": 1, "min_new": 5},
    "both, late ends": {"repetition_penalty": 0.8, "no_repeat_ngram": 3, "min_new": 9},
    "2 beams": {"beams": 2},
    "4 beams, long": {"beams": 4, "length_penalty": 2.0, **VARIED},
    "4 beams, short": {"beams": 4, "length_penalty": -1.0, **VARIED},
    "3 beams, early": {"beams": 3, "early_stopping": "yes", "length_penalty": 0.6, **VARIED},
    "3 beams, never": {"beams": 3, "early_stopping": "never", "length_penalty": 0.6, **VARIED},
    "5 beams, controlled": {"beams": 5, "repetition_penalty": 1.3, "min_new": 3, **VARIED},
}


@pytest.fixture(scope="module", params=list(STOCK))
def pair(request, tmp_path_factory):
    """A stock model with random weights, and ours read from its folder."""
    name, config, sizes = STOCK[request.param]
    made = getattr(transformers, config)(vocab_size=VOCAB, pad_token_id=PAD, **sizes)
    folder = tmp_path_factory.mktemp("stock")
    theirs = softened(getattr(transformers, name)(made))
    theirs.save_pretrained(folder)
    loaded = load_model(folder)
    return theirs, Writer(loaded.model, loaded.heads["causal"])


def softened(model):
    """Random weights for all but fixed positions, with scores so alike that texts vary and end."""
    fixed = {n: w.clone() for n, w in model.named_parameters() if "embed_positions" in n}
    randomise(model, seed=1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name in fixed:
                weight.copy_(fixed[name])
        model.get_output_embeddings().weight.mul_(0.5)
    return model


def stock_texts(model, prompts, choice, *, ends=END):
    """What transformers writes, the end token left out."""
    two = model.config.is_encoder_decoder
    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), PAD)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        where = slice(0, len(prompt)) if two else slice(width - len(prompt), width)
        ids[row, where], mask[row, where] = torch.tensor(prompt), 1
    early = {"no": False, "yes": True, "never": "never"}[choice.get("early_stopping", "no")]
    out = model.generate(
        ids,
        attention_mask=mask,
        generation_config=transformers.GenerationConfig(
            max_new_tokens=NEW,
            min_new_tokens=choice.get("min_new", 0) or None,
            num_beams=choice.get("beams", 1),
            length_penalty=choice.get("length_penalty", 1.0),
            early_stopping=early,
            repetition_penalty=choice.get("repetition_penalty", 1.0),
            no_repeat_ngram_size=choice.get("no_repeat_ngram", 0),
            do_sample=False,
            eos_token_id=list(ends),
            pad_token_id=PAD,
            suppress_tokens=[PAD],  # its padding counts as a token that was there
            decoder_start_token_id=0 if two else None,
        ),
    )
    rows = out[:, 1 if two else width :].tolist()
    return [until_end(row, ends) for row in rows]


def until_end(row, ends):
    """A row up to its end token."""
    at = [n for n, token in enumerate(row) if token in ends]
    return row[: at[0]] if at else row


def our_texts(writer, prompts, choice, *, ends=END, **given):
    how = Decoding(max_new=NEW, ends=ends, banned=(PAD,), **choice)
    return [text.tokens for text in generate(writer, prompts, how, **given)]


@pytest.mark.parametrize("choice", list(CHOICES))
def test_texts_are_those_of_transformers_token_for_token(pair, choice):
    theirs, writer = pair
    expected = stock_texts(theirs, PROMPTS, CHOICES[choice])
    assert our_texts(writer, PROMPTS, CHOICES[choice]) == expected
    assert len({tuple(text) for text in expected}) > 1  # not one text for all


@pytest.mark.parametrize("choice", ["both, late ends", "5 beams, controlled"])
def test_reading_every_text_anew_for_each_token_gives_the_same(pair, choice):
    _, writer = pair
    cached = our_texts(writer, PROMPTS, CHOICES[choice])
    assert our_texts(writer, PROMPTS, CHOICES[choice], cached=False) == cached


@pytest.mark.parametrize("choice", ["greedy", "3 beams, early"])
def test_a_text_is_the_same_alone_as_beside_others(pair, choice):
    _, writer = pair
    together = our_texts(writer, PROMPTS, CHOICES[choice])
    alone = [our_texts(writer, [prompt], CHOICES[choice])[0] for prompt in PROMPTS]
    assert alone == together


@pytest.mark.parametrize(
    ("choice", "other"),
    [
        ("greedy", VARIED),
        ("repetition", {"repetition_penalty": 1.2}),
        ("n-grams", {"no_repeat_ngram": 3}),
        ("4 beams, long", {**CHOICES["4 beams, long"], "beams": 2}),
        ("3 beams, early", {**CHOICES["3 beams, early"], "beams": 2}),
    ],
)
def test_another_choice_or_another_weight_gives_other_texts(pair, choice, other):
    theirs, writer = pair
    assert our_texts(writer, PROMPTS, other) != stock_texts(theirs, PROMPTS, CHOICES[choice])
    table = writer.model.embed.tokens.weight
    with torch.no_grad():
        table.copy_(table.roll(1, 0))
        changed = our_texts(writer, PROMPTS, CHOICES[choice])
        table.copy_(table.roll(-1, 0))
    assert changed != stock_texts(theirs, PROMPTS, CHOICES[choice])
