import json
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors
import torch

from headstart.data.text import load_tokenizer, special_ids, train_tokenizer
from headstart.errors import InputError
from headstart.families import (
    bert,
    build_model,
    gpt,
    llama,
    load_model,
    make_head,
    modern,
    roberta,
    save_model,
    t5,
)
from headstart.families.heads import SequenceHead
from headstart.nn import LoRALinear, add_lora
from headstart.words import say
from layouts import in_order, packed, ragged

SIZES = {"num_layers": 2, "hidden_size": 16, "num_heads": 2, "vocab_size": 300}
TEXTS = ["the cat sat on the mat", "a dog barked at the moon", "预训练的模型", "又一个句子"] * 5


def refusal(*arguments, **options):
    with pytest.raises(InputError) as caught:
        save_model(*arguments, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    "family", [bert, roberta, gpt, modern, llama, t5], ids=lambda f: f.__name__
)
def test_saving_and_loading_gives_the_same_weights_and_config(family, tmp_path):
    model = family.build(**SIZES, seed=5)
    head = make_head(model, "sequence", outputs=3)
    save_model(model, {"sequence": head}, tmp_path / "m", labels=["a", "b", "丙"])
    loaded = load_model(tmp_path / "m")
    assert loaded.model.config == model.config
    assert loaded.labels == ("a", "b", "丙")
    for mine, back in ((model, loaded.model), (head, loaded.heads["sequence"])):
        state = back.state_dict()
        assert set(state) == set(mine.state_dict())
        assert all(torch.equal(state[n], t) for n, t in mine.state_dict().items())


