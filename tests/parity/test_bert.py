import re

import pytest
import safetensors.torch
import torch
import transformers

from headstart.families import load_model, save_model
from layouts import VOCAB, in_order, packed, padded, ragged
from parity.compare import assert_close, outputs, save_stock, stock_inputs, stock_outputs

SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
}
HEADS = [
    ("BertModel", "hidden", "last_hidden_state"),
    ("BertModel", "pooler", "pooler_output"),
    ("BertForMaskedLM", "masked", "logits"),
    ("BertForNextSentencePrediction", "next_sentence", "logits"),
    ("BertForPreTraining", "masked", "prediction_logits"),
    ("BertForPreTraining", "next_sentence", "seq_relationship_logits"),
    ("BertForSequenceClassification", "sequence", "logits"),
]


def stock(name="BertForPreTraining", **config):
    return getattr(transformers, name)(transformers.BertConfig(**SIZES, **config))


@pytest.mark.parametrize(("name", "kind", "field"), HEADS)
@pytest.mark.parametrize("layout", [packed, padded])
def test_a_stock_bert_gives_the_same_scores_when_loaded(tmp_path, name, kind, field, layout):
    theirs = save_stock(stock(name), tmp_path)
    loaded = load_model(tmp_path)
    ours = outputs(loaded, kind, ragged(), layout=layout)
    assert_close(ours, stock_outputs(theirs, ragged(), name=field))


@pytest.mark.parametrize(("name", "kind", "field"), HEADS)
def test_our_bert_gives_the_same_scores_when_opened_by_transformers(tmp_path, name, kind, field):
    save_stock(stock(name), tmp_path / "a")
    loaded = load_model(tmp_path / "a")
    save_model(loaded.model, loaded.heads, tmp_path / "b")
    again, report = getattr(transformers, name).from_pretrained(
        tmp_path / "b", output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert_close(outputs(loaded, kind, ragged()), stock_outputs(again.eval(), ragged(), name=field))


def test_every_hidden_state_is_that_of_the_stock_model(tmp_path):
    theirs = save_stock(stock("BertModel"), tmp_path)
    batch = packed(ragged())
    with torch.no_grad():
        ours = load_model(tmp_path).model.hidden_states(batch)
        expected = theirs(**stock_inputs(ragged()), output_hidden_states=True).hidden_states
    assert len(ours) == len(expected) == 3
    for mine, stock_state in zip(ours, expected, strict=True):
        flat = torch.cat([stock_state[n, :length] for n, length in enumerate(ragged().lengths)])
        assert_close(in_order(mine, batch), flat)


def test_segments_count_as_in_the_stock_model(tmp_path):
    theirs = save_stock(stock("BertModel"), tmp_path)
    loaded, batch = load_model(tmp_path), padded(ragged())
    segments = (batch.layout["tokens"].positions > 2).long()
    batch.inputs["segments"] = segments
    inputs = stock_inputs(ragged())
    with torch.no_grad():
        mine = in_order(loaded.model.encode(batch), batch)
        kinds = segments.view(inputs["input_ids"].shape)
        states = theirs(**inputs, token_type_ids=kinds).last_hidden_state
    flat = torch.cat([states[n, :length] for n, length in enumerate(ragged().lengths)])
    assert_close(mine, flat)


@pytest.mark.parametrize(
    ("problem", "outputs_count"),
    [
        ("single_label_classification", 3),
        ("multi_label_classification", 4),
        ("regression", 1),
    ],
)
def test_kinds_of_classification_and_labels_survive_both_ways(tmp_path, problem, outputs_count):
    labels = [f"类{n}" for n in range(outputs_count)]
    config = {
        "problem_type": problem,
        "id2label": dict(enumerate(labels)),
        "label2id": {name: n for n, name in enumerate(labels)},
    }
    theirs = save_stock(stock("BertForSequenceClassification", **config), tmp_path / "a")
    loaded = load_model(tmp_path / "a")
    assert (loaded.problem, loaded.labels) == (problem, tuple(labels))
    assert_close(outputs(loaded, "sequence", ragged()), stock_outputs(theirs, ragged()))
    save_model(loaded.model, loaded.heads, tmp_path / "b", labels=labels, problem=problem)
    again = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "b")
    assert again.config.problem_type == problem
    assert [again.config.id2label[n] for n in range(outputs_count)] == labels
    assert_close(stock_outputs(again.eval(), ragged()), stock_outputs(theirs, ragged()))


