"""A body with a sequence head on mean-pooled states, as a folder that stock libraries open.

Four ways, chosen by what the family's stock classifier can express:
* the head is the family's own: `AutoModelForSequenceClassification` gives the same scores;
* ModernBERT: its classifier is mean pooling, a dense layer with activation, a norm and a linear
  map. Our head has no dense layer, so one is written that changes nothing: the identity with a bias
  so large that GELU is the identity too, and which the norm takes away again. Same scores in stock;
* ViT: its classifier looks at the class token; one more block takes the mean there (`blocks.py`);
* otherwise stock has no such class: the body is written with the head beside it, as the modules
  Pooling and Dense of sentence-transformers, whose `encode` then gives the raw scores.
`head.json` says the rest: kind, classes, and how long texts are cut. Scores of windows are averaged
by us; stock libraries cut a long text off.
"""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import nn

from headstart.data.labels import Kind
from headstart.data.patches import PixelScale
from headstart.errors import CheckpointError, InputError
from headstart.families.blocks import fits_a_block, mean_style
from headstart.families.fields import read_fields, write_json
from headstart.families.heads import SequenceHead, is_own
from headstart.families.load import Loaded, Problem, load_model
from headstart.families.model import Model
from headstart.families.save import save_model, whole_folder
from headstart.families.sentence import write_modules
from headstart.families.weights import find_weights, read_tensors, write_tensors
from headstart.nn import Norm
from headstart.words import say

HEAD, DENSE = "head.json", "2_Dense"
PROBLEMS: dict[Kind, Problem] = {
    "classes": "single_label_classification",
    "multilabel": "multi_label_classification",
    "number": "regression",
}
GELU_IS_IDENTITY = 8.0  # from here on, GELU(x) = x to the last bit of fp32


@dataclass(frozen=True)
class Readout:
    """A body, its sequence head and what the scores mean.

    head: None where the answers come from more than the last layer.
    max_length: tokens of a window, special ones included. max_windows: of one text.
    pixels: how a model of images was given them.
    """

    model: Model
    head: SequenceHead | None
    kind: Kind
    classes: tuple[str, ...]
    max_length: int
    max_windows: int
    pixels: PixelScale | None = None


def save_readout(
    readout: Readout, folder: str | Path, *, tokenizer: Tokenizer | None = None, about: str = ""
) -> Path:
    """Write the folder, whole or not at all. Raises InputError if it cannot be expressed."""
    model, head = readout.model, readout.head
    if head is None:
        raise InputError(
            "this probe reads several layers, which no model folder can express: use layers=last"
        )
    labels = list(readout.classes) or ["number"]
    with whole_folder(Path(folder)) as place:
        own = _as_stock(model, head)
        if own is not None:
            body, stock = own
            save_model(
                body,
                {"sequence": stock},
                place,
                tokenizer=tokenizer,
                labels=labels,
                problem=PROBLEMS[readout.kind],
                pixels=readout.pixels,
                about=about,
            )
        else:
            save_model(
                model,
                {},
                place,
                tokenizer=tokenizer,
                pooling="mean",
                about=about or say("card_linear"),
            )
            _write_dense(place, head.classifier)
        values = {
            "kind": readout.kind,
            "classes": list(readout.classes),
            "max_length": readout.max_length,
            "max_windows": readout.max_windows,
            "stock": own is not None,
        }
        write_json(place / HEAD, values)
    return Path(folder)


def load_readout(folder: str | Path) -> Readout:
    """The model of a folder with the head that answers.

    Raises InputError if there is none: the folder is a pretrained model that has learnt no task.
    """
    folder = Path(folder)
    loaded = load_model(folder)
    ours = read_fields(folder / HEAD) if (folder / HEAD).exists() else None
    if ours is None:
        return _stock_readout(folder, loaded)
    if ours.values.get("kind") == "text":
        raise InputError(
            f"{folder} has learnt to write texts: headstart evaluate and headstart predict use it, "
            "but it gives no scores of classes"
        )
    kind = _kind(ours.word("kind", None, tuple(PROBLEMS)))
    classes = ours.words("classes")
    head = loaded.heads.get("sequence")
    if not isinstance(head, SequenceHead):
        head = _read_dense(folder, loaded.model, outputs=len(classes) or 1)
    named, outputs = 1 if kind == "number" else len(classes), head.classifier.out_features
    if named != outputs:
        raise CheckpointError(
            f"{folder / HEAD}: 'classes' has {named} names, but the classifier has {outputs} "
            "outputs. Copy the folder again"
        )
    return Readout(
        loaded.model,
        head,
        kind,
        tuple(classes),
        ours.whole("max_length", 128, high=1_000_000),
        ours.whole("max_windows", 8, high=1_000_000),
        loaded.pixels,
    )


