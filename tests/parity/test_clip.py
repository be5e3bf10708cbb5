import json

import numpy as np
import pytest
import torch
import transformers

from headstart.batch import Batch, Sequences
from headstart.data.text import train_tokenizer
from headstart.errors import CheckpointError, InputError
from headstart.families import clip, load_model, save_model
from headstart.families.heads import make_head
from headstart.families.pair_head import PairHead
from headstart.nn import Patches
from images import FRAME, PATCH, SIDE, values
from layouts import packed, padded
from parity.compare import assert_close, randomise, save_stock, stock_inputs
from parity.towers import (
    END,
    IMAGE,
    IMAGES,
    SHARED,
    TEXT,
    assert_same_gradients,
    assert_same_outputs,
    captions,
    opened,
    outputs,
    pair_outputs,
    pairs,
)


def stock(act="quick_gelu", **more):
    text, image = {**TEXT, "hidden_act": act}, {**IMAGE, "hidden_act": act}
    config = transformers.CLIPConfig(
        text_config=text, vision_config=image, projection_dim=SHARED, **more
    )
    return transformers.CLIPModel(config)


@pytest.mark.parametrize("act", ["quick_gelu", "gelu"])
@torch.no_grad()
def test_a_stock_clip_gives_the_same_vectors_and_scores_when_loaded(tmp_path, act):
    theirs = save_stock(stock(act), tmp_path)
    loaded = load_model(tmp_path)
    assert loaded.model.arrangement == "two towers"
    assert not loaded.notes
    expected = pair_outputs(theirs)
    for layout in (packed, padded):
        assert_same_outputs(outputs(loaded, layout), expected)


@pytest.mark.parametrize("act", ["quick_gelu", "gelu"])
@torch.no_grad()
def test_our_clip_gives_the_same_vectors_and_scores_when_opened_by_transformers(tmp_path, act):
    save_stock(stock(act), tmp_path / "a")
    loaded = load_model(tmp_path / "a")
    save_model(loaded.model, loaded.heads, tmp_path / "b", pixels=FRAME.scale)
    for name in ("CLIPModel", "AutoModel"):
        assert_same_outputs(outputs(loaded), pair_outputs(opened(name, tmp_path / "b")))
    again = load_model(tmp_path / "b")
    assert again.model.config == loaded.model.config
    assert again.model.style == loaded.model.style
    assert again.pixels == FRAME.scale


@torch.no_grad()
def test_a_fresh_clip_of_ours_is_opened_with_its_stock_processor(tmp_path):
    from PIL import Image

    texts = ["a red shoe", "the blue shirt", "\u7ea2\u8272\u7684\u978b", "a red shirt"] * 3
    tokenizer = train_tokenizer(texts, kind="bpe", vocab_size=300, style="clip")
    model = clip.build(
        num_layers=2,
        hidden_size=32,
        num_heads=2,
        vocab_size=tokenizer.get_vocab_size(),
        max_positions=40,
        patches=Patches(image_size=SIDE, patch_size=PATCH),
    )
    head = make_head(model, "pair")
    randomise(model, seed=1)
    save_model(model, {"pair": head}, tmp_path, tokenizer=tokenizer, pixels=FRAME.scale)
    theirs = opened("CLIPModel", tmp_path)
    assert theirs.config.text_config.eos_token_id == tokenizer.token_to_id("<|endoftext|>")
    processor = transformers.CLIPProcessor.from_pretrained(tmp_path)
    pictures = [Image.fromarray(image.transpose(1, 2, 0)) for image in IMAGES]
    given = processor(text=texts[:5], images=pictures, return_tensors="pt", padding=True)
    assert (given["pixel_values"] - values(IMAGES)).abs().max() < 1e-5
    expected = theirs(**given)
    rows = [
        [i for i, seen in zip(ids, mask, strict=True) if seen]
        for ids, mask in zip(
            given["input_ids"].tolist(), given["attention_mask"].tolist(), strict=True
        )
    ]
    lengths = np.array([len(row) for row in rows])
    batch = packed(Sequences(np.concatenate(rows), lengths, np.arange(5)))
    found = head.of_texts(lambda at: model.encode(batch, at=at), batch.layout["tokens"])
    assert_close(found, expected.text_embeds)


def test_gradients_are_those_of_transformers(tmp_path):
    theirs = save_stock(stock(), tmp_path / "a")
    loaded = load_model(tmp_path / "a")
    pair_outputs(theirs, return_loss=True).loss.backward()
    scores = outputs(loaded)[2]
    own = torch.arange(len(scores))
    cross = torch.nn.functional.cross_entropy
    ((cross(scores, own) + cross(scores.t(), own)) / 2).backward()
    assert_same_gradients(loaded, theirs, tmp_path / "gradients")


