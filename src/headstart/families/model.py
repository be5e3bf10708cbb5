"""A family's network: token embedding and one or two Transformer stacks, without any head.

Comes in: a `Batch` (token ids and their layout). Goes out: hidden states of the flat stream.
It knows no loss, no label and no file.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from headstart.batch import Batch
from headstart.families.style import HeadStyle
from headstart.nn import (
    Cache,
    Embedding,
    Memory,
    PatchEmbedding,
    Transformer,
    TransformerConfig,
    initialise,
)


class Model(nn.Module):
    """Embedding and stack of one family; an encoder-decoder has a second stack, `decoder`.

    family: the family's name; style: how its heads are built; arrangement: "encoder" (sees both
    sides), "decoder" (causal), "encoder-decoder", "image encoder" or "two towers": a text tower
    with a model of images beside it, `images`.
    """

    def __init__(self, config: TransformerConfig, *, family: str, style: HeadStyle):
        super().__init__()
        self.config = config
        self.family = family
        self.style = style
        reads_images = config.patches is not None
        self.embed = PatchEmbedding(config) if reads_images else Embedding(config)
        self.stack = Transformer(config)
        self.decoder = Transformer(config.decoder) if config.decoder_layers else None
        self.images = None
        if config.images is not None:
            self.images = Model(config.images, family=family, style=style.images or style)

    @property
    def arrangement(self) -> str:
        """What objectives may ask for in `needs`."""
        if self.images is not None:
            return "two towers"
        if self.decoder is not None:
            return "encoder-decoder"
        if self.config.patches is not None:
            return "image encoder"
        return "decoder" if self.config.causal else "encoder"

    def encode(
        self, batch: Batch, *, causal: bool | None = None, at: Tensor | None = None
    ) -> Tensor:
        """Last hidden states (T, hidden) of the batch's "tokens" stream.

        causal: whether tokens see only what came before; None: as the family has it.
        at: slots (N,) whose states alone are wanted, (N, hidden), which takes less time.
        """
        layout = batch.layout["tokens"]
        out: Tensor = self.stack(self._embedded(batch), layout, causal=causal, at=at)
        return out

    def encode_images(self, batch: Batch, *, at: Tensor | None = None) -> Tensor:
        """Last hidden states of the "pixels" stream, which has a layout of its own beside texts."""
        assert self.images is not None, "a model of two towers"
        part = replace(batch, layout={"tokens": batch.layout["pixels"]})
        return self.images.encode(part, at=at)

    def decode(
        self,
        batch: Batch,
        memory: Tensor | None = None,
        cache: Cache | None = None,
        *,
        at: Tensor | None = None,
    ) -> Tensor:
        """Last hidden states of what is decoded: of "decoder_tokens", in a decoder of "tokens".

        memory: the states that `encode` gave, for an encoder-decoder; may be left out once the
            cache has met them.
        cache: see `new_cache`; the batch then holds what comes next in each of its sequences.
        at: slots (N,) whose states alone are wanted.
        Returns (T, hidden), or (N, hidden).
        """
        stack = self.stack if self.decoder is None else self.decoder
        stream = "tokens" if self.decoder is None else "decoder_tokens"
        layout = batch.layout[stream]
        if cache is not None:
            layout = cache.continued(layout)
        seen = None if memory is None else Memory(memory, batch.layout["tokens"])
        x = self.embed(batch.inputs[stream], layout)
        out: Tensor = stack(x, layout, memory=seen, cache=cache, at=at)
        return out

    def read(self, batch: Batch) -> Tensor:
        """The states (T, hidden) of "tokens" on which the family's sequence head stands.

        In an encoder-decoder its decoder reads the text again, one token later.
        """
        if self.decoder is None:
            return self.encode(batch)
        tokens, layout = batch.inputs["tokens"], batch.layout["tokens"]
        later = tokens.roll(1)
        later[layout.first] = self.style.start
        both = replace(
            batch,
            inputs={**batch.inputs, "decoder_tokens": later},
            layout={**batch.layout, "decoder_tokens": layout},
        )
        return self.decode(both, self.encode(batch))

    def new_cache(self, *, sequences: int, room: int) -> Cache:
        """For decoding this many sequences of at most `room` tokens each."""
        config = self.config if self.decoder is None else self.config.decoder
        table = self.embed.tokens.weight
        dtype = table.dtype
        if table.device.type == "cpu" and dtype == torch.bfloat16:
            dtype = torch.float32  # attention of one query is 5 to 20 times slower in bf16 there
        return Cache(config, sequences=sequences, room=room, dtype=dtype, device=table.device)

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
    """A model with fresh weights; the same seed gives the same weights.

    Two towers begin from more noise: where all vectors begin alike, pairs are hardly told apart.
    Source: Radford et al. 2021, their released code.
    """
    model = Model(config, family=family, style=style or HeadStyle())
    std = 0.02 if config.images is None else config.hidden_size**-0.5
    initialise(model, std=std, generator=torch.Generator().manual_seed(seed))
    return model
