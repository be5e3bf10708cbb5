import json

import pytest
import safetensors.torch
import torch
import transformers

from headstart.errors import CheckpointError
from headstart.families import load_model, make_head, marian, save_model
from layouts import VOCAB, in_order, packed, padded, ragged, two_streams
from parity.compare import (
    assert_close,
    assert_gradients_close,
    pair_outputs,
    randomise,
    save_stock,
    stock_flat,
    stock_pair_inputs,
    stock_pair_outputs,
)

SIZES = {
    "vocab_size": VOCAB,
    "d_model": 32,
    "max_position_embeddings": 40,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "pad_token_id": 0,
    "decoder_start_token_id": 0,
    "activation_function": "swish",
    "scale_embedding": True,
}
HEADS = [
    ("MarianModel", "hidden", "last_hidden_state"),
    ("MarianMTModel", "causal", "logits"),
]
SOURCES = ragged((19, 3, 12, 1, 5))
TARGETS = ragged((4, 14, 1, 9, 2), seed=1)


def stock(name="MarianMTModel", **config):
    model = getattr(transformers, name)(transformers.MarianConfig(**{**SIZES, **config}))
    if hasattr(model, "final_logits_bias"):
        model.final_logits_bias.copy_(torch.linspace(-1, 1, VOCAB)[None])
    return model


@pytest.fixture(autouse=True)
def _keep_positions(monkeypatch):
    """Random weights for everything but the fixed table of positions."""
    from parity import compare

    def randomised(model, *, seed=0):
        fixed = {n: w.clone() for n, w in model.named_parameters() if "embed_positions" in n}
        randomise(model, seed=seed)
        for name, weight in model.named_parameters():
            if name in fixed:
                weight.data.copy_(fixed[name])
        return model.eval()

    monkeypatch.setattr(compare, "randomise", randomised)


@pytest.mark.parametrize(("name", "kind", "field"), HEADS)
@pytest.mark.parametrize("layout", [packed, padded])
@pytest.mark.parametrize("scaled", [False, True])
def test_a_stock_marian_gives_the_same_scores_when_loaded(
    tmp_path, name, kind, field, layout, scaled
):
    theirs = save_stock(stock(name, scale_embedding=scaled), tmp_path)
    loaded = load_model(tmp_path)
    assert loaded.notes == ()
    ours = pair_outputs(loaded, kind, SOURCES, TARGETS, layout=layout)
    assert_close(ours, stock_pair_outputs(theirs, SOURCES, TARGETS, name=field))


@pytest.mark.parametrize(("name", "kind", "field"), HEADS)
def test_our_marian_gives_the_same_scores_when_opened_by_transformers(tmp_path, name, kind, field):
    save_stock(stock(name), tmp_path / "a")
    loaded = load_model(tmp_path / "a")
    save_model(loaded.model, loaded.heads, tmp_path / "b")
    again, report = getattr(transformers, name).from_pretrained(
        tmp_path / "b", output_loading_info=True
    )
    # the bare class calculates its table of positions as well, but calls it missing
    assert all("embed_positions" in name for name in report["missing_keys"])
    assert not report["unexpected_keys"]
    ours = pair_outputs(loaded, kind, SOURCES, TARGETS)
    assert_close(ours, stock_pair_outputs(again.eval(), SOURCES, TARGETS, name=field))


def test_the_original_transformer_opens_in_stock_transformers_with_equal_scores(tmp_path):
    model = randomise(marian.build(num_layers=2, hidden_size=32, num_heads=2, vocab_size=VOCAB))
    head = make_head(model, "causal")
    assert (model.config.norm_order, model.config.position) == ("post", "sinusoidal")
    save_model(model, {"causal": head}, tmp_path)
    loaded = load_model(tmp_path)
    assert (loaded.model.config, loaded.model.style) == (model.config, model.style)
    theirs = transformers.MarianMTModel.from_pretrained(tmp_path).eval()
    expected = stock_pair_outputs(theirs, SOURCES, TARGETS)
    assert_close(pair_outputs(loaded, "causal", SOURCES, TARGETS), expected)


