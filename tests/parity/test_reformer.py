import json

import pytest
import safetensors.torch
import torch
import transformers

from headstart.errors import CheckpointError
from headstart.families import load_model, save_model
from headstart.families.names import spell_out
from layouts import VOCAB, in_order, packed, padded, ragged
from parity.compare import assert_close, outputs, randomise

SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_attention_heads": 2,
    "attention_head_size": 12,
    "feed_forward_size": 48,
    "max_position_embeddings": 64,
    "axial_pos_shape": [8, 8],
    "axial_pos_embds_dim": [8, 24],
    "local_attn_chunk_length": 4,
    "lsh_attn_chunk_length": 6,
    "num_buckets": 4,
    "num_hashes": 3,
    "hash_seed": 7,
    "hidden_act": "gelu",
    "pad_token_id": 0,
    "hidden_dropout_prob": 0.0,
    "local_attention_probs_dropout_prob": 0.0,
    "lsh_attention_probs_dropout_prob": 0.0,
}
TEXTS = (13, 3, 36, 1, 5, 24)
LAYERS = {"local": ["local", "local"], "lsh": ["lsh", "lsh"], "both": ["local", "lsh", "lsh"]}
HEADS = [
    ("ReformerModel", "hidden", "last_hidden_state"),
    ("ReformerForMaskedLM", "masked", "logits"),
    ("ReformerModelWithLMHead", "causal", "logits"),
    ("ReformerForSequenceClassification", "sequence", "logits"),
]


def stock(name="ReformerModel", *, layers="both", **config):
    causal = name == "ReformerModelWithLMHead"
    given = {"is_decoder": causal, "attn_layers": LAYERS[layers], **SIZES, **config}
    return getattr(transformers, name)(transformers.ReformerConfig(**given))


def save_stock(model, folder):
    """As for other families, but transformers before 5.24 does not add the bias that it saves."""
    randomise(model)
    if hasattr(model, "lm_head") and model.lm_head.decoder.bias is None:
        torch.nn.init.zeros_(model.lm_head.bias)
    model.save_pretrained(folder)
    return model


@torch.no_grad()
def stock_outputs(model, sequences, *, name="logits"):
    """One text at a time: what others in the batch are padded to changes a stock Reformer."""
    found = []
    for start, length in zip(sequences.starts, sequences.lengths, strict=True):
        tokens = torch.from_numpy(sequences.tokens[start : start + length])[None]
        found.append(model(tokens)[name][0])
    return torch.cat(found) if found[0].dim() == 2 else torch.stack(found)


@pytest.mark.parametrize("layers", list(LAYERS))
@pytest.mark.parametrize("layout", [packed, padded])
@pytest.mark.parametrize("causal", [False, True])
def test_a_stock_reformer_gives_the_same_states_when_loaded(tmp_path, layers, layout, causal):
    theirs = save_stock(stock(layers=layers, is_decoder=causal), tmp_path)
    ours = outputs(load_model(tmp_path), "hidden", ragged(TEXTS), layout=layout)
    assert_close(ours, stock_outputs(theirs, ragged(TEXTS), name="last_hidden_state"))


@pytest.mark.parametrize(("name", "kind", "field"), HEADS)
def test_every_head_gives_the_same_scores_when_loaded(tmp_path, name, kind, field):
    theirs = save_stock(stock(name), tmp_path)
    ours = outputs(load_model(tmp_path), kind, ragged(TEXTS))
    assert_close(ours, stock_outputs(theirs, ragged(TEXTS), name=field))


@pytest.mark.parametrize(
    "changes",
    [
        {"axial_pos_embds": False},
        {"num_buckets": [2, 4]},
        {"local_num_chunks_before": 2, "local_num_chunks_after": 1},
        {"lsh_num_chunks_before": 0, "lsh_num_chunks_after": 2},
        {"num_hashes": 1, "hash_seed": 0},
        {"chunk_size_feed_forward": 3},
    ],
    ids=str,
)
def test_other_settings_give_the_same_states(tmp_path, changes):
    theirs = save_stock(stock(**changes), tmp_path)
    texts = ragged((24, 36, 12)) if "chunk_size_feed_forward" in changes else ragged(TEXTS)
    ours = outputs(load_model(tmp_path), "hidden", texts)
    assert_close(ours, stock_outputs(theirs, texts, name="last_hidden_state"))


@pytest.mark.parametrize(("name", "kind", "field"), HEADS)
def test_our_reformer_gives_the_same_scores_when_opened_by_transformers(
    tmp_path, name, kind, field
):
    save_stock(stock(name), tmp_path / "a")
    loaded = load_model(tmp_path / "a")
    save_model(loaded.model, loaded.heads, tmp_path / "b", pad=0)
    again, report = getattr(transformers, name).from_pretrained(
        tmp_path / "b", output_loading_info=True
    )
    assert set(report["missing_keys"]) <= {"lm_head.bias"}  # which does nothing from 5.24 on
    assert not report["unexpected_keys"]
    ours = outputs(loaded, kind, ragged(TEXTS))
    assert_close(ours, stock_outputs(again.eval(), ragged(TEXTS), name=field))


