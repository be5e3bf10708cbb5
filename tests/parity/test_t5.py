import json

import pytest
import safetensors.torch
import torch
import transformers
from transformers.models.t5.modeling_t5 import T5Attention

from headstart.batch import Sequences
from headstart.families import load_model, make_head, save_model, t5
from headstart.nn.position import relative_buckets
from layouts import VOCAB, in_order, packed, padded, ragged, two_streams
from parity.compare import (
    assert_close,
    assert_gradients_close,
    outputs,
    pair_outputs,
    randomise,
    save_stock,
    stock_flat,
    stock_inputs,
    stock_pair_inputs,
    stock_pair_outputs,
)

SIZES = {
    "vocab_size": VOCAB,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 3,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 10,
    "decoder_start_token_id": 0,
}
VERSIONS = {
    "1.0": {},
    "1.1": {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    "gated silu": {"feed_forward_proj": "gated-silu", "layer_norm_epsilon": 1e-3},
}
HEADS = [
    ("T5Model", "hidden", "last_hidden_state"),
    ("T5ForConditionalGeneration", "causal", "logits"),
]
SOURCES = ragged((19, 3, 12, 1, 5))  # farther apart than the last kind of distance
TARGETS = ragged((4, 14, 1, 9, 2), seed=1)
END = 1


def stock(name="T5ForConditionalGeneration", version="1.0", **config):
    return getattr(transformers, name)(
        transformers.T5Config(**{**SIZES, **VERSIONS[version], **config})
    )


def ended(texts):
    """The texts with </s>, which stock classifiers look for."""
    tokens = texts.tokens.copy()
    tokens[texts.starts + texts.lengths - 1] = END
    return Sequences(tokens, texts.lengths, texts.index)


@torch.no_grad()
def classified(loaded, texts, *, layout=packed):
    batch = layout(texts)
    return loaded.heads["sequence"](loaded.model.read(batch), batch.layout["tokens"])


@pytest.mark.parametrize("causal", [False, True])
def test_kinds_of_distances_are_those_of_the_stock_model(causal):
    ahead = torch.arange(-300, 301)
    for buckets, farthest in ((32, 128), (8, 20), (64, 512)):
        mine = relative_buckets(ahead, buckets=buckets, farthest=farthest, causal=causal)
        theirs = T5Attention._relative_position_bucket(ahead, not causal, buckets, farthest)
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize(("name", "kind", "field"), HEADS)
@pytest.mark.parametrize("version", list(VERSIONS))
@pytest.mark.parametrize("layout", [packed, padded])
def test_a_stock_t5_gives_the_same_scores_when_loaded(tmp_path, name, kind, field, version, layout):
    theirs = save_stock(stock(name, version), tmp_path)
    loaded = load_model(tmp_path)
    assert loaded.notes == ()
    ours = pair_outputs(loaded, kind, SOURCES, TARGETS, layout=layout)
    assert_close(ours, stock_pair_outputs(theirs, SOURCES, TARGETS, name=field))


@pytest.mark.parametrize(("name", "kind", "field"), HEADS)
@pytest.mark.parametrize("version", list(VERSIONS))
def test_our_t5_gives_the_same_scores_when_opened_by_transformers(
    tmp_path, name, kind, field, version
):
    save_stock(stock(name, version), tmp_path / "a")
    loaded = load_model(tmp_path / "a")
    save_model(loaded.model, loaded.heads, tmp_path / "b")
    again, report = getattr(transformers, name).from_pretrained(
        tmp_path / "b", output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    ours = pair_outputs(loaded, kind, SOURCES, TARGETS)
    assert_close(ours, stock_pair_outputs(again.eval(), SOURCES, TARGETS, name=field))


def untied(folder):
    """A stock T5 1.1 with a decoder matrix of its own, saved."""
    save_stock(stock(version="1.1"), folder)
    path = folder / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    generator = torch.Generator().manual_seed(3)
    weights["lm_head.weight"] = torch.randn(VOCAB, 32, generator=generator) * 0.2
    safetensors.torch.save_file(weights, path, metadata={"format": "pt"})
    return transformers.T5ForConditionalGeneration.from_pretrained(folder).eval()


@pytest.mark.parametrize("spelling", ["transformers 4", "transformers 5"])
def test_a_decoder_matrix_of_its_own_survives_both_ways(tmp_path, spelling):
    theirs = untied(tmp_path / "a")
    assert not torch.equal(theirs.lm_head.weight, theirs.shared.weight)
    path = tmp_path / "a" / "config.json"
    config = json.loads(path.read_text())
    if spelling == "transformers 4":
        config.pop("scale_decoder_outputs", None)
        config["tie_word_embeddings"] = False
    path.write_text(json.dumps(config))
    loaded = load_model(tmp_path / "a")
    expected = stock_pair_outputs(theirs, SOURCES, TARGETS)
    assert_close(pair_outputs(loaded, "causal", SOURCES, TARGETS), expected)
    save_model(loaded.model, loaded.heads, tmp_path / "b")
    again = transformers.T5ForConditionalGeneration.from_pretrained(tmp_path / "b").eval()
    assert_close(stock_pair_outputs(again, SOURCES, TARGETS), expected)


@pytest.mark.parametrize("layout", [packed, padded])
def test_sequence_classification_is_that_of_the_stock_model_both_ways(tmp_path, layout):
    texts = ended(SOURCES)
    theirs = save_stock(stock("T5ForSequenceClassification", num_labels=3), tmp_path / "a")
    loaded = load_model(tmp_path / "a")
    with torch.no_grad():
        expected = theirs(**stock_inputs(texts)).logits
    ours = classified(loaded, texts, layout=layout)
    assert_close(ours, expected)
    save_model(loaded.model, loaded.heads, tmp_path / "b")
    again = transformers.T5ForSequenceClassification.from_pretrained(tmp_path / "b").eval()
    with torch.no_grad():
        assert_close(ours, again(**stock_inputs(texts)).logits)


def test_the_encoder_alone_is_that_of_the_stock_model(tmp_path):
    theirs = save_stock(stock("T5Model"), tmp_path)
    with torch.no_grad():
        expected = theirs.encoder(**stock_inputs(SOURCES)).last_hidden_state
    ours = outputs(load_model(tmp_path), "hidden", SOURCES)
    assert_close(ours, stock_flat(expected, SOURCES))


@pytest.mark.parametrize("kind", ["hidden", "causal", "sequence"])
def test_our_own_recipe_opens_in_stock_transformers_with_equal_scores(tmp_path, kind):
    model = t5.build(num_layers=2, hidden_size=32, num_heads=2, vocab_size=VOCAB)
    randomise(model)
    heads = {} if kind == "hidden" else {kind: make_head(model, kind, outputs=3)}
    for head in heads.values():
        randomise(head)
    save_model(model, heads, tmp_path)
    loaded = load_model(tmp_path)
    assert (loaded.model.config, loaded.model.style) == (model.config, model.style)
    name = {"hidden": "Model", "causal": "ForConditionalGeneration"}.get(
        kind, "ForSequenceClassification"
    )
    theirs = getattr(transformers, f"T5{name}").from_pretrained(tmp_path).eval()
    if kind == "sequence":
        with torch.no_grad():
            expected = theirs(**stock_inputs(ended(SOURCES))).logits
        assert_close(classified(loaded, ended(SOURCES)), expected)
        return
    field = "logits" if kind == "causal" else "last_hidden_state"
    expected = stock_pair_outputs(theirs, SOURCES, TARGETS, name=field)
    assert_close(pair_outputs(loaded, kind, SOURCES, TARGETS), expected)


@pytest.mark.parametrize("layout", [packed, padded])
def test_gradients_are_those_of_the_stock_model(tmp_path, layout):
    theirs = save_stock(stock(version="1.1"), tmp_path)
    loaded = load_model(tmp_path)
    model, head = loaded.model, loaded.heads["causal"]
    batch = two_streams(layout(SOURCES), layout(TARGETS))
    hidden = in_order(model.decode(batch, model.encode(batch)), batch, stream="decoder_tokens")
    head(hidden, model.embed.tokens.weight).log_softmax(-1)[:, 7].sum().backward()
    logits = stock_flat(theirs(**stock_pair_inputs(SOURCES, TARGETS)).logits, TARGETS)
    logits.log_softmax(-1)[:, 7].sum().backward()
    read, write = theirs.encoder.block[1].layer, theirs.decoder.block[1].layer
    reader, writer = model.stack.blocks[1], model.decoder.blocks[1]

    def stacked(part, names):
        return torch.cat([getattr(part, name).weight.grad for name in names])

    def bias(stack):
        return stack.block[0].layer[0].SelfAttention.relative_attention_bias.weight.grad

    assert_gradients_close(
        [
            (model.embed.tokens.weight.grad, theirs.shared.weight.grad),
            (model.stack.relative.embedding.weight.grad, bias(theirs.encoder)),
            (model.decoder.relative.embedding.weight.grad, bias(theirs.decoder)),
            (reader.attention.qkv.weight.grad, stacked(read[0].SelfAttention, "qkv")),
            (reader.mlp.up.weight.grad, stacked(read[1].DenseReluDense, ("wi_0", "wi_1"))),
            (writer.attention.qkv.weight.grad, stacked(write[0].SelfAttention, "qkv")),
            (writer.cross.q.weight.grad, write[1].EncDecAttention.q.weight.grad),
            (writer.cross.kv.weight.grad, stacked(write[1].EncDecAttention, "kv")),
            (writer.cross.out.weight.grad, write[1].EncDecAttention.o.weight.grad),
            (writer.cross_norm.weight.grad, write[1].layer_norm.weight.grad),
        ]
    )


@pytest.mark.parametrize("change", ["bias", "cross", "gate", "scale"])
def test_swapped_weights_or_a_head_without_its_scale_show_in_the_scores(tmp_path, change):
    theirs = save_stock(stock(version="1.0" if change == "scale" else "1.1"), tmp_path)
    path = tmp_path / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    attention = "block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    pairs = {
        "bias": (f"encoder.{attention}", f"decoder.{attention}"),
        "cross": tuple(f"decoder.block.2.layer.1.EncDecAttention.{p}.weight" for p in "kv"),
        "gate": tuple(f"encoder.block.1.layer.1.DenseReluDense.wi_{n}.weight" for n in "01"),
    }
    if change in pairs:
        one, other = pairs[change]
        weights[one], weights[other] = weights[other], weights[one]
        safetensors.torch.save_file(weights, path)
    loaded = load_model(tmp_path)
    if change == "scale":
        loaded.heads["causal"].factor = None
    ours = pair_outputs(loaded, "causal", SOURCES, TARGETS)
    assert (ours - stock_pair_outputs(theirs, SOURCES, TARGETS)).abs().max() > 1e-3
