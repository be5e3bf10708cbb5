import json

import numpy as np
import pytest
import safetensors.torch
import torch
import transformers

from headstart.errors import CheckpointError, InputError
from headstart.families import bert, load_model, save_model, vit
from headstart.families.image_heads import MaskedPatchHead
from headstart.nn import Patches
from headstart.nn.patches import grid_sinusoids, interpolated
from headstart.objectives.image_objective import ImagePretraining
from headstart.objectives.masked_image import MaskedAutoencoder, SimpleMaskedImage
from images import FRAME, PATCH, SIDE, image_batch, image_sequences, random_pixels, values
from parity.compare import assert_close, randomise, save_stock

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "image_size": SIDE,
    "patch_size": PATCH,
}
DECODER = {
    "decoder_hidden_size": 16,
    "decoder_num_hidden_layers": 2,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 24,
}
HEADS = [
    ("ViTModel", "hidden", "last_hidden_state"),
    ("ViTModel", "pooler", "pooler_output"),
    ("ViTForImageClassification", "sequence", "logits"),
]
IMAGES = random_pixels()
GRID = SIDE // PATCH


def stock(name="ViTForImageClassification", **config):
    values = {**SIZES, "num_labels": 5, **config}
    return getattr(transformers, name)(transformers.ViTConfig(**values))


def stock_mae(**config):
    values = {**SIZES, **DECODER, **config}
    return transformers.ViTMAEForPreTraining(transformers.ViTMAEConfig(**values))


def outputs(loaded, kind, pixels=IMAGES):
    batch = image_batch(pixels)
    with torch.no_grad():
        hidden = loaded.model.encode(batch)
        if kind == "hidden":
            return hidden.view(len(pixels), -1, hidden.shape[-1])
        return loaded.heads[kind](hidden, batch.layout["tokens"])


@torch.no_grad()
def stock_outputs(model, name, pixels=IMAGES, **options):
    return getattr(model(values(pixels), **options), name)


def opened(name, folder):
    """A folder of ours in stock, with nothing missing or left over."""
    model, report = getattr(transformers, name).from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    return model.eval()


@pytest.mark.parametrize(("name", "kind", "field"), HEADS)
def test_a_stock_vit_gives_the_same_scores_when_loaded(tmp_path, name, kind, field):
    theirs = save_stock(stock(name), tmp_path)
    loaded = load_model(tmp_path)
    assert loaded.model.arrangement == "image encoder"
    assert_close(outputs(loaded, kind), stock_outputs(theirs, field))


@pytest.mark.parametrize(("name", "kind", "field"), HEADS)
def test_our_vit_gives_the_same_scores_when_opened_by_transformers(tmp_path, name, kind, field):
    save_stock(stock(name, hidden_act="gelu_new", layer_norm_eps=1e-5), tmp_path / "a")
    loaded = load_model(tmp_path / "a")
    heads = loaded.heads if kind != "hidden" or name == "ViTModel" else {}
    save_model(loaded.model, heads, tmp_path / "b", pixels=FRAME.scale)
    assert_close(outputs(loaded, kind), stock_outputs(opened(name, tmp_path / "b"), field))


def test_a_fresh_vit_of_ours_is_read_by_the_auto_classes(tmp_path):
    model = vit.build(
        num_layers=2,
        hidden_size=32,
        num_heads=2,
        patches=Patches(image_size=SIDE, patch_size=PATCH),
    )
    randomise(model)
    save_model(model, {}, tmp_path, pixels=FRAME.scale)
    theirs = transformers.AutoModel.from_pretrained(tmp_path, add_pooling_layer=False).eval()
    batch = image_batch(IMAGES)
    with torch.no_grad():
        ours = model.encode(batch).view(len(IMAGES), -1, 32)
    assert_close(ours, stock_outputs(theirs, "last_hidden_state"))


