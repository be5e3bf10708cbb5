"""Multi-head self-attention over the flat stream; `kernels.py` computes it.

Legend: T stream, H heads, K heads of keys and values, D head width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from headstart.nn.cache import Past
from headstart.nn.config import TransformerConfig
from headstart.nn.kernels import attend, by_sequence
from headstart.nn.mask import Masks
from headstart.nn.position import Rotation, rotate
from headstart.nn.rows import chosen


class Attention(nn.Module):
    """Self-attention with one fused projection for queries, keys and values.

    Source: Vaswani et al. 2017, section 3.2.
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.heads = HeadShape.of(config)
        self.dropout = config.attention_dropout
        width, shared = config.num_heads * config.head_dim, config.kv_heads * config.head_dim
        self.qkv = nn.Linear(config.hidden_size, width + 2 * shared, bias=config.bias)
        self.out = nn.Linear(width, config.hidden_size, bias=config.bias)

    def forward(
        self,
        x: Tensor,
        masks: Masks,
        turn: Rotation | None,
        past: Past | None = None,
        at: Tensor | None = None,
    ) -> Tensor:
        """x: (T, hidden); turn: rotary angles, if the positions are rotary. Returns (T, hidden).

        past: earlier tokens, which are seen instead of what `masks` say. at: the slots (N,) that
        are asked for; then (N, hidden) is returned.
        """
        dropout = self.dropout if self.training else 0.0
        mixed = self.heads.mix(self.qkv(x), masks, turn, past, dropout=dropout)
        out: Tensor = self.out(chosen(mixed, at))
        return out


@dataclass(frozen=True)
class HeadShape:
    """How the fused projection divides: H heads of queries, then K of keys and K of values.

    scale: of the scores; None: one over the root of the head's width.
    """

    queries: int
    shared: int
    scale: float | None

    @staticmethod
    def of(config: TransformerConfig) -> HeadShape:
        """As the config has it."""
        scale = None if config.scaled_attention else 1.0
        return HeadShape(config.num_heads, config.kv_heads, scale)

    def mix(
        self,
        qkv: Tensor,
        masks: Masks,
        turn: Rotation | None,
        past: Past | None = None,
        *,
        dropout: float = 0.0,
    ) -> Tensor:
        """Everything between the projections: (T, (H + 2 K) * D) to (T, H * D)."""
        if past is not None:
            return self._mix_with(past, qkv, turn)
        if self.shared == self.queries:
            parts = qkv.view(len(qkv), 3, self.queries, -1)  # T 3 H D
        else:
            q, kv = self._split(qkv)
            spread = kv.repeat_interleave(self.queries // self.shared, 2)
            parts = torch.cat([q[:, None], spread], 1)
        return attend(parts, masks, turn, dropout, self.scale)

    def _split(self, qkv: Tensor) -> tuple[Tensor, Tensor]:
        """Queries (T, H, D); keys and values (T, 2, K, D)."""
        heads = qkv.view(qkv.shape[0], self.queries + 2 * self.shared, -1)
        q, kv = heads.tensor_split((self.queries,), 1)
        return q, kv.view(qkv.shape[0], 2, self.shared, -1)

    def _mix_with(self, past: Past, qkv: Tensor, turn: Rotation | None) -> Tensor:
        q, kv = self._split(qkv)
        if turn is not None:
            q, k = rotate(q, turn), rotate(kv[:, 0], turn)
            kv = torch.stack([k, kv[:, 1]], 1)
        return by_sequence(q, [past.extend(kv)], past.step.crossings, scale=self.scale)