def test_sharded_files_give_the_same_scores(tmp_path):
    theirs = save_stock(stock(), tmp_path, shard="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    ours = outputs(load_model(tmp_path), "masked", ragged())
    assert_close(ours, stock_outputs(theirs, ragged(), name="prediction_logits"))


def test_old_names_of_weights_give_the_same_scores(tmp_path):
    theirs = save_stock(stock(), tmp_path)
    path = tmp_path / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    old = {
        re.sub("LayerNorm.bias", "LayerNorm.beta", re.sub("Norm.weight", "Norm.gamma", name)): t
        for name, t in weights.items()
    }
    table = weights["bert.embeddings.word_embeddings.weight"]
    old["cls.predictions.decoder.weight"] = table.clone()
    old["cls.predictions.decoder.bias"] = old.pop("cls.predictions.bias")
    old["bert.embeddings.position_ids"] = torch.arange(40)[None]
    assert sum("gamma" in name for name in old) == 6
    safetensors.torch.save_file(old, path)
    loaded = load_model(tmp_path)
    for kind, field in (
        ("masked", "prediction_logits"),
        ("next_sentence", "seq_relationship_logits"),
    ):
        expected = stock_outputs(theirs, ragged(), name=field)
        assert_close(outputs(loaded, kind, ragged()), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_files_load_as_fp32_with_the_rounded_weights(tmp_path, dtype):
    theirs = save_stock(stock().to(dtype), tmp_path)
    loaded = load_model(tmp_path)
    expected = stock_outputs(theirs.float(), ragged(), name="prediction_logits")
    assert_close(outputs(loaded, "masked", ragged()), expected)


def test_swapping_two_weights_shows_in_the_scores(tmp_path):
    theirs = save_stock(stock(), tmp_path)
    path = tmp_path / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    query, key = (
        f"bert.encoder.layer.1.attention.self.{part}.weight" for part in ("query", "value")
    )
    weights[query], weights[key] = weights[key], weights[query]
    safetensors.torch.save_file(weights, path)
    ours = outputs(load_model(tmp_path), "masked", ragged())
    assert (ours - stock_outputs(theirs, ragged(), name="prediction_logits")).abs().max() > 1e-3


def test_gradients_are_those_of_the_stock_model(tmp_path):
    theirs = save_stock(stock("BertForSequenceClassification"), tmp_path)
    loaded, batch = load_model(tmp_path), packed(ragged())
    target = torch.tensor([0, 1, 0, 1, 1])
    hidden = loaded.model.encode(batch)
    scores = loaded.heads["sequence"](hidden, batch.layout["tokens"])
    torch.nn.functional.cross_entropy(scores, target).backward()
    theirs(**stock_inputs(ragged()), labels=target).loss.backward()
    layer = theirs.bert.encoder.layer[0]
    parts = [getattr(layer.attention.self, part) for part in ("query", "key", "value")]
    block = loaded.model.stack.blocks[0]
    pairs = [
        (block.attention.qkv.weight, torch.cat([part.weight.grad for part in parts])),
        (block.attention.qkv.bias, torch.cat([part.bias.grad for part in parts])),
        (block.mlp.down.weight, layer.output.dense.weight.grad),
        (loaded.model.embed.tokens.weight, theirs.bert.embeddings.word_embeddings.weight.grad),
        (
            loaded.model.embed.positions.weight,
            theirs.bert.embeddings.position_embeddings.weight.grad,
        ),
        (loaded.heads["sequence"].classifier.weight, theirs.classifier.weight.grad),
    ]
    for mine, expected in pairs:
        assert expected.abs().max() > 1e-3
        assert (mine.grad - expected).abs().max() <= 1e-5
