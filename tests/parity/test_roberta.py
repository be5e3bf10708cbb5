import pytest
import safetensors.torch
import torch
import transformers

from headstart.families import load_model, save_model
from layouts import VOCAB, packed, padded, ragged
from parity.compare import assert_close, outputs, save_stock, stock_outputs

SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 42,
    "type_vocab_size": 1,
}
HEADS = [
    ("RobertaModel", "hidden", "last_hidden_state"),
    ("RobertaModel", "pooler", "pooler_output"),
    ("RobertaForMaskedLM", "masked", "logits"),
    ("RobertaForSequenceClassification", "sequence", "logits"),
]
PAD = 1


def stock(name="RobertaForMaskedLM", **config):
    return getattr(transformers, name)(transformers.RobertaConfig(**SIZES, **config))


@pytest.mark.parametrize(("name", "kind", "field"), HEADS)
@pytest.mark.parametrize("layout", [packed, padded])
def test_a_stock_roberta_gives_the_same_scores_when_loaded(tmp_path, name, kind, field, layout):
    theirs = save_stock(stock(name), tmp_path)
    ours = outputs(load_model(tmp_path), kind, ragged(), layout=layout)
    assert_close(ours, stock_outputs(theirs, ragged(), name=field, pad=PAD))


@pytest.mark.parametrize(("name", "kind", "field"), HEADS)
def test_our_roberta_gives_the_same_scores_when_opened_by_transformers(tmp_path, name, kind, field):
    save_stock(stock(name), tmp_path / "a")
    loaded = load_model(tmp_path / "a")
    save_model(loaded.model, loaded.heads, tmp_path / "b")
    again, report = getattr(transformers, name).from_pretrained(
        tmp_path / "b", output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    ours = outputs(loaded, kind, ragged())
    assert_close(ours, stock_outputs(again.eval(), ragged(), name=field, pad=PAD))


def test_xlm_roberta_is_read_as_a_roberta(tmp_path):
    theirs = transformers.XLMRobertaForMaskedLM(transformers.XLMRobertaConfig(**SIZES))
    save_stock(theirs, tmp_path)
    loaded = load_model(tmp_path)
    assert loaded.notes == ()
    ours = outputs(loaded, "masked", ragged())
    assert_close(ours, stock_outputs(theirs, ragged(), pad=PAD))


def test_another_padding_id_shifts_the_positions(tmp_path):
    theirs = save_stock(stock("RobertaModel", pad_token_id=3), tmp_path)
    loaded = load_model(tmp_path)
    assert loaded.model.config.position_offset == 4
    expected = stock_outputs(theirs, ragged(), name="last_hidden_state", pad=3)
    assert_close(outputs(loaded, "hidden", ragged()), expected)


def test_old_files_with_pooler_decoder_and_buffers_load(tmp_path):
    theirs = save_stock(stock(), tmp_path)
    path = tmp_path / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    weights["lm_head.decoder.weight"] = weights["roberta.embeddings.word_embeddings.weight"].clone()
    weights["lm_head.decoder.bias"] = weights["lm_head.bias"].clone()
    weights["roberta.embeddings.position_ids"] = torch.arange(42)[None]
    weights["roberta.pooler.dense.weight"] = torch.randn(32, 32)
    weights["roberta.pooler.dense.bias"] = torch.randn(32)
    safetensors.torch.save_file(weights, path)
    loaded = load_model(tmp_path)
    assert set(loaded.heads) == {"masked", "pooler"}
    assert_close(outputs(loaded, "masked", ragged()), stock_outputs(theirs, ragged(), pad=PAD))


def test_positions_that_start_elsewhere_show_in_the_scores(tmp_path):
    theirs = save_stock(stock(), tmp_path)
    loaded = load_model(tmp_path)
    loaded.model.embed.offset -= 1
    ours = outputs(loaded, "masked", ragged())
    assert (ours - stock_outputs(theirs, ragged(), pad=PAD)).abs().max() > 1e-3