def test_the_stock_processor_of_our_folder_gives_the_pixels_that_we_compute(tmp_path):
    pytest.importorskip("PIL")
    from PIL import Image

    from headstart.data.picture import squared

    save_stock(stock(), tmp_path / "a")
    loaded = load_model(tmp_path / "a")
    save_model(loaded.model, loaded.heads, tmp_path / "b", pixels=FRAME.scale)
    assert load_model(tmp_path / "b").pixels == FRAME.scale
    rgb = np.ascontiguousarray(random_pixels(1, side=40)[0].transpose(1, 2, 0))[:30]
    ours = values(squared(rgb, SIDE)[None])
    processor = transformers.ViTImageProcessorPil.from_pretrained(tmp_path / "b")
    theirs = processor(Image.fromarray(rgb), return_tensors="pt")["pixel_values"]
    assert (ours - theirs).abs().max() < 1e-5


def gradients(folder, model, heads=None):
    """A model's gradients by the names of files: saved as if they were its weights."""
    for part in (model, *(heads or {}).values()):
        for weight in part.parameters():
            weight.data = torch.zeros_like(weight) if weight.grad is None else weight.grad
    if heads is None:
        model.save_pretrained(folder)
    else:
        save_model(model, heads, folder)
    found = safetensors.torch.load_file(folder / "model.safetensors")
    # transformers 5 saves these under a name of its own making
    return {n.replace("decoder_encoder.layer", "decoder_layers"): t for n, t in found.items()}


def assert_same_gradients(ours, theirs, *, without=()):
    assert set(ours) == set(theirs)
    for name in set(ours) - set(without):
        # a bias of keys has no gradient but rounding: softmax does not see it
        scale = theirs[name].norm()
        assert scale > 1e-3 or name.endswith("key.bias"), name
        apart = (ours[name] - theirs[name]).norm() / scale.clamp_min(1e-3)
        assert apart < 1e-4, (name, float(apart))


def test_gradients_are_those_of_transformers(tmp_path):
    theirs = save_stock(stock(), tmp_path / "a")
    loaded = load_model(tmp_path / "a")
    labels = torch.tensor([3, 0, 4])
    torch.nn.functional.cross_entropy(theirs(values(IMAGES)).logits, labels).backward()
    batch = image_batch(IMAGES)
    scores = loaded.heads["sequence"](loaded.model.encode(batch), batch.layout["tokens"])
    torch.nn.functional.cross_entropy(scores, labels).backward()
    ours = gradients(tmp_path / "ours", loaded.model, loaded.heads)
    assert_same_gradients(ours, gradients(tmp_path / "theirs", theirs))


@pytest.mark.parametrize("change", ["patches", "class token", "query and key"])
def test_a_slip_in_the_reading_shows_in_the_scores(tmp_path, change):
    theirs = save_stock(stock(), tmp_path)
    loaded = load_model(tmp_path)
    model = loaded.model
    with torch.no_grad():
        if change == "patches":  # colours last instead of first within a patch
            weight = model.embed.tokens.weight
            weight.copy_(weight.permute(0, 2, 3, 1).reshape(weight.shape).clone())
        elif change == "class token":
            model.embed.first.zero_()
        else:
            for block in model.stack.blocks:
                qkv = block.attention.qkv.weight
                qkv.copy_(torch.cat([qkv[32:64], qkv[:32], qkv[64:]]))
    assert (outputs(loaded, "sequence") - stock_outputs(theirs, "logits")).abs().max() > 1e-3


@pytest.mark.parametrize("size", [8, 24, 40])
def test_images_of_another_size_get_the_interpolated_positions_of_transformers(tmp_path, size):
    theirs = save_stock(stock(), tmp_path / "a")
    loaded = load_model(tmp_path / "a")
    pixels = random_pixels(side=size)
    expected = stock_outputs(theirs, "logits", pixels, interpolate_pos_encoding=True)
    resized = vit.at_size(loaded.model, size)
    batch = image_batch(pixels)
    with torch.no_grad():
        ours = loaded.heads["sequence"](resized.encode(batch), batch.layout["tokens"])
    assert_close(ours, expected)
    # the original is as it was, and the new one is a model of its own when saved
    assert_close(outputs(loaded, "sequence"), stock_outputs(theirs, "logits"))
    save_model(resized, loaded.heads, tmp_path / "b")
    again = opened("ViTForImageClassification", tmp_path / "b")
    assert_close(stock_outputs(again, "logits", pixels), expected)


