"""Token ids in, token ids out: drawing, beam search, control of repetition, rules of ending."""

from headstart.generate.continuation import Continuation, Writer
from headstart.generate.search import Ending, Stop, Token, Written, generate, steps
from headstart.generate.settings import Decoding

__all__ = [
    "Continuation",
    "Decoding",
    "Ending",
    "Stop",
    "Token",
    "Writer",
    "Written",
    "generate",
    "steps",
]
