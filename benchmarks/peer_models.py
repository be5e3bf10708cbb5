"""transformers' networks of a given shape, as every benchmark that trains them builds them."""

from __future__ import annotations

from dataclasses import dataclass

import transformers
from torch import nn

from headstart.families.style import PatchDecoder


@dataclass(frozen=True)
class Size:
    """inner: numbers between the two products of an MLP; None: four times `hidden`."""

    hidden: int
    layers: int
    heads: int
    inner: int | None = None

    @property
    def common(self) -> dict[str, int]:
        """As most of transformers' configurations call them."""
        return {
            "hidden_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "intermediate_size": self.inner or 4 * self.hidden,
        }


def gpt2(size: Size, *, vocabulary: int, width: int, dropout: float = 0.0) -> nn.Module:
    """GPT-2 that reads windows of `width` tokens."""
    config = transformers.GPT2Config(
        vocab_size=vocabulary,
        n_positions=width,
        n_embd=size.hidden,
        n_layer=size.layers,
        n_head=size.heads,
        n_inner=size.inner,
        resid_pdrop=dropout,
        embd_pdrop=dropout,
        attn_pdrop=dropout,
        bos_token_id=None,
        eos_token_id=None,
        use_cache=False,
        attn_implementation="sdpa",
    )
    return transformers.GPT2LMHeadModel(config)


def bert(size: Size, *, vocabulary: int, width: int = 512, dropout: float = 0.0) -> nn.Module:
    """BERT with its head for masked tokens, for windows of at most `width` tokens."""
    config = transformers.BertConfig(
        vocab_size=vocabulary,
        max_position_embeddings=width,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        attn_implementation="sdpa",
        **size.common,
    )
    return transformers.BertForMaskedLM(config)


def vit_mae(size: Size, decoder: PatchDecoder, *, image: int, patch: int) -> nn.Module:
    """A masked autoencoder with normalised pixels as targets."""
    config = transformers.ViTMAEConfig(
        image_size=image,
        patch_size=patch,
        decoder_hidden_size=decoder.hidden_size,
        decoder_num_hidden_layers=decoder.num_layers,
        decoder_num_attention_heads=decoder.num_heads,
        decoder_intermediate_size=decoder.intermediate_size,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        norm_pix_loss=decoder.normalised,
        mask_ratio=decoder.mask_ratio,
        attn_implementation="sdpa",
        **size.common,
    )
    return transformers.ViTMAEForPreTraining(config)
