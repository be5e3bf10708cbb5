import math

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

from headstart.batch import Sequences
from headstart.data.caption_batches import TEXT, Captioned, Captions
from headstart.data.image_batches import PIXELS
from headstart.data.text import train_tokenizer
from headstart.errors import InputError
from headstart.families import bert, clip, vit
from headstart.nn import Patches
from headstart.objectives import Vocabulary, image_text
from headstart.objectives.image_text import (
    BIAS,
    ImageText,
    pair_vectors,
    sigmoid_loss,
    softmax_loss,
)
from images import FRAME, PATCH, SIDE, random_pixels

START, END = 0, 1
WORDS = Vocabulary(30, END, START, END, None, (START, END), np.ones(30, dtype=bool))
PATCHES = Patches(image_size=SIDE, patch_size=PATCH)


def a_clip(**more):
    return clip.build(
        num_layers=2,
        hidden_size=16,
        num_heads=2,
        vocab_size=30,
        max_positions=12,
        patches=PATCHES,
        **more,
    )


def some_pairs(lengths=(5, 2, 7, 0, 4, 3), *, texts=None) -> Sequences:
    rng = np.random.default_rng(2)
    count = np.asarray(lengths)
    fields = {PIXELS: random_pixels(len(count))}
    if texts is not None:
        fields[TEXT] = np.asarray(texts)
    return Sequences(rng.integers(2, 30, count.sum()), count, np.arange(len(count)), fields)


def same_pairs(count: int) -> torch.Tensor:
    return torch.eye(count, dtype=torch.bool)


def test_the_softmax_loss_by_hand():
    scores = torch.tensor([[1.0, 0.0], [2.0, 3.0]])
    # rows: -log(e1 / (e1 + e0)) = 0.3133, -log(e3 / (e2 + e3)) = 0.3133
    # columns: -log(e1 / (e1 + e2)) = 1.3133, -log(e3 / (e0 + e3)) = 0.0486
    expected = ((0.31326 + 0.31326) / 2 + (1.31326 + 0.04859) / 2) / 2
    assert abs(float(softmax_loss(scores, same_pairs(2))) - expected) < 1e-5


def test_the_sigmoid_loss_by_hand():
    scores = torch.tensor([[1.0, -2.0], [0.0, 3.0]])
    # -log s(1) = 0.3133, -log s(2) = 0.1269, -log s(0) = 0.6931, -log s(3) = 0.0486
    expected = (0.31326 + 0.12693 + 0.69315 + 0.04859) / 2
    assert abs(float(sigmoid_loss(scores, same_pairs(2))) - expected) < 1e-5


def test_captions_of_the_same_wording_belong_to_each_others_images():
    scores = torch.tensor([[1.0, 0.0], [2.0, 3.0]])
    both = torch.ones(2, 2, dtype=torch.bool)
    # each row and column shares its target: the mean of both log-probabilities
    rows = (math.log(math.e + 1) - 0.5) + (math.log(math.e**2 + math.e**3) - 2.5)
    columns = (math.log(math.e + math.e**2) - 1.5) + (math.log(1 + math.e**3) - 1.5)
    assert abs(float(softmax_loss(scores, both)) - (rows + columns) / 4) < 1e-5
    together = -torch.nn.functional.logsigmoid(scores).sum() / 2
    assert torch.equal(sigmoid_loss(scores, both), together)


def step(kind, chunk, *, dropout=0.0, texts=None, lengths=(5, 2, 7, 0, 4, 3)):
    """Loss and gradients of one batch, in float64."""
    model = a_clip(dropout=dropout).double().train()
    objective = ImageText(FRAME, WORDS, kind=kind, chunk=chunk)
    heads = objective.heads(model).double()
    batch = objective.prepare(some_pairs(lengths, texts=texts), np.random.default_rng(0))
    batch.inputs = {
        name: t.double() if t.is_floating_point() else t for name, t in batch.inputs.items()
    }
    torch.manual_seed(5)
    loss = objective.loss(model, heads, batch)
    (loss.value * 3).backward()
    named = [*model.named_parameters(), *heads.named_parameters()]
    return loss, {name: weight.grad for name, weight in named}


