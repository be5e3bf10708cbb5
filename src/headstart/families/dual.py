"""Two towers of other families: BERT, RoBERTa or CLIP for texts beside a ViT or CLIP for images.

Written as stock VisionTextDualEncoder. A BERT, RoBERTa or ViT is read through the dense layer that
its family has on the first token; CLIP's towers are read as in CLIP. A GPT is CLIP's tower of texts
under other names, so its weights stand there unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from headstart.errors import InputError
from headstart.families import bert, clip, roberta, vit
from headstart.families.family import Architecture, Family, HFConfig
from headstart.families.fields import Fields
from headstart.families.names import Rule, Spelling, linear
from headstart.families.style import HeadStyle
from headstart.nn import TransformerConfig

MODEL_TYPE = "vision-text-dual-encoder"
DENSE = HeadStyle(pooling="first", pool_activation="tanh")


@dataclass(frozen=True)
class _Tower:
    """How one kind of tower is named and described; the rules are those of a model of its own.

    words: its model types in files; the first is written. before: what the rules' names begin with.
    """

    words: tuple[str, ...]
    style: HeadStyle
    rules: tuple[Rule, ...]
    read: Callable[[Fields, int], TransformerConfig]
    write: Callable[[TransformerConfig, HeadStyle], HFConfig]
    before: str = ""


def _plain(
    read: Callable[[Fields], TransformerConfig],
) -> Callable[[Fields, int], TransformerConfig]:
    """The reading of a family whose configs know no shared space."""
    return lambda hf, shared: replace(read(hf), shared_size=shared)


BERT = _Tower(("bert",), DENSE, bert.BODY, _plain(bert.config_from_hf), bert.config_to_hf)
ROBERTA = _Tower(
    roberta.ROBERTA.model_types,
    DENSE,
    bert.BODY,
    _plain(roberta.config_from_hf),
    roberta.config_to_hf,
)
CLIP_TEXTS = _Tower(
    (clip.TEXT_TYPE,),
    HeadStyle(pooling="last", pool_activation=None),
    clip.TEXTS,
    clip.text_config,
    clip.text_to_hf,
    before="text_model.",
)
VIT = _Tower(("vit",), DENSE, vit.BODY, _plain(vit.config_from_hf), vit.config_to_hf)
CLIP_IMAGES = _Tower(
    (clip.IMAGE_TYPE,),
    HeadStyle(pooling="first", pool_activation=None),
    clip.IMAGES,
    clip.image_config,
    lambda config, style: clip.image_to_hf(config),
    before="vision_model.",
)
TEXTS, IMAGES = (BERT, ROBERTA, CLIP_TEXTS), (VIT, CLIP_IMAGES)


def tower_of(config: TransformerConfig) -> _Tower:
    """Which kind of tower a config is."""
    if config.patches is not None:
        return CLIP_IMAGES if config.embedding_norm else VIT
    if config.causal:
        return CLIP_TEXTS
    return ROBERTA if config.position_offset else BERT


def style_of(config: TransformerConfig, *, end: int = 0) -> HeadStyle:
    """How two towers are read. end: id at which texts are read, where the tower is CLIP's."""
    assert config.images is not None, "two towers"
    texts = tower_of(config)
    end = end if texts is CLIP_TEXTS else 0
    return replace(texts.style, end=end, images=tower_of(config.images).style)


def family_of(config: TransformerConfig) -> str:
    """The family of a model of these towers: CLIP where both are its own."""
    assert config.images is not None, "two towers"
    both = (tower_of(config), tower_of(config.images))
    return "clip" if both == (CLIP_TEXTS, CLIP_IMAGES) else "dual"


def _rules_of(config: TransformerConfig, theirs: str, ours: str) -> tuple[Rule, ...]:
    tower = tower_of(config)
    return tuple(
        replace(
            rule,
            theirs=tuple(f"{theirs}.{name.removeprefix(tower.before)}" for name in rule.theirs),
            ours=f"{ours}{rule.ours}",
        )
        for rule in tower.rules
    )


def rules_of(config: TransformerConfig) -> tuple[Rule, ...]:
    """Names of both towers' weights."""
    assert config.images is not None, "two towers"
    return (
        *_rules_of(config, "text_model", ""),
        *_rules_of(config.images, "vision_model", "images."),
    )


def _found(hf: Fields, key: str, kinds: tuple[_Tower, ...]) -> tuple[_Tower, Fields]:
    inner = clip.inner_of(hf, key)
    words = tuple(word for kind in kinds for word in kind.words)
    word = inner.word("model_type", kinds[0].words[0], words)
    return next(kind for kind in kinds if word in kind.words), inner


def config_from_hf(hf: Fields) -> TransformerConfig:
    """Our config from those of the two towers."""
    shared = hf.whole("projection_dim", 512)
    (texts, text), (images, image) = (
        _found(hf, "text_config", TEXTS),
        _found(hf, "vision_config", IMAGES),
    )
    return replace(texts.read(text, shared), images=images.read(image, shared))


def style_from_hf(hf: Fields) -> HeadStyle:
    """How both are read follows from what they are; `logit_bias` is ours, as in CLIP."""
    texts, text = _found(hf, "text_config", TEXTS)
    images, _ = _found(hf, "vision_config", IMAGES)
    end = text.whole("eos_token_id", 49407, low=0) if texts is CLIP_TEXTS else 0
    pair_bias = clip.pair_bias(hf)
    return replace(texts.style, end=end, pair_bias=pair_bias, images=images.style)


def config_to_hf(config: TransformerConfig, style: HeadStyle) -> HFConfig:
    """The two towers' configs in one. Raises InputError for one tower alone."""
    if config.images is None:
        raise InputError("one of two towers cannot be written alone: save the whole model")
    texts, images = tower_of(config), tower_of(config.images)
    text = {"model_type": texts.words[0], **texts.write(config, style)}
    image = {"model_type": images.words[0], **images.write(config.images, HeadStyle())}
    return clip.towers_to_hf(config, style, text, image)


TEMPLATE = config_from_hf(Fields({"text_config": {}, "vision_config": {}}, "its defaults"))
DUAL = Family(
    name="dual",
    title="VisionTextDualEncoder",
    paper="Zhai et al. 2022, https://arxiv.org/abs/2111.07991",
    model_types=(MODEL_TYPE,),
    special_tokens="bert",
    template=TEMPLATE,
    style=style_of(TEMPLATE),
    config_from_hf=config_from_hf,
    style_from_hf=style_from_hf,
    config_to_hf=config_to_hf,
    fit=clip.fit,
    architectures=(Architecture("VisionTextDualEncoderModel", ("pair",), prefix=""),),
    body=(),
    variants=rules_of,
    heads={
        "pair": (
            *clip.HEADS["pair"],
            *linear("text_model.pooler.dense", "text_pooler.dense"),
            *linear("vision_model.pooler.dense", "image_pooler.dense"),
        )
    },
    spelling=Spelling(
        prefixes=("",),
        # as older libraries write CLIP's towers inside
        renamed=((r"^(text_model|vision_model)\.\1\.", r"\1."),),
        dropped=(r".*\.embeddings\.(position_ids|token_type_ids)",),
    ),
)
build = DUAL.build
