"""Our model and heads in, a Hugging Face model folder out, which stock `transformers` opens.

The folder appears whole: it is written beside its place and renamed. A model with LoRA adapters is
written with the adapters folded in; `adapters.py` writes them apart.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tokenizers import Tokenizer
from torch import Tensor, nn

from headstart.data.patches import PixelScale
from headstart.data.text import save_tokenizer, special_ids
from headstart.errors import InputError
from headstart.families.blocks import fits_a_block, with_mean_block
from headstart.families.card import model_card
from headstart.families.catalog import find
from headstart.families.family import Architecture, Family, HFConfig
from headstart.families.fields import write_json
from headstart.families.heads import HeadKind, SequenceHead
from headstart.families.image_heads import MaskedPatchHead
from headstart.families.load import MEAN_POOLING, Problem
from headstart.families.model import Model
from headstart.families.names import spell_out
from headstart.families.processor import write_processor
from headstart.families.sentence import write_sentence_files
from headstart.families.style import HeadStyle, PatchDecoder, Pooling
from headstart.families.weights import write_tensors
from headstart.nn import LoRALinear
from headstart.words import say

Heads = Mapping[str, nn.Module] | nn.ModuleDict

# what a model folder may hold; a folder with anything else is not replaced
FOLDER_NAMES = ("README.md", "vocab.txt", "merges.txt", ".gitattributes")
FOLDER_SUFFIXES = (".json", ".safetensors")
FOLDER_FOLDERS = ("1_Pooling", "2_Normalize", "2_Dense")


def save_model(
    model: Model,
    heads: Heads,
    folder: str | Path,
    *,
    tokenizer: Tokenizer | None = None,
    pad: int | None = None,
    labels: Sequence[str] | None = None,
    problem: Problem | None = None,
    pooling: Pooling | None = None,
    pixels: PixelScale | None = None,
    languages: Sequence[str] = (),
    about: str = "",
) -> Path:
    """Write config.json, model.safetensors, README.md and, if given, the tokenizer.

    heads: by kind; together they must be those of one Hugging Face model class.
    pad: the padding token's id, where no tokenizer is given that says it.
    labels, problem: names of a sequence head's outputs, and what they are.
    pooling: also write what `sentence_transformers` needs to give one vector of length 1 a text,
        pooled this way.
    pixels: how a model of images was given them; also write it for stock processors.
    languages, about: for the model card: codes such as "en", and text in Markdown; what `words.say`
        makes stands there in Chinese too.
    Raises InputError if the family's format cannot express the model, heads or labels.
    """
    family = find(model.family)
    named = known_heads(family, heads)
    head = named.get("sequence")
    notes = [about]
    mean = isinstance(head, SequenceHead) and fits_a_block(model, head)
    if mean:
        assert isinstance(head, SequenceHead), "seen above"
        model, named["sequence"] = with_mean_block(model, head)
        notes.append(say("card_mean"))
    config = hf_config(model, named, tokenizer=tokenizer, pad=pad, labels=labels, problem=problem)
    if mean:
        config[MEAN_POOLING] = True
    card = model_card(family, model, named, pooling=pooling, languages=languages, notes=notes)
    with whole_folder(Path(folder)) as place:
        write_json(place / "config.json", config)
        write_tensors(file_tensors(model, named), place / "model.safetensors")
        (place / "README.md").write_text(card, encoding="utf-8")
        if tokenizer is not None:
            save_tokenizer(tokenizer, place, model_max_length=model.config.max_positions)
        if pooling is not None:
            write_sentence_files(place, model, pooling)
        if pixels is not None:
            write_processor(place, model, pixels)
    return Path(folder)


def known_heads(family: Family, heads: Heads) -> dict[HeadKind, nn.Module]:
    """Heads by kind. Raises InputError for a kind that the family's files cannot hold."""
    for kind in heads:
        if kind not in family.heads:
            raise InputError(
                f"{family.title} has no head '{kind}' in Hugging Face's format (it has: "
                f"{', '.join(family.heads)}). Leave it out"
            )
    given = dict(heads.items())
    return {kind: given[kind] for kind in family.heads if kind in given}


def hf_config(
    model: Model,
    heads: Mapping[HeadKind, nn.Module],
    *,
    tokenizer: Tokenizer | None = None,
    pad: int | None = None,
    labels: Sequence[str] | None = None,
    problem: Problem | None = None,
) -> HFConfig:
    """All values of config.json."""
    family = find(model.family)
    architecture = family.architecture(heads)
    values = family.write_config(model.config, _style_of(model, heads))
    values["architectures"] = [architecture.name]
    values["model_type"] = architecture.model_type or values["model_type"]
    values["torch_dtype"] = str(model.embed.tokens.weight.dtype).removeprefix("torch.")
    values.setdefault("tie_word_embeddings", True)
    if pad is not None:
        values["pad_token_id"] = pad
    if tokenizer is not None:
        ids, text = _token_ids(family, model, tokenizer), values.get("text_config")
        values |= {"text_config": text | ids} if isinstance(text, dict) else ids
    inner = values.get("text_config")
    pad_id = (inner if isinstance(inner, dict) else values).get("pad_token_id")
    _check_pad(family, model, pad_id if isinstance(pad_id, int) else None)
    head = heads.get("sequence")
    if isinstance(head, SequenceHead):
        values |= _label_values(head, labels, problem)
    elif labels is not None or problem is not None:
        raise InputError("labels and problem belong to a sequence head, and there is none")
    return values


