"""Damaged and hostile model folders as a user meets them: one message, exit code 4, no code run."""

import json
import os
import pickle
import shutil

import pytest
import safetensors.torch
import torch

import headstart as hs
from headstart.cli.main import main
from headstart.families.digests import DIGESTS
from pictures import encoded, photo

SMALL = {
    "model.num_layers": 1,
    "model.hidden_size": 16,
    "model.num_heads": 2,
    "machine.threads": 1,
}
ROWS = "".join(f"thing {n} is {'good' if n % 2 else 'bad'},{'ab'[n % 2]}\n" for n in range(24))
QUICK = {"seeds": 1, "method": "probe"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of texts and one of images, both with a learnt task, and an image."""
    place = tmp_path_factory.mktemp("made")
    (place / "rows.csv").write_text("text,label\n" + ROWS)
    hs.finetune(
        place / "rows.csv",
        start="scratch",
        out=place / "texts",
        settings={**SMALL, "data.vocab_size": 80},
        **QUICK,
    )
    for number in range(12):
        folder = place / "photos" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(encoded(photo(number, width=16, height=16)))
    hs.finetune(
        place / "photos",
        start="scratch",
        out=place / "images",
        settings={**SMALL, "images.size": 16, "images.patch": 4},
        **QUICK,
    )
    return place


@pytest.fixture
def texts(made, tmp_path):
    """The model folder of texts, without the digests that would show every change."""
    return copy(made / "texts" / "model", tmp_path / "m")


@pytest.fixture
def images(made, tmp_path):
    return copy(made / "images" / "model", tmp_path / "m")


def copy(folder, to):
    shutil.copytree(folder, to)
    (to / DIGESTS).unlink()
    return to


def predict(folder, capsys, what="thing 3 is good"):
    """Exit code, and what was said on stderr but for the progress."""
    with pytest.raises(SystemExit) as left:
        main(["predict", str(folder), str(what)])
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if "100%" not in line and "thread" not in line]
    return left.value.code, "\n".join(lines), said.out


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def reweigh(folder, change):
    path = folder / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    safetensors.torch.save_file(change(weights), path)


def refused(folder, capsys, message, **options):
    code, said, out = predict(folder, capsys, **options)
    assert (code, said, out) == (4, message, "")


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "tokenizer.json", "head.json"]
)
def test_01_one_flipped_bit_in_any_file_of_a_run_is_told(made, tmp_path, capsys, name):
    run = tmp_path / "run"
    shutil.copytree(made / "texts", run)
    path = run / "model" / name
    data = bytearray(path.read_bytes())
    data[-len(data) // 3] ^= 1
    path.write_bytes(data)
    code, said, out = predict(run, capsys)
    assert (code, out) == (4, "")
    assert said.startswith(f"{path} is damaged: it has SHA-256 ")
    assert said.endswith(
        f". Copy the folder again; if you changed the file yourself, remove {DIGESTS}"
    )
    if name != "config.json":
        path.unlink()
        refused(run, capsys, f"{path}: no such file. Copy or download the folder again")
    shutil.copy(made / "texts" / "model" / name, path)
    assert predict(run, capsys)[0] == 0


def test_01_digests_name_no_file_outside(made, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(made / "texts", run)
    edit(run / "model" / DIGESTS, **{"../run.yaml": "0" * 64})
    refused(
        run,
        capsys,
        f"{run}/model/{DIGESTS}: '../run.yaml' is \"{'0' * 64}\", but must be the SHA-256 of a "
        "file in the same folder",
    )


def test_03_and_04_empty_files_and_absurd_headers_are_refused(texts, capsys):
    weights = texts / "model.safetensors"
    again = "Copy or download it again"
    for data, what in (
        (b"", "0 bytes"),
        ((2**63).to_bytes(8, "little") + b"{}", f"10 bytes, and its header would have {2**63}"),
    ):
        weights.write_bytes(data)
        refused(texts, capsys, f"{weights}: truncated or no safetensors file ({what}). {again}")
    entry = '"x%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    header = ("{" + ",".join(entry % n for n in range(100_001)) + "}").encode()
    weights.write_bytes(len(header).to_bytes(8, "little") + header)
    refused(texts, capsys, f"{weights}: its header lists 100001 tensors; at most 100000 are read")
    deep = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    weights.write_bytes(len(deep).to_bytes(8, "little") + deep)
    refused(texts, capsys, f"{weights}: not readable as JSON (nested too deeply). {again}")


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "tokenizer.json", "head.json"]
)
def test_08_links_and_pipes_in_place_of_files_are_not_opened(texts, tmp_path, capsys, name):
    path, outside = texts / name, tmp_path / "outside"
    path.rename(outside)
    path.symlink_to(outside)
    message = (
        f"{path}: a link that leads out of the folder, to {outside}. Put the file itself there"
    )
    refused(texts, capsys, message)
    path.unlink()
    os.mkfifo(path)
    code, said, _ = predict(texts, capsys)
    if name == "config.json":
        assert (code, said) == (
            2,
            f"{texts} has no model/config.json and no config.json. Give a run folder, a Hugging "
            "Face model folder, or hf:NAME for the Hub",
        )
    else:
        assert (code, said) == (4, f"{path}: no regular file. Copy or download the folder again")


class Trap:
    """Runs when it is unpickled."""

    def __reduce__(self):
        return (os.mkdir, (os.environ["TRAP"],))


def test_09_no_pickle_is_opened_and_no_code_runs(texts, tmp_path, capsys, monkeypatch):
    trap = tmp_path / "trap"
    monkeypatch.setenv("TRAP", str(trap))
    data, weights = pickle.dumps(Trap()), texts / "model.safetensors"
    for name in ("rng_state.pth", "optimizer.pt", "training_args.bin"):
        (texts / name).write_bytes(data)
    (texts / "modeling_x.py").write_text(f"import os; os.mkdir({str(trap)!r})")
    code = {"AutoModel": "modeling_x.X", "AutoTokenizer": "modeling_x.X"}
    edit(texts / "config.json", auto_map=code, trust_remote_code=True, _attn_implementation="a/b")
    edit(texts / "tokenizer_config.json", auto_map=code)
    assert predict(texts, capsys)[0] == 0  # left aside
    weights.write_bytes(data)
    code, said, _ = predict(texts, capsys)
    assert code == 4
    assert said.startswith(f"{weights}: truncated or no safetensors file ({len(data)} bytes, and")
    weights.unlink()
    refused(
        texts,
        capsys,
        f"{texts}: the weights are a pickle (training_args.bin), which can run code when opened, "
        "so headstart never opens one. Convert it where you trust it: load the model with "
        "transformers and call save_pretrained(folder), which writes model.safetensors",
    )
    assert not trap.exists()
    pickle.loads(data)  # the trap does work
    assert trap.exists()


def test_10_config_selects_from_lists_and_names_no_code(texts, capsys):
    edit(texts / "config.json", hidden_activation="os.system")
    refused(
        texts,
        capsys,
        f"{texts}/config.json: 'hidden_activation' is \"os.system\", but must be one of gelu, "
        "gelu_python, gelu_new, gelu_pytorch_tanh, gelu_fast, gelu_accurate, quick_gelu, relu, "
        "relu2, silu, swish",
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"do_rescale": False}, "'do_rescale' is false, but must be true"),
        ({"rescale_factor": 1.0}, "'rescale_factor' is 1.0, but must be 1/255"),
        (
            {"image_std": [0, 0, 0]},
            "'image_std' is 0, but must be a number from 1e-06 to 255",
        ),
    ],
)
def test_10_pixels_that_are_prepared_otherwise_are_refused(made, images, capsys, change, message):
    edit(images / "preprocessor_config.json", **change)
    photo_file = made / "photos" / "a" / "0.png"
    refused(images, capsys, f"{images}/preprocessor_config.json: {message}", what=photo_file)


def test_11_a_head_that_does_not_fit_its_names_is_refused(texts, capsys):
    for names, count in (([], 0), (["a", "b", "c"], 3)):
        edit(texts / "head.json", classes=names)
        refused(
            texts,
            capsys,
            f"{texts}/head.json: 'classes' has {count} names, but the classifier has 2 outputs. "
            "Copy the folder again",
        )


def test_11_the_tokenizer_of_another_model_is_refused(texts, capsys):
    path = texts / "tokenizer.json"
    found = json.loads(path.read_text())
    size = json.loads((texts / "config.json").read_text())["vocab_size"]
    found["model"]["vocab"]["thing" * 3] = 10_000
    path.write_text(json.dumps(found))
    refused(
        texts,
        capsys,
        f"{path} has ids up to 10000, but the model has {size} entries: it is another model's. "
        "Copy the model folder again.",
    )


@pytest.mark.parametrize("kind", ["texts", "images"])
def test_12_zeros_and_numbers_that_overflow_give_no_answer(made, request, capsys, kind):
    folder = request.getfixturevalue(kind)
    what = "thing 3" if kind == "texts" else made / "photos" / "a" / "0.png"
    reweigh(folder, lambda all_: {n: w * 1e25 for n, w in all_.items()})
    refused(
        folder,
        capsys,
        "the scores of input 1 are NaN or infinite: weights of the model are damaged, or too large "
        "for its number format. Copy or train it again",
        what=what,
    )
    reweigh(folder, lambda all_: {n: torch.zeros_like(w) for n, w in all_.items()})
    refused(
        folder,
        capsys,
        f"{folder}: all weights are zero. Copy or download it again",
        what=what,
    )


def test_13_a_tokenizer_that_breaks_the_library_is_refused(texts, capsys):
    path = texts / "tokenizer.json"
    whole = path.read_text()
    looping = {"type": "BPE", "vocab": {"a": 0, "aa": 1}, "merges": ["a a", "aa a"]}
    edit(path, model=looping)
    code, said, out = predict(texts, capsys)
    assert (code, out) == (4, "")
    assert said.splitlines()[-1].startswith(f"{path} cannot be read as a tokenizer: ")
    assert said.endswith(". Copy the model folder again.")
    path.write_text(whole)
    slow = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated"}
    edit(path, pre_tokenizer={**slow, "invert": False})
    code, said, out = predict(texts, capsys, "a" * 60 + "! thing")
    assert (code, out) == (4, "")
    assert said.splitlines()[-1].startswith("the tokenizer broke down on one of texts 1 to 1 (")
    assert said.endswith("Copy the model folder again, or leave the text out.")


def test_13_a_tokenizer_of_many_megabytes_is_not_opened(texts, capsys, monkeypatch):
    monkeypatch.setattr("headstart.data.text.TOKENIZER_BYTES", 100)
    path = texts / "tokenizer.json"
    refused(texts, capsys, f"{path}: larger than 100 bytes, which no tokenizer.json needs")


def test_14_archives_are_no_folders(made, tmp_path, capsys):
    path = tmp_path / "model.zip"
    shutil.make_archive(str(path.with_suffix("")), "zip", made / "texts" / "model")
    code, said, _ = predict(path, capsys)
    assert (code, said) == (
        2,
        f"{path} is no folder. Give a run folder, a Hugging Face model folder, or hf:NAME for the "
        "Hub",
    )
