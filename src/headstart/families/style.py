"""How a family builds its heads: a value, so that no family needs a head class of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from headstart.nn.config import Activation

Pooling = Literal["first", "mean", "last"]


@dataclass(frozen=True, kw_only=True)
class PatchDecoder:
    """MAE's decoder: its sizes, which share of the patches it gives back, and in which units.

    normalised: whether the numbers of each patch are first brought to mean 0 and variance 1.
    """

    hidden_size: int = 512
    num_layers: int = 8
    num_heads: int = 16
    intermediate_size: int = 2048
    mask_ratio: float = 0.75
    normalised: bool = False


@dataclass(frozen=True, kw_only=True)
class HeadStyle:
    """Which parts a family's heads have.

    transform: whether a dense layer and a norm come before the masked-LM decoder; activation,
    transform_bias: of that layer.
    tied: whether language heads decode with the token table; otherwise with a matrix of their own.
    scaled: whether a causal head's states are divided by the root of the hidden size (T5, tied).
    decoder_bias: of the masked-LM decoder. fixed_bias: of any decoder, read, added and written, but
    never learnt.
    start: id of the token from which a decoder that has an encoder begins. end: of the token at
    which texts are read (CLIP); it only stands in files, the last token is that one.
    pair_bias: added to the scores of images with texts where each pair is judged on its own.
    pooling: which vector stands for a sequence. pool_activation: of the dense layer between it and
    the classifier; None for no such layer; pool_bias, pool_norm belong to that layer.
    classifier_bias: of the last linear of a sequence head.
    classifier_pools: whether a sequence head has the pooler's dense layer too.
    patch_decoder: of a model that reads images.
    images: of the second of two towers; None: as the first.
    """

    activation: Activation = "gelu"
    transform: bool = True
    transform_bias: bool = True
    tied: bool = True
    scaled: bool = False
    decoder_bias: bool = True
    fixed_bias: bool = False
    start: int = 0
    end: int = 0
    pair_bias: float | None = None
    pooling: Pooling = "first"
    pool_activation: Activation | Literal["tanh"] | None = "tanh"
    pool_bias: bool = True
    pool_norm: bool = False
    classifier_bias: bool = True
    classifier_pools: bool = True
    patch_decoder: PatchDecoder = PatchDecoder()
    images: HeadStyle | None = None

    @property
    def in_classifier(self) -> HeadStyle:
        """The style of the pooler inside a sequence head."""
        if self.classifier_pools:
            return self
        return replace(self, pool_activation=None, pool_norm=False)
