"""A family's network: token embedding and Transformer stack, without any head.

Comes in: a `Batch` (token ids and their layout). Goes out: hidden states of the flat stream.
It knows no loss, no label and no file.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from headstart.batch import Batch
from headstart.families.style import HeadStyle
from headstart.nn import (
    Embedding,
    PatchEmbedding,
    Transformer,
    TransformerConfig,
    initialise,
)


class Model(nn.Module):
    """Embedding and stack of one family.

    family: the family's name; style: how its heads are built; arrangement: "encoder" (sees both
    sides) or "decoder" (causal).
    """

    def __init__(self, config: TransformerConfig, *, family: str, style: HeadStyle):
        super().__init__()
        self.config = config
        self.family = family
        self.style = style
        reads_images = config.patches is not None
        self.embed = PatchEmbedding(config) if reads_images else Embedding(config)
        self.stack = Transformer(config)

    @property
    def arrangement(self) -> str:
        """What objectives may ask for in `needs`."""
        if self.config.patches is not None:
            return "image encoder"
        return "decoder" if self.config.causal else "encoder"

    def encode(self, batch: Batch, *, causal: bool | None = None) -> Tensor:
        """Last hidden states (T, hidden) of the batch's "tokens" stream.

        causal: whether tokens see only what came before; None: as the family has it.
        """
        layout = batch.layout["tokens"]
        out: Tensor = self.stack(self._embedded(batch), layout, causal=causal)
        return out

    def hidden_states(self, batch: Batch) -> list[Tensor]:
        """States after the embedding and after each block, each (T, hidden)."""
        return self.stack.hidden_states(self._embedded(batch), batch.layout["tokens"])

    def _embedded(self, batch: Batch) -> Tensor:
        layout, segments = batch.layout["tokens"], batch.inputs.get("segments")
        if self.config.patches is not None:
            seen: Tensor = self.embed(batch.inputs["pixels"], layout)
            return seen
        out: Tensor = self.embed(batch.inputs["tokens"], layout, segments)
        return out


def build_model(
    config: TransformerConfig, *, family: str, style: HeadStyle | None = None, seed: int = 0
) -> Model:
    """A model with fresh weights; the same seed gives the same weights."""
    model = Model(config, family=family, style=style or HeadStyle())
    initialise(model, generator=torch.Generator().manual_seed(seed))
    return model
