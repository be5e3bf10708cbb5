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
from headstart.tasks.write import Room, TextPairs, Write

TASKS = ("classes", "multilabel", "number", "text")

__all__ = [
    "TASKS",
    "Classify",
    "Examples",
    "Frame",
    "Kind",
    "LabelledTokens",
    "Room",
    "Task",
    "TextPairs",
    "Write",
    "average",
    "balanced_weights",
    "mean_style",
    "stand_in",
    "stock_vocabulary",
    "stratified",
    "tokenized",
    "vocabulary_of",
]
