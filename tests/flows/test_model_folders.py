"""The model folder of every verb that writes one, opened by the stock libraries: equal outputs."""

import csv

import numpy as np
import pytest
import torch
import transformers
from sentence_transformers import SentenceTransformer

import headstart as hs
from headstart.batch import Sequences
from headstart.families import load_model
from headstart.serve.embed import Encoder
from headstart.serve.predict import Predictor
from layouts import padded
from parity.compare import assert_close, outputs, stock_outputs

TINY = {
    "model.num_layers": 2,
    "model.hidden_size": 32,
    "model.num_heads": 2,
    "data.vocab_size": 300,
    "data.max_length": 32,
    "machine.threads": 1,
    "machine.precision": "fp32",
}
WORDS = [
    "the",
    "bank",
    "card",
    "was",
    "lost",
    "in",
    "town",
    "and",
    "my",
    "money",
    "is",
    "gone",
    "please",
    "help",
    "me",
    "卡",
    "丢",
    "了",
    "请",
    "帮",
    "忙",
]
TEXTS = ["My bank card was lost!", "请 帮 忙", "", "no words of ours: zebra", "money " * 20]
FAMILIES = {
    "modern": ("mlm", "AutoModelForMaskedLM"),
    "bert": ("mlm+nsp", "AutoModelForPreTraining"),
    "roberta": ("mlm", "AutoModelForMaskedLM"),
    "gpt": ("causal", "AutoModelForCausalLM"),
}
METHODS = ("probe", "lora", "partial", "full")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A corpus, and labelled rows that say whether a text speaks of a card."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    lines = [" ".join(rng.choice(WORDS, rng.integers(6, 20))) for _ in range(150)]
    (folder / "corpus.txt").write_text("\n".join(lines[60:]), encoding="utf-8")
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        rows = [(line, "card" if "card" in line else "other") for line in lines[:60]]
        csv.writer(file).writerows([("text", "label"), *rows])
    return folder


@pytest.fixture(scope="module")
def pretrained(data):
    """One run of each family, made when it is first asked for."""
    known = {}

    def of(family):
        if family not in known:
            known[family] = hs.pretrain(
                data / "corpus.txt",
                family=family,
                objective=FAMILIES[family][0],
                budget="3 steps",
                out=data / f"pretrained-{family}",
                settings={**TINY, "data.tokens_per_batch": 512},
            )
        return known[family]

    return of


@pytest.fixture(scope="module")
def finetuned(data, pretrained):
    """One run of each family and method."""
    known = {}

    def of(family, method):
        if (family, method) not in known:
            known[family, method] = hs.finetune(
                data / "labels.csv",
                start=pretrained(family),
                method=method,
                seeds=1,
                out=data / f"{method}-{family}",
                settings={**TINY, "transfer.epochs": 1},
            ).result
        return known[family, method]

    return of


