"""Pretrain on images without a flag: a folder, a table, and what is refused."""

import json

import pytest
import torch
import transformers

from headstart import recipes
from headstart.config import PretrainSettings
from headstart.errors import CheckpointError, InputError
from headstart.families import load_model
from headstart.settings_file import make_settings
from pictures import encoded, photo

SMALL = {
    "model.num_layers": 1,
    "model.hidden_size": 32,
    "model.num_heads": 2,
    "images.size": 16,
    "images.patch": 4,
    "images.decoder_layers": 1,
    "images.codes": 16,
    "data.tokens_per_batch": 136,
    "machine.threads": 1,
    "machine.precision": "fp32",
    "budget": "6 steps",
}


class Notes:
    """Listens and remembers."""

    def __init__(self):
        self.plans, self.notes = [], []

    def plan(self, lines):
        self.plans += map(str, lines)

    def progress(self, stage, done, total, detail=""):
        pass

    def note(self, text):
        self.notes.append(str(text))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """24 images in two class folders, one of them cut off."""
    root = tmp_path_factory.mktemp("photos")
    for number in range(24):
        path = root / ("a" if number % 2 else "b") / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encoded(photo(number))[: 100 if number == 7 else None])
    return root


def run(photos, out, **given):
    events = Notes()
    settings = make_settings(PretrainSettings, given={**SMALL, "out": str(out), **given})
    return recipes.pretrain([photos], settings=settings, events=events), events


@pytest.mark.parametrize("objective", ["mae", "simmim", "beit", "contrast", "mae+contrast"])
def test_a_folder_of_images_needs_no_flag_and_gives_a_stock_vit(photos, tmp_path, objective):
    given = {} if objective == "mae" else {"objective.name": objective}
    result, events = run(photos, tmp_path / "run", **given)
    assert result.steps == 6
    assert result.next_commands() == [
        f"headstart finetune labelled/ --from {tmp_path}/run",
        f"headstart report labelled/ --from {tmp_path}/run",
    ]
    assert 0 < result.held_out_loss < 10
    assert "these are images" in events.notes
    assert "images: 23, brought to 16 x 16 pixels (1 set aside, 0 rejected)" in events.notes
    assert any(f"{photos}/a/7.png: the PNG image is damaged" in note for note in events.notes)
    assert "images of 16 x 16 pixels in patches of 4 x 4" in events.plans[0]
    model, report = transformers.ViTModel.from_pretrained(
        result.model, add_pooling_layer=False, output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert model.config.image_size == 16
    processor = json.loads((result.model / "preprocessor_config.json").read_text())
    assert processor["size"] == {"height": 16, "width": 16}


def test_the_settings_of_a_run_repeat_it_to_the_same_weights(photos, tmp_path):
    first, _ = run(photos, tmp_path / "one")
    settings = make_settings(
        PretrainSettings, file=first.folder / "run.yaml", given={"out": str(tmp_path / "two")}
    )
    assert settings.model.family == "vit"
    assert settings.objective.name == "mae"
    second = recipes.pretrain([photos], settings=settings, events=Notes())
    one, two = (path / "model" / "model.safetensors" for path in (first.folder, second.folder))
    assert one.read_bytes() == two.read_bytes()


def test_a_run_goes_on_from_another_one_at_another_size(photos, tmp_path):
    first, _ = run(photos, tmp_path / "one")
    again, _ = run(
        photos,
        tmp_path / "two",
        start=str(first.folder),
        **{"images.size": 24, "images.patch": None},
    )
    assert load_model(again.model).model.config.patches.image_size == 24
    lineage = json.loads((again.folder / "lineage.json").read_text())
    assert lineage["parent"] == str(first.folder)


def test_a_run_that_goes_on_keeps_its_code_book(photos, tmp_path):
    given = {"objective.name": "beit", "out": str(tmp_path / "run")}
    first, events = run(photos, **given)
    (path,) = first.folder.glob("codes-*.safetensors")
    assert f"code book: 16 codes learnt from patches of these images, kept in {path}" in (
        events.notes
    )
    again, events = run(photos, **given)
    assert again.steps == 6
    assert not any("code book" in note for note in events.notes)
    # a control: with other codes it would be another run
    content = bytearray(path.read_bytes())
    content[-4:] = bytes(4)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"was begun differently, .*data"):
        run(photos, **given)
    path.write_bytes(content[:-4])
    with pytest.raises(CheckpointError) as caught:
        run(photos, **given)
    assert str(caught.value) == f"{path} places 'centres' outside of the file"


def test_too_few_patches_for_the_codes_are_said(photos, tmp_path):
    with pytest.raises(InputError) as caught:
        run(photos, tmp_path / "run", **{"objective.name": "beit", "images.codes": 4096})
    assert str(caught.value) == (
        "images.codes is 4096, but only 352 different patches were found in the images: write "
        "images.codes: 44, or give more images"
    )


def test_contrast_goes_on_where_masked_pretraining_ended(photos, tmp_path):
    masked, _ = run(photos, tmp_path / "masked")
    still = {"optimizer.lr": 1e-12, "optimizer.muon_lr": 1e-12, "objective.name": "contrast"}
    views, _ = run(photos, tmp_path / "views", start=str(masked.folder), **still)
    fresh, _ = run(photos, tmp_path / "fresh", seed=1, **still)
    one, two, other = (load_model(r.model).model.state_dict() for r in (masked, views, fresh))
    assert all(torch.allclose(one[name], two[name], atol=1e-6) for name in one)
    assert not all(torch.allclose(one[name], other[name], atol=1e-3) for name in one)


def test_joint_objectives_log_their_parts(photos, tmp_path):
    result, _ = run(photos, tmp_path / "run", **{"objective.name": "beit+contrast"})
    lines = (result.folder / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line) for line in lines if '"loss"' in line]
    assert len(steps) == 6
    assert all({"beit", "contrast"} <= set(step["parts"]) for step in steps)


REFUSED = [
    (
        {"model.family": "bert"},
        "{} holds images, but model.family bert reads text: leave it out, or write "
        "model.family: vit",
    ),
    (
        {"objective.name": "mlm"},
        "{} holds images, but objective.name mlm predicts text: leave it out, or write "
        "objective.name: contrast or mae or simmim or beit or mae+contrast or simmim+contrast or "
        "beit+contrast",
    ),
    (
        {"data.text": "caption"},
        "{} is read for images, so there is no column of texts 'caption': leave --text out",
    ),
]


@pytest.mark.parametrize(("given", "message"), REFUSED)
def test_what_is_for_text_is_refused_for_images(photos, tmp_path, given, message):
    with pytest.raises(InputError) as caught:
        run(photos, tmp_path / "run", **given)
    assert str(caught.value) == message.format(photos)
    assert not (tmp_path / "run").exists()


def test_an_image_family_is_refused_for_text(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("some words\n" * 10)
    with pytest.raises(InputError) as caught:
        run(text, tmp_path / "run", **{"model.family": "vit"})
    assert str(caught.value) == (
        f"{text} holds text, but model.family vit reads images: leave it out, or give a folder or "
        "table of images"
    )
