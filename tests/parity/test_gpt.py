import pytest
import safetensors.torch
import torch
import transformers

from headstart.families import load_model, save_model
from layouts import VOCAB, packed, padded, ragged
from parity.compare import assert_close, outputs, save_stock, stock_outputs

SIZES = {
    "vocab_size": VOCAB,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 2,
    "n_positions": 40,
    "pad_token_id": 0,
}
HEADS = [
    ("GPT2Model", "hidden", "last_hidden_state"),
    ("GPT2LMHeadModel", "causal", "logits"),
    ("GPT2ForSequenceClassification", "sequence", "logits"),
]


def stock(name="GPT2LMHeadModel", **config):
    return getattr(transformers, name)(transformers.GPT2Config(**SIZES, **config))


@pytest.mark.parametrize(("name", "kind", "field"), HEADS)
@pytest.mark.parametrize("layout", [packed, padded])
def test_a_stock_gpt2_gives_the_same_scores_when_loaded(tmp_path, name, kind, field, layout):
    theirs = save_stock(stock(name), tmp_path)
    ours = outputs(load_model(tmp_path), kind, ragged(), layout=layout)
    assert_close(ours, stock_outputs(theirs, ragged(), name=field))


@pytest.mark.parametrize(("name", "kind", "field"), HEADS)
def test_our_gpt_gives_the_same_scores_when_opened_by_transformers(tmp_path, name, kind, field):
    save_stock(stock(name, n_inner=80), tmp_path / "a")
    loaded = load_model(tmp_path / "a")
    save_model(loaded.model, loaded.heads, tmp_path / "b", pad=0)
    again, report = getattr(transformers, name).from_pretrained(
        tmp_path / "b", output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    ours = outputs(loaded, kind, ragged())
    assert_close(ours, stock_outputs(again.eval(), ragged(), name=field))


def test_files_without_prefix_and_with_mask_buffers_load(tmp_path):
    theirs = save_stock(stock(), tmp_path)
    path = tmp_path / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    old = {name.removeprefix("transformer."): t for name, t in weights.items()}
    for n in range(2):
        old[f"h.{n}.attn.bias"] = torch.ones(1, 1, 40, 40).tril()
        old[f"h.{n}.attn.masked_bias"] = torch.tensor(-1e4)
    old["lm_head.weight"] = old["wte.weight"].clone()
    safetensors.torch.save_file(old, path)
    loaded = load_model(tmp_path)
    assert_close(outputs(loaded, "causal", ragged()), stock_outputs(theirs, ragged()))


def test_a_square_matrix_that_is_not_transposed_shows_in_the_scores(tmp_path):
    theirs = save_stock(stock(), tmp_path)
    loaded = load_model(tmp_path)
    out = loaded.model.stack.blocks[0].attention.out.weight
    with torch.no_grad():
        out.copy_(out.t().clone())
    ours = outputs(loaded, "causal", ragged())
    assert (ours - stock_outputs(theirs, ragged())).abs().max() > 1e-3


def test_a_later_token_changes_nothing_before_it(tmp_path):
    save_stock(stock(), tmp_path)
    loaded, texts = load_model(tmp_path), ragged((6,))
    before = outputs(loaded, "causal", texts, layout=padded)
    texts.tokens[4] = 5 if texts.tokens[4] != 5 else 6
    after = outputs(loaded, "causal", texts, layout=padded)
    assert torch.equal(before[:4], after[:4])
    assert (before[4] - after[4]).abs().max() > 1e-3
