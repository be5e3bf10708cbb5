import json

import pytest
import safetensors.torch
import torch
import transformers

from headstart.errors import CheckpointError, InputError
from headstart.families import load_model, make_head
from headstart.families.adapters import load_adapter, save_adapter
from headstart.nn import add_lora
from layouts import VOCAB, ragged
from parity.compare import assert_close, outputs, randomise, save_stock, stock_outputs

peft = pytest.importorskip("peft")

SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
}
GPT_SIZES = {"vocab_size": VOCAB, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 40}
STOCK = {
    "bert": (transformers.BertConfig(**SIZES), 0),
    "roberta": (transformers.RobertaConfig(**SIZES | {"type_vocab_size": 1}), 1),
    "modern": (transformers.ModernBertConfig(**SIZES, pad_token_id=0, local_attention=6), 0),
    "gpt": (transformers.GPT2Config(**GPT_SIZES, pad_token_id=0), 0),
    "llama": (transformers.LlamaConfig(**SIZES, num_key_value_heads=1, pad_token_id=0), 0),
}
LINEARS = ["attention.qkv", "attention.out", "mlp.up", "mlp.down"]
THEIR_LINEARS = {
    "bert": ["query", "key", "value", "attention.output.dense", "intermediate.dense"],
    "roberta": ["query", "value"],
    "modern": ["Wqkv", "Wo", "Wi"],
    "gpt": ["c_attn", "c_proj", "c_fc"],
    "llama": ["q_proj", "v_proj", "o_proj", "gate_proj"],
}


def save_base(family, folder):
    """A stock model for classification with random weights, which all start from."""
    theirs = transformers.AutoModelForSequenceClassification.from_config(STOCK[family][0])
    return save_stock(theirs, folder)


