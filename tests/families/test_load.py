"""Broken and hostile model folders: each is refused with its whole message."""

import json
import os
import shutil
import struct

import pytest
import safetensors.torch
import torch

from headstart.errors import CheckpointError, InputError
from headstart.families import FAMILIES, bert, gpt, load_model, make_head, resolve, save_model
from layouts import packed, ragged

SIZES = {"num_layers": 2, "hidden_size": 16, "num_heads": 2, "vocab_size": 60, "max_positions": 20}
WHOLE = "'hidden_size' is {}, but must be a whole number from 1 to 16777216"


@pytest.fixture
def folder(tmp_path):
    model = bert.build(**SIZES)
    save_model(model, {"masked": make_head(model, "masked")}, tmp_path / "model")
    return tmp_path / "model"


def message(folder):
    with pytest.raises(CheckpointError) as caught:
        load_model(folder)
    return str(caught.value)


def edit_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_weights(folder, change):
    path = folder / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    change(weights)
    safetensors.torch.save_file(weights, path)


def write_header(path, header, data=b""):
    raw = header.encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + data)


def split(folder):
    """The weights in two files and an index."""
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    files = {"one.safetensors": names[::2], "two.safetensors": names[1::2]}
    for file, chosen in files.items():
        safetensors.torch.save_file({n: weights[n] for n in chosen}, folder / file)
    return {name: file for file, chosen in files.items() for name in chosen}


def write_index(folder, mapping):
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": mapping}))
    return path


def test_weights_that_do_not_fit_come_in_one_message(folder):
    def change(weights):
        del weights["bert.embeddings.LayerNorm.weight"]
        weights["bert.extra"] = torch.zeros(3)

    edit_weights(folder, change)
    edit_config(folder, max_position_embeddings=32)
    assert message(folder) == (
        f"{folder}: cannot load this BERT checkpoint: "
        "1 weight missing (embeddings.LayerNorm.weight), 1 left over (extra), "
        "1 of another shape (embeddings.position_embeddings.weight: file 20 x 16, config 32 x 16). "
        "Was config.json edited?"
    )


def test_a_config_with_absurd_sizes_costs_no_memory(folder):
    edit_config(folder, vocab_size=2**24, num_hidden_layers=1000)
    assert message(folder) == f"{folder}: config.json has more layers than there are weights"
    edit_config(folder, vocab_size=2**24, num_hidden_layers=2)
    assert "file 60 x 16, config 16777216 x 16" in message(folder)


def test_split_files_load_as_one(folder):
    before = load_model(folder).model.state_dict()
    write_index(folder, split(folder))
    after = load_model(folder).model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_missing_file_of_several_is_named(folder):
    write_index(folder, split(folder))
    (folder / "two.safetensors").unlink()
    assert message(folder) == (
        f"{folder}: 1 of 2 weight files missing (two.safetensors). "
        "Copy or download the folder again"
    )


def test_an_index_that_leads_out_of_the_folder_is_refused(folder):
    mapping = split(folder)
    name = "bert.embeddings.LayerNorm.bias"
    for place in ("../two.safetensors", "/etc/passwd", "a/two.safetensors", "weights.bin", 7):
        path = write_index(folder, mapping | {name: place})
        assert message(folder) == (
            f"{path}, weight_map: '{name}' is {json.dumps(place)}, but must be "
            "the name of a .safetensors file in the same folder"
        )


def test_an_index_that_disagrees_with_its_files_is_refused(folder):
    mapping = split(folder)
    one, two = "one.safetensors", "two.safetensors"
    path = write_index(folder, mapping | {"ghost": one})
    assert message(folder) == f"{path}: lists 'ghost' in {one}, which does not hold it"
    name = next(name for name, file in mapping.items() if file == two)
    rest = {key: file for key, file in mapping.items() if key != name}
    path = write_index(folder, rest)
    assert message(folder) == f"{path}: does not list '{name}', which is in {two}"


def test_a_tensor_in_two_files_is_refused(folder):
    mapping = split(folder)
    both = safetensors.torch.load_file(folder / "two.safetensors")
    name = next(name for name, file in mapping.items() if file == "one.safetensors")
    both[name] = torch.zeros(1)
    safetensors.torch.save_file(both, folder / "two.safetensors")
    write_index(folder, mapping)
    assert message(folder) == f"{folder}: '{name}' is in both one.safetensors and two.safetensors"


def test_a_name_that_occurs_twice_in_a_header_is_refused(folder):
    entry = '"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}'
    path = folder / "model.safetensors"
    write_header(path, "{" + entry + ", " + entry + "}", bytes(4))
    assert message(folder) == f"{path}: the name 'a' occurs twice"


