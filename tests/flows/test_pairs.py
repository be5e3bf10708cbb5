"""Images with captions, whole: pretrain, open in stock transformers, evaluate, predict, refuse."""

import json

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

import headstart as hs
from captioned import SIDE, write_pairs
from flows.test_image_pretraining import Notes
from headstart import recipes
from headstart.config import PretrainSettings
from headstart.data.images import load_images
from headstart.errors import InputError
from headstart.evaluate.towers import Towers
from headstart.families import load_model
from headstart.settings_file import make_settings
from pictures import encoded, photo

SMALL = {
    "model.num_layers": 2,
    "model.hidden_size": 64,
    "model.num_heads": 2,
    "images.size": SIDE,
    "images.patch": 6,
    "data.vocab_size": 400,
    "data.max_length": 24,
    "pairs.batch": 64,
    "pairs.held_out": 0.2,
    "machine.threads": 1,
    "machine.precision": "fp32",
    "budget": "60 steps",
}


def run(path, out, **given):
    events = Notes()
    settings = make_settings(PretrainSettings, given={**SMALL, "out": str(out), **given})
    return recipes.pretrain([path], settings=settings, events=events), events


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """500 images with two captions each; ten of them are encoded anew under another name."""
    root = tmp_path_factory.mktemp("shapes")
    path = write_pairs(root, 500)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for number in range(10):
        image = Image.open(root / f"{number}.png")
        (root / f"again-{number}.jpg").write_bytes(encoded(image, "JPEG", quality=97))
        rows.append({**rows[number], "image": f"again-{number}.jpg"})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def trained(shapes, tmp_path_factory):
    return run(shapes, tmp_path_factory.mktemp("runs") / "shapes")


def test_pairs_held_out_find_each_other_and_what_was_done_is_said(trained):
    result, events = trained
    assert "these are images with captions" in events.notes
    assert any(note.startswith("pairs: 510 images with 1,020 captions") for note in events.notes)
    split = next(note for note in events.notes if "are held out" in note)
    assert split.startswith("102 images are held out")
    left_out = int(split.split("; ")[1].split()[0])
    assert 1 <= left_out <= 10  # a copy and its original on two sides
    assert events.plans[0].startswith("model clip-mini: two towers of 2 layers x 64")
    for way in (result.retrieval.model.to_text, result.retrieval.model.to_image):
        first = way[0]
        assert first.at == 1
        assert first.value > first.chance + 0.3
        assert first.low <= first.value <= first.high
    facts = dict(result.facts())
    assert {"image_to_text", "text_to_image", "colours_to_text", "by_chance"} <= set(facts)
    assert result.next_commands()[0] == f"headstart evaluate {result.folder} pairs.csv"


def test_captions_of_other_images_teach_nothing(tmp_path):
    result, _ = run(write_pairs(tmp_path / "data", 500, shuffled=True), tmp_path / "run")
    for way in (result.retrieval.model.to_text, result.retrieval.model.to_image):
        assert way[0].value < way[0].chance + 0.1


@torch.no_grad()
def test_the_model_folder_is_a_stock_clip_with_its_processor(shapes, trained):
    folder = trained[0].model
    theirs, report = transformers.CLIPModel.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    processor = transformers.AutoProcessor.from_pretrained(folder)
    assert type(processor).__name__ == "CLIPProcessor"
    texts = ["a red circle above", "下方有蓝色的方形", "a Green cross below"]
    pictures = [Image.open(shapes.parent / f"{n}.png").convert("RGB") for n in range(4)]
    given = processor(text=texts, images=pictures, return_tensors="pt", padding=True)
    expected = theirs.eval()(**given)
    towers = Towers.open(folder)
    pixels = load_images([shapes.parent / f"{n}.png" for n in range(4)], side=SIDE).pixels
    mine, seen = torch.from_numpy(towers.texts(texts)), torch.from_numpy(towers.images(pixels))
    assert (mine - expected.text_embeds).abs().max() < 1e-5
    assert (seen - expected.image_embeds).abs().max() < 1e-5
    scores = towers.factor * mine @ seen.t()
    assert (scores - expected.logits_per_text).abs().max() < 1e-4


