"""From photos to a report without a flag: pretrain, fine-tune, evaluate, predict, check, plan."""

import io
import json
import os
import signal

import numpy as np
import pyarrow as pa
import pytest
import transformers
from PIL import Image
from pyarrow import parquet

import headstart as hs
from headstart import recipes
from headstart.config import FinetuneSettings, PretrainSettings, ReportSettings
from headstart.data.patches import PixelScale
from headstart.errors import InputError, Interrupted
from headstart.families import save_model, vit
from headstart.nn import Patches
from headstart.settings_file import make_settings
from pictures import encoded
from real_data import data_dir
from shapes import SHAPES, shape, write_shapes

PIXELS = {"images.size": 16, "images.patch": 4, "machine.threads": 1, "machine.precision": "fp32"}
NET = {"model.num_layers": 2, "model.hidden_size": 32, "model.num_heads": 2}
QUICK = {"transfer.epochs": 1, "transfer.min_steps": 40}


class Notes:
    """Listens, remembers, and may send this process a signal at a share of fine-tuning."""

    def __init__(self, *, stop_at=None):
        self.plans, self.notes, self.done, self.stop_at = [], [], [], stop_at

    def plan(self, lines):
        self.plans += map(str, lines)

    def note(self, text):
        self.notes.append(str(text))

    def progress(self, stage, done, total, detail=""):
        if stage != "finetune":
            return
        self.done.append(done)
        if self.stop_at is not None and done >= self.stop_at:
            self.stop_at = None
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """photos/ without labels, train/ and test/ with a folder a class, labels.parquet with bytes."""
    folder = tmp_path_factory.mktemp("shapes")
    write_shapes(folder / "photos", 60, first=2000, labelled=False)
    write_shapes(folder / "train", 90)
    write_shapes(folder / "test", 45, first=1000)
    (folder / "photos" / "leak.png").write_bytes((folder / "test/bar/1002.png").read_bytes())
    rows = [(encoded(shape(SHAPES[n % 3], seed=n)), SHAPES[n % 3]) for n in range(1000, 1045)]
    images, labels = zip(*rows, strict=True)
    table = pa.table({"image": list(images), "label": list(labels)})
    parquet.write_table(table, folder / "labels.parquet")
    return folder


@pytest.fixture(scope="module")
def pretrained(place):
    notes = Notes()
    given = {**PIXELS, **NET, "budget": "20 steps", "data.tokens_per_batch": 340}
    out, probe = str(place / "pretrained"), str(place / "test")
    settings = make_settings(PretrainSettings, given={**given, "out": out, "probe": probe})
    return recipes.pretrain([place / "photos"], settings=settings, events=notes), notes


@pytest.fixture(scope="module")
def tuned(place, pretrained):
    return hs.finetune(
        place / "train",
        start=pretrained[0],
        method="full",
        test=place / "test",
        seeds=1,
        out=place / "tuned",
        settings={**QUICK, "machine.threads": 1, "machine.precision": "fp32"},
    )


def test_a_probe_is_scored_while_pretraining_and_its_images_are_kept_out(pretrained):
    result, notes = pretrained
    assert "1 corpus images in the test set (1 exact)" in notes.notes
    lines = [json.loads(line) for line in (result.folder / "metrics.jsonl").open()]
    scores = [line for line in lines if "probe accuracy" in str(line)]
    assert scores, "the probe was scored"
    lineage = json.loads((result.folder / "lineage.json").read_text())
    assert lineage["data"]["left out of the corpus"] == "1"


@pytest.mark.parametrize("head", ["mean", "family"])
@pytest.mark.parametrize("method", ["probe", "lora", "partial", "full"])
def test_every_method_learns_and_opens_in_stock_transformers_with_equal_answers(
    place, pretrained, tmp_path, method, head
):
    made = hs.finetune(
        place / "train",
        start=pretrained[0],
        method=method,
        test=place / "test",
        seeds=1,
        out=tmp_path / "run",
        settings={
            **{**QUICK, "transfer.min_steps": 20, "transfer.head": head},
            "machine.threads": 1,
            "machine.precision": "fp32",
        },
    )
    assert made.result.measured.rows == 45
    assert made.result.measured.score > 1 / 3 + 0.1
    assert made.evaluate(place / "test") == made.result.measured
    files = sorted((place / "test").rglob("*.png"))[::5]
    answers = made.predict([str(path) for path in files])
    assert [answer.text for answer in answers] == [str(path) for path in files]
    folder = made.result.model
    stock = transformers.ViTForImageClassification.from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    scores = stock(**processor([Image.open(path) for path in files], return_tensors="pt")).logits
    theirs = scores.softmax(-1).detach().numpy()
    names = [stock.config.id2label[n] for n in theirs.argmax(1)]
    assert [answer.label for answer in answers] == names
    np.testing.assert_allclose([answer.share for answer in answers], theirs.max(1), atol=1e-5)


