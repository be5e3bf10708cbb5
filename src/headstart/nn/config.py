"""One description of one Transformer. A family is a value of this, never a class of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from headstart.errors import InputError
from headstart.nn.long_range import LongRange
from headstart.nn.patches import Patches
from headstart.nn.rotary_scaling import RotaryScaling

Activation = Literal["gelu", "gelu_tanh", "quick_gelu", "relu", "relu2", "silu"]


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """Shape and kind of a Transformer stack with its token embedding.

    hidden_size, num_layers, num_heads, intermediate_size, vocab_size: the usual sizes.
    head_size: width of one attention head; None: hidden_size / num_heads.
    num_kv_heads: heads of keys and values, each shared by a group of query heads (Ainslie et al.
        2023, arXiv:2305.13245); None: num_heads.
    scaled_attention: whether scores are divided by the root of the head's width (T5: no).
    max_positions: longest sequence (tokens) that the positions can express.
    norm, norm_order, norm_eps, norm_bias: LayerNorm or RMSNorm; before (pre) or after (post) each
        residual branch (Xiong et al. 2020, arXiv:2002.04745).
    position: learned table, fixed sinusoids (Vaswani et al. 2017, 3.5), rotary (Su et al. 2021), or
        relative: a learned bias of each head for distances (Raffel et al. 2020, 2.1), in
        `relative_buckets` kinds, of which the last is for all from `relative_distance` on.
    rope_scaling: of rotary positions, but not in local attention; None: as they are.
    position_offset: rows of the learned table that come before position 0 (RoBERTa: 2).
    segments: number of segment (token type) embeddings; 0 for none.
    scaled_embedding: whether token vectors are multiplied by the root of hidden_size (Vaswani et
        al. 2017, 3.4).
    embedding_norm: whether the sum of embeddings is normalised; first_norm: whether a pre-norm
        stack normalises again before its first attention (ModernBERT does not).
    final_norm: whether a pre-norm stack ends with a norm.
    gated: whether the MLP multiplies by a gate (Shazeer 2020, "GLU Variants").
    bias: whether attention and MLP projections have biases.
    causal: whether a token sees only itself and what came before.
    cross: whether each layer also attends to the states of another stream, the memory.
    decoder_layers: of a second stack, which decodes and attends to the first one's states; 0: none.
    window: width of local attention (tokens, both sides together) in the layers that are not
        global; every `global_every`-th layer, the first included, is global.
    long_range: attention in chunks on a reversible residual stream (Reformer), pre-norm; window and
        rotary positions do not apply there.
    patches: for a Transformer that reads images instead of tokens; it has no vocabulary.
    images: of a second tower, which reads images beside this one; what both give is mapped to
        vectors of `shared_size` numbers, which can be compared.
    dropout: on embeddings and residual branches; attention_dropout: on attention weights.
    """

    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    intermediate_size: int
    head_size: int | None = None
    num_kv_heads: int | None = None
    scaled_attention: bool = True
    max_positions: int = 512
    norm: Literal["layer", "rms"] = "layer"
    norm_order: Literal["pre", "post"] = "pre"
    norm_eps: float = 1e-5
    norm_bias: bool = True
    position: Literal["learned", "sinusoidal", "rotary", "relative"] = "rotary"
    position_offset: int = 0
    relative_buckets: int = 32
    relative_distance: int = 128
    rope_theta: float = 10_000.0
    rope_scaling: RotaryScaling | None = None
    local_rope_theta: float = 10_000.0
    segments: int = 0
    scaled_embedding: bool = False
    embedding_norm: bool = False
    first_norm: bool = True
    final_norm: bool = True
    activation: Activation = "gelu"
    gated: bool = False
    bias: bool = True
    causal: bool = False
    cross: bool = False
    decoder_layers: int = 0
    window: int | None = None
    global_every: int = 1
    long_range: LongRange | None = None
    patches: Patches | None = None
    images: TransformerConfig | None = None
    shared_size: int = 0
    dropout: float = 0.0
    attention_dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.head_size is None and self.hidden_size % self.num_heads:
            raise InputError(
                f"hidden_size {self.hidden_size} is not a multiple of num_heads {self.num_heads}: "
                "choose sizes that divide"
            )
        if self.position == "rotary" and self.head_dim % 2:
            raise InputError(
                f"rotary positions need an even head size, but hidden_size {self.hidden_size} / "
                f"num_heads {self.num_heads} = {self.head_dim}"
            )
        if self.num_heads % self.kv_heads:
            raise InputError(
                f"num_heads {self.num_heads} is not a multiple of num_kv_heads {self.kv_heads}: "
                "each head of keys and values serves a group of the same size"
            )
        if self.long_range is not None:
            self.long_range.check(
                num_layers=self.num_layers,
                hidden_size=self.hidden_size,
                max_positions=self.max_positions,
                causal=self.causal,
            )

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.head_size or self.hidden_size // self.num_heads

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values."""
        return self.num_kv_heads or self.num_heads

    @property
    def decoder(self) -> TransformerConfig:
        """The second stack: causal, attending to the first."""
        return replace(
            self, num_layers=self.decoder_layers, decoder_layers=0, causal=True, cross=True
        )

    @property
    def output_size(self) -> int:
        """Width of the last hidden states: a reversible stream has two halves."""
        return self.hidden_size * (1 if self.long_range is None else 2)

    @property
    def can_cache(self) -> bool:
        """Whether what was decoded can be kept: no local windows, no chunks."""
        return self.window is None and self.long_range is None

    def is_global(self, layer: int) -> bool:
        """Whether the layer attends to the whole sequence."""
        return self.window is None or layer % self.global_every == 0
