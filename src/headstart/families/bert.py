"""BERT: post-norm encoder with learned positions and segments."""

from __future__ import annotations

from headstart.families.family import Architecture, Family, HFConfig
from headstart.families.fields import Fields
from headstart.families.heads import HeadKind
from headstart.families.keys import Key, read, sizes, written
from headstart.families.names import Rule, Spelling, linear, stacked
from headstart.families.style import HeadStyle
from headstart.nn import TransformerConfig

BLOCK = "stack.blocks.{n}"
LAYER = "encoder.layer.{n}"

# RoBERTa has the same body
BODY = (
    Rule(("embeddings.word_embeddings.weight",), "embed.tokens.weight"),
    Rule(("embeddings.position_embeddings.weight",), "embed.positions.weight"),
    Rule(("embeddings.token_type_embeddings.weight",), "embed.segments.weight"),
    *linear("embeddings.LayerNorm", "embed.norm"),
    *stacked(
        [f"{LAYER}.attention.self.{part}" for part in ("query", "key", "value")],
        f"{BLOCK}.attention.qkv",
    ),
    *linear(f"{LAYER}.attention.output.dense", f"{BLOCK}.attention.out"),
    *linear(f"{LAYER}.attention.output.LayerNorm", f"{BLOCK}.attention_norm"),
    *linear(f"{LAYER}.intermediate.dense", f"{BLOCK}.mlp.up"),
    *linear(f"{LAYER}.output.dense", f"{BLOCK}.mlp.down"),
    *linear(f"{LAYER}.output.LayerNorm", f"{BLOCK}.mlp_norm"),
)
OLD_NAMES = ((r"LayerNorm\.gamma$", "LayerNorm.weight"), (r"LayerNorm\.beta$", "LayerNorm.bias"))
BUFFERS = (r"embeddings\.position_ids", r"embeddings\.token_type_ids")

HEADS: dict[HeadKind, tuple[Rule, ...]] = {
    "masked": (
        *linear("cls.predictions.transform.dense", "dense"),
        *linear("cls.predictions.transform.LayerNorm", "norm"),
        Rule(("cls.predictions.bias",), "bias"),
    ),
    "next_sentence": (
        *linear("pooler.dense", "pooler.dense"),
        *linear("cls.seq_relationship", "classifier"),
    ),
    "sequence": (
        *linear("pooler.dense", "pooler.dense"),
        *linear("classifier", "classifier"),
    ),
    "pooler": linear("pooler.dense", "dense"),
}

ACTIVATION = Key("hidden_act", "activation", "gelu")
KEYS = (
    Key("vocab_size", "vocab_size", 30522),
    *sizes(768, 12, 12, 3072),
    Key("max_position_embeddings", "max_positions", 512),
    Key("layer_norm_eps", "norm_eps", 1e-12),
    Key("type_vocab_size", "segments", 2, low=0),
    ACTIVATION,
    Key("hidden_dropout_prob", "dropout", 0.1),
    Key("attention_probs_dropout_prob", "attention_dropout", 0.1),
)


def config_from_hf(hf: Fields) -> TransformerConfig:
    """Our config from BERT's; anything that is not the plain encoder is refused."""
    hf.must_be("position_embedding_type", "absolute", None)
    hf.must_be("is_decoder", False)
    hf.must_be("add_cross_attention", False)
    return TransformerConfig(
        **read(hf, KEYS), norm_order="post", position="learned", embedding_norm=True
    )


def style_from_hf(hf: Fields) -> HeadStyle:
    """The masked-LM head's activation is the body's."""
    return HeadStyle(**read(hf, (ACTIVATION,)))


def config_to_hf(config: TransformerConfig, style: HeadStyle) -> HFConfig:
    """BERT's config from ours."""
    return {**written(config, KEYS), "position_embedding_type": "absolute", "pad_token_id": 0}


BERT = Family(
    name="bert",
    title="BERT",
    paper="Devlin et al. 2019, https://arxiv.org/abs/1810.04805",
    model_types=("bert",),
    special_tokens="bert",
    template=config_from_hf(Fields({}, "BERT's defaults")),
    style=HeadStyle(),
    config_from_hf=config_from_hf,
    style_from_hf=style_from_hf,
    config_to_hf=config_to_hf,
    architectures=(
        Architecture("BertModel", ()),
        Architecture("BertModel", ("pooler",)),
        Architecture("BertForMaskedLM", ("masked",)),
        Architecture("BertForMaskedLM", ("masked", "pooler")),
        Architecture("BertForNextSentencePrediction", ("next_sentence",)),
        Architecture("BertForPreTraining", ("masked", "next_sentence")),
        Architecture("BertForSequenceClassification", ("sequence",)),
    ),
    body=BODY,
    heads=HEADS,
    spelling=Spelling(
        prefixes=("bert.",),
        renamed=OLD_NAMES,
        dropped=BUFFERS,
        tied=(
            ("cls.predictions.decoder.weight", "embeddings.word_embeddings.weight"),
            ("cls.predictions.decoder.bias", "cls.predictions.bias"),
        ),
    ),
)
build = BERT.build