def test_a_table_with_bytes_gives_the_scores_of_the_same_files(place, tuned):
    measured = tuned.evaluate(place / "labels.parquet")
    assert measured.score == tuned.result.measured.score
    answers = tuned.predict([str(place / "labels.parquet"), str(place / "test" / "bar")])
    assert len(answers) == 45 + 15
    assert answers[0].text == f"{place / 'labels.parquet'}:1"


def test_models_of_other_sizes_are_compared_each_at_its_own(place, tuned, tmp_path):
    made = hs.finetune(
        place / "train",
        seeds=1,
        method="full",
        test=place / "test",
        out=tmp_path / "run",
        settings={**PIXELS, **NET, **QUICK, "images.size": 8, "transfer.min_steps": 5},
    )
    both = hs.compare(place / "tuned", tmp_path / "run", test=place / "test")
    assert both.first_score == tuned.result.measured.score
    assert both.second_score == made.result.measured.score


def test_fresh_weights_learn_without_a_start_and_hold_out_images(place, tmp_path):
    notes = Notes()
    made = hs.finetune(
        place / "train",
        seeds=1,
        method="full",
        out=tmp_path / "run",
        settings={**PIXELS, **NET, **QUICK, "transfer.lr": 2e-3},
        events=notes,
    )
    assert made.result.measured.rows == 18
    assert "no test file: 18 of the labelled rows are held out for testing" in notes.notes
    assert notes.plans[0] == "72 labelled images, 3 classes"
    assert notes.plans[1].startswith("from scratch: vit, 2 layers x 32")


def test_a_stopped_run_goes_on_to_the_same_bits(place, pretrained, tmp_path):
    def run(out, **events):
        listener = Notes(**events)
        hs.finetune(
            place / "train",
            start=pretrained[0],
            method="full",
            seeds=2,
            out=tmp_path / out,
            settings={**QUICK, "machine.threads": 1, "machine.precision": "fp32"},
            events=listener,
        )
        return listener

    run("straight")
    with pytest.raises(Interrupted):
        run("stopped", stop_at=1.495)
    listener = run("stopped")
    assert listener.done[0] == pytest.approx(1.525)
    one, two = (tmp_path / name / "model" / "model.safetensors" for name in ("straight", "stopped"))
    assert one.read_bytes() == two.read_bytes()


def test_views_vary_training_and_never_a_probe(place, pretrained, tmp_path):
    def weights(method, crop):
        made = hs.finetune(
            place / "train",
            start=pretrained[0],
            method=method,
            seeds=1,
            out=tmp_path / f"{method}-{crop}",
            settings={
                **{"transfer.epochs": 1, "transfer.min_steps": 2, "transfer.crop": crop},
                "machine.threads": 1,
                "machine.precision": "fp32",
            },
        )
        return (made.result.model / "model.safetensors").read_bytes()

    assert weights("full", 0.3) != weights("full", 1.0)
    assert weights("probe", 0.3) == weights("probe", 1.0)


def test_run_yaml_says_what_images_decided_and_repeats_the_run(place, pretrained, tmp_path):
    given = {"transfer.max_steps": 3, "machine.threads": 1, "machine.precision": "fp32"}
    first = hs.finetune(
        place / "train",
        start=pretrained[0],
        method="full",
        seeds=1,
        out=tmp_path / "one",
        settings=given,
    )
    file = tmp_path / "one" / "run.yaml"
    made = make_settings(FinetuneSettings, file=file)
    assert (made.transfer.tokens_per_batch, made.transfer.epochs) == (64 * 17, 30)
    assert (made.transfer.dropout, made.transfer.head_scale) == (0.0, 1.0)
    assert (made.model.family, made.images.size, made.images.patch) == ("vit", 16, 4)
    second = hs.finetune(config=file, out=tmp_path / "two")
    one, two = (run.result.model / "model.safetensors" for run in (first, second))
    assert one.read_bytes() == two.read_bytes()


def report(place, out, **given):
    notes = Notes()
    settings = make_settings(
        ReportSettings,
        given={
            **PIXELS,
            **NET,
            **{"transfer.epochs": 1, "transfer.min_steps": 5},
            **{"corpus": [str(place / "photos")], "test": str(place / "test"), "out": str(out)},
            **{"labels": ["30", "all"], "seeds": 2, "budget": "16s", "pretrain_share": 0.1},
            **given,
        },
    )
    return recipes.report([place / "train"], settings=settings, events=notes), notes


