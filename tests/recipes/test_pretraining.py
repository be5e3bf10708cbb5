import json

import numpy as np
import pytest
import torch

import headstart as hs
from headstart.data.store import TokenStore
from headstart.errors import InputError
from headstart.families import load_model

TINY = {
    "model.num_layers": 1,
    "model.hidden_size": 32,
    "model.num_heads": 2,
    "data.vocab_size": 400,
    "data.max_length": 32,
    "data.tokens_per_batch": 512,
    "machine.threads": 1,
}
TEXT = "the bank card was lost in town and my money is gone please help me 卡 丢 了 请 帮 忙"
WORDS = TEXT.split()


@pytest.fixture
def corpus(tmp_path):
    rng = np.random.default_rng(0)
    lines = [" ".join(rng.choice(WORDS, rng.integers(20, 60))) for _ in range(200)]
    place = tmp_path / "corpus.txt"
    place.write_text("\n".join(lines), encoding="utf-8")
    return place


def pretrain(corpus, out, **given):
    given = {"budget": "6 steps", **given}
    settings = {**TINY, **given.pop("settings", {})}
    return hs.pretrain(corpus, out=out, settings=settings, **given)


@pytest.mark.parametrize(
    ("family", "objective"),
    [
        ("modern", "mlm+bow"),
        ("modern", "hybrid"),
        ("bert", "mlm+nsp"),
        ("modern", "mlm+nsp"),
        ("roberta", "nsp"),
        ("bert", "bow"),
        ("roberta", "mlm"),
        ("roberta", "mlm+spans"),
        ("gpt", "causal"),
        ("reformer", "mlm+bow"),
        ("reformer", "hybrid"),
        ("reformer", "causal"),
    ],
)
def test_each_family_pretrains_and_its_folder_loads(corpus, tmp_path, family, objective):
    result = pretrain(corpus, tmp_path / "run", family=family, objective=objective)
    assert result.steps == 6
    assert np.isfinite([result.loss, result.held_out_loss]).all()
    loaded = load_model(result.model)
    assert loaded.family.name == family
    kinds = {"mlm": "masked", "hybrid": "masked", "nsp": "next_sentence", "causal": "causal"}
    expected = {kinds[part] for part in objective.split("+") if part in kinds}
    expected &= set(loaded.family.heads)  # what its folders have no place for is left out
    assert expected <= set(loaded.heads)


def test_the_same_command_twice_gives_the_same_weights(corpus, tmp_path):
    one, other = (load_model(pretrain(corpus, tmp_path / name).model) for name in "ab")
    for name, tensor in one.model.state_dict().items():
        assert torch.equal(tensor, other.model.state_dict()[name]), name


def test_another_seed_gives_other_weights(corpus, tmp_path):
    one = load_model(pretrain(corpus, tmp_path / "a").model)
    other = load_model(pretrain(corpus, tmp_path / "b", seed=1).model)
    name = "stack.blocks.0.mlp.up.weight"
    assert not torch.equal(one.model.state_dict()[name], other.model.state_dict()[name])


def test_pretraining_goes_on_from_a_run(corpus, tmp_path):
    first = pretrain(corpus, tmp_path / "a")
    second = pretrain(corpus, tmp_path / "b", start=first)
    lineage = json.loads((tmp_path / "b" / "lineage.json").read_text(encoding="utf-8"))
    assert lineage["parent"] == str(first.folder)
    assert second.held_out_loss < first.held_out_loss


def test_a_probe_is_taken_and_its_texts_are_kept_out_of_the_corpus(corpus, tmp_path):
    lines = corpus.read_text(encoding="utf-8").splitlines()
    rows = "\n".join(f'"{line}",{"a" if n % 2 else "b"}' for n, line in enumerate(lines[:20]))
    labels = tmp_path / "labels.csv"
    labels.write_text("text,label\n" + rows, encoding="utf-8")
    result = pretrain(corpus, tmp_path / "run", probe=labels)
    history = (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8")
    assert '"probe accuracy"' in history
    assert len(TokenStore.open(result.folder / "tokens")) == 180


def test_a_folder_without_text_is_refused(tmp_path):
    (tmp_path / "empty.txt").write_text("", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        pretrain(tmp_path / "empty.txt", tmp_path / "run")
    assert str(caught.value) == (
        f"E-DATA-005 {tmp_path / 'empty.txt'}: the file is empty. Fill it, or leave it out."
    )
    (tmp_path / "rows.csv").write_text("text,label\n,a\n,b\n", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        pretrain(tmp_path / "rows.csv", tmp_path / "run")
    assert str(caught.value).splitlines() == [
        f'Q-DATA-022 {tmp_path / "rows.csv"}:{line} column "text": the text is empty. Fill it in, '
        "or remove the row."
        for line in (2, 3)
    ]