def test_the_same_model_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        save_model(modern.build(**SIZES), {}, tmp_path / name)
    for file in ("config.json", "model.safetensors", "README.md"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_the_weights_are_marked_as_pytorch_and_keep_their_dtype(tmp_path):
    save_model(bert.build(**SIZES).bfloat16(), {}, tmp_path / "m")
    with safetensors.safe_open(tmp_path / "m" / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert file.get_tensor("embeddings.LayerNorm.weight").dtype == torch.bfloat16
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert config["torch_dtype"] == "bfloat16"
    assert config["architectures"] == ["BertModel"]


def test_the_model_card_says_what_the_hub_reads_and_what_people_want(tmp_path):
    model = bert.build(num_layers=2, hidden_size=16, num_heads=2, vocab_size=60, max_positions=20)
    save_model(
        model,
        {"masked": make_head(model, "masked")},
        tmp_path / "m",
        languages=["en", "zh"],
        about="Trained on contracts.",
    )
    # 60*16 + 20*16 + 2*16 + 32 embeddings; a block has 4*16*16+64, 2*16*64+80, 64 -> 3280
    assert (tmp_path / "m" / "README.md").read_text(encoding="utf-8") == (
        "---\nlibrary_name: transformers\npipeline_tag: fill-mask\nlanguage:\n- en\n- zh\n"
        "tags:\n- headstart\n- bert\n---\n\n# BERT model made with headstart\n\n"
        "Layers: 2; hidden size: 16; attention heads: 2; vocabulary 60, up to 20 tokens; "
        "parameters without output heads: 7,904. Output heads: masked.\n\n"
        "Architecture: Devlin et al. 2019, https://arxiv.org/abs/1810.04805.\n\n"
        "Trained on contracts.\n\n## 中文\n\n由 headstart 制作：2 层，隐藏维度 16，"
        "2 个注意力头，词表 60，最多 20 个词元，不计输出头共 7,904 个参数。输出头：masked。\n\n"
        "架构：Devlin et al. 2019, https://arxiv.org/abs/1810.04805。\n"
    )


def test_what_we_say_of_a_model_stands_on_its_card_in_both_languages(tmp_path):
    about = say("card_pretrained", start="scratch", objective="mlm")
    save_model(bert.build(**SIZES), {}, tmp_path / "m", about=about)
    english, chinese = (tmp_path / "m" / "README.md").read_text(encoding="utf-8").split("## 中文")
    assert english.endswith("\n\nPretrained from scratch by predicting mlm.\n\n")
    assert chinese.endswith("\n\n从 scratch 开始预训练，预训练目标为 mlm。\n")
    assert "Output heads: none." in english
    assert "输出头：无。" in chinese


def test_adapters_are_folded_in_and_the_model_keeps_them(tmp_path):
    model, batch = bert.build(**SIZES), packed(ragged())
    add_lora(model, ["stack.blocks.0.attention.qkv"], rank=2)
    with torch.no_grad():
        model.stack.blocks[0].attention.qkv.lora_up.add_(0.3)
    save_model(model, {}, tmp_path / "m")
    assert isinstance(model.stack.blocks[0].attention.qkv, LoRALinear)
    ours = in_order(model.encode(batch), batch)
    again = in_order(load_model(tmp_path / "m").model.encode(batch), batch)
    plain = in_order(bert.build(**SIZES).encode(batch), batch)
    assert (ours - again).abs().max() <= 1e-5
    assert (plain - again).abs().max() > 1e-3


def test_the_tokenizer_goes_along_and_its_ids_are_in_the_config(tmp_path):
    for family, style in ((bert, "bert"), (modern, "bert"), (roberta, "roberta"), (gpt, "gpt")):
        kind = "wordpiece" if style == "bert" else "bytes"
        tokenizer = train_tokenizer(TEXTS, kind=kind, vocab_size=300, style=style)
        model = family.build(**SIZES, pad=special_ids(tokenizer).pad)
        folder = tmp_path / family.__name__
        save_model(model, {}, folder, tokenizer=tokenizer)
        loaded = load_model(folder)
        assert loaded.tokenizer == folder / "tokenizer.json"
        assert load_tokenizer(folder).get_vocab() == tokenizer.get_vocab()
        pad = loaded.hf_config["pad_token_id"]
        assert tokenizer.id_to_token(pad) in ("[PAD]", "<pad>", "<|endoftext|>")


def test_a_tokenizer_that_does_not_belong_to_the_model_is_refused(tmp_path):
    tokenizer = train_tokenizer(TEXTS, vocab_size=300)
    size = tokenizer.get_vocab_size()
    small = bert.build(**SIZES | {"vocab_size": size - 1})
    assert refusal(small, {}, tmp_path / "m", tokenizer=tokenizer) == (
        f"the tokenizer has {size} tokens, the model only {size - 1} (vocab_size): "
        "they do not belong together"
    )
    pad = tokenizer.token_to_id("[PAD]")
    assert pad != 1
    assert refusal(roberta.build(**SIZES), {}, tmp_path / "m", tokenizer=tokenizer) == (
        f"the padding id is {pad}, but this RoBERTa counts positions from padding id 1 "
        "(position_offset 2): train the tokenizer in the style 'roberta'"
    )
    assert not (tmp_path / "m").exists()


def test_heads_that_no_stock_model_has_together_are_refused(tmp_path):
    model = modern.build(**SIZES)
    heads = {kind: make_head(model, kind) for kind in ("masked", "sequence")}
    assert refusal(model, heads, tmp_path / "m") == (
        "no ModernBERT model of Hugging Face has the heads masked + sequence together. "
        "Save one of: none, masked, sequence"
    )
    assert refusal(model, {"contrast": heads["masked"]}, tmp_path / "m") == (
        "ModernBERT has no head 'contrast' in Hugging Face's format (it has: sequence, masked). "
        "Leave it out"
    )


def test_labels_must_be_as_many_as_outputs(tmp_path):
    model = bert.build(**SIZES)
    head = make_head(model, "sequence", outputs=3)
    assert refusal(model, {"sequence": head}, tmp_path / "m", labels=["a", "b"]) == (
        "the sequence head has 3 outputs, so it takes 3 different labels, not 2 (a, b)"
    )
    assert refusal(model, {}, tmp_path / "m", labels=["a"]) == (
        "labels and problem belong to a sequence head, and there is none"
    )


def test_a_model_that_the_format_cannot_express_is_refused(tmp_path):
    config = replace(bert.build(**SIZES).config, norm_order="pre", norm="rms")
    model = build_model(config, family="bert")
    assert refusal(model, {}, tmp_path / "m") == (
        "this model cannot be written as a BERT folder: "
        "norm is 'rms', the folder can only say 'layer'; "
        "norm_order is 'pre', the folder can only say 'post'"
    )


def test_a_folder_of_something_else_is_not_replaced_but_a_model_folder_is(tmp_path):
    place = tmp_path / "mine"
    place.mkdir()
    (place / "thesis.txt").write_text("years of work")
    assert refusal(bert.build(**SIZES), {}, place) == (
        f"{place} exists and is no model folder (it has thesis.txt). Choose another place"
    )
    assert (place / "thesis.txt").read_text() == "years of work"
    (place / "thesis.txt").rename(place / "config.json")
    (place / "src").mkdir()
    assert "(it has src)" in refusal(bert.build(**SIZES), {}, place)
    assert "(it has a file or link" in refusal(bert.build(**SIZES), {}, place / "config.json")
    for seed in (1, 2):
        save_model(bert.build(**SIZES, seed=seed), {}, tmp_path / "model")
    weights = load_model(tmp_path / "model").model.embed.tokens.weight
    assert torch.equal(weights, bert.build(**SIZES, seed=2).embed.tokens.weight)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "model"]


def test_a_failure_while_writing_leaves_the_old_folder_as_it_was(tmp_path, monkeypatch):
    save_model(bert.build(**SIZES, seed=1), {}, tmp_path / "model")

    def full(*arguments):
        raise OSError("No space left on device")

    monkeypatch.setattr("headstart.families.save.write_tensors", full)
    with pytest.raises(OSError, match="No space left"):
        save_model(bert.build(**SIZES, seed=2), {}, tmp_path / "model")
    weights = load_model(tmp_path / "model").model.embed.tokens.weight
    assert torch.equal(weights, bert.build(**SIZES, seed=1).embed.tokens.weight)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_failure_between_the_two_renames_brings_the_old_folder_back(tmp_path, monkeypatch):
    save_model(bert.build(**SIZES, seed=1), {}, tmp_path / "model")
    rename = Path.rename

    def fails_once_the_old_one_is_away(self, target):
        if self.name.endswith(".new"):
            raise OSError("the disk is gone")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails_once_the_old_one_is_away)
    with pytest.raises(OSError, match="the disk is gone"):
        save_model(bert.build(**SIZES, seed=2), {}, tmp_path / "model")
    weights = load_model(tmp_path / "model").model.embed.tokens.weight
    assert torch.equal(weights, bert.build(**SIZES, seed=1).embed.tokens.weight)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_pretraining_hands_its_pooler_to_the_fine_tuned_head(tmp_path):
    model = bert.build(**SIZES)
    heads = {kind: make_head(model, kind, seed=7) for kind in ("masked", "next_sentence")}
    save_model(model, heads, tmp_path / "m")
    loaded = load_model(tmp_path / "m")
    head = make_head(loaded.model, "sequence", outputs=4, start=loaded.heads, seed=8)
    assert isinstance(head, SequenceHead)
    assert torch.equal(head.pooler.dense.weight, heads["next_sentence"].pooler.dense.weight)
