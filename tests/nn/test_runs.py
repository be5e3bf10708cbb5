"""Attention over all runs of a stream at once, as a GPU does it."""

from dataclasses import replace

import pytest
import torch

from headstart.batch import Layout
from headstart.families import find
from headstart.nn.kernels import attend, takes_runs
from headstart.nn.mask import row_masks, run_mask
from layouts import lay, packed, padded, ragged

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


def test_runs_are_the_sequences_and_the_padding_of_each_row():
    layout = lay(ragged((2, 1, 4)), rows=[[0, 1], [2]]).layout["tokens"]
    found = layout.find_runs()
    assert found.ends.tolist() == [0, 2, 3, 4, 8]
    assert (found.ends.dtype, found.longest) == (torch.int32, 4)


def test_padding_of_two_rows_is_two_runs_and_filling_has_one_token_a_run():
    layout = padded(ragged((2, 1))).layout["tokens"]
    layout = Layout(
        layout.lengths,
        torch.zeros(6, dtype=torch.long),
        torch.tensor([0, 0, 1, -1, -1, -1]),
        layout.first,
        ((2, 2), (2, 1)),
        False,
    )
    assert layout.find_runs().ends.tolist() == [0, 2, 3, 4, 5, 6]


def test_on_a_cpu_streams_are_seen_by_rows():
    layout = packed(ragged()).layout["tokens"].to("cpu")
    assert layout.runs is None
    assert run_mask(layout, causal=False, window=None) is None


@pytest.mark.parametrize(
    ("causal", "window", "sides"),
    [(False, None, (-1, -1)), (True, None, (-1, 0)), (False, 8, (4, 4)), (True, 8, (4, 0))],
)
def test_a_run_is_seen_on_both_sides_or_before_and_as_far_as_the_window(causal, window, sides):
    layout = packed(ragged()).layout["tokens"]
    mask = run_mask(replace(layout, runs=layout.find_runs()), causal=causal, window=window)
    assert (mask.before, mask.after) == sides


@pytest.mark.parametrize(
    ("dtype", "width", "taken"),
    [(torch.bfloat16, 64, True), (torch.float32, 64, False), (torch.bfloat16, 12, False)],
)
def test_only_sixteen_bits_and_heads_of_whole_eights_are_taken_so(dtype, width, taken):
    assert takes_runs(dtype, width) is taken


@gpu
@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("arranged", [packed, padded])
def test_runs_at_once_equal_rows_with_gradients(arranged, causal, window):
    layout = arranged(ragged()).layout["tokens"]
    rows = row_masks(layout, causal=causal, window=window, dtype=torch.float64)
    there = layout.to("cuda")
    size = len(layout.positions)
    qkv = torch.randn(size, 3, 2, 16, generator=torch.Generator().manual_seed(0)).bfloat16()
    ours = qkv.cuda().requires_grad_()
    theirs = qkv.double().requires_grad_()
    out = attend(ours, run_mask(there, causal=causal, window=window))
    expected = attend(theirs, rows)
    real = layout.sequence >= 0
    assert (out.cpu().double() - expected)[real].abs().max() <= 0.02
    weight = torch.linspace(-1, 1, out.numel()).view_as(out) * real[:, None]
    (out * weight.cuda().bfloat16()).sum().backward()
    (expected * weight.bfloat16().double()).sum().backward()
    assert theirs.grad.abs().max() > 0.1
    assert (ours.grad.cpu().double() - theirs.grad).abs().max() <= 0.02


@gpu
@pytest.mark.parametrize("family", ["bert", "gpt", "modern", "llama"])
def test_a_model_on_a_gpu_gives_the_states_it_gives_on_a_cpu(family):
    model = (
        find(family)
        .build(
            num_layers=2,
            hidden_size=64,
            num_heads=2,
            intermediate_size=128,
            vocab_size=60,
            max_positions=32,
        )
        .eval()
    )
    batch = packed(ragged())
    real = batch.layout["tokens"].sequence >= 0
    with torch.no_grad():
        expected = model.double().encode(batch)[real]
        single = model.float().cuda().encode(batch.to("cuda")).cpu()[real]
        half = model.bfloat16().encode(batch.to("cuda")).cpu()[real]
    assert (single - expected).abs().max() <= 1e-4
    assert 1e-4 < (half - expected).abs().max() <= 0.1