@torch.no_grad()
def test_in_bf16_the_vectors_stay_close(tmp_path):
    theirs = save_stock(stock(), tmp_path)
    expected = pair_outputs(theirs)
    ours = outputs(load_model(tmp_path, dtype=torch.bfloat16))
    for mine, name in zip(ours[:2], ("text_embeds", "image_embeds"), strict=True):
        assert torch.nn.functional.cosine_similarity(mine, getattr(expected, name)).min() > 0.995


SLIPS = ["class token", "end token", "causal", "first norm", "query and key", "towers"]


@pytest.mark.parametrize("slip", SLIPS)
@torch.no_grad()
def test_a_slip_in_the_reading_shows_in_the_scores(tmp_path, slip):
    theirs = save_stock(stock(), tmp_path)
    loaded = load_model(tmp_path)
    model, head = loaded.model, loaded.heads["pair"]
    if slip == "class token":
        model.images.embed.first.zero_()
    elif slip == "first norm":
        model.images.embed.norm.weight.fill_(1.0)
    elif slip == "query and key":
        for block in model.stack.blocks:
            qkv = block.attention.qkv.weight
            qkv.copy_(torch.cat([qkv[32:64], qkv[:32], qkv[64:]]))
    elif slip == "end token":
        head.text_pooler.pooling = "first"
    batch = pairs()
    causal = False if slip == "causal" else None
    texts = head.of_texts(
        lambda at: model.encode(batch, causal=causal, at=at), batch.layout["tokens"]
    )
    images = head.of_images(lambda at: model.encode_images(batch, at=at), batch.layout["pixels"])
    scores = head.factor() * texts @ images.t()
    scores = scores.t() if slip == "towers" else scores
    assert (scores - pair_outputs(theirs).logits_per_text).abs().max() > 1e-2


@torch.no_grad()
def test_one_tower_with_its_projection_is_read(tmp_path):
    whole = stock()
    for name, config in (
        ("Text", whole.config.text_config),
        ("Vision", whole.config.vision_config),
    ):
        config.projection_dim = SHARED
        theirs = getattr(transformers, f"CLIP{name}ModelWithProjection")(config)
        save_stock(theirs, tmp_path / name)
        loaded = load_model(tmp_path / name)
        batch, head = pairs(), loaded.heads["pair"]
        assert isinstance(head, PairHead)
        assert head.scale is None
        if name == "Text":
            assert loaded.model.arrangement == "decoder"
            vectors = head.of_texts(
                lambda at, m=loaded.model, b=batch: m.encode(b, at=at), batch.layout["tokens"]
            )
            expected = theirs(**stock_inputs(captions(), pad=END)).text_embeds
            assert_close(vectors, torch.nn.functional.normalize(expected))
        else:
            assert loaded.model.arrangement == "image encoder"
            alone = Batch(batch.inputs, {"tokens": batch.layout["pixels"]}, {})
            vectors = head.of_images(
                lambda at, m=loaded.model, b=alone: m.encode(b, at=at), batch.layout["pixels"]
            )
            expected = theirs(pixel_values=values(IMAGES)).image_embeds
            assert_close(vectors, torch.nn.functional.normalize(expected))
        with pytest.raises(InputError) as caught:
            save_model(loaded.model, loaded.heads, tmp_path / "out")
        assert str(caught.value) == (
            "one tower of a CLIP is read, but not written: save the whole model"
        )


REFUSED = [
    ("text_config", {"hidden_act": "mish"}, "hidden_act"),
    ("vision_config", {"image_size": [16, 32]}, "image_size"),
]


@pytest.mark.parametrize(("tower", "change", "key"), REFUSED)
def test_what_the_family_cannot_do_is_refused(tmp_path, tower, change, key):
    save_stock(stock(), tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    config[tower] |= change
    path.write_text(json.dumps(config))
    with pytest.raises(CheckpointError) as caught:
        load_model(tmp_path)
    start = f"{path}, {tower}: '{key}' is {json.dumps(change[key])}, but must be "
    assert str(caught.value).startswith(start)


def test_dropout_of_training_is_kept_in_the_folder(tmp_path):
    patches = Patches(image_size=8, patch_size=4)
    model = clip.build(
        num_layers=1, hidden_size=16, num_heads=1, vocab_size=9, dropout=0.1, patches=patches
    )
    save_model(model, {"pair": make_head(model, "pair")}, tmp_path)
    opened("CLIPModel", tmp_path)
    again = load_model(tmp_path).model.config
    assert (again.dropout, again.images.dropout) == (0.1, 0.1)