def test_a_truncated_file_is_refused(folder):
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    header = struct.unpack("<Q", whole[:8])[0]
    path.write_bytes(whole[:-100])
    listed = len(whole) - 8 - header
    assert message(folder) == (
        f"{path}: truncated or damaged: its header lists {listed} bytes of tensors, "
        f"the file holds {listed - 100}. Copy or download it again"
    )
    path.write_bytes(whole[:50])
    assert message(folder) == (
        f"{path}: truncated or no safetensors file (50 bytes, and its header would have {header}). "
        "Copy or download it again"
    )


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        (
            '{"dtype": "F32", "shape": [9], "data_offsets": [0, 4]}',
            "the tensor 'a' has shape [9] in F32, which does not fit its bytes [0, 4]",
        ),
        (
            '{"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}',
            "tensors overlap or leave a gap at byte 0",
        ),
        ("null", "the tensor 'a' has no description"),
    ],
)
def test_headers_that_lie_are_refused(folder, entry, complaint):
    path = folder / "model.safetensors"
    write_header(path, '{"a": ' + entry + "}", bytes(4))
    assert message(folder) == f"{path}: {complaint}"


def test_headers_with_wrong_kinds_are_refused(folder):
    path = folder / "model.safetensors"
    write_header(path, '{"a": {"dtype": "PY", "shape": [1], "data_offsets": [0, 4]}}', bytes(4))
    assert message(folder).startswith(f"{path}, a: 'dtype' is \"PY\", but must be one of BOOL, ")
    write_header(path, '{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}', bytes(4))
    assert message(folder) == f"{path}, a: 'shape' is [-1], but must be a list of whole numbers"
    write_header(path, "[" * 100_000)
    assert message(folder).startswith(f"{path}: not readable as JSON (")


def test_a_pickle_is_never_opened(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert message(folder) == (
        f"{folder}: the weights are a pickle (pytorch_model.bin), which can run code when opened, "
        "so headstart never opens one. Convert it where you trust it: load the model with "
        "transformers and call save_pretrained(folder), which writes model.safetensors"
    )


def test_a_folder_without_weights_or_config_is_refused(folder):
    (folder / "model.safetensors").unlink()
    assert message(folder) == (f"{folder}: no model.safetensors. Is this a complete model folder?")
    (folder / "config.json").unlink()
    assert message(folder) == f"{folder}: no config.json. Is this a model folder?"


def test_an_unknown_model_type_lists_the_known_ones(folder):
    edit_config(folder, model_type="xlnet")
    known = ", ".join(word for family in FAMILIES for word in family.model_types)
    assert message(folder) == (
        f"{folder / 'config.json'}: model_type 'xlnet' is not one headstart reads ({known})"
    )
    assert known.startswith("bert, roberta, xlm-roberta, camembert, gpt2, modernbert")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"hidden_size": "16"}, WHOLE.format('"16"')),
        ({"hidden_size": True}, WHOLE.format("true")),
        ({"layer_norm_eps": -1}, "'layer_norm_eps' is -1, but must be a number from 0 to 1"),
        ({"is_decoder": True}, "'is_decoder' is true, but must be false"),
        (
            {"position_embedding_type": "relative_key"},
            "'position_embedding_type' is \"relative_key\", but must be \"absolute\" or null",
        ),
        ({"model_type": None}, "'model_type' is missing; it must be a word"),
        (
            {"num_attention_heads": 3},
            "hidden_size 16 is not a multiple of num_heads 3: choose sizes that divide",
        ),
        ({"id2label": {"0": "a", "7": "b"}}, None),
    ],
)  # fmt: skip
def test_config_values_of_the_wrong_kind_are_refused(folder, change, complaint):
    edit_config(folder, **change)
    path = folder / "config.json"
    if complaint is None:
        complaint = '\'id2label\' is {"0": "a", "7": "b"}, but must be keyed 0 to 1'
    assert message(folder) == f"{path}: {complaint}"


def test_code_named_in_the_config_is_left_alone_with_a_note(folder, tmp_path):
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    edit_config(folder, auto_map={"AutoModel": "evil.Model"})
    loaded = load_model(folder)
    assert loaded.notes == (
        f"{folder / 'config.json'} names Python code (auto_map); headstart never runs code from a "
        "model folder and used its own model of the same type",
    )
    assert not (tmp_path / "ran").exists()


