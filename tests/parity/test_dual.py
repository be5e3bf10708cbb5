import json

import pytest
import torch
import transformers

from headstart.errors import CheckpointError, InputError
from headstart.families import dual, load_model, save_model
from headstart.families.heads import make_head
from headstart.nn import Patches
from images import FRAME
from layouts import packed, padded
from parity.compare import randomise, save_stock
from parity.towers import (
    END,
    IMAGE,
    SHARED,
    TEXT,
    assert_same_gradients,
    assert_same_outputs,
    opened,
    outputs,
    pair_outputs,
    pairs,
)

PAD = 1
ROBERTA = {"pad_token_id": PAD, "max_position_embeddings": 16 + PAD + 1}
KINDS = {
    "bert and vit": (transformers.BertConfig(**TEXT), transformers.ViTConfig(**IMAGE)),
    "roberta and vit": (
        transformers.RobertaConfig(**{**TEXT, **ROBERTA}),
        transformers.ViTConfig(**IMAGE),
    ),
    "clip and vit": (transformers.CLIPTextConfig(**TEXT), transformers.ViTConfig(**IMAGE)),
    "bert and clip": (transformers.BertConfig(**TEXT), transformers.CLIPVisionConfig(**IMAGE)),
}


def stock(kind):
    text, image = KINDS[kind]
    config = transformers.VisionTextDualEncoderConfig(
        text_config=text.to_dict(), vision_config=image.to_dict(), projection_dim=SHARED
    )
    return transformers.VisionTextDualEncoderModel(config)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_stock_towers_give_the_same_vectors_and_scores_when_loaded(tmp_path, kind):
    theirs = save_stock(stock(kind), tmp_path)
    loaded = load_model(tmp_path)
    assert (loaded.model.family, loaded.model.arrangement) == ("dual", "two towers")
    assert not loaded.notes
    for layout in (packed, padded):
        assert_same_outputs(outputs(loaded, layout), pair_outputs(theirs, pad=PAD))


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_our_towers_give_the_same_vectors_and_scores_when_opened_by_transformers(tmp_path, kind):
    save_stock(stock(kind), tmp_path / "a")
    loaded = load_model(tmp_path / "a")
    loaded.model.style = dual.style_of(loaded.model.config, end=END)
    randomise(loaded.model, seed=5)
    save_model(loaded.model, loaded.heads, tmp_path / "b", pixels=FRAME.scale)
    theirs = opened("VisionTextDualEncoderModel", tmp_path / "b")
    assert_same_outputs(outputs(loaded), pair_outputs(theirs, pad=PAD))
    again = load_model(tmp_path / "b")
    assert again.model.config == loaded.model.config
    assert again.model.style == loaded.model.style


@pytest.mark.parametrize("kind", ["bert and vit", "clip and vit"])
def test_gradients_are_those_of_transformers(tmp_path, kind):
    theirs = save_stock(stock(kind), tmp_path)
    loaded = load_model(tmp_path)
    pair_outputs(theirs, pad=PAD, return_loss=True).loss.backward()
    scores = outputs(loaded)[2]
    own = torch.arange(len(scores))
    cross = torch.nn.functional.cross_entropy
    ((cross(scores, own) + cross(scores.t(), own)) / 2).backward()
    assert_same_gradients(loaded, theirs, tmp_path / "gradients")


SLIPS = ["pooler of texts", "pooler of images", "patches' bias", "first token", "towers"]


@pytest.mark.parametrize("slip", SLIPS)
@torch.no_grad()
def test_a_slip_in_the_reading_shows_in_the_scores(tmp_path, slip):
    theirs = save_stock(stock("bert and vit"), tmp_path)
    loaded = load_model(tmp_path)
    model, head = loaded.model, loaded.heads["pair"]
    if slip == "pooler of texts":
        head.text_pooler.dense = None
    elif slip == "pooler of images":
        head.image_pooler.dense = None
    elif slip == "patches' bias":
        model.images.embed.tokens.bias.zero_()
    elif slip == "first token":
        head.text_pooler.pooling = "last"
    scores = outputs(loaded)[2]
    scores = scores.t() if slip == "towers" else scores
    assert (scores - pair_outputs(theirs, pad=PAD).logits_per_text).abs().max() > 1e-2


@torch.no_grad()
def test_a_folder_that_nests_clips_names_as_older_libraries_do_is_read(tmp_path):
    from safetensors.torch import load_file, save_file

    theirs = save_stock(stock("clip and vit"), tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    nested = {
        name.replace("text_model.", "text_model.text_model.", 1): tensor
        for name, tensor in tensors.items()
    }
    assert set(nested) != set(tensors)
    save_file(nested, path)
    assert_same_outputs(outputs(load_model(tmp_path)), pair_outputs(theirs, pad=PAD))


@torch.no_grad()
def test_fresh_towers_of_ours_are_opened_by_transformers(tmp_path):
    patches = Patches(image_size=FRAME.image_size, patch_size=FRAME.patch_size)
    model = dual.build(
        num_layers=2, hidden_size=32, num_heads=2, vocab_size=64, max_positions=16, patches=patches
    )
    assert model.config.images.patches == patches
    head = make_head(model, "pair")
    randomise(model)
    randomise(head)
    save_model(model, {"pair": head}, tmp_path)
    batch = pairs()
    texts = head.of_texts(lambda at: model.encode(batch, at=at), batch.layout["tokens"])
    images = head.of_images(lambda at: model.encode_images(batch, at=at), batch.layout["pixels"])
    theirs = pair_outputs(opened("VisionTextDualEncoderModel", tmp_path))
    assert_same_outputs((texts, images, head.factor() * texts @ images.t()), theirs)


def test_a_tower_of_another_family_is_refused_with_those_that_fit(tmp_path):
    save_stock(stock("bert and vit"), tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    config["text_config"]["model_type"] = "modernbert"
    path.write_text(json.dumps(config))
    with pytest.raises(CheckpointError) as caught:
        load_model(tmp_path)
    assert str(caught.value) == (
        f"{path}, text_config: 'model_type' is \"modernbert\", but must be one of bert, roberta, "
        "xlm-roberta, camembert, clip_text_model"
    )


def test_one_tower_alone_is_not_written(tmp_path):
    model = dual.build(num_layers=1, hidden_size=16, num_heads=1, vocab_size=9, max_positions=8)
    with pytest.raises(InputError) as caught:
        save_model(model.images, {"pair": make_head(model.images, "pair")}, tmp_path)
    assert str(caught.value) == "one of two towers cannot be written alone: save the whole model"
