"""The second stream of an encoder-decoder: what it is to write, and what it has written so far.

In: ragged ids to be written. Out: the decoder's input, which begins with a start token and lags one
token behind, and what is to come at each of its slots.

Legend: S sequences, T slots of the stream (padding included).
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from headstart.batch import Layout, Sequences, ragged_index
from headstart.data.pack import arrange, place

NOTHING = -1  # label of a slot that holds no token


def lay_out_targets(
    targets: Sequences, *, start: int, end: int, pad: int, pack: bool = True
) -> tuple[Tensor, Tensor, Layout]:
    """The decoder's stream of texts that each end with `end`; a text may be empty.

    Returns tokens (T,), the token that follows each of them (T,), NOTHING in padding, and the
    layout, whose lengths count `start` (which equals counting `end`).
    """
    lengths = targets.lengths.astype(np.int64)
    layout = arrange(lengths + 1, pack=pack)
    tokens = place(targets.tokens, lengths, layout, fill=pad, offset=1)
    tokens[layout.first] = start
    ended = np.full(int(lengths.sum()) + len(lengths), end, dtype=np.int64)
    ended[ragged_index(targets.starts + np.arange(len(lengths)), lengths)] = targets.tokens
    labels = place(ended, lengths + 1, layout, fill=NOTHING)
    return tokens, labels, layout