def test_a_link_out_of_the_folder_is_refused_but_the_hub_cache_may_link_to_its_blobs(tmp_path):
    cache = tmp_path / "models--a--b"
    place = cache / "snapshots" / "123"
    save_model(bert.build(**SIZES), {}, place)
    (cache / "blobs").mkdir()
    weights, blob = place / "model.safetensors", cache / "blobs" / "f00"
    weights.rename(blob)
    weights.symlink_to(os.path.relpath(blob, place))
    assert load_model(place).heads == {}
    weights.unlink()
    outside = tmp_path / "secret"
    shutil.move(blob, outside)
    weights.symlink_to(outside)
    assert message(place) == (
        f"{weights}: a link that leads out of the folder, to {outside}. Put the file itself there"
    )


def test_weights_that_are_not_finite_are_refused(folder):
    name = "bert.embeddings.LayerNorm.bias"
    edit_weights(folder, lambda weights: weights[name][3:4].fill_(float("nan")))
    assert message(folder) == (
        f"{folder}: the weight 'embeddings.LayerNorm.bias' holds NaN or infinite numbers"
    )


def test_integer_weights_are_refused(folder):
    name = "bert.embeddings.LayerNorm.bias"
    edit_weights(folder, lambda weights: weights.update({name: weights[name].to(torch.int32)}))
    assert message(folder) == (
        f"{folder / 'model.safetensors'}: the weight '{name}' is stored as I32; "
        "headstart reads F32, F16, BF16, F64"
    )


def test_a_decoder_of_its_own_is_refused(folder):
    def change(weights):
        table = weights["bert.embeddings.word_embeddings.weight"]
        weights["cls.predictions.decoder.weight"] = table + 1

    edit_weights(folder, change)
    assert message(folder) == (
        f"{folder}: 'cls.predictions.decoder.weight' differs from "
        "'embeddings.word_embeddings.weight', but in headstart's BERT they are one weight "
        "(tie_word_embeddings)"
    )


def test_the_body_of_a_model_class_we_do_not_have_is_read_with_a_note(folder):
    edit_config(folder, architectures=["BertForTokenClassification"])

    def change(weights):
        for name in [name for name in weights if name.startswith("cls.")]:
            del weights[name]
        weights["classifier.weight"], weights["classifier.bias"] = torch.ones(9, 16), torch.ones(9)

    edit_weights(folder, change)
    loaded = load_model(folder)
    assert loaded.heads == {}
    assert loaded.notes == (
        f"{folder} is a BertForTokenClassification, whose head headstart does not have: "
        "2 weights left aside, the BERT body was read",
    )


def test_weights_are_read_in_the_dtype_asked_for(folder):
    loaded = load_model(folder, dtype=torch.bfloat16)
    parts = [*loaded.model.parameters(), *loaded.heads["masked"].parameters()]
    assert {weight.dtype for weight in parts} == {torch.bfloat16}
    assert loaded.model.encode(packed(ragged())).dtype == torch.bfloat16


def test_a_loaded_model_can_be_trained(tmp_path):
    save_model(gpt.build(**SIZES), {}, tmp_path / "model", pad=0)
    model = load_model(tmp_path / "model").model
    model.encode(packed(ragged())).square().sum().backward()
    assert all(weight.grad is not None for weight in model.parameters())


def test_a_run_folder_and_a_model_folder_resolve_to_the_model(folder, tmp_path):
    assert resolve(folder) == folder
    assert resolve(folder.parent) == folder
    assert resolve(str(folder)) == folder


def test_places_without_a_model_say_what_may_be_given(tmp_path):
    hint = "Give a run folder, a Hugging Face model folder, or hf:NAME for the Hub"
    for place, state in (
        (tmp_path, "has no model/config.json and no config.json"),
        (tmp_path / "none", "is no folder"),
    ):
        with pytest.raises(InputError) as caught:
            resolve(place)
        assert str(caught.value) == f"{place} {state}. {hint}"


def test_a_hub_name_that_is_not_at_hand_offline_is_an_input_error(monkeypatch, tmp_path):
    with pytest.raises(InputError) as caught:
        resolve("hf:../etc")
    assert str(caught.value) == "hf:../etc: must be hf:OWNER/NAME or hf:OWNER/NAME@REVISION"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError) as caught:
        resolve("hf:headstart-ml/missing")
    text = str(caught.value)
    assert text.startswith(
        "hf:headstart-ml/missing: cannot be fetched and is not in the cache of this machine ("
    )
    assert text.endswith(
        "). Check the name and the network, or give the path of a downloaded folder"
    )
