"""Hugging Face's words for activations."""

from __future__ import annotations

from headstart.nn.config import Activation

# the first word of each is the one that is written
WORDS: dict[Activation, tuple[str, ...]] = {
    "gelu": ("gelu", "gelu_python"),
    "gelu_tanh": ("gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu_accurate"),
    "quick_gelu": ("quick_gelu",),
    "relu": ("relu",),
    "relu2": ("relu2",),
    "silu": ("silu", "swish"),
}
ACTIVATION_WORDS = tuple(word for words in WORDS.values() for word in words)


def activation_from_hf(word: str) -> Activation:
    """Our activation for one of `ACTIVATION_WORDS`."""
    return next(kind for kind, words in WORDS.items() if word in words)


def activation_to_hf(kind: Activation) -> str:
    """The word that is written."""
    return WORDS[kind][0]
