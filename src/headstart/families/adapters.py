"""LoRA adapters in PEFT's file format: adapter_config.json and adapter_model.safetensors.

Our fused q, k, v projection has one adapter; Hugging Face's models have three. Both directions are
exact. Saving: the three share A, and B is cut in three. Loading: equal As give one adapter again;
unlike As are stacked, B becomes block-diagonal, and the rank grows by the number of parts.

Legend: r rank.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from headstart.errors import CheckpointError, InputError
from headstart.families.catalog import find
from headstart.families.family import Family
from headstart.families.fields import Fields, read_fields, write_json
from headstart.families.heads import HeadKind, make_head
from headstart.families.model import Model
from headstart.families.names import Rule, spell_out
from headstart.families.save import Heads, file_name, file_tensors, known_heads, whole_folder
from headstart.families.weights import find_weights, read_tensors, write_tensors
from headstart.nn import LoRALinear

PREFIX = "base_model.model."
FILE = "adapter_model.safetensors"
DOWN, UP = ".lora_A.weight", ".lora_B.weight"
TASK_TYPES: dict[str, str] = {"sequence": "SEQ_CLS", "causal": "CAUSAL_LM"}


@dataclass(frozen=True)
class _Adapter:
    """A (r, in), B (out, r) and the factor before their product."""

    down: Tensor
    up: Tensor
    scale: float


def save_adapter(model: Model, heads: Heads, folder: str | Path, *, base: str = "") -> Path:
    """Write the LoRA adapters of a model, and its heads whole, in PEFT's format.

    heads: trained with the adapters; written as PEFT's `modules_to_save`.
    base: where the base model is, for `base_model_name_or_path`.
    Raises InputError if the model has no adapters.
    """
    family = find(model.family)
    named = known_heads(family, heads)
    architecture = family.architecture(named)
    tensors: dict[str, Tensor] = {}
    sizes: dict[str, tuple[int, float]] = {}
    rules = {r.ours: r for r in spell_out(family.rules(model.config), _weight_names(model))}
    for name, part in model.named_modules():
        if isinstance(part, LoRALinear):
            rule = rules[f"{name}.weight"]
            for theirs, up in zip(rule.theirs, rule.split(part.lora_up), strict=True):
                module = file_name(family, architecture, theirs, body=True).removesuffix(".weight")
                tensors[PREFIX + module + DOWN] = part.lora_down
                tensors[PREFIX + module + UP] = up
                sizes[module] = (part.rank, part.scale * part.rank)
    if not sizes:
        raise InputError("this model has no LoRA adapters: call headstart.nn.add_lora first")
    whole = file_tensors(model, named, body=False)
    tensors |= {PREFIX + name: tensor for name, tensor in whole.items()}
    # PEFT finds modules by the end of their names; nested ones would be saved twice
    tops = sorted({(family.spelling.plain(name) or name).partition(".")[0] for name in whole})
    config = _config(family, sizes, tops, named, base)
    with whole_folder(Path(folder)) as place:
        write_json(place / "adapter_config.json", config)
        # PEFT's readers expect no shared memory between tensors
        write_tensors({n: t.detach().clone() for n, t in tensors.items()}, place / FILE)
    return Path(folder)


def _weight_names(model: Model) -> list[str]:
    return [name for name in model.state_dict() if ".lora_" not in name]


def _config(
    family: Family,
    sizes: Mapping[str, tuple[int, float]],
    whole: list[str],
    heads: Mapping[HeadKind, nn.Module],
    base: str,
) -> dict[str, object]:
    """adapter_config.json: the commonest rank and alpha, and patterns for the others."""
    rank, alpha = Counter(sizes.values()).most_common(1)[0][0]
    task = next((TASK_TYPES[kind] for kind in heads if kind in TASK_TYPES), None)
    return {
        "peft_type": "LORA",
        "task_type": task if "sequence" in heads or "causal" in heads else "FEATURE_EXTRACTION",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {name: r for name, (r, _) in sizes.items() if r != rank},
        "alpha_pattern": {name: a for name, (_, a) in sizes.items() if a != alpha},
        "target_modules": sorted(sizes),
        "modules_to_save": whole or None,
        "fan_in_fan_out": any(rule.transposed for rule in family.body),
        "bias": "none",
        "lora_dropout": 0.0,
        "use_rslora": False,
        "use_dora": False,
        "inference_mode": True,
    }


def load_adapter(
    model: Model, folder: str | Path, *, heads: Mapping[str, nn.Module] | None = None
) -> dict[str, nn.Module]:
    """Put the adapters of a PEFT folder on a model, in place.

    heads: of the base model; a head's weights that the folder does not hold come from there.
    Returns the heads that the folder has weights for, or `heads` if it has none.
    Raises CheckpointError if the folder does not fit the model or needs more than plain LoRA.
    """
    folder = Path(folder)
    family = find(model.family)
    config = read_fields(folder / "adapter_config.json")
    _refuse_other_kinds(config)
    stored = find_weights(folder, name="adapter_model")
    tensors = {
        name.removeprefix(PREFIX): tensor
        for name, tensor in read_tensors(stored, dtype=model.embed.tokens.weight.dtype).items()
    }
    plain = {family.spelling.plain(name) or name: tensor for name, tensor in tensors.items()}
    full = {family.spelling.plain(name) or name: name for name in tensors}
    used: set[str] = set()
    for rule in spell_out(family.rules(model.config), _weight_names(model)):
        parts = [_part(config, plain, full, name.removesuffix(".weight")) for name in rule.theirs]
        if any(parts) and rule.ours.endswith(".weight"):
            _install(model, rule, parts, folder)
            used |= {n.removesuffix(".weight") + end for n in rule.theirs for end in (DOWN, UP)}
    rest = {name: tensor for name, tensor in plain.items() if name not in used}
    result = _load_heads(family, model, rest, heads or {})
    if rest:
        raise CheckpointError(
            f"{folder}: {len(rest)} adapter weights fit nothing in this {family.title} "
            f"({', '.join(sorted(rest)[:4])}). Was it trained on another model?"
        )
    return result


def _refuse_other_kinds(config: Fields) -> None:
    config.must_be("peft_type", "LORA")
    config.must_be("bias", "none", None)
    for key in ("use_dora", "use_qalora", "lora_bias"):
        config.must_be(key, False, None)
    for key in ("megatron_config", "layer_replication", "exclude_modules"):
        config.must_be(key, None)


def _part(
    config: Fields, plain: Mapping[str, Tensor], full: Mapping[str, str], module: str
) -> _Adapter | None:
    """The adapter of one of the file's modules, if it has one."""
    if module + DOWN not in plain or module + UP not in plain:
        return None
    down, up = plain[module + DOWN], plain[module + UP]
    name = full[module + DOWN].removesuffix(DOWN)
    alpha = config.number("lora_alpha", 8.0, low=0, high=1e6)
    patterns = config.inner("alpha_pattern")
    for key in patterns.values if patterns else ():
        if not re.fullmatch(r"[\w.]+", key):  # a pattern from a file is not run
            raise CheckpointError(
                f"{config.source}: alpha_pattern '{key}' is a regular expression; headstart reads "
                "names of modules only"
            )
        if patterns is not None and (name == key or name.endswith("." + key)):
            alpha = patterns.number(key, low=0, high=1e6)
    rank = down.shape[0] if down.dim() == 2 else 0
    if not rank or up.dim() != 2 or up.shape[1] != rank:
        raise CheckpointError(
            f"{config.source}: the adapter of {name} has shapes {list(down.shape)} and "
            f"{list(up.shape)}, which are no low-rank pair"
        )
    root = config.flag("use_rslora", False)  # Kalajdzievski 2023: alpha / sqrt(r)
    return _Adapter(down, up, alpha / (math.sqrt(rank) if root else rank))


