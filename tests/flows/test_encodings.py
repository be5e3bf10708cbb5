"""Files in other encodings: what every verb says of them, and that its advice works as it is."""

import io
import random
import re
import shlex

import pytest
from PIL import Image

import headstart as hs
from headstart.cli.main import main
from headstart.data.encoding import likely_encoding, surely_utf8
from headstart.data.image_check import check_images
from headstart.data.image_kind import holds_images, without_captions
from headstart.data.images import load_labelled_images, usual_side
from headstart.data.pairs import load_pairs
from headstart.data.text import train_tokenizer
from headstart.errors import InputError
from headstart.events import Silent
from headstart.families import find, save_model
from headstart.recipes.generating import _prompts

WORDS = {
    "gb18030": (
        ("丢失", "密码"),
        "我的卡 丢了 在哪里 要一个 新的 怎么办 他说过 可以吗 没有人 去看看 上学的 会不会 好多天",
    ),
    "utf-16-le": (
        ("lost", "code"),
        "where card please change code now why never today house green train water stone",
    ),
    "latin-1": (
        ("perdue", "numéro"),
        "où passée carte clé numéro après été père élève forêt âge déjà façon naïf",
    ),
}
TINY = {
    "data.max_length": 32,
    "machine.threads": 1,
    "machine.precision": "fp32",
    "transfer.epochs": 1,
}


def table(codec, *, rows=24, seed=0) -> str:
    labels, words = WORDS[codec]
    draw = random.Random(seed)
    texts = [" ".join(draw.sample(words.split(), 6)) for _ in range(rows)]
    return "text,label\n" + "".join(f"{text},{labels[n % 2]}\n" for n, text in enumerate(texts))


@pytest.fixture(scope="module", params=WORDS)
def made(request, tmp_path_factory):
    """A folder with a probe, and the same test file as UTF-8 and in the encoding."""
    place, codec = tmp_path_factory.mktemp("made"), request.param
    (place / "train.csv").write_text(table(codec), encoding="utf-8")
    (place / "plain.csv").write_text(table(codec, rows=6, seed=1), encoding="utf-8")
    (place / "test.csv").write_bytes(table(codec, rows=6, seed=1).encode(codec))
    tokenizer = train_tokenizer([WORDS[codec][1]], kind="bytes", vocab_size=300)
    model = find("modern").build(
        num_layers=1, hidden_size=16, num_heads=2, vocab_size=300, max_positions=32
    )
    start = save_model(model, {}, place / "start", tokenizer=tokenizer)
    hs.finetune(place / "train.csv", start=start, method="probe", out=place / "run", settings=TINY)
    return place, codec


def said(arguments, capsys):
    """Exit code, stdout and stderr of a command."""
    with pytest.raises(SystemExit) as left:
        main(arguments)
    return left.value.code, *capsys.readouterr()


COMMANDS = {
    "check": "check {place}/{name}",
    "check --test": "check {place}/train.csv --test {place}/{name}",
    "evaluate": "evaluate {place}/run {place}/{name}",
    "predict": "predict {place}/run {place}/{name}",
    "compare": "compare {place}/run {place}/run --test {place}/{name}",
}


@pytest.mark.parametrize("verb", COMMANDS)
def test_what_the_message_of_a_verb_advises_works_with_that_verb(verb, made, capsys):
    place, codec = made
    arguments = shlex.split(COMMANDS[verb].format(place=place, name="test.csv"))
    code, out, err = said(arguments, capsys)
    advice = re.search(r"or add (--set data\.encoding=\S+)\.(\s|$)", out + err)
    assert advice is not None, out + err
    assert advice[1] == f"--set data.encoding={codec}"
    assert code == 2
    code, out, err = said([*arguments, *advice[1].split()], capsys)
    assert (code, "E-DATA" in out + err) == (0, False), err
    plain = said(shlex.split(COMMANDS[verb].format(place=place, name="plain.csv")), capsys)
    assert out.replace("test.csv", "plain.csv") == plain[1]


def test_python_takes_the_same_setting(made):
    place, codec = made
    how = {"settings": {"data.encoding": codec}}
    model = hs.load(place / "run")
    for verb in (
        lambda name, **more: hs.check(place / name, **more).report.classes,
        lambda name, **more: hs.evaluate(place / "run", place / name, **more),
        lambda name, **more: model.evaluate(place / name, **more),
        lambda name, **more: hs.predict(place / "run", str(place / name), **more),
        lambda name, **more: model.predict(str(place / name), **more),
        lambda name, **more: hs.compare(place / "run", place / "run", test=place / name, **more),
    ):
        assert verb("test.csv", **how) == verb("plain.csv")


def test_prompts_of_a_file_are_read_in_their_encoding(made):
    place, codec = made
    found = [_prompts(place / name, how, Silent()) for name, how in
             (("test.csv", codec), ("plain.csv", None))]  # fmt: skip
    assert found[0] == found[1] != []