@pytest.mark.parametrize("layers", list(LAYERS))
@pytest.mark.parametrize("causal", [False, True])
def test_gradients_are_the_stock_ones(tmp_path, layers, causal):
    # a stock Reformer trains only on texts as long as its axial positions: 8 x 6 = 48 tokens
    theirs = save_stock(
        stock(layers=layers, is_decoder=causal, axial_pos_shape=[8, 6]), tmp_path
    ).train()
    loaded, batch = load_model(tmp_path), padded(ragged((48, 48)))
    weight = torch.linspace(-1, 1, 96 * 64).view(96, 64)
    model = loaded.model.train()
    (in_order(model.encode(batch), batch) * weight).sum().backward()
    states = theirs(batch.inputs["tokens"].view(2, 48)).last_hidden_state
    (states.flatten(0, 1) * weight).sum().backward()
    named = dict(theirs.named_parameters())
    ours = dict(model.named_parameters())
    seen = 0
    for rule in spell_out(loaded.family.body, ours):
        for name, grad in rule.to_theirs(ours[rule.ours].grad).items():
            expected = named[name].grad
            assert expected.norm() > 1e-3
            assert (grad - expected).norm() <= 1e-4 * expected.norm(), name
            seen += 1
    assert seen == len(named)


def test_swapped_projections_show_in_the_states(tmp_path):
    theirs = save_stock(stock(layers="lsh"), tmp_path)
    path = tmp_path / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    place = "encoder.layers.0.attention.self_attention"
    one, other = f"{place}.query_key.weight", f"{place}.value.weight"
    weights[one], weights[other] = weights[other].clone(), weights[one].clone()
    safetensors.torch.save_file(weights, path, metadata={"format": "pt"})
    ours = outputs(load_model(tmp_path), "hidden", ragged(TEXTS))
    expected = stock_outputs(theirs, ragged(TEXTS), name="last_hidden_state")
    assert (ours - expected).abs().max() > 1e-2


def test_another_hash_seed_shows_in_long_texts_only(tmp_path):
    theirs = save_stock(stock(layers="lsh"), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps({**config, "hash_seed": 8}), encoding="utf-8")
    ours = outputs(load_model(tmp_path), "hidden", ragged((6, 36)))
    expected = stock_outputs(theirs, ragged((6, 36)), name="last_hidden_state")
    assert (ours[:6] - expected[:6]).abs().max() <= 1e-5
    assert (ours[6:] - expected[6:]).abs().max() > 1e-2


def test_the_bias_of_the_language_head_is_read_by_its_former_name_and_added_and_written(tmp_path):
    theirs = save_stock(stock("ReformerForMaskedLM"), tmp_path / "a")
    if theirs.lm_head.decoder.bias is not None:
        torch.nn.init.zeros_(theirs.lm_head.decoder.bias)
    path = tmp_path / "a" / "model.safetensors"
    bias = torch.linspace(-1, 1, VOCAB)
    weights = safetensors.torch.load_file(path) | {"lm_head.bias": bias}
    weights.pop("lm_head.decoder.bias", None)
    safetensors.torch.save_file(weights, path, metadata={"format": "pt"})
    loaded = load_model(tmp_path / "a")
    ours = outputs(loaded, "masked", ragged(TEXTS))
    assert_close(ours, stock_outputs(theirs, ragged(TEXTS)) + bias)
    assert not any(name == "bias" for name, _ in loaded.heads["masked"].named_parameters())
    save_model(loaded.model, loaded.heads, tmp_path / "b", pad=0)
    written = safetensors.torch.load_file(tmp_path / "b" / "model.safetensors")
    assert torch.equal(written["lm_head.decoder.bias"], bias)


def test_a_config_without_buckets_gets_those_of_its_longest_text(tmp_path):
    save_stock(stock(num_buckets=None), tmp_path)
    # 64 tokens in chunks of 6 are 10 chunks: 20 buckets, 16 as a power of two, which is more than
    # twice a chunk, so two factors
    config = load_model(tmp_path).model.config.long_range
    assert config.num_buckets == (4, 4)


def test_an_unknown_kind_of_layer_is_refused(tmp_path):
    save_stock(stock(), tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, "attn_layers": ["full"]}), encoding="utf-8")
    with pytest.raises(CheckpointError) as caught:
        load_model(tmp_path)
    assert str(caught.value) == (
        f"{path}: 'attn_layers' is [\"full\"], but must be a list of local and lsh"
    )