def test_chunks_whose_captions_lie_in_several_blocks_of_rows():
    lengths = np.tile(np.random.default_rng(0).integers(1, 11, 50), 2)
    batch = ImageText(FRAME, WORDS, chunk=50).prepare(some_pairs(lengths), np.random.default_rng(0))
    assert all(len(batch.layout[f"tokens.{n}"].rows) > 1 for n in range(2))
    whole, wanted = step("softmax", None, lengths=lengths)
    parts, found = step("softmax", 50, lengths=lengths)
    assert abs(float(whole.value.detach() - parts.value.detach())) < 1e-10
    for name, gradient in wanted.items():
        assert float((gradient - found[name]).abs().max()) < 1e-10, name


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
@pytest.mark.parametrize("chunk", [1, 2, 4, 6])
def test_cached_gradients_are_those_of_the_whole_batch(kind, chunk):
    whole, wanted = step(kind, None, texts=[0, 1, 2, 1, 4, 5])
    parts, found = step(kind, chunk, texts=[0, 1, 2, 1, 4, 5])
    assert abs(float(whole.value.detach() - parts.value.detach())) < 1e-10
    assert parts.count == 6
    assert max(float(gradient.abs().max()) for gradient in wanted.values()) > 1e-3
    for name, gradient in wanted.items():
        assert float((gradient - found[name]).abs().max()) < 1e-10, name


def test_a_batch_of_chunks_is_no_mean_of_small_batches():
    whole, _ = step("softmax", None)
    alone, _ = step("softmax", 1)
    model, objective = a_clip().double(), ImageText(FRAME, WORDS)
    heads = objective.heads(model).double()
    small = objective.prepare(some_pairs().take(np.arange(3)), np.random.default_rng(0))
    small.inputs["pixels.0"] = small.inputs["pixels.0"].double()
    part = objective.loss(model, heads, small)
    assert abs(float(whole.value.detach() - alone.value.detach())) < 1e-10
    assert abs(float(whole.value.detach() - part.value.detach())) > 0.1  # log 6 against log 3


def test_dropout_is_the_same_in_both_passes_of_a_chunk():
    once, gradients = step("softmax", 2, dropout=0.3)
    again, same = step("softmax", 2, dropout=0.3)
    assert torch.equal(once.value, again.value)
    assert all(torch.equal(gradients[name], same[name]) for name in gradients)
    # the gradient agrees with a difference of the very loss
    model = a_clip(dropout=0.3).double().train()
    objective = ImageText(FRAME, WORDS, chunk=2)
    heads = objective.heads(model).double()
    batch = objective.prepare(some_pairs(), np.random.default_rng(0))
    batch.inputs = {
        name: t.double() if t.is_floating_point() else t for name, t in batch.inputs.items()
    }
    weight, step_size = heads["image_text"].texts.weight, 1e-6
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            weight[0, 0] += sign * step_size
            torch.manual_seed(5)
            values.append(float(objective.loss(model, heads, batch).value))
            weight[0, 0] -= sign * step_size
    slope = 3 * (values[0] - values[1]) / (2 * step_size)
    assert abs(slope - float(gradients["image_text.texts.weight"][0, 0])) < 1e-6


def test_torch_sees_the_device_whose_random_numbers_a_chunk_repeats(monkeypatch):
    # it looks for tensors in the arguments; without one, dropout on a GPU would be drawn anew
    found = []

    def seen(function, *given, **how):
        found.append([x for x in tree_leaves(given) if isinstance(x, torch.Tensor)])
        return checkpoint(function, *given, **how)

    monkeypatch.setattr(image_text, "checkpoint", seen)
    model, objective = a_clip(), ImageText(FRAME, WORDS, chunk=4)
    batch = objective.prepare(some_pairs(), np.random.default_rng(0))
    objective.loss(model, objective.heads(model), batch)
    for number, tensors in enumerate(found):
        assert any(tensor is batch.inputs[f"pixels.{number}"] for tensor in tensors)
    assert len(found) == 2