@pytest.mark.parametrize("grid", [(2, 7), (4, 4), (9, 3)])
def test_positions_of_any_grid_are_those_of_transformers(grid):
    model = randomise(stock("ViTModel"))
    found = interpolated(model.embeddings.position_embeddings.detach(), grid)
    height, width = grid[0] * PATCH, grid[1] * PATCH
    tokens = torch.zeros(1, 1 + grid[0] * grid[1], 32)
    with torch.no_grad():
        expected = model.embeddings.interpolate_pos_encoding(tokens, height, width)
    assert_close(found, expected, most=1e-6)


def test_fixed_positions_are_those_of_stock_mae():
    embeddings = stock_mae().vit.embeddings
    embeddings.patch_embeddings.projection._is_hf_initialized = False
    embeddings.initialize_weights()
    expected = embeddings.position_embeddings.detach()[0]
    assert_close(grid_sinusoids(GRID, 32), expected, most=1e-6)


class Given:
    """A generator that gives this noise."""

    def __init__(self, noise):
        self.noise = noise

    def random(self, shape):
        assert shape == self.noise.shape
        return self.noise


def mae_loss(loaded, noise):
    head = loaded.heads["mae"]
    objective = ImagePretraining([MaskedAutoencoder(head.shape)], FRAME)
    batch = objective.prepare(image_sequences(IMAGES), Given(noise))
    heads = objective.heads(loaded.model, start=loaded.heads)
    assert heads["mae"] is head
    return objective.loss(loaded.model, heads, batch)


def stock_mae_loss(theirs, noise):
    return theirs(values(IMAGES), noise=torch.from_numpy(noise)).loss


NOISE = np.random.default_rng(3).random((len(IMAGES), GRID**2))


@pytest.mark.parametrize("options", [{}, {"norm_pix_loss": True}, {"mask_ratio": 0.4}])
def test_the_loss_of_mae_is_that_of_transformers_for_the_same_masks(tmp_path, options):
    theirs = save_stock(stock_mae(**options), tmp_path / "a")
    loaded = load_model(tmp_path / "a")
    assert not loaded.notes
    ours = mae_loss(loaded, NOISE)
    expected = stock_mae_loss(theirs, NOISE)
    assert abs(ours.value.item() - expected.item()) <= 1e-5 * expected.item()
    assert ours.count == len(IMAGES) * (
        GRID**2 - int(GRID**2 * (1 - options.get("mask_ratio", 0.75)))
    )
    other = mae_loss(loaded, NOISE[::-1].copy())
    assert abs(other.value.item() - expected.item()) > 1e-3  # other patches are hidden
    save_model(loaded.model, loaded.heads, tmp_path / "b")
    again = opened("ViTMAEForPreTraining", tmp_path / "b")
    assert abs(stock_mae_loss(again, NOISE).item() - expected.item()) <= 1e-5 * expected.item()
    stated = json.loads((tmp_path / "b" / "config.json").read_text())
    assert stated["model_type"] == "vit_mae"
    assert stated["norm_pix_loss"] == options.get("norm_pix_loss", False)


def test_gradients_of_mae_are_those_of_transformers(tmp_path):
    theirs = save_stock(stock_mae(norm_pix_loss=True), tmp_path / "a")
    loaded = load_model(tmp_path / "a")
    stock_mae_loss(theirs, NOISE).backward()
    mae_loss(loaded, NOISE).value.backward()
    fixed = ("vit.embeddings.position_embeddings", "decoder.decoder_pos_embed")  # not learnt there
    ours = gradients(tmp_path / "ours", loaded.model, loaded.heads)
    assert_same_gradients(ours, gradients(tmp_path / "theirs", theirs), without=fixed)