def test_a_report_of_images_has_every_arm_its_leaks_and_speaks_of_images(place, tmp_path):
    made, notes = report(place, tmp_path / "run")
    record = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    arms = ["majority", "pixels", "pixels-neighbours", "hog", "own-probe"]
    trained = ["scratch", "own-full", "own-lora", "own-partial"]
    assert list(dict.fromkeys(cell["arm"] for cell in record["cells"])) == [*arms, *trained]
    done = {(c["arm"], c["labels"]): c["score"] for c in record["cells"] if c["status"] == "done"}
    assert done["hog", 90] > done["majority", 90] + 0.3
    assert "1 corpus images in the test set (1 exact)" in notes.notes
    assert made.report.facts.leaks.removed == 1
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    for words in (
        "1 corpus images are also test images (1 exact copies, 0 that look the same",
        "语料中有 1 张图像与测试图像重合",
        "60 unlabelled images",
        "未标注图像 60 张",
        "45 test images, opened once",
        "Pixels + neighbours",
        "像素 + 最近邻",
        "labelled images (log scale)",
    ):
        assert words in page, words
    assert "document" not in page.split("<script")[0]
    assert "文档" not in page
    assert str(tmp_path) not in page
    again, notes = report(place, tmp_path / "run")
    assert "pretraining" not in " ".join(notes.plans)
    assert [c.key for c in again.report.cells] == [c.key for c in made.report.cells]


def test_self_training_takes_images_of_the_corpus_that_do_not_leak(place, pretrained, tmp_path):
    shares, notes = [], Notes()
    for out, rounds in (("plain", 0), ("helped", 2)):
        made = hs.finetune(
            place / "train",
            start=pretrained[0],
            method="probe",
            test=place / "test",
            out=tmp_path / out,
            settings={
                "corpus": [str(place / "photos")],
                "transfer.self_training": rounds,
                "machine.threads": 1,
            },
            events=notes,
        )
        shares.append(np.array([a.share for a in made.predict([str(place / "photos")])]))
        assert sorted(os.listdir(tmp_path / out)) == [
            "lineage.json",
            "metrics.jsonl",
            "model",
            "run.yaml",
        ]
    assert np.abs(shares[0] - shares[1]).max() > 1e-3
    said = [note for note in notes.notes if note.startswith("self-training: ")]
    assert said == ["self-training: 60 images without labels, 1 left out that leak"]


def test_every_linear_arm_of_a_report_of_images_is_self_trained_alike(place, pretrained, tmp_path):
    arms = ["majority", "pixels", "hog", "own-probe"]
    given = {"start": str(pretrained[0].folder), "arms": arms, "labels": ["12"]}
    scores = []
    for out, rounds in (("plain", 0), ("helped", 3)):
        made, _ = report(place, tmp_path / out, **given, **{"transfer.self_training": rounds})
        scores.append({(c.arm, c.seed): c.correct for c in made.report.cells})
    assert scores[0].keys() == scores[1].keys()
    changed = {arm for (arm, seed), right in scores[0].items() if scores[1][arm, seed] != right}
    assert changed == {"pixels", "hog", "own-probe"}


def test_a_run_is_judged_beside_a_public_model_of_another_size(place, pretrained, tmp_path):
    public = vit.build(
        num_layers=1,
        hidden_size=16,
        num_heads=1,
        patches=Patches(image_size=24, patch_size=8),
    )
    save_model(public, {}, tmp_path / "public", pixels=PixelScale())
    arms = ["majority", "own-probe", "public-probe"]
    given = {"start": str(pretrained[0].folder), "arms": arms}
    given["public"] = [str(tmp_path / "public"), str(pretrained[0].folder)]
    made, _ = report(place, tmp_path / "run", corpus=[], labels=["30"], **given)
    scores = {cell.arm: cell.score for cell in made.report.cells}
    same = f"public-probe:{pretrained[0].folder.name}"
    assert set(scores) == {"majority", "own-probe", "public-probe:public", same}
    assert scores[same] == scores["own-probe"]
    assert scores["public-probe:public"] > scores["majority"]
    assert made.report.facts.pretrain_seconds == 0


