from dataclasses import replace

import pytest
import torch

from headstart.families import build_model, modern, reformer
from headstart.nn.long_range import Chunking, LongRange
from headstart.nn.reversible import Branch, branches_of, run, states
from layouts import packed, ragged

TEXTS = ragged((13, 3, 26, 1, 8))
SIZES = {"hidden_size": 16, "num_heads": 2, "vocab_size": 60, "max_positions": 40}


def model_of(*, layers=4, dropout=0.0, mlp_chunk=0, hash_seed=None, dtype=torch.float64):
    plain = reformer.build(num_layers=layers, **SIZES).config
    settings = LongRange(
        attn_layers=("local", "lsh") * (layers // 2),
        local=Chunking(length=4, dropout=dropout),
        lsh=Chunking(length=4, dropout=dropout),
        num_buckets=(4,),
        num_hashes=2,
        hash_seed=hash_seed,
        mlp_chunk=mlp_chunk,
    )
    model = build_model(replace(plain, dropout=dropout, long_range=settings), family="reformer").to(
        dtype
    )
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator).to(dtype) * 0.1)
    return model.train()


def branches(model):
    layout = packed(TEXTS).layout["tokens"]
    return branches_of(model.stack.blocks, model.config, layout)


def inputs(*, dtype=torch.float64):
    size = len(packed(TEXTS).inputs["tokens"])
    generator = torch.Generator().manual_seed(2)
    return torch.randn(size, 16, generator=generator).to(dtype).requires_grad_()


def gradients(out, x, model):
    """Of a weighted sum of the result, so that no two numbers count alike."""
    weight = torch.linspace(-1, 1, out.numel()).to(out).view_as(out)
    wanted = [x, *model.stack.blocks.parameters()]
    return torch.autograd.grad((out * weight).sum(), wanted)


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_the_reversible_stream_has_the_plain_gradient(dropout):
    # dropout and fresh hash rotations draw random numbers, which must be the same ones both times
    model, x = model_of(dropout=dropout), inputs()
    steps = branches(model)
    plain = torch.cat(list(states(x, steps))[-1], -1)
    ours = run(x, steps)
    assert (ours - plain).abs().max() <= 1e-12
    found, expected = gradients(ours, x, model), gradients(plain, x, model)
    assert len(found) == 1 + 2 * 10 + 2 * 11  # lsh layers have one matrix more
    for mine, theirs in zip(found, expected, strict=True):
        assert theirs.abs().max() > 1e-3
        assert (mine - theirs).abs().max() <= 1e-12 * max(1.0, float(theirs.abs().max()))


def test_other_seeds_of_the_recomputation_would_be_noticed():
    model, x = model_of(dropout=0.2), inputs()
    steps = branches(model)
    out = run(x, steps)
    for step in steps:
        object.__setattr__(step, "seed", step.seed + 1)
    wrong = gradients(out, x, model)
    right = gradients(run(x, branches_with(steps, -1)), x, model)
    assert max(float((a - b).abs().max()) for a, b in zip(wrong, right, strict=True)) > 1e-2


def branches_with(steps, shift):
    return [replace(step, seed=step.seed + shift) for step in steps]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_the_backward_pass_finds_again_exactly_what_was(dtype):
    model, x = model_of(dropout=0.2, dtype=dtype), inputs(dtype=dtype)
    seen = []

    def recording(step):
        def compute(b):
            seen.append(b.detach().clone())
            return step.compute(b)

        return replace(step, compute=compute)

    steps = [recording(step) for step in branches(model)]
    gradients(run(x, steps), x, model)
    forward, backward = seen[: len(steps)], seen[len(steps) :]
    assert len(forward) == len(backward) == 8
    for there, back in zip(forward, reversed(backward), strict=True):
        assert torch.equal(there, back)


def saved_bytes(model, *, encode):
    """Bytes that the forward pass keeps for the backward pass, weights not counted."""
    weights = {weight.data_ptr() for weight in model.parameters()}
    sizes = []

    def keep(tensor):
        if tensor.data_ptr() not in weights:
            sizes.append(tensor.numel() * tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        encode(model)
    return sum(sizes)


def test_memory_of_the_reversible_stack_does_not_grow_with_depth():
    def encode(model):
        return model.encode(packed(TEXTS))

    shallow, deep = (saved_bytes(model_of(layers=n, dropout=0.1), encode=encode) for n in (2, 12))
    assert shallow == deep > 0
    plain = [modern.build(num_layers=n, **SIZES).double() for n in (2, 12)]
    shallow, deep = (saved_bytes(model, encode=encode) for model in plain)
    assert deep > 4 * shallow


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_an_mlp_in_pieces_gives_the_same_states_and_gradients(piece):
    found = []
    for mlp_chunk in (0, piece):
        model, x = model_of(mlp_chunk=mlp_chunk, hash_seed=1), inputs()
        out = run(x, branches(model))
        found.append([out, *gradients(out, x, model)])
    for whole, parts in zip(*found, strict=True):
        assert (whole - parts).abs().max() <= 1e-12 * max(1.0, float(whole.detach().abs().max()))


def test_frozen_blocks_below_get_no_gradient_and_those_above_the_same():
    model, x = model_of(hash_seed=1), inputs()
    whole = gradients(run(x, branches(model)), x, model)
    model.stack.blocks[:2].requires_grad_(False)
    out = run(x.detach(), branches(model))
    weight = torch.linspace(-1, 1, out.numel()).double().view_as(out)
    (out * weight).sum().backward()
    assert all(weight.grad is None for weight in model.stack.blocks[:2].parameters())
    upper = list(model.stack.blocks[2:].parameters())
    for mine, expected in zip(upper, whole[-len(upper) :], strict=True):
        assert torch.equal(mine.grad, expected)


def test_two_branches_by_hand():
    # a = b = 3; first branch doubles b: (3, 3 + 6); second adds 1: (9, 3 + 10)
    steps = [Branch(lambda b: 2 * b, ()), Branch(lambda b: b + 1, ())]
    x = torch.tensor([[3.0]], requires_grad=True)
    out = run(x, steps)
    assert out.tolist() == [[9.0, 13.0]]
    # the sum is 3x + (x + 3x + 1) = 7x + 1
    assert torch.autograd.grad(out.sum(), x)[0].tolist() == [[7.0]]
    with torch.no_grad():
        assert run(x, steps).tolist() == [[9.0, 13.0]]


def test_random_numbers_go_on_as_if_the_stream_had_drawn_only_its_seeds():
    model, x = model_of(dropout=0.2), inputs()
    torch.manual_seed(5)
    steps = branches(model)
    after = torch.random.get_rng_state()
    gradients(run(x, steps), x, model)
    assert torch.equal(torch.random.get_rng_state(), after)


def test_a_step_that_is_not_finite_stays_visible():
    model, x = model_of(hash_seed=1), inputs()
    with torch.no_grad():
        model.stack.blocks[1].mlp.up.weight[0, 0] = float("inf")
    assert not bool(torch.isfinite(run(x, branches(model))).all())
