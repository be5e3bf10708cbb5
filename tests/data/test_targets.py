import numpy as np
import pytest

from headstart.batch import Sequences
from headstart.data.targets import NOTHING, lay_out_targets


@pytest.mark.parametrize("pack", [False, True])
def test_the_stream_begins_with_a_start_and_lags_one_behind_its_labels(pack):
    texts = Sequences(np.array([11, 12, 13, 21]), np.array([3, 0, 1]), np.arange(3))
    tokens, labels, layout = lay_out_targets(texts, start=1, end=2, pad=0, pack=pack)
    expected = [([1, 11, 12, 13], [11, 12, 13, 2]), ([1], [2]), ([1, 21], [21, 2])]
    for s, (seen, write) in enumerate(expected):
        here = slice(int(layout.first[s]), int(layout.first[s] + layout.lengths[s]))
        assert (tokens[here].tolist(), labels[here].tolist()) == (seen, write)
    free = layout.sequence < 0
    assert (labels[free] == NOTHING).all()
    assert (tokens[free] == 0).all()
    assert layout.packed == pack
