"""Reformer: attention in chunks, by place or by hash, on a reversible residual stream.

Pre-norm with learned axial positions; the last hidden states are both streams side by side, twice
the hidden size, and no weight is tied. The same network is an encoder or a decoder (`is_decoder`).
The surprises: Hugging Face chooses the number of buckets at the first text it sees where
config.json names none; here it is chosen by the longest text allowed, and written. And its dropout
inside the MLP and on token vectors apart from positions is not repeated here.
"""

from __future__ import annotations

import math
from dataclasses import replace

from headstart.families.family import Architecture, Family, HFConfig
from headstart.families.fields import Fields
from headstart.families.keys import Key, read, written
from headstart.families.names import Rule, Spelling, linear
from headstart.families.style import HeadStyle
from headstart.nn import TransformerConfig
from headstart.nn.long_range import (
    Axial,
    ChunkedAttention,
    Chunking,
    LongRange,
    default_buckets,
)

BLOCK = "stack.blocks.{n}"
LAYER = "encoder.layers.{n}"
ATTENTION = f"{LAYER}.attention.self_attention"
POSITIONS = "embeddings.position_embeddings"
KINDS: tuple[ChunkedAttention, ...] = ("local", "lsh")
DEFAULT_LAYERS = KINDS * 3

BODY = (
    Rule(("embeddings.word_embeddings.weight",), "embed.tokens.weight"),
    Rule((f"{POSITIONS}.embedding.weight",), "embed.positions.weight"),
    Rule((f"{POSITIONS}.weights.0",), "embed.positions.rows"),
    Rule((f"{POSITIONS}.weights.1",), "embed.positions.columns"),
    *linear(f"{LAYER}.attention.layer_norm", f"{BLOCK}.attention_norm"),
    Rule(
        tuple(f"{ATTENTION}.{part}.weight" for part in ("query", "key", "value")),
        f"{BLOCK}.attention.qkv.weight",
    ),
    Rule((f"{ATTENTION}.query_key.weight",), f"{BLOCK}.attention.qk.weight"),
    Rule((f"{ATTENTION}.value.weight",), f"{BLOCK}.attention.value.weight"),
    Rule((f"{LAYER}.attention.output.dense.weight",), f"{BLOCK}.attention.out.weight"),
    *linear(f"{LAYER}.feed_forward.layer_norm", f"{BLOCK}.mlp_norm"),
    *linear(f"{LAYER}.feed_forward.dense.dense", f"{BLOCK}.mlp.up"),
    *linear(f"{LAYER}.feed_forward.output.dense", f"{BLOCK}.mlp.down"),
    *linear("encoder.layer_norm", "stack.norm"),
)
LANGUAGE = (
    Rule(("lm_head.decoder.weight",), "decoder.weight"),
    Rule(("lm_head.decoder.bias",), "bias"),
)
# the bias is fixed because transformers 5 reads it and leaves it out, where version 4 added it
STYLE = HeadStyle(transform=False, tied=False, decoder_bias=False, fixed_bias=True)

KEYS = (
    Key("vocab_size", "vocab_size", 320),
    Key("hidden_size", "hidden_size", 256),
    Key("num_attention_heads", "num_heads", 12),
    Key("feed_forward_size", "intermediate_size", 512),
    Key("layer_norm_eps", "norm_eps", 1e-12),
    Key("hidden_act", "activation", "relu"),
    Key("is_decoder", "causal", False),
    Key("hidden_dropout_prob", "dropout", 0.05),
)


def config_from_hf(hf: Fields) -> TransformerConfig:
    """Our config from Reformer's."""
    layers = hf.words("attn_layers") or list(DEFAULT_LAYERS)
    if not set(layers) <= set(KINDS):
        raise hf.refused("attn_layers", list(layers), "a list of local and lsh")
    axial = None
    longest = hf.whole("max_position_embeddings", 4096)
    if hf.flag("axial_pos_embds", True):
        axial = Axial(
            shape=_pair(hf, "axial_pos_shape", (64, 64)),
            widths=_pair(hf, "axial_pos_embds_dim", (64, 192)),
        )
        longest = min(longest, math.prod(axial.shape))
    lsh = _chunking(hf, "lsh", dropout=0.0)
    return TransformerConfig(
        **read(hf, KEYS),
        num_layers=len(layers),
        head_size=hf.whole("attention_head_size", 64),
        max_positions=longest,
        position="learned",
        long_range=LongRange(
            attn_layers=tuple(kind for name in layers for kind in KINDS if kind == name),
            local=_chunking(hf, "local", dropout=0.05),
            lsh=lsh,
            num_buckets=_buckets(hf) or default_buckets(longest, lsh),
            num_hashes=hf.whole("num_hashes", 1, high=1000),
            hash_seed=_seed(hf),
            axial=axial,
            mlp_chunk=hf.whole("chunk_size_feed_forward", 0, low=0),
        ),
    )