def test_other_pairs_are_evaluated_beside_colours_chance_and_leaks(shapes, trained, tmp_path):
    path = write_pairs(tmp_path, 60, seed=7)
    found = hs.evaluate(trained[0].folder, path)
    assert found.leaked == 0
    assert found.model.images == 60
    assert found.model.to_image[0].value > found.model.to_image[0].chance + 0.3
    assert found.baseline.to_image[2].value > found.baseline.to_image[2].chance + 0.2
    for number in range(5):
        (tmp_path / f"{number}.png").write_bytes(
            (shapes.parent / f"{number + 20}.png").read_bytes()
        )
    again = hs.evaluate(trained[0].folder, path)
    assert again.leaked == 5
    # a model folder alone knows nothing of its training pairs
    alone = hs.evaluate(trained[0].model, path)
    assert (alone.baseline, alone.leaked) == (None, None)


def test_labelled_images_are_classified_by_the_names_of_the_labels(trained, tmp_path):
    path = write_pairs(tmp_path, 80, seed=8)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    labels = tmp_path / "labels.jsonl"
    labels.write_text(
        "".join(json.dumps({"image": r["image"], "label": r["shape"]}) + "\n" for r in rows)
    )
    found = hs.evaluate(trained[0].folder, labels)
    assert found.rows == 80
    assert found.others["by_chance"] == 0.25
    assert found.score > 0.45
    assert set(found.per_class) == {"circle", "square", "triangle", "cross"}
    # a table with captions too: the label's column decides
    assert hs.evaluate(trained[0].folder, path, label="shape").score == found.score


def test_images_are_answered_with_texts_and_ordered_by_one(shapes, trained):
    rows = [json.loads(line) for line in shapes.read_text().splitlines()][:12]
    files = [str(shapes.parent / row["image"]) for row in rows]
    texts = sorted({row["caption"][0] for row in rows})
    answers = hs.predict(trained[0].folder, [*files, *texts])
    assert [answer.text for answer in answers] == files
    right = [answer.label == row["caption"][0] for answer, row in zip(answers, rows, strict=True)]
    assert np.mean(right) > 0.5
    assert all(0 < answer.share <= 1 for answer in answers)
    ranked = hs.predict(trained[0].folder, [*files, texts[0]])
    assert sorted(answer.text for answer in ranked) == sorted(files)
    assert abs(sum(answer.share for answer in ranked) - 1) < 1e-4
    assert [a.share for a in ranked] == sorted((a.share for a in ranked), reverse=True)


def test_cached_gradients_take_the_steps_of_the_whole_batch(shapes, tmp_path):
    losses = []
    for chunk in (None, 16):
        result, events = run(
            shapes, tmp_path / f"run-{chunk}", **{"budget": "5 steps", "pairs.chunk": chunk}
        )
        lines = (result.folder / "metrics.jsonl").read_text().splitlines()
        losses.append([one["loss"] for line in lines if "loss" in (one := json.loads(line))])
        assert events.plans[2] == (
            f"64 pairs a step, loss softmax, activations of {chunk or 64} pairs at once"
        )
    assert len(losses[0]) == 5
    assert np.allclose(losses[0], losses[1], atol=2e-4)