def _style_of(model: Model, heads: Mapping[HeadKind, nn.Module]) -> HeadStyle:
    """The model's style, with the decoder's shape where there is one."""
    head = heads.get("mae")
    if not isinstance(head, MaskedPatchHead):
        return replace(model.style, patch_decoder=PatchDecoder())
    return replace(model.style, patch_decoder=head.shape)


def _token_ids(family: Family, model: Model, tokenizer: Tokenizer) -> HFConfig:
    size = tokenizer.get_vocab_size()
    if size > model.config.vocab_size:
        raise InputError(
            f"the tokenizer has {size} tokens, the model only {model.config.vocab_size} "
            "(vocab_size): they do not belong together"
        )
    ids = special_ids(tokenizer)
    values: HFConfig = {
        "pad_token_id": ids.pad,
        "bos_token_id": ids.cls,
        "eos_token_id": ids.sep,
    }
    if family.name == "modern":
        values |= {"cls_token_id": ids.cls, "sep_token_id": ids.sep}
    return values


def _check_pad(family: Family, model: Model, pad: int | None) -> None:
    offset = model.config.position_offset
    if offset and pad != offset - 1:
        raise InputError(
            f"the padding id is {pad}, but this {family.title} counts positions from padding id "
            f"{offset - 1} (position_offset {offset}): train the tokenizer in the style "
            f"'{family.special_tokens}'"
        )


def _label_values(
    head: SequenceHead, labels: Sequence[str] | None, problem: Problem | None
) -> HFConfig:
    outputs = head.classifier.out_features
    names = list(labels) if labels is not None else [f"LABEL_{n}" for n in range(outputs)]
    if len(names) != outputs or len(set(names)) != outputs:
        raise InputError(
            f"the sequence head has {outputs} outputs, so it takes {outputs} different labels, "
            f"not {len(names)} ({', '.join(names[:5])})"
        )
    values: HFConfig = {
        "id2label": {str(n): name for n, name in enumerate(names)},
        "label2id": {name: n for n, name in enumerate(names)},
    }
    if problem is not None:
        values["problem_type"] = problem
    return values


def file_tensors(
    model: Model, heads: Mapping[HeadKind, nn.Module], *, body: bool = True
) -> dict[str, Tensor]:
    """Every weight, or every one of the heads, by its name in the file."""
    family = find(model.family)
    architecture = family.architecture(heads)
    parts = [(family.rules(model.config), plain_state(model), True)] if body else []
    parts += [(family.heads[kind], plain_state(head), False) for kind, head in heads.items()]
    found: dict[str, Tensor] = {}
    for rules, state, inside in parts:
        for rule in spell_out(rules, state):
            for name, tensor in rule.to_theirs(state[rule.ours]).items():
                full = file_name(family, architecture, name, body=inside)
                assert full not in found, f"two weights for {full}"
                found[full] = tensor
    return found


def file_name(family: Family, architecture: Architecture, name: str, *, body: bool) -> str:
    """A weight's name in the file: the body's have a prefix unless the class is the bare model."""
    prefix = architecture.prefix
    if prefix is None:
        bare = architecture.name == family.architectures[0].name
        prefix = "" if bare else family.spelling.prefixes[0]
    inside = body or name.startswith(family.spelling.inside)
    return prefix + name if inside else name


def plain_state(module: nn.Module) -> dict[str, Tensor]:
    """The state dict with LoRA adapters folded into their base weights; the module stays as is."""
    state: dict[str, Tensor] = dict(module.state_dict())
    for name, part in module.named_modules():
        if isinstance(part, LoRALinear):
            state[f"{name}.weight"] = part.merged().weight.detach()
            del state[f"{name}.lora_down"], state[f"{name}.lora_up"]
    return state


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A temporary sibling to write in, which takes the target's place when the block ends well.

    Raises InputError if the target exists and holds anything that no model folder does.
    """
    if target.is_symlink() or target.exists():
        foreign = _foreign(target)
        if foreign is not None:
            raise InputError(
                f"{target} exists and is no model folder (it has {foreign}). Choose another place"
            )
    target.parent.mkdir(parents=True, exist_ok=True)
    place = target.with_name(f".{target.name}.{os.getpid()}.new")
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    try:
        yield place
        for path in sorted(place.rglob("*")):
            _flush(path)
        if target.exists():
            target.rename(old)
        place.rename(target)
        _flush(target.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(place, ignore_errors=True)
        if old.exists() and not target.exists():
            old.rename(target)


def _foreign(target: Path) -> str | None:
    """Something that no model folder holds, so that replacing the folder would lose it."""
    if target.is_symlink() or not target.is_dir():
        return "a file or link of that name"
    for path in sorted(target.iterdir()):
        known = path.name in FOLDER_NAMES or path.suffix in FOLDER_SUFFIXES
        if path.is_dir() != (path.name in FOLDER_FOLDERS) or not (known or path.is_dir()):
            return path.name
    return None


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
