"""Rotary positions in config.json, in the old spelling of their keys or the new one."""

from __future__ import annotations

import math
from collections.abc import Callable

from headstart.families.fields import Fields, Json
from headstart.nn import TransformerConfig
from headstart.nn.rotary_scaling import RotaryScaling

POSITIONS = "original_max_position_embeddings"


def read_rope(hf: Fields) -> tuple[float, RotaryScaling | None]:
    """The rotary base, and how frequencies are scaled; a kind that we do not have is refused.

    Older files have "rope_theta" beside "rope_scaling", newer ones all in "rope_parameters".
    """
    theta = hf.number("rope_theta", 10_000.0, low=1, high=1e12)
    scaling = None
    for key in ("rope_scaling", "rope_parameters"):
        rope = hf.inner(key)
        if rope is None:
            continue
        rope.must_be("partial_rotary_factor", 1.0, None)
        theta = rope.number("rope_theta", theta, low=1, high=1e12)
        word = "type" if rope.values.get("rope_type") is None else "rope_type"
        kind = rope.word(word, "default", ("default", *SCALINGS))
        if kind != "default":
            scaling = SCALINGS[kind](rope, hf)
    if theta == 1 and scaling is not None:
        raise hf.refused("rope_theta", theta, "more than 1 where rotary positions are scaled")
    return theta, scaling


def _linear(rope: Fields, hf: Fields) -> RotaryScaling:
    return RotaryScaling(kind="linear", factor=_factor(rope))


def _llama3(rope: Fields, hf: Fields) -> RotaryScaling:
    return RotaryScaling(
        kind="llama3",
        factor=_factor(rope),
        original=_original(rope, hf),
        low=rope.number("low_freq_factor", low=1e-6, high=1e6),
        high=rope.number("high_freq_factor", low=1e-6, high=1e6),
    )


def _yarn(rope: Fields, hf: Fields) -> RotaryScaling:
    original = _original(rope, hf)
    ratio = hf.whole("max_position_embeddings", 2048) / original
    factor = _factor(rope, ratio)
    attention = _louder(factor)
    scales = [rope.number(key, 0.0, low=0, high=1e3) for key in ("mscale", "mscale_all_dim")]
    if all(scales):
        attention = _louder(factor, scales[0]) / _louder(factor, scales[1])
    return RotaryScaling(
        kind="yarn",
        factor=factor,
        original=original,
        low=rope.number("beta_slow", 1.0, low=1e-6, high=1e6),
        high=rope.number("beta_fast", 32.0, low=1e-6, high=1e6),
        whole_pairs=rope.flag("truncate", True),
        attention=rope.number("attention_factor", attention, low=1e-6, high=1e6),
    )


SCALINGS: dict[str, Callable[[Fields, Fields], RotaryScaling]] = {
    "linear": _linear,
    "llama3": _llama3,
    "yarn": _yarn,
}


def _factor(rope: Fields, default: float | None = None) -> float:
    return rope.number("factor", default, low=1, high=1e6)


def _original(rope: Fields, hf: Fields) -> int:
    """Positions that the model was pretrained on."""
    inner = rope.whole(POSITIONS, hf.whole("max_position_embeddings", 2048))
    return hf.whole(POSITIONS, inner)


def _louder(factor: float, scale: float = 1.0) -> float:
    """Peng et al. 2023, equation 22, with the weight that later models put into it."""
    return 0.1 * scale * math.log(factor) + 1.0


def rope_to_hf(config: TransformerConfig) -> dict[str, Json]:
    """The keys of config.json, in the spelling that every version of transformers reads."""
    values: dict[str, Json] = {"rope_theta": config.rope_theta}
    scaling = config.rope_scaling
    if scaling is None:
        return values
    rope: dict[str, Json] = {"rope_type": scaling.kind, "factor": scaling.factor}
    if scaling.kind != "linear":
        rope[POSITIONS] = scaling.original
    if scaling.kind == "llama3":
        rope |= {"low_freq_factor": scaling.low, "high_freq_factor": scaling.high}
    if scaling.kind == "yarn":
        rope |= {
            "beta_slow": scaling.low,
            "beta_fast": scaling.high,
            "truncate": scaling.whole_pairs,
            "attention_factor": scaling.attention,
        }
    return {**values, "rope_scaling": rope}