def _chunking(hf: Fields, kind: ChunkedAttention, *, dropout: float) -> Chunking:
    return Chunking(
        length=hf.whole(f"{kind}_attn_chunk_length", 64),
        before=hf.whole(f"{kind}_num_chunks_before", 1, low=0),
        after=hf.whole(f"{kind}_num_chunks_after", 0, low=0),
        dropout=hf.number(f"{kind}_attention_probs_dropout_prob", dropout, low=0, high=1),
    )


def _pair(hf: Fields, key: str, default: tuple[int, int]) -> tuple[int, int]:
    value = hf.values.get(key)
    if value is None:
        return default
    good = isinstance(value, list) and all(type(n) is int and 0 < n < 2**24 for n in value)
    if not isinstance(value, list) or not good or len(value) != 2:
        raise hf.refused(key, value, "a list of two whole numbers")
    first, second = (n for n in value if isinstance(n, int))
    return first, second


def _buckets(hf: Fields) -> tuple[int, ...]:
    value = hf.values.get("num_buckets")
    if isinstance(value, list) and len(value) == 2:
        return _pair(hf, "num_buckets", (2, 2))
    if isinstance(value, list) and len(value) == 1:
        hf = Fields({"num_buckets": value[0]}, hf.source)
    return () if value is None else (hf.whole("num_buckets"),)


def _seed(hf: Fields) -> int | None:
    given = hf.values.get("hash_seed") is not None
    return hf.whole("hash_seed", low=0, high=2**63 - 1) if given else None


def style_from_hf(hf: Fields) -> HeadStyle:
    """Untied decoders without a transform layer; the first token's state is classified."""
    return STYLE


def config_to_hf(config: TransformerConfig, style: HeadStyle) -> HFConfig:
    """Reformer's config from ours."""
    settings = config.long_range
    assert settings is not None, "a Reformer has a long_range config"
    values: HFConfig = {
        **written(config, KEYS),
        "num_hidden_layers": config.num_layers,
        "attention_head_size": config.head_dim,
        "chunk_size_feed_forward": settings.mlp_chunk,
        "max_position_embeddings": config.max_positions,
        "attn_layers": list(settings.attn_layers),
        "num_buckets": list(settings.num_buckets),
        "num_hashes": settings.num_hashes,
        "hash_seed": settings.hash_seed,
        "axial_pos_embds": settings.axial is not None,
        "tie_word_embeddings": False,
        "pad_token_id": 0,
    }
    if len(settings.num_buckets) == 1:
        values["num_buckets"] = settings.num_buckets[0]
    if settings.axial is not None:
        values["axial_pos_shape"] = list(settings.axial.shape)
        values["axial_pos_embds_dim"] = list(settings.axial.widths)
    for kind in KINDS:
        chunks = settings.chunking(kind)
        values[f"{kind}_attn_chunk_length"] = chunks.length
        values[f"{kind}_num_chunks_before"] = chunks.before
        values[f"{kind}_num_chunks_after"] = chunks.after
        values[f"{kind}_attention_probs_dropout_prob"] = chunks.dropout
    return values


def fit(config: TransformerConfig) -> TransformerConfig:
    """Layers of both kinds in turn, and positions for whole chunks of the longest text."""
    chunks = Chunking()
    longest = config.max_positions
    if longest > chunks.length:
        longest = -(-longest // chunks.length) * chunks.length
    rows = max(n for n in range(1, math.isqrt(longest) + 1) if longest % n == 0)
    width = max(1, config.hidden_size // 4)
    return replace(
        config,
        head_size=config.head_dim,
        max_positions=longest,
        long_range=LongRange(
            attn_layers=tuple(KINDS[n % 2] for n in range(config.num_layers)),
            local=chunks,
            lsh=chunks,
            num_buckets=default_buckets(longest, chunks),
            axial=Axial(shape=(rows, longest // rows), widths=(width, config.hidden_size - width)),
        ),
    )


REFORMER = Family(
    name="reformer",
    title="Reformer",
    paper="Kitaev et al. 2020, https://arxiv.org/abs/2001.04451",
    model_types=("reformer",),
    special_tokens="bert",
    template=replace(
        config_from_hf(Fields({}, "Reformer's defaults")),
        long_range=None,
        num_heads=4,
        head_size=None,
    ),
    style=STYLE,
    config_from_hf=config_from_hf,
    style_from_hf=style_from_hf,
    config_to_hf=config_to_hf,
    fit=fit,
    architectures=(
        Architecture("ReformerModel", ()),
        Architecture("ReformerForMaskedLM", ("masked",)),
        Architecture("ReformerModelWithLMHead", ("causal",)),
        Architecture("ReformerForSequenceClassification", ("sequence",)),
    ),
    body=BODY,
    heads={
        "masked": LANGUAGE,
        "causal": LANGUAGE,
        "sequence": (
            *linear("classifier.dense", "pooler.dense"),
            *linear("classifier.out_proj", "classifier"),
        ),
    },
    spelling=Spelling(
        prefixes=("reformer.",),
        dropped=(
            r"encoder\.layers\.\d+\.attention\.self_attention\.(self_)?mask_value_float(16|32)",
        ),
        former=(("lm_head.bias", "lm_head.decoder.bias"),),  # transformers before 5.24
    ),
)
build = REFORMER.build
