import json
from dataclasses import replace

import pytest
import safetensors.torch
import torch
import transformers

from headstart.errors import CheckpointError
from headstart.families import build_model, load_model, save_model
from layouts import VOCAB, packed, padded, ragged
from parity.compare import (
    assert_close,
    assert_gradients_close,
    outputs,
    save_stock,
    stock_inputs,
    stock_outputs,
)

SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
}
HEADS = [
    ("LlamaModel", "hidden", "last_hidden_state"),
    ("LlamaForCausalLM", "causal", "logits"),
    ("LlamaForSequenceClassification", "sequence", "logits"),
]
OPTIONS = [
    {},
    {"tie_word_embeddings": True},
    {"num_key_value_heads": 4, "attention_bias": True, "mlp_bias": True},
    {"num_key_value_heads": 1, "head_dim": 6, "rope_theta": 500.0, "rms_norm_eps": 1e-3},
]


def stock(name="LlamaForCausalLM", **config):
    return getattr(transformers, name)(transformers.LlamaConfig(**{**SIZES, **config}))


@pytest.mark.parametrize(("name", "kind", "field"), HEADS)
@pytest.mark.parametrize("layout", [packed, padded])
def test_a_stock_llama_gives_the_same_scores_when_loaded(tmp_path, name, kind, field, layout):
    theirs = save_stock(stock(name), tmp_path)
    ours = outputs(load_model(tmp_path), kind, ragged(), layout=layout)
    assert_close(ours, stock_outputs(theirs, ragged(), name=field))


