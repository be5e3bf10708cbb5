"""A Hugging Face model folder in, our model and heads out.

The folder says what it holds (config.json) and has the weights in safetensors. All shapes are
compared before a tensor is read, so a wrong config costs no memory. Code named in the folder is
never run. Weights come out in fp32 whatever the file holds, unless another dtype is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from headstart.data.patches import PixelScale
from headstart.errors import CheckpointError, InputError
from headstart.families.blocks import without_mean_block
from headstart.families.catalog import find_model_type
from headstart.families.digests import verify
from headstart.families.family import Family, HFConfig
from headstart.families.fields import Fields, read_fields
from headstart.families.heads import HeadKind, SequenceHead, plain_head
from headstart.families.model import Model
from headstart.families.names import Rule, Shape, compare_names, spell_out
from headstart.families.processor import read_processor
from headstart.families.style import HeadStyle
from headstart.families.weights import Stored, find_weights, read_tensors
from headstart.nn import TransformerConfig

MEAN_POOLING = "headstart_mean_pooling"  # in config.json: the last block takes the mean
Problem = Literal["single_label_classification", "multi_label_classification", "regression"]

WANTED_FILES = (
    "config.json",
    "generation_config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.*",
    "merges.txt",
    "modules.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
    "preprocessor_config.json",
)


@dataclass(frozen=True)
class Loaded:
    """What a model folder held.

    heads: by kind, see `families.heads.HeadKind`.
    labels, problem: names of the sequence head's outputs and what they are, where the folder says.
    tokenizer: path of tokenizer.json, if there is one. notes: what was left aside, for the user.
    pixels: how a model of images wants them; None for one of text.
    """

    model: Model
    heads: dict[str, nn.Module]
    family: Family
    hf_config: HFConfig
    labels: tuple[str, ...]
    problem: Problem | None
    tokenizer: Path | None
    notes: tuple[str, ...]
    pixels: PixelScale | None = None


@dataclass(frozen=True)
class _Part:
    """The model, or one head: an empty module and the rules that fill it."""

    module: nn.Module
    rules: list[Rule]

    def wanted(self) -> dict[str, Shape]:
        """Shapes in the file that would fit, by the rules' names."""
        state = self.module.state_dict()
        return {
            name: shape
            for rule in self.rules
            for name, shape in zip(
                rule.theirs, rule.shapes_in_file(tuple(state[rule.ours].shape)), strict=True
            )
        }

    def fill(self, tensors: Mapping[str, Tensor]) -> None:
        """Give the module its weights."""
        state = {rule.ours: rule.to_ours([tensors[n] for n in rule.theirs]) for rule in self.rules}
        self.module.load_state_dict(state, assign=True)


def load_model(folder: str | Path, *, dtype: torch.dtype = torch.float32) -> Loaded:
    """The model of a Hugging Face folder with all heads we know.

    Raises CheckpointError if the folder is incomplete, damaged, of a family that headstart does not
    have, or has weights that do not fit its config.json; all of these in one message.
    """
    folder = Path(folder)
    hf = read_fields(folder / "config.json")
    model_type = hf.values.get("model_type")
    if not isinstance(model_type, str):
        raise hf.refused("model_type", model_type, "a word")
    family = find_model_type(model_type, source=hf.source)
    stored = find_weights(folder)
    try:
        index = family.spelling.index(stored)
    except CheckpointError as error:
        raise CheckpointError(f"{folder}: {error}") from None
    found = {name: stored[theirs] for name, theirs in index.items()}
    try:
        config, style = family.config_from_hf(hf), family.settle(family.style_from_hf(hf), found)
    except InputError as error:  # sizes that do not go together
        raise CheckpointError(f"{hf.source}: {error}") from None
    layers = config.images.num_layers if config.images is not None else 0
    if max(config.num_layers, config.decoder_layers, layers) > len(found):
        raise CheckpointError(f"{folder}: config.json has more layers than there are weights")
    notes = _code_notes(hf)
    parts = _empty_parts(family, hf, found, config, style)
    _check_fit(folder, family, hf, found, parts, notes)
    _fill(folder, family, found, parts, dtype=dtype)
    model = parts["model"].module
    assert isinstance(model, Model), "the first part is the model"
    heads = {kind: part.module.eval() for kind, part in parts.items() if kind != "model"}
    head = heads.get("sequence")
    if hf.flag(MEAN_POOLING, False) and isinstance(head, SequenceHead):
        model, heads["sequence"] = without_mean_block(model, head)
    tokenizer = folder / "tokenizer.json"
    return Loaded(
        model=model.eval(),
        heads=heads,
        family=family,
        hf_config=hf.values,
        labels=_labels(hf),
        problem=_problem(hf),
        tokenizer=tokenizer if tokenizer.is_file() else None,
        notes=tuple(notes),
        pixels=read_processor(folder) if config.patches or config.images else None,
    )


def _code_notes(hf: Fields) -> list[str]:
    if hf.values.get("auto_map") is None:
        return []
    return [
        f"{hf.source} names Python code (auto_map); headstart never runs code from a model folder "
        "and used its own model of the same type"
    ]