def _stock_readout(folder: Path, loaded: Loaded) -> Readout:
    head = loaded.heads.get("sequence")
    if not isinstance(head, SequenceHead):
        raise InputError(
            f"{folder} has learnt no task: it holds a pretrained model without a classifier. Run "
            f"headstart finetune labels.csv --from {shlex.quote(str(folder))} first"
        )
    outputs = head.classifier.out_features
    found = [kind for kind, problem in PROBLEMS.items() if problem == loaded.problem]
    kind: Kind = found[0] if found else ("number" if outputs == 1 else "classes")
    names = loaded.labels or tuple(f"LABEL_{n}" for n in range(outputs))
    longest = min(512, loaded.model.config.max_positions)
    return Readout(
        loaded.model, head, kind, () if kind == "number" else names, longest, 8, loaded.pixels
    )


def _as_stock(model: Model, head: SequenceHead) -> tuple[Model, SequenceHead] | None:
    """Model and head as the family's stock classifier, or None if it cannot give these scores."""
    pooler = head.pooler
    if is_own(head, model.style) or fits_a_block(model, head):
        return model, head
    plain = pooler.pooling == "mean" and pooler.dense is None and pooler.norm is not None
    if model.family != "modern" or not plain or model.style.activation != "gelu":
        return None
    style = replace(
        model.style, pooling="mean", transform_bias=True, pool_bias=True, classifier_bias=True
    )
    body = Model(model.config, family=model.family, style=style)
    body.load_state_dict(model.state_dict())
    stock = SequenceHead(model.config, style, outputs=head.classifier.out_features)
    norm, dense = stock.pooler.norm, stock.pooler.dense
    assert norm is not None, "ModernBERT's head has a norm"
    assert dense is not None, "ModernBERT's head has a dense layer"
    assert pooler.norm is not None, "seen above"
    with torch.no_grad():
        dense.weight.copy_(torch.eye(model.config.hidden_size))
        assert dense.bias is not None, "the style asks for it"
        dense.bias.fill_(GELU_IS_IDENTITY + _largest_state(model))
        norm.load_state_dict(pooler.norm.state_dict())
        stock.classifier.load_state_dict(head.classifier.state_dict())
    return body, stock


def _largest_state(model: Model) -> float:
    """A bound of every last hidden state: a normalised vector of n numbers has none above √n."""
    norm = model.stack.norm
    if not isinstance(norm, Norm):
        raise InputError("this ModernBERT has no final norm, so its states have no bound")
    bias = 0.0 if norm.bias is None else float(norm.bias.abs().max())
    return float(norm.weight.abs().max()) * math.sqrt(model.config.hidden_size) + bias


def _write_dense(place: Path, classifier: nn.Linear) -> None:
    """The head as sentence-transformers' Dense module instead of its Normalize."""
    write_modules(place, ("Transformer", "Pooling", "Dense"))
    if (place / "2_Normalize").is_dir():
        (place / "2_Normalize").rmdir()
    (place / DENSE).mkdir()
    values = {
        "in_features": classifier.in_features,
        "out_features": classifier.out_features,
        "bias": True,
        "activation_function": "torch.nn.modules.linear.Identity",
    }
    write_json(place / DENSE / "config.json", values)
    tensors = {"linear.weight": classifier.weight, "linear.bias": classifier.bias}
    write_tensors(tensors, place / DENSE / "model.safetensors")


def _read_dense(folder: Path, model: Model, *, outputs: int) -> SequenceHead:
    if not (folder / DENSE).is_dir():
        raise CheckpointError(
            f"{folder}: {HEAD} speaks of a linear head, but {DENSE}/ is missing. Copy it again"
        )
    tensors = read_tensors(find_weights(folder / DENSE), dtype=torch.float32)
    style = mean_style(model.style, norm=False)
    head = SequenceHead(model.config, style, outputs=outputs)
    wanted = {"linear.weight": head.classifier.weight, "linear.bias": head.classifier.bias}
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    expected = {name: tuple(tensor.shape) for name, tensor in wanted.items()}
    if shapes != expected:
        raise CheckpointError(
            f"{folder / DENSE}: holds {shapes}, but the model and {HEAD} need {expected}"
        )
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(tensors[name])
    return head.eval()


def _kind(word: str) -> Kind:
    return next(kind for kind in PROBLEMS if kind == word)