def test_a_sigmoid_run_keeps_its_bias_and_its_settings_repeat_it(shapes, tmp_path):
    given = {"budget": "3 steps", "pairs.loss": "sigmoid"}
    first, _ = run(shapes, tmp_path / "one", **given)
    bias = load_model(first.model).model.style.pair_bias
    assert -10.1 < bias < -9.9
    assert bias != -10.0
    transformers.CLIPModel.from_pretrained(first.model)
    settings = make_settings(
        PretrainSettings, file=first.folder / "run.yaml", given={"out": str(tmp_path / "two")}
    )
    second = recipes.pretrain([shapes], settings=settings, events=Notes())
    one, two = (path / "model" / "model.safetensors" for path in (first.folder, second.folder))
    assert one.read_bytes() == two.read_bytes()
    third, _ = run(shapes, tmp_path / "three", start=str(first.folder), **given)
    assert load_model(third.model).model.style.pair_bias != bias
    lineage = json.loads((third.folder / "lineage.json").read_text())
    assert lineage["parent"] == str(first.folder)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Images without captions in a table, and in a folder."""
    root = tmp_path_factory.mktemp("photos")
    for number in range(3):
        (root / f"{number}.png").write_bytes(encoded(photo(number)))
    table = tmp_path_factory.mktemp("table") / "photos.csv"
    for number in range(3):
        (table.parent / f"{number}.png").write_bytes(encoded(photo(number)))
    table.write_text("image,kind\n" + "".join(f"{n}.png,x\n" for n in range(3)))
    return {"folder": root, "table": table}


REFUSED = [
    (
        "table",
        {"model.family": "clip"},
        "{} holds images, but no column is named like captions, which model.family clip learns "
        "from: name it with --set pairs.caption=COLUMN, or leave that out to learn from "
        "images alone",
    ),
    (
        "folder",
        {"objective.name": "image_text"},
        "{} holds images, but no column is named like captions, which model.family clip learns "
        "from: give a table, or leave that out to learn from images alone",
    ),
]


@pytest.mark.parametrize(("what", "given", "message"), REFUSED)
def test_images_without_captions_are_refused(photos, tmp_path, what, given, message):
    with pytest.raises(InputError) as caught:
        run(photos[what], tmp_path / "run", **given)
    assert str(caught.value) == message.format(photos[what])


def test_text_and_a_probe_are_refused(shapes, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("some words\n" * 10)
    cases = [
        (
            (text, {"model.family": "clip"}),
            f"{text} holds text, but model.family clip reads images with captions: leave it out, "
            "or give a folder or table of images with captions",
        ),
        (
            (shapes, {"probe": str(text)}),
            "probe is for text so far: leave it out when pretraining on pairs",
        ),
    ]
    for number, ((path, given), message) in enumerate(cases):
        if "probe" in given:
            text.write_text("text,label\na,b\nc,d\n")
        with pytest.raises(InputError) as caught:
            run(path, tmp_path / str(number), **given)
        assert str(caught.value) == message
    with pytest.raises(InputError) as caught:
        make_settings(
            PretrainSettings, given={"model.family": "gpt", "objective.name": "image_text"}
        )
    assert (
        "objective.name image_text: image_text needs two towers (clip, dual), but model.family gpt "
        "is a decoder, which can do "
    ) in str(caught.value)
    with pytest.raises(InputError) as caught:
        make_settings(PretrainSettings, given={"model.family": "clip", "objective.name": "mlm"})
    assert "but model.family clip is two towers, which can do image_text" in str(caught.value)


def test_long_captions_and_what_is_no_image_are_told_where_they_are_used(trained, tmp_path):
    run_folder, events = trained[0].folder, Notes()
    path = write_pairs(tmp_path, 8, seed=3)
    lines = path.read_text().splitlines()
    row = json.loads(lines[0])
    lines[0] = json.dumps({**row, "caption": "red circle " * 500})
    for number in range(1, 8):
        (tmp_path / f"{number}.png").write_bytes(b"junk")
    path.write_text("\n".join(lines) + "\n")
    recipes.evaluate(str(run_folder), [path], events=events)
    assert events.notes[-3:-1] == [
        "... and 2 more; headstart check shows them",
        "1 of 1 texts are longer than the model's 24 tokens and are read up to there (the longest "
        "has 1,000)",
    ]
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04")
    for given, message in (
        (
            tmp_path / "a.zip",
            f"{tmp_path}/a.zip is a file, but none of images: give images or tables of them",
        ),
        (
            tmp_path / "no.png",
            f"{tmp_path}/no.png does not exist. Check the path; if it is a text to answer for, put "
            "it into a file",
        ),
    ):
        with pytest.raises(InputError) as caught:
            recipes.predict(str(run_folder), [str(given), "a red circle", ""])
        assert str(caught.value) == message


def test_what_a_model_of_two_towers_cannot_answer_is_refused(trained, tmp_path):
    run_folder = trained[0].folder
    text = tmp_path / "labels.csv"
    text.write_text("text,label\n" + "some words,a\nother words,b\n" * 5)
    with pytest.raises(InputError) as caught:
        hs.evaluate(run_folder, text)
    assert str(caught.value) == (
        f"{text} holds text, but the model of {run_folder} compares images with texts: give images "
        "with captions, or with labels"
    )
    for verb in (
        lambda: hs.finetune(text, start=run_folder, seeds=1, out=tmp_path / "tuned"),
        lambda: hs.encoder(run_folder),
    ):
        with pytest.raises(InputError) as caught:
            verb()
        assert str(caught.value) == (
            f"{run_folder} holds two towers, of texts and of images, which can only be pretrained "
            "on, evaluated and asked to predict so far: choose a model of texts"
        )
    with pytest.raises(InputError) as caught:
        hs.predict(run_folder, ["a red circle", "a blue one"])
    assert str(caught.value) == (
        f"the inputs hold no images, but {run_folder} compares both: headstart predict RUN "
        'photo.jpg "a red shoe" "a blue shirt"'
    )
    with pytest.raises(InputError) as caught:
        hs.predict(run_folder, ["lost.jpg", "a red circle"])
    assert str(caught.value) == (
        "lost.jpg does not exist. Check the path; if it is a text to answer for, put it into a file"
    )