@pytest.mark.parametrize(("name", "kind", "field"), HEADS)
@pytest.mark.parametrize("options", OPTIONS)
def test_our_llama_gives_the_same_scores_when_opened_by_transformers(
    tmp_path, name, kind, field, options
):
    theirs = save_stock(stock(name, **options), tmp_path / "a")
    loaded = load_model(tmp_path / "a")
    assert loaded.notes == ()
    save_model(loaded.model, loaded.heads, tmp_path / "b", pad=0)
    again, report = getattr(transformers, name).from_pretrained(
        tmp_path / "b", output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    ours = outputs(loaded, kind, ragged())
    assert_close(ours, stock_outputs(theirs, ragged(), name=field))
    assert_close(ours, stock_outputs(again.eval(), ragged(), name=field))


def test_gradients_are_those_of_the_stock_model(tmp_path):
    theirs = save_stock(stock(), tmp_path)
    loaded, batch = load_model(tmp_path), packed(ragged())
    table = loaded.model.embed.tokens.weight
    layout = batch.layout["tokens"]
    scores = loaded.heads["causal"](loaded.model.encode(batch), table)
    held = layout.sequence >= 0
    scores[held].log_softmax(-1)[:, 7].sum().backward()
    inputs = stock_inputs(ragged())
    expected = theirs(**inputs).logits[inputs["attention_mask"].bool()]
    expected.log_softmax(-1)[:, 7].sum().backward()
    layer, block = theirs.model.layers[0], loaded.model.stack.blocks[0]
    attention = [getattr(layer.self_attn, f"{part}_proj").weight.grad for part in "qkv"]
    assert_gradients_close(
        [
            (table.grad, theirs.model.embed_tokens.weight.grad),
            (loaded.heads["causal"].decoder.weight.grad, theirs.lm_head.weight.grad),
            (block.attention.qkv.weight.grad, torch.cat(attention)),
            (block.attention.out.weight.grad, layer.self_attn.o_proj.weight.grad),
            (
                block.mlp.up.weight.grad,
                torch.cat([layer.mlp.gate_proj.weight.grad, layer.mlp.up_proj.weight.grad]),
            ),
            (block.attention_norm.weight.grad, layer.input_layernorm.weight.grad),
        ]
    )


@pytest.mark.parametrize("change", ["keys", "gate", "theta"])
def test_swapped_weights_or_another_rotary_base_show_in_the_scores(tmp_path, change):
    theirs = save_stock(stock(), tmp_path)
    if change == "theta":
        path = tmp_path / "config.json"
        config = json.loads(path.read_text())
        config["rope_parameters"]["rope_theta"] = 300.0
        path.write_text(json.dumps(config))
    else:
        path = tmp_path / "model.safetensors"
        weights = safetensors.torch.load_file(path)
        pair = ("self_attn.k_proj", "self_attn.v_proj")
        pair = pair if change == "keys" else ("mlp.gate_proj", "mlp.up_proj")
        one, other = (f"model.layers.1.{name}.weight" for name in pair)
        weights[one], weights[other] = weights[other], weights[one]
        safetensors.torch.save_file(weights, path)
    ours = outputs(load_model(tmp_path), "causal", ragged())
    assert (ours - stock_outputs(theirs, ragged())).abs().max() > 1e-3


def test_old_files_with_rotary_buffers_and_their_spelling_of_the_base_load(tmp_path):
    theirs = save_stock(stock(rope_theta=500.0), tmp_path)
    path = tmp_path / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    for n in range(2):
        weights[f"model.layers.{n}.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    safetensors.torch.save_file(weights, path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    del config["rope_parameters"], config["head_dim"]
    path.write_text(json.dumps(config | {"rope_theta": 500.0, "rope_scaling": None}))
    assert_close(outputs(load_model(tmp_path), "causal", ragged()), stock_outputs(theirs, ragged()))


@pytest.mark.parametrize(
    ("rope", "word"),
    [
        ({"rope_type": "longrope", "factor": 2.0}, "rope_type"),
        ({"type": "dynamic", "factor": 2.0}, "type"),
    ],
)
def test_rotary_positions_that_are_scaled_in_another_way_are_refused_by_name(tmp_path, rope, word):
    save_stock(stock(), tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    del config["rope_parameters"]
    path.write_text(json.dumps(config | {"rope_scaling": rope}))
    with pytest.raises(CheckpointError) as caught:
        load_model(tmp_path)
    assert str(caught.value) == (
        f"{path}, rope_scaling: '{word}' is \"{rope[word]}\", but must be one of default, linear, "
        "llama3, yarn"
    )


# heads of 8 numbers, whose pairs turn 1.27, 0.54, 0.23 and 0.1 times in 8 positions
SHORT = {"rope_theta": 30.0, "original_max_position_embeddings": 8}
SCALED = {
    "linear": {"rope_type": "linear", "rope_theta": 30.0, "factor": 3.0},
    "llama3": {
        "rope_type": "llama3",
        "factor": 5.0,
        "low_freq_factor": 0.2,
        "high_freq_factor": 1.0,
        **SHORT,
    },
    "llama3 as published": {
        "rope_type": "llama3",
        "rope_theta": 500.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 20,
    },
    "yarn": {"rope_type": "yarn", "factor": 5.0, "beta_fast": 1.0, "beta_slow": 0.1, **SHORT},
    "yarn between pairs": {
        "rope_type": "yarn",
        "factor": 5.0,
        "beta_fast": 1.0,
        "beta_slow": 0.1,
        "truncate": False,
        "attention_factor": 1.3,
        **SHORT,
    },
    "yarn by scales": {
        "rope_type": "yarn",
        "factor": 5.0,
        "mscale": 0.8,
        "mscale_all_dim": 0.3,
        **SHORT,
    },
}


def stock_scaled(kind):
    # the whole range of these models is 40 positions, five times the 8 they are said to know
    return stock(rope_parameters=SCALED[kind])


@pytest.mark.parametrize("kind", SCALED)
def test_scaled_rotary_positions_give_the_same_scores_both_ways(tmp_path, kind):
    texts = ragged((38, 7, 21, 1))
    theirs = save_stock(stock_scaled(kind), tmp_path / "a")
    loaded = load_model(tmp_path / "a")
    expected = stock_outputs(theirs, texts)
    for layout in (packed, padded):
        assert_close(outputs(loaded, "causal", texts, layout=layout), expected)
    save_model(loaded.model, loaded.heads, tmp_path / "b", pad=0)
    again = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "b").eval()
    assert again.config.rope_parameters["rope_type"] == SCALED[kind]["rope_type"]
    assert_close(outputs(loaded, "causal", texts), stock_outputs(again, texts))
    assert load_model(tmp_path / "b").model.config == loaded.model.config
    # what is scaled shows: the same weights with plain positions give other scores
    config = replace(loaded.model.config, rope_scaling=None)
    plain = build_model(config, family="llama", style=loaded.model.style)
    plain.load_state_dict(loaded.model.state_dict())
    found = outputs(replace(loaded, model=plain.eval()), "causal", texts)
    assert (found - expected).abs().max() > 1e-2


@pytest.mark.parametrize("kind", ["linear", "llama3", "yarn"])
def test_the_old_spelling_of_scaled_positions_is_read(tmp_path, kind):
    theirs = save_stock(stock_scaled(kind), tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    theta, word = rope.pop("rope_theta"), rope.pop("rope_type")
    path.write_text(
        json.dumps(config | {"rope_theta": theta, "rope_scaling": rope | {"type": word}})
    )
    texts = ragged((38, 7, 21, 1))
    assert_close(outputs(load_model(tmp_path), "causal", texts), stock_outputs(theirs, texts))


BROKEN = [
    ({"rope_type": "linear"}, "'factor' is missing; it must be a number from 1 to 1e+06"),
    (
        {"rope_type": "llama3", "factor": 2.0, "low_freq_factor": 1.0},
        "'high_freq_factor' is missing; it must be a number from 1e-06 to 1e+06",
    ),
    (
        {"rope_type": "yarn", "factor": 0.5},
        "'factor' is 0.5, but must be a number from 1 to 1e+06",
    ),
]


@pytest.mark.parametrize(("rope", "message"), BROKEN)
def test_scaled_positions_that_are_not_whole_are_refused(tmp_path, rope, message):
    save_stock(stock(), tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"rope_parameters": rope}))
    with pytest.raises(CheckpointError) as caught:
        load_model(tmp_path)
    assert str(caught.value) == f"{path}, rope_parameters: {message}"


def test_bounds_of_scaling_that_cross_are_refused(tmp_path):
    save_stock(stock(), tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    rope = SCALED["llama3"] | {"high_freq_factor": 0.1}
    path.write_text(json.dumps(config | {"rope_parameters": rope}))
    with pytest.raises(CheckpointError) as caught:
        load_model(tmp_path)
    assert str(caught.value) == (
        f"{path}: llama3 scaling of rotary positions leaves alone what turns more than 0.1 times "
        "and slows down what turns less than 0.2 times: the first must be more than the second"
    )


def test_an_untied_matrix_that_is_missing_is_named(tmp_path):
    save_stock(stock(), tmp_path)
    path = tmp_path / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    del weights["lm_head.weight"]
    safetensors.torch.save_file(weights, path)
    with pytest.raises(CheckpointError) as caught:
        load_model(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: cannot load this Llama checkpoint: 1 weight missing (lm_head.weight), "
        "0 left over, 0 of another shape. Was config.json edited?"
    )
