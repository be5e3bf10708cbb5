"""Helpers of the parity tests of two towers: the same captions and images for stock and for us."""

import torch
import transformers
from safetensors.torch import load_file

from headstart.batch import Batch, Sequences
from headstart.data.patches import cut, lay_out_patches
from headstart.families.names import spell_out
from images import FRAME, PATCH, SIDE, random_pixels, values
from layouts import VOCAB, packed, ragged
from parity.compare import assert_close, stock_inputs

START, END = 3, 4
TEXT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "vocab_size": VOCAB,
    "max_position_embeddings": 16,
    "bos_token_id": START,
    "eos_token_id": END,
}
IMAGE = {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "intermediate_size": 64,
    "image_size": SIDE,
    "patch_size": PATCH,
}
SHARED = 24
IMAGES = random_pixels(5)


def captions() -> Sequences:
    """Five texts that begin and end as CLIP's do, none in the middle."""
    texts = ragged((7, 3, 12, 2, 5))
    texts.tokens[texts.starts] = START
    texts.tokens[texts.starts + texts.lengths - 1] = END
    return texts


def pair_outputs(model, *, pad=END, **options):
    return model(**stock_inputs(captions(), pad=pad), pixel_values=values(IMAGES), **options)


def pairs(layout=packed) -> Batch:
    """The same captions and images for our models."""
    batch = layout(captions(), pad=END)
    stream, whole = lay_out_patches(cut(FRAME.scale.apply(IMAGES), PATCH))
    return Batch(
        {**batch.inputs, "pixels": stream}, {**batch.layout, "pixels": whole}, {}, "image_text"
    )


def outputs(loaded, layout=packed):
    """Text vectors, image vectors and scores of texts (rows) with images."""
    batch, head = pairs(layout), loaded.heads["pair"]
    model = loaded.model
    texts = head.of_texts(lambda at: model.encode(batch, at=at), batch.layout["tokens"])
    images = head.of_images(lambda at: model.encode_images(batch, at=at), batch.layout["pixels"])
    return texts, images, head.factor() * texts @ images.t()


def assert_same_outputs(ours, theirs, **options):
    for mine, name in zip(ours, ("text_embeds", "image_embeds", "logits_per_text"), strict=True):
        assert_close(mine, getattr(theirs, name), **options)


def opened(name, folder):
    """A folder of ours in stock, with nothing missing or left over."""
    model, report = getattr(transformers, name).from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    return model.eval()


def assert_same_gradients(loaded, theirs, folder) -> None:
    """Those that lie in all weights of both, by the names of the file that stock writes."""
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.copy_(weight.grad)
    theirs.save_pretrained(folder)
    wanted = load_file(folder / "model.safetensors")
    found = {}
    parts = [(loaded.family.rules(loaded.model.config), loaded.model)]
    parts += [(loaded.family.heads["pair"], loaded.heads["pair"])]
    for rules, module in parts:
        state = dict(module.named_parameters())
        for rule in spell_out(rules, state):
            found |= rule.to_theirs(state[rule.ours].grad)
    assert set(found) == set(wanted)
    for name, gradient in wanted.items():
        # a bias of keys has no gradient but rounding: softmax does not see it
        scale = gradient.norm()
        assert scale > 1e-3 or name.endswith(("k_proj.bias", "key.bias")), name
        assert (found[name] - gradient).norm() / scale.clamp_min(1e-3) < 1e-4, name
