"""RoBERTa: BERT's body with one segment, positions that start after the padding id, other heads."""

from __future__ import annotations

from dataclasses import replace

from headstart.families import bert
from headstart.families.family import Architecture, Family, HFConfig
from headstart.families.fields import Fields
from headstart.families.heads import HeadKind
from headstart.families.names import Rule, Spelling, linear
from headstart.families.style import HeadStyle
from headstart.nn import TransformerConfig

HEADS: dict[HeadKind, tuple[Rule, ...]] = {
    "masked": (
        *linear("lm_head.dense", "dense"),
        *linear("lm_head.layer_norm", "norm"),
        Rule(("lm_head.bias",), "bias"),
    ),
    "sequence": (
        *linear("classifier.dense", "pooler.dense"),
        *linear("classifier.out_proj", "classifier"),
    ),
    "pooler": linear("pooler.dense", "dense"),
}


def config_from_hf(hf: Fields) -> TransformerConfig:
    """Our config from RoBERTa's: position p of a text uses row pad_token_id + 1 + p."""
    values = {"vocab_size": 50265, "type_vocab_size": 1, "layer_norm_eps": 1e-5, **hf.values}
    values.setdefault("max_position_embeddings", 514)
    offset = hf.whole("pad_token_id", 1, low=0) + 1
    config = bert.config_from_hf(Fields(values, hf.source))
    if config.max_positions <= offset:
        raise hf.refused(
            "max_position_embeddings", config.max_positions, f"larger than {offset}, the first used"
        )
    return replace(config, max_positions=config.max_positions - offset, position_offset=offset)


def style_from_hf(hf: Fields) -> HeadStyle:
    """All RoBERTa heads are alike."""
    return HeadStyle()


def config_to_hf(config: TransformerConfig, style: HeadStyle) -> HFConfig:
    """RoBERTa's config from ours."""
    return {
        **bert.config_to_hf(config, style),
        "max_position_embeddings": config.max_positions + config.position_offset,
        "pad_token_id": config.position_offset - 1,
    }


ROBERTA = Family(
    name="roberta",
    title="RoBERTa",
    paper="Liu et al. 2019, https://arxiv.org/abs/1907.11692",
    model_types=("roberta", "xlm-roberta", "camembert"),
    special_tokens="roberta",
    template=config_from_hf(Fields({}, "RoBERTa's defaults")),
    style=HeadStyle(),
    config_from_hf=config_from_hf,
    style_from_hf=style_from_hf,
    config_to_hf=config_to_hf,
    architectures=(
        Architecture("RobertaModel", ()),
        Architecture("RobertaModel", ("pooler",)),
        Architecture("RobertaForMaskedLM", ("masked",)),
        Architecture("RobertaForMaskedLM", ("masked", "pooler")),
        Architecture("RobertaForSequenceClassification", ("sequence",)),
    ),
    body=bert.BODY,
    heads=HEADS,
    spelling=Spelling(
        prefixes=("roberta.",),
        renamed=bert.OLD_NAMES,
        dropped=bert.BUFFERS,
        tied=(
            ("lm_head.decoder.weight", "embeddings.word_embeddings.weight"),
            ("lm_head.decoder.bias", "lm_head.bias"),
        ),
    ),
)
build = ROBERTA.build
