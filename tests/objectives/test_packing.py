"""Documents that share a row know nothing of each other, in every family that writes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from headstart.abilities import families_for
from headstart.batch import Batch, Sequences
from headstart.families import FAMILIES, Model
from headstart.objectives import CausalLanguage, Pretraining, SpanCorruption

FAMILY = {family.name: family for family in FAMILIES}


def built(name: str) -> Model:
    # noise instead of the small starting weights, so that attention really looks around
    causal = True if "causal" in part_of(name) else None
    model = FAMILY[name].build(
        num_layers=2,
        hidden_size=32,
        num_heads=4,
        intermediate_size=64,
        vocab_size=40,
        max_positions=128,
        causal=causal,
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(0, 0.2, generator=generator)
    return model.double().eval()


def part_of(name: str) -> str:
    return "causal" if name in families_for("causal") else "span_corruption"


def objective(name: str, vocabulary) -> Pretraining:
    if part_of(name) == "causal":
        return Pretraining([CausalLanguage(vocabulary)], vocabulary)
    known = replace(vocabulary, sentinels=tuple(range(36, 40)))
    return Pretraining([SpanCorruption(known)], known)


@pytest.fixture
def texts() -> Sequences:
    """Many short texts: several have to share a row."""
    rng = np.random.default_rng(1)
    lengths = rng.integers(6, 30, 40)
    return Sequences(rng.integers(5, 36, lengths.sum()), lengths, np.arange(40))


def changed(sequences: Sequences, document: int) -> Sequences:
    """The same lengths, but other tokens in one document."""
    start = sequences.starts[document]
    tokens = sequences.tokens.copy()
    there = slice(start, start + sequences.lengths[document])
    tokens[there] = 5 + (tokens[there] + 7) % 30
    return replace(sequences, tokens=tokens)


def loss_of(made, model, heads, batch: Batch, document: int) -> float:
    """The loss of one document's targets alone."""
    part = made.parts[0].name
    stream = "tokens" if part == "causal" else "decoder_tokens"
    slots, labels = batch.targets[f"{part}.slots"], batch.targets[f"{part}.labels"]
    own = batch.layout[stream].sequence[slots] == document
    targets = {f"{part}.slots": slots[own], f"{part}.labels": labels[own]}
    assert len(targets[f"{part}.slots"])
    return made.loss(model, heads, replace(batch, targets=targets)).value.item()


def rows_of(batch: Batch, stream: str) -> list[int]:
    """The number of the row in which each document lies."""
    layout = batch.layout[stream]
    rows = torch.repeat_interleave(
        torch.arange(sum(count for count, _ in layout.rows)),
        torch.tensor([width for count, width in layout.rows for _ in range(count)]),
    )
    return rows[layout.first].tolist()


def neighbours(batch: Batch) -> tuple[int, int]:
    """Two documents that share their rows in all streams."""
    places = list(zip(*(rows_of(batch, stream) for stream in batch.layout), strict=True))
    met: dict[tuple[int, ...], int] = {}
    for document, place in enumerate(places):
        if place in met:
            return met[place], document
        met[place] = document
    raise AssertionError("no two documents share a row")


@pytest.mark.parametrize("name", [*families_for("causal"), *families_for("span_corruption")])
@torch.no_grad()
def test_another_document_in_the_row_changes_nothing(name, vocabulary, texts):
    model, made = built(name), objective(name, vocabulary)
    heads = made.heads(model).double()
    first = made.prepare(texts, np.random.default_rng(0))
    one, other = neighbours(first)
    second = made.prepare(changed(texts, one), np.random.default_rng(0))
    assert not torch.equal(first.inputs["tokens"], second.inputs["tokens"])
    here, there = (loss_of(made, model, heads, batch, other) for batch in (first, second))
    assert here == there
    # a control: the changed document itself notices
    mine, others = (loss_of(made, model, heads, batch, one) for batch in (first, second))
    assert abs(mine - others) > 1e-3


@pytest.mark.parametrize("name", families_for("causal"))
def test_the_gradient_of_a_documents_loss_ends_at_its_own_tokens(name, vocabulary, texts):
    model, made = built(name), objective(name, vocabulary)
    batch = made.prepare(texts, np.random.default_rng(0))
    _, document = neighbours(batch)
    layout = batch.layout["tokens"]
    x = model.embed(batch.inputs["tokens"], layout).detach().requires_grad_()
    states = model.stack(x, layout, causal=True)
    last = int(layout.first[document] + layout.lengths[document] - 1)
    states[last].square().sum().backward()
    reached = torch.nonzero(x.grad.abs().sum(1)).flatten()
    assert set(layout.sequence[reached].tolist()) == {document}
    # a control: it does reach what came before in the document itself
    assert len(reached) > 1