def test_a_decoder_without_its_positions_gives_another_loss(tmp_path):
    theirs = save_stock(stock_mae(), tmp_path)
    loaded = load_model(tmp_path)
    loaded.heads["mae"].positions.zero_()
    apart = mae_loss(loaded, NOISE).value.item() - stock_mae_loss(theirs, NOISE).item()
    assert abs(apart) > 1e-3


def test_the_loss_of_simmim_is_that_of_transformers_for_the_same_masks(tmp_path):
    theirs = save_stock(stock("ViTForMaskedImageModeling", encoder_stride=PATCH), tmp_path / "a")
    loaded = load_model(tmp_path / "a")
    objective = ImagePretraining([SimpleMaskedImage(rate=0.5)], FRAME)
    batch = objective.prepare(image_sequences(IMAGES), Given(NOISE))
    ours = objective.loss(loaded.model, objective.heads(loaded.model, start=loaded.heads), batch)
    hidden = torch.from_numpy(np.argsort(np.argsort(NOISE, 1), 1) < GRID**2 / 2)
    expected = theirs(values(IMAGES), bool_masked_pos=hidden).loss
    assert abs(ours.value.item() - expected.item()) <= 1e-5
    ours.value.backward()
    expected.backward()
    mine = gradients(tmp_path / "ours", loaded.model, loaded.heads)
    assert_same_gradients(mine, gradients(tmp_path / "theirs", theirs))


def test_our_simmim_is_opened_by_transformers(tmp_path):
    save_stock(stock("ViTForMaskedImageModeling", encoder_stride=PATCH), tmp_path / "a")
    loaded = load_model(tmp_path / "a")
    save_model(loaded.model, loaded.heads, tmp_path / "b")
    theirs, again = (opened("ViTForMaskedImageModeling", tmp_path / name) for name in ("a", "b"))
    hidden = torch.from_numpy(NOISE < 0.5)
    with torch.no_grad():
        expected = theirs(values(IMAGES), bool_masked_pos=hidden).reconstruction
        assert_close(again(values(IMAGES), bool_masked_pos=hidden).reconstruction, expected)


def test_a_body_from_a_mae_folder_becomes_a_plain_vit(tmp_path):
    save_stock(stock_mae(), tmp_path / "a")
    loaded = load_model(tmp_path / "a")
    assert isinstance(loaded.heads["mae"], MaskedPatchHead)
    save_model(loaded.model, {}, tmp_path / "b")
    theirs = transformers.AutoModel.from_pretrained(tmp_path / "b", add_pooling_layer=False).eval()
    assert type(theirs).__name__ == "ViTModel"
    assert_close(outputs(loaded, "hidden"), stock_outputs(theirs, "last_hidden_state"))


REFUSED = [
    ({"qkv_bias": False}, "'qkv_bias' is false, but must be true"),
    ({"pooler_act": "relu"}, '\'pooler_act\' is "relu", but must be "tanh" or null'),
    (
        {"image_size": [16, 32]},
        "'image_size' is [16, 32], but must be a whole number from 1 to 100000",
    ),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_what_the_family_cannot_do_is_refused(tmp_path, change, message):
    save_stock(stock(), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(CheckpointError) as caught:
        load_model(tmp_path)
    assert str(caught.value) == f"{path}: {message}"


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(InputError) as caught:
        Patches(image_size=30, patch_size=8)
    assert str(caught.value) == "image_size 30 is not a multiple of patch_size 8: 24 would be"
    with pytest.raises(InputError) as caught:
        vit.at_size(bert.build(num_layers=1, hidden_size=8, num_heads=1, vocab_size=9), 32)
    assert str(caught.value) == "family bert reads text, so it has no image size"
