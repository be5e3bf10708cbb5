"""Damaged and hostile files at random: a folder loads or is refused, and never fails otherwise."""

import json

import numpy as np
import pytest
import torch

from headstart.errors import CheckpointError
from headstart.families import FAMILIES, load_model, make_head, save_model
from headstart.families.weights import read_header

SIZES = {"num_layers": 1, "hidden_size": 8, "num_heads": 2, "vocab_size": 20, "max_positions": 6}
ODD = [None, -1, 0, 2**40, 0.5, float("nan"), float("inf"), "x", "", True, [], {}, ["x"], {"0": 1}]


@pytest.fixture(params=FAMILIES, ids=lambda family: family.name)
def folder(request, tmp_path):
    model = request.param.build(**SIZES)
    kind = next(kind for kind in ("sequence", "causal", "pair") if kind in request.param.heads)
    labels = ["a", "b"] if kind == "sequence" else None
    save_model(model, {kind: make_head(model, kind)}, tmp_path / "m", labels=labels)
    return tmp_path / "m"


def is_refused(folder) -> bool:
    """Whether the folder is refused, with its name in the message; any other failure shows."""
    try:
        load_model(folder)
    except CheckpointError as error:
        return str(folder) in str(error)
    return False


def test_odd_values_in_the_config_are_refused_or_harmless(folder):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    refused = 0
    extra = ["rope_parameters", "rope_scaling", "layer_types", "num_labels", "problem_type"]
    changes = [{key: value} for key in [*config, *extra, "is_decoder"] for value in ODD]
    for tower in ("text_config", "vision_config"):
        inner = config.get(tower, {})
        changes += [{tower: inner | {key: value}} for key in inner for value in ODD]
    for change in changes:
        path.write_text(json.dumps(config | change))
        refused += is_refused(folder)
    assert refused > 100


def test_bytes_flipped_in_the_header_are_refused_or_harmless(folder):
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    end = 8 + int.from_bytes(whole[:8], "little")
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        broken = bytearray(whole)
        broken[rng.integers(0, end)] = rng.integers(0, 256)
        path.write_bytes(broken)
        refused += is_refused(folder)
    assert refused > 200


def test_files_cut_anywhere_are_refused(folder):
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    for length in np.linspace(0, len(whole) - 1, 60).astype(int):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            read_header(path)


def test_the_untouched_folder_loads(folder):
    loaded = load_model(folder)
    assert loaded.labels == (("a", "b") if "sequence" in loaded.heads else ())
    assert all(bool(torch.isfinite(weight).all()) for weight in loaded.model.parameters())