def test_old_files_with_copies_and_tables_of_positions_load(tmp_path):
    theirs = save_stock(stock(), tmp_path)
    path = tmp_path / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    table = weights["model.shared.weight"]
    for name in ("model.encoder.embed_tokens", "model.decoder.embed_tokens", "lm_head"):
        weights[f"{name}.weight"] = table.clone()
    for side in ("encoder", "decoder"):
        weights[f"model.{side}.embed_positions.weight"] = torch.randn(40, 32)
    safetensors.torch.save_file(weights, path)
    ours = pair_outputs(load_model(tmp_path), "causal", SOURCES, TARGETS)
    assert_close(ours, stock_pair_outputs(theirs, SOURCES, TARGETS))


def test_gradients_are_those_of_the_stock_model(tmp_path):
    theirs = save_stock(stock(), tmp_path)
    loaded = load_model(tmp_path)
    model, batch = loaded.model, two_streams(packed(SOURCES), packed(TARGETS))
    hidden = in_order(model.decode(batch, model.encode(batch)), batch, stream="decoder_tokens")
    scores = loaded.heads["causal"](hidden, model.embed.tokens.weight)
    scores.log_softmax(-1)[:, 7].sum().backward()
    logits = stock_flat(theirs(**stock_pair_inputs(SOURCES, TARGETS)).logits, TARGETS)
    logits.log_softmax(-1)[:, 7].sum().backward()
    read, write = theirs.model.encoder.layers[1], theirs.model.decoder.layers[1]
    reader, writer = model.stack.blocks[1], model.decoder.blocks[1]

    def stacked(part, names, kind):
        return torch.cat([getattr(getattr(part, f"{n}_proj"), kind).grad for n in names])

    assert_gradients_close(
        [
            (model.embed.tokens.weight.grad, theirs.model.shared.weight.grad),
            (reader.attention.qkv.weight.grad, stacked(read.self_attn, "qkv", "weight")),
            (writer.cross.kv.weight.grad, stacked(write.encoder_attn, "kv", "weight")),
            (writer.cross.q.bias.grad, write.encoder_attn.q_proj.bias.grad),
            (writer.cross_norm.weight.grad, write.encoder_attn_layer_norm.weight.grad),
            (writer.mlp.up.bias.grad, write.fc1.bias.grad),
            (writer.mlp_norm.weight.grad, write.final_layer_norm.weight.grad),
        ]
    )


@pytest.mark.parametrize("change", ["norms", "cross", "bias"])
def test_swapped_weights_or_a_lost_bias_show_in_the_scores(tmp_path, change):
    theirs = save_stock(stock(), tmp_path)
    path = tmp_path / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    layer = "model.decoder.layers.1"
    pairs = {
        "norms": (f"{layer}.self_attn_layer_norm.weight", f"{layer}.final_layer_norm.weight"),
        "cross": tuple(f"{layer}.encoder_attn.{part}_proj.weight" for part in "kv"),
    }
    if change == "bias":
        weights["final_logits_bias"].zero_()
    else:
        one, other = pairs[change]
        weights[one], weights[other] = weights[other], weights[one]
    safetensors.torch.save_file(weights, path)
    ours = pair_outputs(load_model(tmp_path), "causal", SOURCES, TARGETS)
    assert (ours - stock_pair_outputs(theirs, SOURCES, TARGETS)).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("share_encoder_decoder_embeddings", False, "is false, but must be true or null"),
        ("decoder_vocab_size", 70, f"is 70, but must be {VOCAB} or null"),
        ("decoder_ffn_dim", 64, "is 64, but must be 48 or null"),
    ],
)
def test_stacks_of_two_shapes_are_refused(tmp_path, key, value, message):
    save_stock(stock(), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(CheckpointError) as caught:
        load_model(tmp_path)
    assert str(caught.value) == f"{path}: '{key}' {message}"
