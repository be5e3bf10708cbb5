"""What a family is: one frozen value that says how Hugging Face's world and ours correspond."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from headstart.errors import InputError
from headstart.families.fields import Fields, Json
from headstart.families.heads import HeadKind
from headstart.families.model import Model, build_model
from headstart.families.names import Rule, Spelling
from headstart.families.style import HeadStyle
from headstart.nn import Patches, TransformerConfig

HFConfig = dict[str, Json]


@dataclass(frozen=True)
class Architecture:
    """A Hugging Face model class by its name in config.json, and the heads it has.

    prefix: before the body's names in its files; None: the family's, but none in the first class.
    model_type: of its config; None: the family's first.
    """

    name: str
    heads: tuple[HeadKind, ...]
    prefix: str | None = None
    model_type: str | None = None


@dataclass(frozen=True, kw_only=True)
class Family:
    """One family of models.

    name, title, paper: for people. model_types: of Hugging Face configs; the first is written.
    special_tokens: which tokens its tokenizer frames a text with (`data.text`, style).
    template: a config of the family; `build` fills in sizes. style: how its heads are built.
    widening: intermediate size per hidden size that `build` takes.
    fit: completes the config of a fresh model, where some of its sizes follow from others.
    settle: completes the style by which weights the file holds, where config.json leaves it open.
    config_from_hf, style_from_hf: from config.json; values that the family cannot express are
        refused. config_to_hf: back; together with the template it is checked to be lossless.
    architectures: the model classes it reads and writes; the one without heads first.
    body, heads: name rules; variants: those of the body that depend on its config.
    spelling: prefixes, old names, buffers, tied weights.
    """

    name: str
    title: str
    paper: str
    model_types: tuple[str, ...]
    special_tokens: Literal["bert", "roberta", "gpt", "t5", "clip"]
    template: TransformerConfig
    style: HeadStyle
    widening: float = 4.0
    config_from_hf: Callable[[Fields], TransformerConfig]
    style_from_hf: Callable[[Fields], HeadStyle]
    config_to_hf: Callable[[TransformerConfig, HeadStyle], HFConfig]
    fit: Callable[[TransformerConfig], TransformerConfig] = lambda config: config
    settle: Callable[[HeadStyle, Collection[str]], HeadStyle] = lambda style, names: style
    architectures: tuple[Architecture, ...]
    body: tuple[Rule, ...]
    variants: Callable[[TransformerConfig], tuple[Rule, ...]] = lambda config: ()
    heads: Mapping[HeadKind, tuple[Rule, ...]] = field(hash=False)
    spelling: Spelling

    def build(
        self,
        *,
        num_layers: int = 6,
        hidden_size: int = 384,
        num_heads: int | None = None,
        intermediate_size: int | None = None,
        vocab_size: int = 8192,
        max_positions: int = 512,
        dropout: float = 0.0,
        causal: bool | None = None,
        pad: int | None = None,
        patches: Patches | None = None,
        seed: int = 0,
    ) -> Model:
        """A model of this family with fresh weights.

        num_heads: default one for each 64 of hidden_size. intermediate_size: default the family's
        widening of hidden_size, rounded up to a multiple of 32. dropout: not on attention weights.
        causal: whether a token sees only what came before, in a family that can do both; None: as
        the family usually has it.
        pad: the tokenizer's padding id, which RoBERTa counts positions from, and from which the
        decoder of an encoder-decoder begins; no matter to others.
        An encoder-decoder has num_layers in both of its stacks.
        patches: for a family that reads images; one that reads nothing else needs no vocab_size
        and max_positions.
        """
        offset = self.template.position_offset
        inner = -(-round(self.widening * hidden_size) // 32) * 32
        config = replace(
            self.template,
            num_layers=num_layers,
            decoder_layers=num_layers if self.template.decoder_layers else 0,
            hidden_size=hidden_size,
            num_heads=num_heads or max(1, hidden_size // 64),
            intermediate_size=intermediate_size or inner,
            vocab_size=vocab_size,
            max_positions=max_positions,
            dropout=dropout,
            position_offset=offset if pad is None or not offset else pad + 1,
            attention_dropout=0.0,
            causal=self.template.causal if causal is None else causal,
            patches=patches or self.template.patches,
        )
        style = self.style
        if pad is not None and config.decoder_layers:
            style = replace(style, start=pad)
        return build_model(self.fit(config), family=self.name, style=style, seed=seed)

    def rules(self, config: TransformerConfig) -> tuple[Rule, ...]:
        """Names of the body's weights, for a model of this config."""
        return self.body + self.variants(config)

    def architecture(self, heads: Iterable[str]) -> Architecture:
        """The model class that has just these heads.

        Raises InputError where there is none, and lists what there is.
        """
        wanted = set(heads)
        for candidate in self.architectures:
            if set(candidate.heads) == wanted:
                return candidate
        kinds = [" + ".join(a.heads) or "none" for a in self.architectures]
        raise InputError(
            f"no {self.title} model of Hugging Face has the heads {' + '.join(sorted(wanted))} "
            f"together. Save one of: {', '.join(kinds)}"
        )

    def write_config(self, config: TransformerConfig, style: HeadStyle) -> HFConfig:
        """config.json's values; refused if reading them again would give another model."""
        values = {"model_type": self.model_types[0], **self.config_to_hf(config, style)}
        fields = Fields(values, f"the config of this {self.title}")
        back, back_style = self.config_from_hf(fields), self.style_from_hf(fields)
        changed = [
            f"{name} is {getattr(mine, name)!r}, the folder can only say {getattr(theirs, name)!r}"
            for mine, theirs in ((config, back), (style, back_style))
            for name in mine.__dataclass_fields__
            if getattr(mine, name) != getattr(theirs, name)
        ]
        if changed:
            raise InputError(
                f"this model cannot be written as a {self.title} folder: " + "; ".join(changed)
            )
        return values