def test_a_common_test_file_is_read_as_the_runs_read_it(made, tmp_path):
    place, codec = made
    (tmp_path / "train.csv").write_bytes((place / "train.csv").read_text("utf-8").encode(codec))
    runs = [tmp_path / "a", tmp_path / "b"]
    for run in runs:
        hs.finetune(
            tmp_path / "train.csv",
            start=place / "start",
            method="probe",
            test=place / "test.csv",
            out=run,
            settings={**TINY, "data.encoding": codec},
        )
    assert hs.compare(*runs).first_score == hs.compare(*runs, test=place / "plain.csv").first_score


def test_other_settings_are_refused_by_name(made, capsys):
    place, _ = made
    for given, message in (
        ("data.encodng=x", "--set: data.encodng: no such setting. Did you mean data.encoding?\n"),
        ("seed=3", "--set: seed: no such setting. Known here: data, images.\n"),
        ("gbk", "--set 'gbk': must be name=value, for example --set data.encoding=gb18030\n"),
        (
            "data.encoding=klingon",
            "encoding: 'klingon' is not known. Use a name like utf-8, cp1252, latin-1, gb18030, "
            "big5, shift_jis or utf-16-le.\n",
        ),
    ):
        code, _, err = said(
            ["evaluate", f"{place}/run", f"{place}/test.csv", "--set", given], capsys
        )
        assert (code, err) == (2, message)


def test_a_utf_8_file_that_was_said_to_be_something_else_is_recognised(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,label\nnaïve,a\nface,b\nnaïve too,a\n", encoding="utf-8")
    (found,) = hs.check(path, settings={"data.encoding": "ascii"}).report.problems
    assert str(found).split("a.csv:")[1] == (
        "2: byte 0xc3 at offset 13 is not ascii; the file looks like utf-8. Convert it to UTF-8, "
        "or add --set data.encoding=utf-8."
    )


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        ("a long English text with a label that is not\n" * 20 + "我的卡", "gb18030"),
        ("a long English text with a label that is not\n" * 20 + "我的卡", "big5"),
        ("“I think so”, said “I am”, and it’s “I do” then " * 9, "cp1252"),
        ("déjà vu, où ça, près de Liège, à côté du café, Noël, œuvre " * 9, "cp1252"),
        ("déjà vu, où ça, près de Liège, à côté du café, Noël " * 9, "latin-1"),
        ("größer, Straße, öfter, Übermut, Ärger, weiß, Maß " * 9, "latin-1"),
        ("\x81 and é", "latin-1"),  # which cp1252 does not know
    ],
)
def test_the_likely_encoding_reads_the_text_also_where_most_of_it_is_ascii(text, codec):
    data = text.encode(codec)
    assert likely_encoding(data) == codec
    assert data.decode(likely_encoding(data)) == text
    if codec in ("gb18030", "big5"):
        assert likely_encoding(data, but=codec) != codec


@pytest.mark.parametrize("codec", ["gb18030", "big5", "utf-16-le", "utf-32-be", "latin-1"])
def test_a_file_in_utf_8_stays_so_beside_one_that_is_not(codec, tmp_path):
    text = "text,label\n" + "".join(f"我的{'ab'[n % 2]} {n},{'xy'[n % 2]}\n" for n in range(9))
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    found = hs.check(tmp_path / "a.csv", settings={"data.encoding": codec}).report
    assert (found.accepted, found.problems) == (9, ())
    assert found.notes[0].endswith("; text 'text', label 'label'")
    assert surely_utf8(text.encode(), wide=False)
    assert not surely_utf8(text.encode("gb18030"), wide=False)
    assert not surely_utf8("联通".encode("gb18030"), wide=False)  # reads as UTF-8, by chance
    assert surely_utf8(b"text,label", wide=True)
    assert not surely_utf8("text,label".encode("utf-16-le"), wide=True)


@pytest.fixture
def pictures(tmp_path):
    """A table of images with captions and labels in Chinese, as GB18030."""
    rows = ["图像,标题,类别"]
    for n in range(4):
        buffer = io.BytesIO()
        Image.new("RGB", (12, 12), (60 * n, 20, 90)).save(buffer, "PNG")
        (tmp_path / f"图{n}.png").write_bytes(buffer.getvalue())
        rows.append(f"图{n}.png,一张图片的说明 {n},{'红绿'[n % 2]}")
    path = tmp_path / "pairs.csv"
    path.write_bytes("\n".join(rows).encode("gb18030"))
    return path


def test_tables_of_images_are_read_in_their_encoding(pictures):
    how = {"encoding": "gb18030"}
    assert holds_images([pictures], **how)
    assert without_captions([pictures], **how) is None
    assert usual_side(pictures, **how) == 12
    found = load_labelled_images(pictures, side=8, **how)
    assert (found.classes, len(found)) == (("红", "绿"), 4) or found.classes == ("绿", "红")
    pairs = load_pairs(pictures, side=8, **how)
    assert [captions[0] for captions in pairs.images.captions] == [
        f"一张图片的说明 {n}" for n in range(4)
    ]
    assert check_images(pictures, test=pictures, **how).accepted == 4
    with pytest.raises(InputError) as refused:
        load_labelled_images(pictures, side=8)
    assert str(refused.value).endswith("or add --set data.encoding=gb18030.")
    report = hs.check(pictures, settings={"data.encoding": "gb18030"}).report
    assert report.classes == {"红": 2, "绿": 2}