def _install(model: Model, rule: Rule, parts: list[_Adapter | None], folder: Path) -> None:
    """Wrap one of our linears with the adapters of the modules it is made of."""
    name = rule.ours.removesuffix(".weight")
    base = model.get_submodule(name)
    if not isinstance(base, nn.Linear) or isinstance(base, LoRALinear):
        raise CheckpointError(f"{folder}: {name} cannot take an adapter (it may have one already)")
    given = [part for part in parts if part is not None]
    heights = rule.heights(base.out_features)
    for theirs, part, height in zip(rule.theirs, parts, heights, strict=True):
        shape = (height, base.in_features)
        if part is not None and (part.up.shape[0], part.down.shape[1]) != shape:
            raise CheckpointError(
                f"{folder}: the adapter of {theirs} is for a linear "
                f"{part.up.shape[0]} x {part.down.shape[1]}, the model has "
                f"{height} x {base.in_features}"
            )
    scale = given[0].scale
    same = len(given) == len(parts) and all(torch.equal(p.down, given[0].down) for p in given)
    if same:
        down = given[0].down
        up = torch.cat([part.up * (part.scale / scale) for part in given])
    else:
        down = torch.cat([part.down for part in given])
        up = down.new_zeros(base.out_features, len(down))
        column = row = 0
        for maybe, height in zip(parts, heights, strict=True):
            if maybe is not None:
                rank = len(maybe.down)
                rows = slice(row, row + height)
                up[rows, column : column + rank] = maybe.up * (maybe.scale / scale)
                column += rank
            row += height
    wrapped = LoRALinear(base, rank=len(down), alpha=scale * len(down))
    wrapped.lora_down, wrapped.lora_up = nn.Parameter(down), nn.Parameter(up)
    model.set_submodule(name, wrapped)


def _load_heads(
    family: Family, model: Model, rest: dict[str, Tensor], heads: Mapping[str, nn.Module]
) -> dict[str, nn.Module]:
    """Heads with the file's weights; what is used is taken out of `rest`."""
    result: dict[str, nn.Module] = {}
    for kind, rules in family.heads.items():
        marks = [n for r in rules if r.ours == "classifier.weight" for n in r.theirs]
        shapes = [rest[mark].shape for mark in marks if mark in rest]
        if not shapes:
            continue
        head = make_head(model, kind, outputs=shapes[0][0], start=heads)
        state = head.state_dict()
        for rule in spell_out(rules, state):
            if all(name in rest for name in rule.theirs):
                state[rule.ours] = rule.to_ours([rest.pop(name) for name in rule.theirs])
        head.load_state_dict(state)
        result[kind] = head.eval()
    return result or dict(heads)
