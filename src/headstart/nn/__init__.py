"""The one Transformer: tensors in, tensors out. No files, no text, no loss, no labels."""

from headstart.nn.adapt import LoRALinear, add_lora, merge_lora
from headstart.nn.cache import Cache
from headstart.nn.config import TransformerConfig
from headstart.nn.cross import Memory
from headstart.nn.embed import Embedding
from headstart.nn.init import initialise
from headstart.nn.norm import Norm
from headstart.nn.patch_embed import PatchEmbedding
from headstart.nn.patches import Patches
from headstart.nn.stack import Transformer

__all__ = [
    "Cache",
    "Embedding",
    "LoRALinear",
    "Memory",
    "Norm",
    "PatchEmbedding",
    "Patches",
    "Transformer",
    "TransformerConfig",
    "add_lora",
    "initialise",
    "merge_lora",
]
