"""One layer: attention and MLP on a residual stream, normalised before or after."""

from __future__ import annotations

from torch import Tensor, nn

from headstart.nn.attention import Attention
from headstart.nn.cache import Past
from headstart.nn.config import TransformerConfig
from headstart.nn.cross import CrossAttention, Seen
from headstart.nn.dropout import drop
from headstart.nn.lsh import LocalAttention, LSHAttention
from headstart.nn.mask import Masks
from headstart.nn.mlp import MLP
from headstart.nn.norm import Norm
from headstart.nn.position import Rotation
from headstart.nn.rows import chosen


class Block(nn.Module):
    """A Transformer layer; pre- and post-norm are the same parts in another order."""

    def __init__(self, config: TransformerConfig, *, layer: int):
        super().__init__()
        self.pre = config.norm_order == "pre"
        self.dropout = config.dropout
        skip = self.pre and layer == 0 and not config.first_norm
        self.attention = make_attention(config, layer)
        self.attention_norm = nn.Identity() if skip else Norm(config)
        self.cross = CrossAttention(config) if config.cross else None
        self.cross_norm = Norm(config) if config.cross else nn.Identity()
        self.mlp = MLP(config)
        self.mlp_norm = Norm(config)

    def forward(
        self,
        x: Tensor,
        masks: Masks,
        turn: Rotation | None,
        past: Past | None = None,
        seen: Seen | None = None,
        at: Tensor | None = None,
    ) -> Tensor:
        """x: (T, hidden). Returns the same shape.

        past: earlier tokens of the sequences, seen instead of what `masks` say; seen: the memory.
        at: the slots (N,) that are asked for; then (N, hidden) is returned, and of the other slots
        no more is computed than what these attend to.
        """
        here = at if self.cross is None else None  # cross-attention asks by slots of all tokens
        if self.pre:
            mixed = self.attention(self.attention_norm(x), masks, turn, past, here)
            x = chosen(x, here) + self._drop(mixed)
            if self.cross is not None:
                mixed = self.cross(self.cross_norm(x), seen, past, at)
                x = chosen(x, at) + self._drop(mixed)
            return x + self._drop(self.mlp(self.mlp_norm(x)))
        mixed = self.attention(x, masks, turn, past, here)
        x = self.attention_norm(chosen(x, here) + self._drop(mixed))
        if self.cross is not None:
            mixed = self.cross(x, seen, past, at)
            x = self.cross_norm(chosen(x, at) + self._drop(mixed))
        out: Tensor = self.mlp_norm(x + self._drop(self.mlp(x)))
        return out

    def _drop(self, x: Tensor) -> Tensor:
        return drop(x, self.dropout, self.training)


def make_attention(
    config: TransformerConfig, layer: int
) -> Attention | LocalAttention | LSHAttention:
    """The kind of attention that this layer has."""
    if config.long_range is None:
        return Attention(config)
    kind = config.long_range.attn_layers[layer]
    return LSHAttention(config) if kind == "lsh" else LocalAttention(config)