def stock_tokens(folder, texts=TEXTS):
    """Ids by the folder's tokenizer as transformers opens it, and its padding id."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = [np.array(tokenizer(text)["input_ids"], dtype=np.int64) for text in texts]
    lengths = np.array([len(line) for line in ids])
    return Sequences(np.concatenate(ids), lengths, np.arange(len(ids))), tokenizer.pad_token_id


def open_stock(kind, folder):
    model, report = getattr(transformers, kind).from_pretrained(folder, output_loading_info=True)
    # the bare BERT and RoBERTa have a pooler that masked language modelling does not train
    assert {name.split(".")[0] for name in report["missing_keys"]} <= {"pooler"}
    return model.eval()


def likeness(one, other):
    """Largest difference of two sets of vectors that have length 1."""
    np.testing.assert_allclose(np.linalg.norm(one, axis=1), 1, atol=1e-5)
    return np.abs(one - other).max()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pretrained_folder_gives_the_same_states_and_scores_in_transformers(family, pretrained):
    folder = pretrained(family).model
    texts, pad = stock_tokens(folder, [text for text in TEXTS if text])
    ours = load_model(folder)
    states = stock_outputs(
        open_stock("AutoModel", folder), texts, name="last_hidden_state", pad=pad
    )
    assert_close(outputs(ours, "hidden", texts, layout=padded), states)
    with_head = open_stock(FAMILIES[family][1], folder)
    name = "prediction_logits" if family == "bert" else "logits"
    kind = "causal" if family == "gpt" else "masked"
    assert_close(outputs(ours, kind, texts), stock_outputs(with_head, texts, name=name, pad=pad))
    if family == "bert":
        follows = stock_outputs(with_head, texts, name="seq_relationship_logits", pad=pad)
        assert_close(outputs(ours, "next_sentence", texts), follows)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pretrained_folder_gives_the_same_vectors_in_sentence_transformers(family, pretrained):
    run = pretrained(family)
    texts = [text for text in TEXTS if text or family != "gpt"]  # stock GPT has none for no token
    theirs = SentenceTransformer(str(run.model), device="cpu")
    wanted = theirs.encode(texts, normalize_embeddings=family == "gpt")
    ours = Encoder.open(run.folder, precision="fp32").encode(texts)
    assert likeness(ours, wanted) <= 1e-5
    assert likeness(ours, wanted[::-1]) > 1e-2  # texts are told apart


@pytest.mark.parametrize("method", METHODS)
def test_a_fine_tuned_modern_folder_gives_the_same_scores_in_transformers(method, finetuned):
    run = finetuned("modern", method)
    stock = open_stock("AutoModelForSequenceClassification", run.model)
    texts, pad = stock_tokens(run.model)
    theirs = stock_outputs(stock, texts, pad=pad).numpy()
    ours = Predictor.open(run.folder).scores(TEXTS)
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())
    assert np.ptp(theirs[:, 0]) > 1e-3
    assert stock.config.id2label == {0: "card", 1: "other"}
    body = stock_outputs(open_stock("AutoModel", run.model), texts, name="last_hidden_state")
    assert_close(outputs(load_model(run.model), "hidden", texts), body)


@pytest.mark.parametrize("method", METHODS)
def test_a_fine_tuned_modern_folder_gives_the_same_vectors_in_sentence_transformers(
    method, finetuned
):
    run = finetuned("modern", method)
    stock = SentenceTransformer(str(run.model), device="cpu")
    ours = Encoder.open(run.folder, precision="fp32").encode(TEXTS)
    assert likeness(ours, stock.encode(TEXTS, normalize_embeddings=True)) <= 1e-5


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt"])
def test_a_fine_tuned_folder_of_another_family_gives_its_scores_in_sentence_transformers(
    family, finetuned
):
    run = finetuned(family, "full")
    stock = SentenceTransformer(str(run.model), device="cpu")
    theirs = stock.encode(TEXTS)
    ours = Predictor.open(run.folder).scores(TEXTS)
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())
    texts, pad = stock_tokens(run.model)
    body = open_stock("AutoModel", run.model)
    states = stock_outputs(body, texts, name="last_hidden_state", pad=pad)
    assert_close(outputs(load_model(run.model), "hidden", texts, layout=padded), states)


def test_the_pretrained_folder_inside_a_report_opens_like_any_other(data):
    hs.report(
        data / "labels.csv",
        corpus=data / "corpus.txt",
        labels=[20],
        seeds=2,
        budget="4s",
        out=data / "report",
        settings={**TINY, "arms": ["majority", "own-probe"], "pretrain_share": 0.1},
    )
    folder = data / "report" / "pretrained"
    theirs = SentenceTransformer(str(folder / "model"), device="cpu").encode(TEXTS)
    ours = hs.encoder(folder, precision="fp32").encode(TEXTS)
    assert likeness(ours, theirs) <= 1e-5


def test_another_weight_in_the_folder_shows_in_the_vectors(pretrained, tmp_path):
    run = pretrained("bert")
    encoder = Encoder.open(run.folder, precision="fp32")
    with torch.no_grad():
        encoder.model.stack.blocks[0].mlp_norm.weight[::2].mul_(3)
    theirs = SentenceTransformer(str(run.model), device="cpu").encode(TEXTS)
    assert likeness(encoder.encode(TEXTS), theirs) > 1e-4