def test_check_finds_what_is_wrong_with_images_and_test_images_among_them(place, tmp_path):
    folder = write_shapes(tmp_path / "data", 9)
    (folder / "bar" / "broken.png").write_bytes(encoded(shape("bar", seed=7))[:90])
    (folder / "pole" / "copy.png").write_bytes((folder / "bar" / "0.png").read_bytes())
    found = recipes.check([str(folder)], test=str(folder / "bar")).report
    assert (found.rows, found.accepted, found.quarantined, found.rejected) == (11, 10, 1, 0)
    assert found.classes == {"bar": 3, "pole": 4, "square": 3}
    assert found.duplicates == 1
    texts = [str(problem) for problem in found.problems]
    assert any(f"{folder}/bar/broken.png: the PNG image is damaged" in text for text in texts)
    assert any("the same image has the label 'pole' here and 'bar' in" in text for text in texts)
    assert any("corpus images in the test set (4 exact" in text for text in texts)


def test_a_column_of_images_can_be_named_where_nothing_is_trained(place, tuned, tmp_path):
    rows = ["first,second,label"]
    for number, name in enumerate(("bar", "pole", "square")):
        data = encoded(shape(name, seed=number))
        (tmp_path / f"{number}.png").write_bytes(data)
        (tmp_path / f"no{number}.png").write_bytes(data[:40])
        rows.append(f"no{number}.png,{number}.png,{name}")
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(rows))
    how = {"settings": {"images.column": "second"}}
    assert hs.check(path, **how).report.accepted == 3
    assert tuned.evaluate(path, **how).rows == 3
    assert [a.text for a in tuned.predict(str(path), **how)] == [f"{path}:{n}" for n in (2, 3, 4)]
    assert hs.compare(tuned.folder, tuned.folder, test=path, **how).difference == 0
    for verb in (lambda: tuned.evaluate(path), lambda: tuned.predict(str(path))):
        with pytest.raises(InputError) as caught:
            verb()
        assert str(caught.value).endswith(
            "no column holds images or paths of images (found: first, second, label). Name it with "
            "--set images.column=COLUMN"
        )


def test_plan_speaks_of_images(place):
    notes = Notes()
    given = {**PIXELS, **NET, "budget": "100 steps", "data.tokens_per_batch": 340}
    settings = make_settings(PretrainSettings, given=given)
    plan = recipes.plan([place / "photos"], settings=settings, events=notes)
    assert (plan.steps, plan.corpus.documents) == (100, 61)
    assert plan.epochs == pytest.approx(100 * 20 / 61)
    lines = [str(line) for line in plan.lines()]
    assert lines[0] == (
        "about 61 images in 1 folders and tables (of the first ones 0 set aside, 0 rejected)"
    )
    assert "images of 16 x 16 pixels in patches of 4 x 4" in lines[1]
    assert lines[2] == "about 100 steps of 20 images, 32.8 passes over the corpus"
    assert "images/s on cpu" in lines[3]


def test_plan_of_images_goes_on_from_a_run_and_in_two_stages(place, pretrained):
    run = pretrained[0].folder
    given = {**PIXELS, "budget": "10 steps", "start": str(run), "then": "contrast"}
    plan = recipes.plan([place / "photos"], settings=make_settings(PretrainSettings, given=given))
    config = json.loads((run / "model" / "config.json").read_text())
    assert (plan.num_layers, plan.hidden_size) == (
        config["num_hidden_layers"],
        config["hidden_size"],
    )
    lines = [str(line) for line in plan.lines()]
    assert lines[1].startswith(f"from {run}: vit, {plan.num_layers} layers x {plan.hidden_size}, ")
    assert (lines[2], plan.steps) == ("stage 1 of 2: mae, budget 7 steps", 7)
    assert plan.then is not None
    assert (plan.then.objective, plan.then.steps) == ("contrast", 3)


BAD = [
    (
        lambda place, run: hs.finetune(place / "photos", start=run),
        "{place}/photos holds images, but no folder that stands for a class: put the images of "
        "each class into a folder of its own, or give a table with their paths and labels",
    ),
    (
        lambda place, run: hs.finetune(place / "words.csv", start=run),
        "{place}/words.csv holds text, but the model of {run} reads images: leave it out, or give "
        "a folder or table of images",
    ),
    (
        lambda place, run: hs.finetune(place / "train", settings={"model.family": "bert"}),
        "{place}/train holds images, but model.family bert reads text: leave it out, or write "
        "model.family: vit",
    ),
    (
        lambda place, run: hs.finetune(place / "train", start=run, text="caption"),
        "{place}/train is read for images, so there is no column of texts 'caption': leave --text "
        "out",
    ),
    (
        lambda place, run: hs.predict(place / "tuned", "a text"),
        "a text does not exist. Check the path.",
    ),
    (
        lambda place, run: hs.evaluate(place / "tuned", place / "other"),
        'E-DATA-017 {place}/other/disc/1.png: "disc" is not a known label (bar, pole, square). '
        "Fix the line, or add rows of this class to the training file.",
    ),
    (
        lambda place, run: hs.predict(run, str(place / "photos")),
        "{run}/model has learnt no task: it holds a pretrained model without a classifier. Run "
        "headstart finetune labels.csv --from {run}/model first",
    ),
]


