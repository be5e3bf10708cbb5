"""From settings to the pieces of a run on images with captions; as `building` for text.

Both towers begin fresh, or as those of a checkpoint of two towers, or each from a folder of its
own; what is loaded and what is fresh is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import nn

from headstart.batch import Batch
from headstart.config import PretrainSettings
from headstart.data.patches import PixelFrame, PixelScale
from headstart.data.text import load_tokenizer, train_tokenizer
from headstart.errors import InputError
from headstart.events import Events
from headstart.families import Loaded, Model, find, load_model, resolve
from headstart.families.pair_head import PairHead
from headstart.families.tower import OF_IMAGES, OF_TEXTS, Tower, image_tower, joined, text_tower
from headstart.nn import Patches, TransformerConfig
from headstart.objectives import Vocabulary
from headstart.objectives.image_text import ImageText
from headstart.recipes.building import refuse_length, refuse_objective
from headstart.words import say

SHAPE = ("num_layers", "hidden_size", "num_heads", "intermediate_size")
LEGACY_END = 2  # at this id stock CLIP looks for the end of texts in another way


@dataclass(frozen=True, eq=False)
class PairStart:
    """What a run on pairs begins with: nothing, both towers, or one or two folders of one each."""

    settings: PretrainSettings
    whole: Loaded | None = None
    texts: Loaded | None = None
    images: Loaded | None = None

    @classmethod
    def open(cls, settings: PretrainSettings) -> PairStart:
        """Read the folders that settings name, and refuse what cannot be a tower."""
        pairs = settings.pairs
        whole, texts, images = (
            None if name in (None, "scratch") else load_model(resolve(name))
            for name in (settings.start, pairs.start_text, pairs.start_images)
        )
        if whole is not None:
            refuse_objective(settings, whole.model)
        if texts is not None and text_tower(texts) is None:
            raise _no_tower("start_text", pairs.start_text, texts, "texts", OF_TEXTS, "bert")
        if images is not None and image_tower(images) is None:
            raise _no_tower("start_images", pairs.start_images, images, "images", OF_IMAGES, "vit")
        start = cls(settings, whole, texts, images)
        if texts is not None and images is not None:
            start._refuse_sizes(texts.model.config, images.model)
        return start

    def _refuse_sizes(self, texts: TransformerConfig, images: Model) -> None:
        """Sizes of fresh towers, where there is none."""
        chosen, pairs = self.settings.model, self.settings.pairs
        image = (images.images or images).config
        for name in SHAPE:
            if getattr(chosen, name) is not None:
                raise InputError(
                    f"model.{name} is {getattr(chosen, name)}, but both towers come from folders: "
                    f"{pairs.start_text} has {_shape(texts)}, {pairs.start_images} has "
                    f"{_shape(image)}. Leave model.{name} out"
                )

    @property
    def parent(self) -> str:
        """What the run came from, for its lineage; nothing if all is fresh."""
        chosen = self.settings.pairs
        towers = (("texts", chosen.start_text), ("images", chosen.start_images))
        named = ", ".join(f"{name} ({what})" for what, name in towers if name is not None)
        return named or ("" if self.settings.start == "scratch" else self.settings.start)

    @property
    def heads(self) -> Mapping[str, nn.Module]:
        """Heads that go on: of both towers, or what each was read with."""
        if self.whole is not None:
            return self.whole.heads
        halves = (
            ("text_pooler", None if self.texts is None else text_tower(self.texts)),
            ("image_pooler", None if self.images is None else image_tower(self.images)),
        )
        return {name: t.pooler for name, t in halves if t is not None and t.pooler is not None}

    def frame(self, *, side: int) -> PixelFrame:
        """How images enter: as a folder has it, or for images of about `side` pixels."""
        wanted, whole = self.settings.images, self.whole
        loaded = whole or self.images
        if loaded is None:
            return PixelFrame(*wanted.shape(side))
        name = self.settings.start if whole is not None else self.settings.pairs.start_images
        patches = (loaded.model.images or loaded.model).config.patches
        assert patches is not None, "a tower of images"
        if whole is not None and wanted.size not in (None, patches.image_size):
            raise InputError(
                f"images.size is {wanted.size}, but {name} reads images of {patches.image_size} "
                "pixels: leave images.size out"
            )
        if whole is None and wanted.patch not in (None, patches.patch_size):
            raise InputError(
                f"images.patch is {wanted.patch}, but {name} reads patches of "
                f"{patches.patch_size} x {patches.patch_size} pixels: leave images.patch out"
            )
        size = wanted.size or patches.image_size
        return PixelFrame(size, patches.patch_size, loaded.pixels or PixelScale())

    def tokenizer(self, texts: list[str], events: Events) -> Tokenizer:
        """That of the folder of the texts' tower, or one learnt from these captions."""
        loaded = self.whole or self.texts
        if loaded is not None:
            if loaded.tokenizer is None:
                name = self.settings.pairs.start_text or self.settings.start
                raise InputError(f"{name} has no tokenizer.json, so its model cannot be given text")
            return load_tokenizer(loaded.tokenizer.parent)
        events.progress("tokenize", 0, 0)
        data = self.settings.data
        made = train_tokenizer(
            texts,
            kind=data.tokenizer,
            vocab_size=data.vocab_size,
            lowercase=data.lowercase,
            style=find(self.settings.model.family).special_tokens,
        )
        events.progress("tokenize", 1, 1)
        return made

    def network(self, vocabulary: Vocabulary, frame: PixelFrame, events: Events) -> Model:
        """The towers, each from its folder or fresh."""
        if self.whole is not None:
            return self.whole.model
        if self.texts is None and self.images is None:
            return self._fresh(vocabulary, frame)
        return self._towers(vocabulary, frame, events)

    def _fresh(self, vocabulary: Vocabulary, frame: PixelFrame) -> Model:
        settings = self.settings
        layers, hidden, heads, inner = settings.model.shape()
        return find(settings.model.family).build(
            num_layers=layers,
            hidden_size=hidden,
            num_heads=heads,
            intermediate_size=inner,
            vocab_size=vocabulary.size,
            max_positions=settings.data.max_length,
            dropout=settings.model.dropout,
            pad=vocabulary.pad,
            patches=Patches(image_size=frame.image_size, patch_size=frame.patch_size),
            seed=settings.seed,
        )

    def _towers(self, vocabulary: Vocabulary, frame: PixelFrame, events: Events) -> Model:
        pairs, halves = self.settings.pairs, self._halves(vocabulary, frame)
        if self.texts is not None:
            _refuse_tokens(pairs.start_text, self.texts.model, vocabulary)
            refuse_length(self.settings, str(pairs.start_text), self.texts.model)
        for what, loaded, tower, name in zip(
            ("texts", "images"),
            (self.texts, self.images),
            halves,
            (pairs.start_text, pairs.start_images),
            strict=True,
        ):
            shape = {"layers": tower.config.num_layers, "hidden": tower.config.hidden_size}
            if loaded is None:
                events.note(say(f"tower_fresh_{what}", **shape))
            else:
                family = loaded.model.family
                events.note(say(f"tower_loaded_{what}", start=name, family=family, **shape))
        self._say_resized(frame, events)
        model = joined(*halves, end=vocabulary.sep)
        events.note(say("projections_fresh", shared=model.config.shared_size))
        both = (("texts", model.style, halves[0]), ("images", model.style.images, halves[1]))
        for what, style, tower in both:
            if style is not None and style.pool_activation is not None:
                state = "fresh" if tower.pooler is None else "loaded"
                events.note(say(f"pooler_{state}_{what}"))
        return model

    @torch.no_grad()
    def begin(self, objective: ImageText, model: Model, heads: nn.ModuleDict, first: Batch) -> None:
        """Where towers come from folders, let what is fresh between them begin from a first batch.

        Their states are much alike from text to text, and a loss that tells texts apart would make
        them all alike before it tells any apart.
        """
        head = heads[objective.name]
        assert isinstance(head, PairHead), "the objective's head"
        loaded = {"text_pooler": self.texts, "image_pooler": self.images}
        if all(half is None for half in loaded.values()):
            return
        noise = torch.Generator().manual_seed(self.settings.seed)
        for linear in (head.texts, head.images):
            assert linear is not None, "a head of two towers"
            linear.weight.normal_(0.0, linear.in_features**-0.5, generator=noise)
        states = objective.states(model, head, first)
        for (name, pooler), vectors in zip(head.poolers(), states, strict=True):
            fresh = loaded[name] is not None and name not in self.heads
            if pooler.dense is not None and fresh:
                pooler.spread(vectors)

    def _say_resized(self, frame: PixelFrame, events: Events) -> None:
        """That positions are not those of the folder, where images have another size."""
        if self.images is None:
            return
        patches = (self.images.model.images or self.images.model).config.patches
        if patches is not None and patches.image_size != frame.image_size:
            events.note(say("tower_resized", was=patches.image_size, now=frame.image_size))

    def _halves(self, vocabulary: Vocabulary, frame: PixelFrame) -> tuple[Tower, Tower]:
        """The tower of texts and that of images."""
        texts = None if self.texts is None else text_tower(self.texts)
        images = None
        if self.images is not None:
            images = image_tower(self.images, size=frame.image_size)
        if texts is None or images is None:
            fresh = self._fresh(vocabulary, frame)
            texts, images = texts or Tower.of_texts(fresh), images or Tower.of_images(fresh)
        return texts, images


def _shape(config: TransformerConfig) -> str:
    return f"{config.num_layers} layers x {config.hidden_size}, {config.num_heads} heads"


def _no_tower(
    key: str, name: str | None, loaded: Loaded, what: str, able: tuple[str, ...], first: str
) -> InputError:
    model = loaded.model
    return InputError(
        f"pairs.{key}: {name} holds a model of family {model.family} ({model.arrangement}), but a "
        f"tower of {what} can be of {', '.join(able)}: pretrain one with --family {first}"
    )


def _refuse_tokens(name: str | None, model: Model, vocabulary: Vocabulary) -> None:
    """A tokenizer that does not belong to the tower, or whose texts stock CLIP would misread."""
    if vocabulary.size > model.config.vocab_size:
        raise InputError(
            f"{name}: its tokenizer has {vocabulary.size} tokens, its model only "
            f"{model.config.vocab_size}: they do not belong together"
        )
    if model.config.causal and vocabulary.sep in (None, LEGACY_END):
        raise InputError(
            f"{name}: a tower that only sees what came before is read at the token that ends a "
            f"text, whose id must not be {LEGACY_END}, but its tokenizer has {vocabulary.sep}"
        )
