"""What objectives that compare parts of a document need: that documents have parts."""

import numpy as np
import pytest

from headstart.batch import Sequences
from headstart.config import PretrainSettings
from headstart.objectives import Vocabulary
from headstart.recipes.building import fresh_model, make_batches, make_objective
from headstart.settings_file import make_settings

WORDS = Vocabulary(40, 0, 2, 3, 4, (0, 1, 2, 3, 4), np.ones(40, dtype=bool))
SMALL = {"model.num_layers": 1, "model.hidden_size": 16, "model.num_heads": 2}


def windows(name: str) -> list[int]:
    """How many windows each document of the first batch has; all are shorter than one window."""
    given = {**SMALL, "objective.name": name, "data.max_length": 64, "data.tokens_per_batch": 640}
    settings = make_settings(PretrainSettings, given=given)
    model = fresh_model(settings.model, vocab_size=40, max_length=64, seed=0)
    objective = make_objective(settings, WORDS, model, lambda: np.ones(40))
    tokens = np.random.default_rng(0).integers(5, 40, 40 * 20)
    documents = Sequences(tokens, np.full(40, 20), np.arange(40))
    source, _ = make_batches(settings, documents, WORDS, objective)
    return np.unique(source.batch(0).fields["document"], return_counts=True)[1].tolist()


@pytest.mark.parametrize("name", ["spans", "mlm+spans", "bow", "mlm+bow+spans"])
def test_short_documents_are_cut_in_two_where_their_parts_are_compared(name):
    assert set(windows(name)) == {2}


def test_they_stay_whole_otherwise():
    assert set(windows("mlm")) == {1}