def learn(model, *parts):
    """Random numbers in the weights with these words in their names, as if they had learned."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if any(part in name for part in parts):
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.2)


def adapted(loaded, *, rank=3):
    """Our model with adapters on all linears, far from zero, and a trained head."""
    names = [f"stack.blocks.{n}.{part}" for n in range(2) for part in LINEARS]
    add_lora(loaded.model, names, rank=rank, alpha=6.0)
    learn(loaded.model, "lora_")
    randomise(loaded.heads["sequence"], seed=9)
    return loaded


@pytest.mark.parametrize("family", list(STOCK))
def test_peft_opens_our_adapters_with_equal_scores(tmp_path, family):
    base = save_base(family, tmp_path / "base")
    pad = STOCK[family][1]
    before = stock_outputs(base, ragged(), pad=pad)
    ours = adapted(load_model(tmp_path / "base"))
    save_adapter(ours.model, ours.heads, tmp_path / "adapter", base=str(tmp_path / "base"))
    theirs = peft.PeftModel.from_pretrained(base, str(tmp_path / "adapter")).eval()
    scores = outputs(ours, "sequence", ragged())
    assert (scores - before).abs().max() > 1e-2  # the adapters do something
    assert_close(scores, stock_outputs(theirs, ragged(), pad=pad))


@pytest.mark.parametrize("family", list(STOCK))
@pytest.mark.parametrize("rslora", [False, True])
def test_adapters_trained_by_peft_load_with_equal_scores(tmp_path, family, rslora):
    base = save_base(family, tmp_path / "base")
    config = peft.LoraConfig(
        task_type="SEQ_CLS",
        r=4,
        lora_alpha=6,
        target_modules=THEIR_LINEARS[family],
        use_rslora=rslora,
        fan_in_fan_out=family == "gpt",
    )
    theirs = peft.get_peft_model(base, config)
    learn(theirs, "lora_", "modules_to_save")
    theirs.eval().save_pretrained(tmp_path / "adapter")
    loaded = load_model(tmp_path / "base")
    loaded.heads.update(load_adapter(loaded.model, tmp_path / "adapter", heads=loaded.heads))
    expected = stock_outputs(theirs, ragged(), pad=STOCK[family][1])
    assert_close(outputs(loaded, "sequence", ragged()), expected)


def test_our_own_adapters_come_back_with_the_same_rank(tmp_path):
    save_base("bert", tmp_path / "base")
    ours = adapted(load_model(tmp_path / "base"))
    save_adapter(ours.model, ours.heads, tmp_path / "adapter")
    again = load_model(tmp_path / "base")
    heads = load_adapter(again.model, tmp_path / "adapter", heads=again.heads)
    assert again.model.stack.blocks[0].attention.qkv.rank == 3
    for name, weight in ours.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], weight)
    for name, weight in ours.heads["sequence"].state_dict().items():
        assert torch.equal(heads["sequence"].state_dict()[name], weight)


def test_unlike_projections_become_one_block_form_that_saves_and_loads_again(tmp_path):
    base = save_base("roberta", tmp_path / "base")
    config = peft.LoraConfig(task_type="SEQ_CLS", r=4, target_modules=["query", "value", "dense"])
    theirs = peft.get_peft_model(base, config)
    learn(theirs, "lora_", "modules_to_save")
    theirs.eval().save_pretrained(tmp_path / "adapter")
    loaded = load_model(tmp_path / "base")
    heads = load_adapter(loaded.model, tmp_path / "adapter", heads=loaded.heads)
    qkv = loaded.model.stack.blocks[0].attention.qkv
    assert qkv.rank == 8  # two of the three projections, rank 4 each
    assert not qkv.lora_up[32:64].any()
    save_adapter(loaded.model, heads, tmp_path / "again")
    base = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "base")
    again = peft.PeftModel.from_pretrained(base, str(tmp_path / "again")).eval()
    assert_close(stock_outputs(again, ragged(), pad=1), stock_outputs(theirs, ragged(), pad=1))


def test_unlike_ranks_and_alphas_of_the_projections_load_with_equal_scores(tmp_path):
    base = save_base("bert", tmp_path / "base")
    config = peft.LoraConfig(
        task_type="SEQ_CLS",
        r=4,
        lora_alpha=8,
        target_modules=["query", "key", "value"],
        rank_pattern={"query": 2},
        alpha_pattern={"value": 20, "layer.1.attention.self.key": 3},
    )
    theirs = peft.get_peft_model(base, config)
    learn(theirs, "lora_", "modules_to_save")
    theirs.eval().save_pretrained(tmp_path / "adapter")
    loaded = load_model(tmp_path / "base")
    loaded.heads.update(load_adapter(loaded.model, tmp_path / "adapter", heads=loaded.heads))
    assert_close(outputs(loaded, "sequence", ragged()), stock_outputs(theirs, ragged()))
    path = tmp_path / "adapter" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"alpha_pattern": {"(a+)+$": 1}}))
    with pytest.raises(CheckpointError) as caught:
        load_adapter(load_model(tmp_path / "base").model, tmp_path / "adapter")
    assert str(caught.value) == (
        f"{path}: alpha_pattern '(a+)+$' is a regular expression; headstart reads names of "
        "modules only"
    )


def test_equal_projections_with_unlike_alphas_stay_one_adapter(tmp_path):
    base = save_base("bert", tmp_path / "base")
    ours = adapted(load_model(tmp_path / "base"))
    save_adapter(ours.model, ours.heads, tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"alpha_pattern": {"key": 30}}))
    theirs = peft.PeftModel.from_pretrained(base, str(tmp_path / "adapter")).eval()
    loaded = load_model(tmp_path / "base")
    loaded.heads.update(load_adapter(loaded.model, tmp_path / "adapter", heads=loaded.heads))
    assert loaded.model.stack.blocks[0].attention.qkv.rank == 3
    assert_close(outputs(loaded, "sequence", ragged()), stock_outputs(theirs, ragged()))


def test_a_swapped_adapter_shows_in_the_scores(tmp_path):
    base = save_base("bert", tmp_path / "base")
    ours = adapted(load_model(tmp_path / "base"))
    save_adapter(ours.model, ours.heads, tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_model.safetensors"
    weights = safetensors.torch.load_file(path)
    up = "base_model.model.bert.encoder.layer.0.attention.self.{}.lora_B.weight"
    weights[up.format("query")], weights[up.format("value")] = (
        weights[up.format("value")],
        weights[up.format("query")],
    )
    safetensors.torch.save_file(weights, path)
    theirs = peft.PeftModel.from_pretrained(base, str(tmp_path / "adapter")).eval()
    scores = outputs(ours, "sequence", ragged())
    assert (scores - stock_outputs(theirs, ragged())).abs().max() > 1e-3


def test_a_model_without_adapters_is_not_saved_as_one(tmp_path):
    save_base("bert", tmp_path / "base")
    loaded = load_model(tmp_path / "base")
    with pytest.raises(InputError) as caught:
        save_adapter(loaded.model, {}, tmp_path / "adapter")
    assert str(caught.value) == (
        "this model has no LoRA adapters: call headstart.nn.add_lora first"
    )
    assert not (tmp_path / "adapter").exists()


def test_adapters_of_another_model_or_kind_are_refused(tmp_path):
    save_base("bert", tmp_path / "bert")
    save_base("gpt", tmp_path / "gpt")
    ours = adapted(load_model(tmp_path / "bert"))
    folder = tmp_path / "adapter"
    save_adapter(ours.model, {}, folder)
    with pytest.raises(CheckpointError) as caught:
        load_adapter(load_model(tmp_path / "gpt").model, folder)
    layer = "encoder.layer.0.attention"
    assert str(caught.value) == (
        f"{folder}: 24 adapter weights fit nothing in this GPT-2 ("
        f"{layer}.output.dense.lora_A.weight, {layer}.output.dense.lora_B.weight, "
        f"{layer}.self.key.lora_A.weight, {layer}.self.key.lora_B.weight). "
        "Was it trained on another model?"
    )
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"use_dora": True}))
    with pytest.raises(CheckpointError) as caught:
        load_adapter(load_model(tmp_path / "bert").model, folder)
    assert str(caught.value) == f"{path}: 'use_dora' is true, but must be false or null"


def test_a_new_head_on_a_loaded_body_takes_the_learned_pooler(tmp_path):
    save_stock(transformers.BertModel(STOCK["bert"][0]), tmp_path)
    loaded = load_model(tmp_path)
    head = make_head(loaded.model, "sequence", outputs=4, start=loaded.heads)
    learned = loaded.heads["pooler"].dense.weight
    assert learned.abs().max() > 0.1
    assert torch.equal(head.pooler.dense.weight, learned)
