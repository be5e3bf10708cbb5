"""A head on the mean as one more block of a stock ViT, and models with fewer blocks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers

from headstart.evaluate.fitted import Fitted, load_fitted
from headstart.families import load_model, vit
from headstart.families.blocks import LOUD, shallower, with_mean_block
from headstart.families.heads import SequenceHead
from headstart.nn import Patches
from headstart.tasks import mean_style
from images import FRAME, PATCH, SIDE, image_batch, image_sequences, random_pixels, values


def fitted(seed=0, *, layers=3):
    model = vit.build(
        num_layers=layers,
        hidden_size=32,
        num_heads=2,
        patches=Patches(image_size=SIDE, patch_size=PATCH),
        seed=seed,
    )
    torch.manual_seed(seed)
    with torch.no_grad():  # as trained weights are: norms that do something
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.add_(0.3 * torch.randn_like(weight))
        head = SequenceHead(model.config, mean_style(model), outputs=3)
        for weight in head.parameters():
            weight.add_(0.5 * torch.randn_like(weight))
    return Fitted(
        model.eval(), head.eval(), "classes", ("a", "b", "c"), FRAME, "full", SIDE, precision="fp32"
    )


def scores(one: Fitted, pixels: np.ndarray) -> np.ndarray:
    return one.predict(image_sequences(pixels))


def test_a_mean_head_opens_in_stock_transformers_with_the_same_answers(tmp_path):
    one, pixels = fitted(), random_pixels(5)
    one.save(tmp_path / "m", tokenizer=None)
    stock, report = transformers.ViTForImageClassification.from_pretrained(
        tmp_path / "m", output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert stock.config.id2label == {0: "a", 1: "b", 2: "c"}
    with torch.no_grad():
        theirs = stock.eval()(values(pixels)).logits.numpy()
    ours = scores(one, pixels)
    np.testing.assert_allclose(theirs, ours, atol=1e-5)
    assert np.abs(ours - ours[:1]).max() > 0.05  # images are told apart
    swapped = one.model.stack.blocks[1].attention.out.weight
    with torch.no_grad():  # a negative control
        swapped.copy_(swapped.flip(0))
    assert np.abs(theirs - scores(replace(one), pixels)).max() > 1e-2


def test_our_folder_gives_back_the_body_and_the_head_to_the_bit(tmp_path):
    one, pixels = fitted(), random_pixels(4)
    one.save(tmp_path / "m", tokenizer=None)
    back = load_fitted(tmp_path / "m", None, precision="fp32")
    assert back.model.config == one.model.config
    for name, weight in one.model.state_dict().items():
        assert torch.equal(weight, back.model.state_dict()[name]), name
    for name, weight in one.head.state_dict().items():
        assert torch.equal(weight, back.head.state_dict()[name]), name
    np.testing.assert_array_equal(scores(back, pixels), scores(one, pixels))
    back.save(tmp_path / "again", tokenizer=None)
    first, second = (tmp_path / name / "model.safetensors" for name in ("m", "again"))
    assert first.read_bytes() == second.read_bytes()


def test_a_class_token_head_is_the_stock_classifier_without_any_block(tmp_path):
    one, pixels = fitted(), random_pixels(4)
    head = SequenceHead(one.model.config, one.model.style, outputs=3).eval()
    plain = Fitted(
        one.model, head, "classes", ("a", "b", "c"), FRAME, "full", SIDE, precision="fp32"
    )
    plain.save(tmp_path / "m", tokenizer=None)
    stock = transformers.ViTForImageClassification.from_pretrained(tmp_path / "m").eval()
    assert stock.config.num_hidden_layers == 3
    with torch.no_grad():
        np.testing.assert_allclose(
            stock(values(pixels)).logits.numpy(), scores(plain, pixels), atol=1e-5
        )
    loaded = load_model(tmp_path / "m")
    assert len(loaded.model.stack.blocks) == 3


def test_the_block_hides_the_class_token_whatever_its_size():
    one, pixels = fitted(), random_pixels(4)
    with torch.no_grad():
        one.model.embed.first.mul_(1000)
    body, stock = with_mean_block(one.model, one.head)
    batch = image_batch(pixels)
    with torch.no_grad():
        found = stock(body.eval().encode(batch), batch.layout["tokens"])
    np.testing.assert_allclose(found.numpy(), scores(one, pixels), atol=1e-4)
    assert LOUD == 2.0**30


@pytest.mark.parametrize("layers", [1, 2])
def test_fewer_blocks_give_the_inner_states_normalised(layers):
    one = fitted()
    cut, batch = shallower(one.model, layers), image_batch(random_pixels(2))
    with torch.no_grad():
        inner = one.model.hidden_states(batch)[layers]
        found = cut.encode(batch)
    expected = torch.nn.functional.layer_norm(inner, inner.shape[-1:], eps=1e-12)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-5)
    assert shallower(one.model, 3) is one.model
    weight = cut.stack.blocks[0].mlp.up.weight
    assert weight.data_ptr() == one.model.stack.blocks[0].mlp.up.weight.data_ptr()