def _empty_parts(
    family: Family,
    hf: Fields,
    found: Mapping[str, Stored],
    config: TransformerConfig,
    style: HeadStyle,
) -> dict[str, _Part]:
    """The model and the heads that the file's names and the config's architectures speak of."""
    with torch.device("meta"):
        model = Model(config, family=family.name, style=style)
        parts = {"model": _Part(model, spell_out(family.rules(config), model.state_dict()))}
        named = hf.words("architectures")
        known = [a for a in family.architectures if a.name in named]
        sure = {kind for a in known[:1] for kind in a.heads}
        taken: set[str] = set()
        # heads that the config names come first: some kinds share names in the file
        for kind in sorted(family.heads, key=lambda kind: kind not in sure):
            if named and not known and kind == "sequence":
                continue  # a class we do not have may call other things "classifier"
            outputs = _outputs(hf, family, kind, found)
            head = plain_head(config, style, kind, outputs=outputs)
            part = _Part(head, spell_out(family.heads[kind], head.state_dict()))
            names = set(part.wanted())
            there = names <= set(found) if names else not known
            if kind in sure or (there and not names & taken):
                parts[kind] = part
                taken |= names
    return parts


def _outputs(hf: Fields, family: Family, kind: HeadKind, found: Mapping[str, Stored]) -> int:
    """How many outputs the classifier has: by the config, else by the file, else 2."""
    labels = hf.inner("id2label")
    if kind != "sequence" or labels is not None:
        return len(labels.values) if labels is not None and labels.values else 2
    name = next(r.theirs[0] for r in family.heads[kind] if r.ours == "classifier.weight")
    in_file = found[name].shape[0] if name in found and found[name].shape else 2
    return hf.whole("num_labels", in_file, high=1_000_000)


def _check_fit(
    folder: Path,
    family: Family,
    hf: Fields,
    found: Mapping[str, Stored],
    parts: Mapping[str, _Part],
    notes: list[str],
) -> None:
    wanted = {name: shape for part in parts.values() for name, shape in part.wanted().items()}
    spare = {copy for copy, original in family.spelling.tied if original in found}
    named = hf.words("architectures")
    if named and not any(a.name in named for a in family.architectures):
        body = parts["model"].wanted()
        tops = {name.partition(".")[0] for name in body}
        others = {n for n in found if n not in wanted and n.partition(".")[0] not in tops}
        spare |= others
        if others:
            notes.append(
                f"{folder} is a {named[0]}, whose head headstart does not have: "
                f"{len(others)} weights left aside, the {family.title} body was read"
            )
    shapes = {name: item.shape for name, item in found.items()}
    wrong = compare_names(wanted, shapes, allowed=spare)
    if wrong is not None:
        raise CheckpointError(
            f"{folder}: cannot load this {family.title} checkpoint: {wrong}. "
            "Was config.json edited?"
        )


def _fill(
    folder: Path,
    family: Family,
    found: Mapping[str, Stored],
    parts: Mapping[str, _Part],
    *,
    dtype: torch.dtype,
) -> None:
    tensors = dict(_read(found, dtype=dtype))
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{folder}: the weight '{name}' holds NaN or infinite numbers")
    if not any(bool(tensor.any()) for tensor in tensors.values()):
        raise CheckpointError(f"{folder}: all weights are zero. Copy or download it again")
    own = {name for part in parts.values() for name in part.wanted()}
    for copy, original in family.spelling.tied:
        if copy in own or copy not in tensors:
            continue
        if not torch.equal(tensors[copy], tensors[original]):
            raise CheckpointError(
                f"{folder}: '{copy}' differs from '{original}', but in headstart's {family.title} "
                "they are one weight (tie_word_embeddings)"
            )
    for part in parts.values():
        part.fill(tensors)


def _read(found: Mapping[str, Stored], *, dtype: torch.dtype) -> dict[str, Tensor]:
    """Tensors by the rules' names."""
    tensors = read_tensors({item.name: item for item in found.values()}, dtype=dtype)
    return {name: tensors[item.name] for name, item in found.items()}


def _labels(hf: Fields) -> tuple[str, ...]:
    labels = hf.inner("id2label")
    if labels is None:
        return ()
    keys = [str(n) for n in range(len(labels.values))]
    if set(keys) != set(labels.values):
        raise hf.refused("id2label", hf.values["id2label"], f"keyed 0 to {len(keys) - 1}")
    return tuple(str(labels.values[key]) for key in keys)


def _problem(hf: Fields) -> Problem | None:
    word = hf.word("problem_type", "", ("", *get_args(Problem)))
    return next((kind for kind in get_args(Problem) if kind == word), None)


def resolve(start: str | Path) -> Path:
    """The model folder that a user means.

    start: a run folder (its model/), a Hugging Face folder, or "hf:NAME" or "hf:NAME@REVISION",
        which is fetched from the Hub (configs, safetensors and tokenizer files only) or taken from
        its cache on this machine.
    Raises InputError if there is none, CheckpointError if a run wrote it and a file has changed.
    """
    text = str(start)
    if text.startswith("hf:"):
        return _fetch(text[3:])
    folder = Path(start)
    for candidate in (folder / "model", folder):
        if (candidate / "config.json").is_file():
            verify(candidate)
            return candidate
    state = "has no model/config.json and no config.json" if folder.is_dir() else "is no folder"
    raise InputError(
        f"{text} {state}. Give a run folder, a Hugging Face model folder, or hf:NAME for the Hub"
    )


def _fetch(name: str) -> Path:
    # only this needs the Hub's client, which takes half a second to import
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repository, _, revision = name.partition("@")
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", repository):
        raise InputError(f"hf:{name}: must be hf:OWNER/NAME or hf:OWNER/NAME@REVISION")
    try:
        got = snapshot_download(
            repository, revision=revision or None, allow_patterns=list(WANTED_FILES)
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"hf:{name}: cannot be fetched and is not in the cache of this machine ({reason}). "
            "Check the name and the network, or give the path of a downloaded folder"
        ) from None
    return Path(got)