@pytest.mark.parametrize(("attempt", "message"), BAD)
def test_what_cannot_be_is_refused_with_a_whole_message(
    place, pretrained, tuned, monkeypatch, tmp_path, attempt, message
):
    monkeypatch.chdir(tmp_path)
    (place / "words.csv").write_text("text,label\nsome words,a\nother words,b\n")
    (place / "other" / "disc").mkdir(parents=True, exist_ok=True)
    (place / "other" / "disc" / "1.png").write_bytes(encoded(shape("bar", seed=1)))
    run = pretrained[0].folder
    with pytest.raises(InputError) as caught:
        attempt(place, run)
    first = str(caught.value).splitlines()[0]
    assert first == message.format(place=place, run=run)


def both_table(folder, count=30):
    """Texts with a picture each; the label is in the text."""
    write_shapes(folder / "pics", count, labelled=False)
    lines = [
        f"the word {SHAPES[n % 3]} is here {n},pics/{n}.png,{SHAPES[n % 3]}" for n in range(count)
    ]
    (folder / "both.csv").write_text("\n".join(["text,image,label", *lines]) + "\n")
    return folder / "both.csv"


def test_a_table_with_texts_and_images_is_read_as_was_asked_for_and_says_so(tmp_path):
    table, told = both_table(tmp_path), {}
    small = {**NET, **QUICK, "data.vocab_size": 100, "machine.threads": 1}
    ways = {
        "--text": {"text": "text"},
        "family": {"settings": {"model.family": "bert", **small}},
        "column": {"settings": {"images.column": "image", **small, **PIXELS}},
        "nothing": {"settings": {**small, **PIXELS}},
    }
    for name, given in ways.items():
        notes = Notes()
        hs.finetune(
            table,
            **{"settings": small, **given},
            seeds=1,
            out=tmp_path / name,
            method="full",
            events=notes,
        )
        said = [note for note in notes.notes if note.startswith("both.csv: column 'image'")]
        told[name] = (notes.plans[0].split(",")[0], said[0].split("; ")[1] if said else "")
    as_text = "the text is read (--set images.column=image reads the images)"
    as_images = "the images are read (--text text reads the text)"
    assert told == {
        "--text": ("24 labelled examples", as_text),
        "family": ("24 labelled examples", as_text),
        "column": ("24 labelled images", ""),
        "nothing": ("24 labelled images", as_images),
    }


@pytest.mark.slow
def test_real_photographs_of_two_things_are_told_apart_after_a_short_pretraining(tmp_path):
    folder, files = data_dir("cifar10"), {}
    for name, most in (("train", 900), ("test", 400)):
        table = parquet.read_table(folder / f"{name}.parquet", columns=["image", "label"])
        labels = [str(value) for value in table["label"].to_pylist()]
        wanted = [n for n, label in enumerate(labels) if label in ("airplane", "frog")][:most]
        files[name] = tmp_path / f"{name}.parquet"
        parquet.write_table(table.take(wanted), files[name])
    given = {"images.size": 32, "images.patch": 8, "machine.threads": 1, "budget": "60 steps"}
    net = {"model.num_layers": 3, "model.hidden_size": 96, "model.num_heads": 3}
    settings = make_settings(
        PretrainSettings, given={**given, **net, "out": str(tmp_path / "pretrained")}
    )
    start = recipes.pretrain([files["train"]], settings=settings, events=Notes())
    made = hs.finetune(
        files["train"],
        start=start,
        test=files["test"],
        method="probe",
        out=tmp_path / "run",
        settings={"machine.threads": 1},
    )
    assert made.result.measured.rows == 400
    assert made.result.measured.low > 0.7
    stock = transformers.pipeline("image-classification", model=made.result.model, device="cpu")
    answers = made.predict(str(files["test"]))[:20]
    data = parquet.read_table(files["test"])["image"].to_pylist()[:20]
    theirs = [stock(Image.open(io.BytesIO(image)))[0] for image in data]
    assert [one["label"] for one in theirs] == [answer.label for answer in answers]
