"""What to predict from unlabelled data. `OBJECTIVES` lists the names that settings may select."""

from headstart.objectives.bag_of_words import BagOfWords
from headstart.objectives.causal_language import CausalLanguage, HybridLanguage
from headstart.objectives.contrastive import Contrast
from headstart.objectives.masked_language import MaskedLanguage
from headstart.objectives.next_sentence import NextSentence
from headstart.objectives.objective import Loss, Part, Pretraining, Vocabulary
from headstart.objectives.span_corruption import SpanCorruption
from headstart.objectives.table_loss import table_loss

OBJECTIVES = ("mlm", "nsp", "causal", "hybrid", "bow", "contrast", "span_corruption")

__all__ = [
    "OBJECTIVES",
    "BagOfWords",
    "CausalLanguage",
    "Contrast",
    "HybridLanguage",
    "Loss",
    "MaskedLanguage",
    "NextSentence",
    "Part",
    "Pretraining",
    "SpanCorruption",
    "Vocabulary",
    "table_loss",
]
