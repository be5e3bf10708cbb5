import numpy as np
import pytest

from headstart import families
from headstart.batch import Sequences
from headstart.nn import TransformerConfig
from headstart.objectives import Vocabulary

SIZE = 40
SPECIAL = (0, 1, 2, 3, 4)


@pytest.fixture
def vocabulary() -> Vocabulary:
    """[PAD] 0, [UNK] 1, [CLS] 2, [SEP] 3, [MASK] 4; odd ids continue a word."""
    starts = np.arange(SIZE) % 2 == 0
    return Vocabulary(SIZE, 0, 2, 3, 4, SPECIAL, starts)


@pytest.fixture
def sequences() -> Sequences:
    """Six windows of four documents."""
    rng = np.random.default_rng(1)
    lengths = np.array([20, 30, 25, 9, 14, 17])
    tokens = rng.integers(5, SIZE, lengths.sum())
    return Sequences(tokens, lengths, np.arange(6), {"document": np.array([0, 0, 1, 1, 2, 3])})


@pytest.fixture
def model() -> families.Model:
    config = TransformerConfig(
        vocab_size=SIZE,
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        intermediate_size=64,
        dropout=0.1,
        segments=2,
    )
    return families.build_model(config, family="bert", seed=3)
