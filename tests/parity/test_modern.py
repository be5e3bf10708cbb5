import json

import numpy as np
import pytest
import torch
import transformers

from headstart.batch import Sequences
from headstart.data.text import train_tokenizer
from headstart.families import load_model, make_head, modern, pool, save_model
from layouts import VOCAB, packed, padded, ragged
from parity.compare import assert_close, outputs, randomise, save_stock, stock_outputs

SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
}
HEADS = [
    ("ModernBertModel", "hidden", "last_hidden_state"),
    ("ModernBertForMaskedLM", "masked", "logits"),
    ("ModernBertForSequenceClassification", "sequence", "logits"),
]
AUTO = {
    "hidden": transformers.AutoModel,
    "masked": transformers.AutoModelForMaskedLM,
    "sequence": transformers.AutoModelForSequenceClassification,
}
LONG = ragged((19, 3, 12, 1, 5))  # several windows long


def stock(name="ModernBertForMaskedLM", **config):
    values = {"local_attention": 6, **SIZES, **config}
    return getattr(transformers, name)(transformers.ModernBertConfig(**values))


@pytest.mark.parametrize(("name", "kind", "field"), HEADS)
@pytest.mark.parametrize("layout", [packed, padded])
def test_a_stock_modernbert_with_local_layers_gives_the_same_scores_when_loaded(
    tmp_path, name, kind, field, layout
):
    theirs = save_stock(stock(name), tmp_path)
    loaded = load_model(tmp_path)
    assert (loaded.model.config.window, loaded.model.config.global_every) == (6, 3)
    assert_close(
        outputs(loaded, kind, LONG, layout=layout), stock_outputs(theirs, LONG, name=field)
    )


@pytest.mark.parametrize(
    "options",
    [
        {"classifier_pooling": "mean"},
        {"classifier_bias": True, "norm_bias": True},
        {"attention_bias": True, "mlp_bias": True, "classifier_activation": "silu"},
        {"hidden_activation": "gelu_new", "norm_eps": 1e-3},
    ],
)
def test_options_of_the_stock_model_survive_both_ways(tmp_path, options):
    theirs = save_stock(stock("ModernBertForSequenceClassification", **options), tmp_path / "a")
    loaded = load_model(tmp_path / "a")
    assert_close(outputs(loaded, "sequence", LONG), stock_outputs(theirs, LONG))
    save_model(loaded.model, loaded.heads, tmp_path / "b")
    again = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "b")
    assert_close(stock_outputs(again.eval(), LONG), stock_outputs(theirs, LONG))


def test_a_decoder_without_bias_survives_both_ways(tmp_path):
    theirs = save_stock(stock(decoder_bias=False), tmp_path / "a")
    loaded = load_model(tmp_path / "a")
    save_model(loaded.model, loaded.heads, tmp_path / "b")
    again = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "b").eval()
    assert_close(outputs(loaded, "masked", LONG), stock_outputs(theirs, LONG))
    assert_close(stock_outputs(again, LONG), stock_outputs(theirs, LONG))


def test_the_old_spelling_of_the_config_means_the_same(tmp_path):
    theirs = save_stock(stock(), tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    del config["layer_types"]
    config["global_attn_every_n_layers"] = 3
    config["global_rope_theta"] = rope["full_attention"]["rope_theta"]
    config["local_rope_theta"] = rope["sliding_attention"]["rope_theta"]
    path.write_text(json.dumps(config))
    assert_close(outputs(load_model(tmp_path), "masked", LONG), stock_outputs(theirs, LONG))


@pytest.mark.parametrize("kind", list(AUTO))
def test_our_own_recipe_opens_in_stock_transformers_with_equal_scores(tmp_path, kind):
    model = modern.build(num_layers=3, hidden_size=32, num_heads=2, vocab_size=VOCAB)
    randomise(model)
    heads = {} if kind == "hidden" else {kind: make_head(model, kind, outputs=3)}
    for head in heads.values():
        randomise(head)
    save_model(model, heads, tmp_path)
    theirs, report = AUTO[kind].from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    loaded = load_model(tmp_path)
    assert loaded.model.config == model.config
    assert loaded.model.style == model.style
    field = "last_hidden_state" if kind == "hidden" else "logits"
    expected = stock_outputs(theirs.eval(), LONG, name=field)
    assert_close(outputs(loaded, kind, LONG), expected)


@pytest.mark.parametrize("change", ["window", "local_rope_theta", "gate"])
def test_another_window_rotary_base_or_gate_order_shows_in_the_scores(tmp_path, change):
    theirs = save_stock(stock(), tmp_path)
    if change != "gate":
        path = tmp_path / "config.json"
        config = json.loads(path.read_text())
        config["local_attention"] = 8 if change == "window" else 6
        if change == "local_rope_theta":
            config["rope_parameters"]["sliding_attention"]["rope_theta"] = 1000.0
        path.write_text(json.dumps(config))
    loaded = load_model(tmp_path)
    if change == "gate":
        up = loaded.model.stack.blocks[1].mlp.up.weight
        with torch.no_grad():
            up.copy_(up.roll(len(up) // 2, 0).clone())
    assert (outputs(loaded, "masked", LONG) - stock_outputs(theirs, LONG)).abs().max() > 1e-3


def test_sentence_transformers_opens_our_own_recipe_with_its_tokenizer(tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    texts = ["the cat sat on the mat", "预训练的模型", "a dog barked"]
    tokenizer = train_tokenizer(texts * 5, vocab_size=VOCAB)
    size = tokenizer.get_vocab_size()
    model = modern.build(num_layers=2, hidden_size=32, num_heads=2, vocab_size=size)
    randomise(model)
    save_model(model, {}, tmp_path, tokenizer=tokenizer, pooling="mean")
    theirs = sentence_transformers.SentenceTransformer(str(tmp_path), device="cpu").encode(texts)
    ids = [
        transformers.AutoTokenizer.from_pretrained(tmp_path)(text)["input_ids"] for text in texts
    ]
    lengths = np.array([len(line) for line in ids])
    batch = packed(Sequences(np.concatenate(ids), lengths, np.arange(len(ids))))
    with torch.no_grad():
        ours = pool(model.eval().encode(batch), batch.layout["tokens"], "mean")
    assert_close(torch.nn.functional.normalize(ours), torch.from_numpy(theirs))
