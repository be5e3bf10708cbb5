"""What to predict from labelled data."""

from headstart.data.labels import Kind
from headstart.tasks.classify import Classify, average, balanced_weights, mean_style
from headstart.tasks.examples import (
    Examples,
    LabelledTokens,
    stand_in,
    stock_vocabulary,
    stratified,
    tokenized,
    vocabulary_of,
)
from headstart.tasks.task import Frame, Task

TASKS = ("classes", "multilabel", "number")

__all__ = [
    "TASKS",
    "Classify",
    "Examples",
    "Frame",
    "Kind",
    "LabelledTokens",
    "Task",
    "average",
    "balanced_weights",
    "mean_style",
    "stand_in",
    "stock_vocabulary",
    "stratified",
    "tokenized",
    "vocabulary_of",
]
