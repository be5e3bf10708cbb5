"""The unlabelled side of a report: what its controls know, and when it is another corpus."""

import numpy as np
from PIL import Image

from headstart.config import ReportSettings
from headstart.data.dataset import load_labelled
from headstart.events import Silent
from headstart.recipes import report_media
from headstart.recipes.media import medium_of
from headstart.recipes.report_media import ImageGround, TextGround
from headstart.settings_file import make_settings


def labelled(place, rows, header="text,label"):
    place.write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n")
    return place


def picture(place, seed):
    place.parent.mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(place)


def ground_of_images(folder):
    """Four labelled images, and a corpus that is a table with the names of two others."""
    rows = [(f"labelled/{n}.png", "no" if n % 2 else "yes") for n in range(4)]
    for name, _ in rows:
        picture(folder / name, seed=int(name[-5]))
    task = labelled(folder / "labels.csv", rows, header="image,label")
    corpus = labelled(folder / "corpus.csv", [("free/a.png",), ("free/b.png",)], header="image")
    settings = make_settings(ReportSettings, given={"corpus": [str(corpus)]})
    medium = medium_of(
        task,
        None,
        text=settings.data,
        images=settings.images,
        model=settings.model,
        seed=0,
        events=Silent(),
    )
    ground = ImageGround(medium, settings, folder / "report", Silent())
    rows_read = medium.read(task)
    ground.leaks(rows_read, rows_read)
    return ground


def test_another_image_under_a_name_in_a_table_is_another_corpus(tmp_path):
    for name, seed in (("a", 10), ("b", 11)):
        picture(tmp_path / "free" / f"{name}.png", seed)
    before = ground_of_images(tmp_path).corpus_digest()
    assert ground_of_images(tmp_path).corpus_digest() == before
    picture(tmp_path / "free" / "b.png", 12)
    assert ground_of_images(tmp_path).corpus_digest() != before


def test_the_bag_of_words_controls_know_all_parts_of_a_corpus_that_is_too_large(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(report_media, "MOST_CORPUS_TEXTS", 50)
    for name, word in (("a", "early"), ("b", "late")):
        lines = [f"{word} text number {n} of many" for n in range(100)]
        (tmp_path / f"{name}.txt").write_text("\n".join(lines))
    corpus = [str(tmp_path / "a.txt"), str(tmp_path / "b.txt")]
    ground = TextGround(make_settings(ReportSettings, given={"corpus": corpus}))
    rows = [(f"row {n} of this file", "no" if n % 2 else "yes") for n in range(20)]
    train = load_labelled(labelled(tmp_path / "train.csv", rows))
    test = load_labelled(labelled(tmp_path / "test.csv", [("late words", "yes"), ("no", "no")]))
    ground.leaks(train, test)
    tfidf = ground.controls(train, test, Silent())[0]
    # "late" is known of the corpus alone; of the test rows' other words none is
    assert (tfidf.test[0].nnz, tfidf.test[1].nnz) == (1, 0)


def test_a_corpus_is_read_of_the_columns_of_the_labelled_texts_where_it_has_them(tmp_path):
    rows = [(f"head {n}", f"body {n}", "no" if n % 2 else "yes") for n in range(8)]
    train = labelled(tmp_path / "train.csv", rows, header="title,body,label")
    free = [(f"title {n}", f"a longer text {n}") for n in range(20)]
    corpus = labelled(tmp_path / "corpus.csv", free, header="title,body")
    given = {"corpus": [str(corpus)], "data.text": "title+body"}
    ground = TextGround(make_settings(ReportSettings, given=given))
    read = load_labelled(train, text="title+body")
    ground.leaks(read, read)
    assert ground.text == "title+body"
    assert next(ground.corpus.texts()) == "title 0 a longer text 0"
    other = TextGround(make_settings(ReportSettings, given={**given, "data.text": "head"}))
    other.leaks(read, read)
    assert (other.text, next(other.corpus.texts())) == (None, "a longer text 0")