def kept_bytes(chunk) -> int:
    """What the forward pass keeps for the backward pass."""
    kept: dict[int, int] = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    model, objective = a_clip(), ImageText(FRAME, WORDS, chunk=chunk)
    heads = objective.heads(model)
    batch = objective.prepare(some_pairs(), np.random.default_rng(0))
    given = {t.untyped_storage().data_ptr() for t in batch.inputs.values()}
    given |= {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        objective.loss(model, heads, batch)
    return sum(size for place, size in kept.items() if place not in given)


def test_a_chunked_batch_keeps_vectors_instead_of_activations():
    assert kept_bytes(2) < 0.1 * kept_bytes(None)


def test_a_batch_knows_chunks_and_alike_captions():
    objective = ImageText(FRAME, WORDS, chunk=4)
    batch = objective.prepare(some_pairs(texts=[9, 3, 9, 4, 5, 6]), np.random.default_rng(0))
    assert set(batch.inputs) == {"tokens.0", "pixels.0", "tokens.1", "pixels.1"}
    assert batch.layout["tokens.1"].lengths.tolist() == [6, 5]  # 4 and 3 with start and end
    assert batch.targets["image_text.text"].tolist() == [9, 3, 9, 4, 5, 6]


def test_sigmoid_starts_from_temperature_ten_and_bias_minus_ten():
    heads = ImageText(FRAME, WORDS, kind="sigmoid").heads(a_clip())
    assert abs(float(heads["image_text"].factor().detach()) - 10) < 1e-5
    assert float(heads[BIAS].value.detach()) == -10.0
    plain = ImageText(FRAME, WORDS).heads(a_clip())
    assert set(plain) == {"image_text"}
    assert abs(float(plain["image_text"].factor().detach()) - 1 / 0.07) < 1e-4


def test_the_scale_of_cosines_is_at_most_a_hundred():
    head = ImageText(FRAME, WORDS).heads(a_clip())["image_text"]
    torch.nn.init.constant_(head.scale, 9.0)
    assert abs(float(head.factor().detach()) - 100) < 1e-3


REFUSED = [
    (bert.build(num_layers=1, hidden_size=8, num_heads=1, vocab_size=9), "bert is an encoder"),
    (vit.build(num_layers=1, hidden_size=8, num_heads=1), "vit is an image encoder"),
]


@pytest.mark.parametrize(("model", "what"), REFUSED)
def test_a_model_of_one_tower_is_refused(model, what):
    with pytest.raises(InputError) as caught:
        ImageText(FRAME, WORDS).heads(model)
    assert str(caught.value) == (
        f"objective image_text needs two towers, but family {what}: choose another family or "
        "objective"
    )


def test_every_epoch_shows_another_caption_and_the_same_number_the_same_one():
    texts = [["a b", "c d", "e f"], ["g"], ["h i", "j k"], ["a b"]]
    tokenizer = train_tokenizer(
        [text for each in texts for text in each], kind="bpe", vocab_size=300, style="clip"
    )
    captions = Captions.of(texts, tokenizer, room=4)
    assert captions.tokens.fields[TEXT].tolist() == [0, 1, 2, 3, 4, 5, 0]
    images = np.array([2, 0, 3, 1])
    drawn = [captions.draw(images, seed=1, epoch=epoch) for epoch in range(40)]
    words = [[tokenizer.decode(list(t.take([n]).tokens)) for n in range(4)] for t in drawn]
    assert {w[0] for w in words} == {"h i", "j k"}
    assert {w[1] for w in words} == {"a b", "c d", "e f"}
    assert {(w[2], w[3]) for w in words} == {("a b", "g")}
    again = captions.draw(images[::-1], seed=1, epoch=7)
    assert np.array_equal(again.fields[TEXT][::-1], drawn[7].fields[TEXT])
    shares = np.mean([w[1] == "a b" for w in words])
    assert 0.1 < shares < 0.6

    class Batches:
        batches_per_epoch = 2

        def batch(self, n):
            index = np.array([[0, 1], [2, 3]][n % 2])
            return Sequences(np.zeros(2, int), np.ones(2, int), index, {PIXELS: index})

    source = Captioned(Batches(), captions, seed=1)
    for n in (0, 5, 17):
        found = source.batch(n)
        expected = captions.draw(found.index, seed=1, epoch=n // 2)
        assert np.array_equal(found.tokens, expected.tokens)
        assert np.array_equal(found.lengths, expected.lengths)
        assert set(found.fields) == {PIXELS, TEXT}


def test_sixteen_pairs_are_learnt_and_vectors_find_each_other():
    model, objective = a_clip(), ImageText(FRAME, WORDS, kind="softmax")
    heads = objective.heads(model)
    words = np.stack([np.arange(16) // 4 + 2, np.arange(16) % 4 + 10], 1).ravel()
    pictures = {PIXELS: random_pixels(16)}
    texts = Sequences(words, np.full(16, 2), np.arange(16), pictures)
    batch = objective.prepare(texts, np.random.default_rng(0))
    optimizer = torch.optim.AdamW([*model.parameters(), *heads.parameters()], lr=3e-3)
    for _ in range(250):
        optimizer.zero_grad()
        loss = objective.loss(model, heads, batch)
        loss.value.backward()
        optimizer.step()
    assert float(loss.value.detach()) < 0.3  # log 16 = 2.8 at the start
    names = ("tokens", PIXELS)
    batch.inputs = {name: batch.inputs[f"{name}.0"] for name in names}
    batch.layout = {name: batch.layout[f"{name}.0"] for name in names}
    with torch.no_grad():
        texts, images = pair_vectors(model, heads["image_text"], batch)
    assert (images @ texts.t()).argmax(1).tolist() == list(range(16))
