"""Two towers that begin as runs of their own: a BERT or GPT on captions, a ViT on images."""

import json

import pytest
import torch
import transformers
from PIL import Image

import headstart as hs
from captioned import SIDE, write_pairs
from flows.test_image_pretraining import Notes
from headstart.batch import Batch
from headstart.config import PretrainSettings
from headstart.data.images import load_images
from headstart.data.pack import lay_out
from headstart.data.patches import PixelScale, cut, lay_out_patches
from headstart.data.text import encode, load_tokenizer
from headstart.errors import InputError
from headstart.evaluate.towers import Towers
from headstart.families import load_model, make_head
from headstart.families.tower import image_tower, joined, text_tower
from headstart.settings_file import make_settings
from headstart.tasks.examples import vocabulary_of

SHARED = {
    "machine.threads": 1,
    "machine.precision": "fp32",
    "data.max_length": 24,
}
TEXT = {
    "model.num_layers": 2,
    "model.hidden_size": 48,
    "model.num_heads": 2,
    "data.vocab_size": 400,
    "data.tokens_per_batch": 512,
}
IMAGE = {
    "model.num_layers": 3,
    "model.hidden_size": 64,
    "model.num_heads": 2,
    "images.size": SIDE,
    "images.patch": 6,
    "data.tokens_per_batch": 17 * 32,
}
PAIRS = {**SHARED, "pairs.batch": 64, "pairs.held_out": 0.2}
STILL = {
    "budget": "1 steps",
    "optimizer.lr": 1e-12,
    "optimizer.muon_lr": 1e-12,
}  # a step that moves nothing
CAPTIONS = ["a red circle above", "下方有蓝色的方形", "a Green cross below"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """pairs/: images with captions; bert, gpt, modern and vit: runs on one half of them."""
    root = tmp_path_factory.mktemp("towers")
    table = write_pairs(root / "pairs", 400)
    rows = [json.loads(line) for line in table.read_text(encoding="utf-8").splitlines()]
    captions = root / "captions.txt"
    captions.write_text("\n".join(text for row in rows for text in row["caption"]) + "\n", "utf-8")
    for family, steps in (("bert", 60), ("gpt", 20), ("modern", 2)):
        hs.pretrain(
            captions,
            family=family,
            out=root / family,
            budget=f"{steps} steps",
            settings={**SHARED, **TEXT},
        )
    hs.pretrain(
        root / "pairs",
        family="vit",
        out=root / "vit",
        budget="60 steps",
        settings={**SHARED, **IMAGE},
    )
    return root


def run(place, out, **given):
    events = Notes()
    settings = {**PAIRS, "budget": "60 steps", **given}
    found = hs.pretrain(place / "pairs" / "pairs.jsonl", out=out, settings=settings, events=events)
    return found, events


@pytest.fixture(scope="module")
def trained(place, tmp_path_factory):
    """A BERT and a ViT that have learnt pairs together."""
    given = {
        "pairs.start_text": str(place / "bert"),
        "pairs.start_images": str(place / "vit"),
    }
    return run(place, tmp_path_factory.mktemp("runs") / "dual", **given)


def some_texts(folder) -> Batch:
    """The captions as the tower's own tokenizer gives them."""
    tokenizer = load_tokenizer(folder / "model")
    known = vocabulary_of(tokenizer)
    stream, layout = lay_out(
        encode(tokenizer, CAPTIONS), prefix=known.cls, suffix=known.sep, pad=known.pad
    )
    return Batch({"tokens": stream}, {"tokens": layout}, {})


def some_images(place, *, stream="pixels") -> Batch:
    pixels = load_images([place / "pairs" / f"{n}.png" for n in range(4)], side=SIDE).pixels
    patches, layout = lay_out_patches(cut(PixelScale().apply(pixels), 6))
    return Batch({"pixels": patches}, {stream: layout}, {})


@pytest.mark.parametrize("family", ["bert", "gpt"])
@torch.no_grad()
def test_towers_give_the_states_that_their_sources_give(place, family):
    texts, images = (load_model(place / name / "model") for name in (family, "vit"))
    model = joined(text_tower(texts), image_tower(images), end=0)
    assert model.family == "dual"
    captions, pictures = some_texts(place / family), some_images(place)
    expected = texts.model.encode(captions)
    assert torch.equal(model.encode(captions), expected)
    alone = some_images(place, stream="tokens")
    seen = images.model.encode(alone)
    assert torch.equal(model.encode_images(pictures), seen)
    # a layer of the source that was not taken over would show
    for half, wanted, found in (
        (model.stack, expected, lambda: model.encode(captions)),
        (model.images.stack, seen, lambda: model.encode_images(pictures)),
    ):
        half.blocks[1].mlp.up.weight.mul_(0.5)
        assert (found() - wanted).abs().max() > 1e-3


def test_what_is_loaded_and_what_is_fresh_is_said(place, trained):
    _, events = trained
    for said in (
        f"tower of texts: that of {place / 'bert'} (bert, 2 layers x 48)",
        f"tower of images: that of {place / 'vit'} (vit, 3 layers x 64)",
        "the projections of both towers to vectors of 48 numbers are fresh",
        "texts are read at their first token through a dense layer that is fresh too",
        "images are read at their class token through a dense layer that is fresh too",
    ):
        assert said in events.notes
    assert events.plans[0].startswith("model dual: texts 2 layers x 48, images 3 layers x 64, ")


def test_training_goes_on_from_the_sources(place, trained, tmp_path):
    still, _ = run(
        place,
        tmp_path / "still",
        **{"pairs.start_text": str(place / "bert"), "pairs.start_images": str(place / "vit")},
        **STILL,
    )
    captions, pictures = some_texts(place / "bert"), some_images(place)
    sources = load_model(place / "bert" / "model").model, load_model(place / "vit" / "model").model
    expected = sources[0].encode(captions)
    seen = sources[1].encode(some_images(place, stream="tokens"))
    begun, gone = (load_model(found.model).model for found in (still, trained[0]))
    assert (begun.encode(captions) - expected).abs().max() < 1e-5
    assert (begun.encode_images(pictures) - seen).abs().max() < 1e-5
    assert (gone.encode(captions) - expected).abs().max() > 0.1
    assert (gone.encode_images(pictures) - seen).abs().max() > 0.1
    for way in (trained[0].retrieval.model.to_text, trained[0].retrieval.model.to_image):
        assert way[0].value > way[0].chance + 0.1
    lineage = json.loads((trained[0].folder / "lineage.json").read_text())
    assert lineage["parent"] == f"{place / 'bert'} (texts), {place / 'vit'} (images)"


def test_the_settings_of_a_run_repeat_it(place, tmp_path):
    first, _ = run(
        place,
        tmp_path / "one",
        **{
            "pairs.start_text": str(place / "bert"),
            "pairs.start_images": str(place / "vit"),
            "budget": "3 steps",
        },
    )
    second = hs.pretrain(
        place / "pairs" / "pairs.jsonl", config=first.folder / "run.yaml", out=tmp_path / "two"
    )
    one, two = (path / "model" / "model.safetensors" for path in (first.folder, second.folder))
    assert one.read_bytes() == two.read_bytes()


@torch.no_grad()
def test_the_folder_opens_in_stock_with_its_processor(place, trained):
    folder = trained[0].model
    theirs, report = transformers.VisionTextDualEncoderModel.from_pretrained(
        folder, output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    same_in_stock(place, folder, theirs.eval())


@torch.no_grad()
def same_in_stock(place, folder, theirs):
    processor = transformers.AutoProcessor.from_pretrained(folder)
    files = [place / "pairs" / f"{n}.png" for n in range(4)]
    pictures = [Image.open(path).convert("RGB") for path in files]
    given = processor(text=CAPTIONS, images=pictures, return_tensors="pt", padding=True)
    expected = theirs(**given)
    towers = Towers.open(folder)
    pixels = load_images(files, side=SIDE).pixels
    mine, seen = torch.from_numpy(towers.texts(CAPTIONS)), torch.from_numpy(towers.images(pixels))
    assert (mine - expected.text_embeds).abs().max() < 1e-5
    assert (seen - expected.image_embeds).abs().max() < 1e-5
    # three captions, three vectors: a text read at the wrong place would be another's
    assert (mine[0] - mine[1]).abs().max() > 1e-3


def test_a_gpt_beside_a_fresh_tower_is_a_stock_clip(place, tmp_path):
    given = {f"model.{name}": value for name, value in (("num_layers", 1), ("hidden_size", 32))}
    found, events = run(
        place,
        tmp_path / "run",
        **{"pairs.start_text": str(place / "gpt"), "images.size": SIDE, "images.patch": 6},
        **{**given, "model.num_heads": 2, "budget": "3 steps"},
    )
    assert "tower of images: fresh, 1 layers x 32" in events.notes
    assert not [note for note in events.notes if "dense layer" in note]
    theirs = transformers.CLIPModel.from_pretrained(found.model).eval()
    same_in_stock(place, found.model, theirs)


def test_a_model_of_two_towers_gives_its_towers_and_their_poolers(place, trained, tmp_path):
    source = str(trained[0].folder)
    given = {"pairs.start_text": source, "pairs.start_images": source}
    found, events = run(place, tmp_path / "run", **given, **STILL)
    assert (
        "texts are read at their first token through the dense layer that comes with their tower"
    ) in events.notes
    old, new = load_model(trained[0].model), load_model(found.model)
    for name, pooler in old.heads["pair"].poolers():
        mine = dict(new.heads["pair"].poolers())[name]
        assert (mine.dense.weight - pooler.dense.weight).abs().max() < 1e-6
    assert (new.heads["pair"].texts.weight - old.heads["pair"].texts.weight).abs().max() > 1e-2
    # --from takes the projections too
    found, _ = run(place, tmp_path / "whole", **{"start": source, **STILL})
    weight = load_model(found.model).heads["pair"].texts.weight
    assert (weight - old.heads["pair"].texts.weight).abs().max() < 1e-6


def test_pairs_are_evaluated_and_answered_as_by_any_two_towers(place, trained, tmp_path):
    table = write_pairs(tmp_path, 60, seed=7)
    found = hs.evaluate(trained[0].folder, table)
    assert found.model.to_image[0].value > found.model.to_image[0].chance + 0.1
    answers = hs.predict(trained[0].folder, [str(tmp_path / "0.png"), *CAPTIONS])
    assert answers[0].label in CAPTIONS


def test_images_of_another_size_are_said(place, tmp_path):
    found, events = run(
        place,
        tmp_path / "run",
        **{"pairs.start_images": str(place / "vit"), "images.size": 30, "budget": "1 steps"},
        **{key: value for key, value in TEXT.items() if key != "data.tokens_per_batch"},
    )
    assert (
        "the tower of images was pretrained on 24 x 24 pixels; its positions are interpolated to "
        "30 x 30"
    ) in events.notes
    assert "tower of texts: fresh, 2 layers x 48" in events.notes
    assert load_model(found.model).model.config.images.patches.image_size == 30


REFUSED = [
    (
        {"pairs.start_text": "modern"},
        "pairs.start_text: {}/modern holds a model of family modern (encoder), but a tower of "
        "texts can be of bert, roberta, gpt, clip, dual: pretrain one with --family bert",
    ),
    (
        {"pairs.start_images": "gpt"},
        "pairs.start_images: {}/gpt holds a model of family gpt (decoder), but a tower of images "
        "can be of vit, clip, dual: pretrain one with --family vit",
    ),
    (
        {"pairs.start_text": "bert", "pairs.start_images": "vit", "model.hidden_size": 32},
        "model.hidden_size is 32, but both towers come from folders: {0}/bert has 2 layers x 48, "
        "2 heads, {0}/vit has 3 layers x 64, 2 heads. Leave model.hidden_size out",
    ),
    (
        {"pairs.start_text": "bert", "pairs.start_images": "vit", "images.patch": 8},
        "images.patch is 8, but {}/vit reads patches of 6 x 6 pixels: leave images.patch out",
    ),
    (
        {"pairs.start_images": "vit", "images.size": 32},
        "image_size 32 is not a multiple of patch_size 6: 30 would be",
    ),
    (
        {"pairs.start_text": "bert", "data.max_length": 64},
        "data.max_length is 64, but {}/bert has 24 positions: lower data.max_length to that",
    ),
]


@pytest.mark.parametrize(("given", "message"), REFUSED)
def test_what_does_not_fit_is_refused_with_both_shapes(place, tmp_path, given, message):
    named = {
        key: str(place / value) if key.startswith("pairs") else value
        for key, value in given.items()
    }
    with pytest.raises(InputError) as caught:
        run(place, tmp_path / "run", **named)
    assert str(caught.value) == message.format(place)


def test_a_tokenizer_of_another_model_is_refused(place, tmp_path):
    import shutil

    for family, message in (
        ("bert", "its tokenizer has {} tokens, its model only {}: they do not belong together"),
        (
            "gpt",
            "a tower that only sees what came before is read at the token that ends a text, whose "
            "id must not be 2, but its tokenizer has 2",
        ),
    ):
        folder = tmp_path / family
        shutil.copytree(place / family / "model", folder)
        (folder / "digests.json").unlink()  # or the folder counts as damaged
        path = folder / "tokenizer.json"
        known = json.loads(path.read_text(encoding="utf-8"))
        size = load_model(folder).model.config.vocab_size
        if family == "bert":
            known["model"]["vocab"] |= {f"new{n}": size + n for n in range(3)}
        else:
            at = {number: word for word, number in known["model"]["vocab"].items()}
            known["model"]["vocab"] |= {at[2]: 0, "<|endoftext|>": 2}
            known["added_tokens"][0]["id"] = 2
        path.write_text(json.dumps(known), encoding="utf-8")
        with pytest.raises(InputError) as caught:
            run(place, tmp_path / "run", **{"pairs.start_text": str(folder)})
        assert str(caught.value) == f"{folder}: {message.format(size + 3, size)}"


def test_two_starts_and_other_families_are_refused(place, tmp_path):
    cases = [
        (
            {"start": "runs/a", "pairs.start_text": "runs/b"},
            "start is runs/a and pairs.start_text is given too: leave one of them out, as start is "
            "for both towers",
        ),
        (
            {"model.family": "vit", "pairs.start_images": "runs/b"},
            "pairs.start_images is a tower of a model of two, but model.family is vit: leave "
            "model.family out, or write clip or dual",
        ),
    ]
    for given, message in cases:
        with pytest.raises(InputError) as caught:
            make_settings(PretrainSettings, given=given)
        assert message in str(caught.value)
    captions = place / "captions.txt"
    with pytest.raises(InputError) as caught:
        hs.pretrain(captions, start_text=place / "bert", out=tmp_path / "run")
    assert str(caught.value) == (
        f"{captions} holds text, but pairs.start_text reads images with captions: leave it out, or "
        "give a folder or table of images with captions"
    )


def test_a_fresh_pooler_is_not_taken_for_a_learnt_one(place):
    texts, images = (load_model(place / name / "model") for name in ("bert", "vit"))
    model = joined(text_tower(texts), image_tower(images), end=0)
    fresh = make_head(model, "pair", seed=1)
    learnt = make_head(model, "pair", seed=2)
    again = make_head(model, "pair", seed=1, start=dict(learnt.poolers()))
    assert torch.equal(again.text_pooler.dense.weight, learnt.text_pooler.dense.weight)
    assert not torch.equal(again.text_pooler.dense.weight, fresh.text_pooler.dense.weight)
    assert torch.equal(again.texts.weight, fresh.texts.weight)
