"""What to predict from unlabelled data: parts that settings select by name, alone or joined."""

from headstart.objectives.bag_of_words import BagOfWords
from headstart.objectives.causal_language import CausalLanguage, HybridLanguage
from headstart.objectives.contrastive import Contrast
from headstart.objectives.image_objective import ImagePretraining
from headstart.objectives.masked_image import MaskedAutoencoder, SimpleMaskedImage
from headstart.objectives.masked_language import MaskedLanguage
from headstart.objectives.next_sentence import NextSentence
from headstart.objectives.objective import Loss, Part, Pretraining, Vocabulary
from headstart.objectives.span_corruption import SpanCorruption
from headstart.objectives.table_loss import table_loss
from headstart.objectives.visual_tokens import VisualTokens

# of texts, of images, and of both together; contrast is for each of the first two
TEXT_OBJECTIVES = ("mlm", "nsp", "causal", "hybrid", "bow", "contrast", "span_corruption")
IMAGE_OBJECTIVES = ("mae", "simmim", "beit", "contrast")
PAIR_OBJECTIVES = ("image_text",)

__all__ = [
    "IMAGE_OBJECTIVES",
    "PAIR_OBJECTIVES",
    "TEXT_OBJECTIVES",
    "BagOfWords",
    "CausalLanguage",
    "Contrast",
    "HybridLanguage",
    "ImagePretraining",
    "Loss",
    "MaskedAutoencoder",
    "MaskedLanguage",
    "NextSentence",
    "Part",
    "Pretraining",
    "SimpleMaskedImage",
    "SpanCorruption",
    "VisualTokens",
    "Vocabulary",
    "table_loss",
]
