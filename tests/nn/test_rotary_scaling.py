from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from headstart.families import build_model, llama
from headstart.nn.position import rotation
from headstart.nn.rotary_scaling import RotaryScaling
from layouts import in_order, packed, ragged

FAST = torch.tensor([1.0, 0.1, 0.01])
SCALINGS = {
    "linear": RotaryScaling(kind="linear", factor=4.0),
    "llama3": RotaryScaling(kind="llama3", factor=4.0, original=8, low=0.1, high=1.0),
    "yarn": RotaryScaling(kind="yarn", factor=4.0, original=8, low=0.1, high=1.0, attention=1.2),
}


def test_linear_scaling_divides_all_frequencies():
    found = SCALINGS["linear"].slowed(FAST, theta=1000.0)
    assert torch.equal(found, FAST / 4)


def test_llama3_keeps_fast_pairs_slows_slow_ones_and_mixes_between():
    # turns in 63 positions: 63 / 2 pi = 10.03, 1.003 and 0.1003; kept: (1.003 - 0.5) / 1.5
    scaling = RotaryScaling(kind="llama3", factor=8.0, original=63, low=0.5, high=2.0)
    kept = (63 * 0.1 / (2 * torch.pi) - 0.5) / 1.5
    expected = [1.0, 0.1 * kept + 0.1 / 8 * (1 - kept), 0.01 / 8]
    assert scaling.slowed(FAST, theta=1000.0).tolist() == pytest.approx(expected, rel=1e-6)


def test_yarn_mixes_by_the_number_of_the_pair():
    # theta 1000, width 6: pair n turns 1000 ** (-n / 3) * 63 / 2 pi times in 63 positions, so pair
    # log10(10.03 / t) turns t times: 0.0013 for t = 10 and 2.0013 for t = 0.1
    scaling = RotaryScaling(
        kind="yarn", factor=8.0, original=63, low=0.1, high=10.0, whole_pairs=False
    )
    first = torch.log10(torch.tensor(63 / (2 * torch.pi) / 10.0)).item()
    kept = 1 - (1 - first) / 2
    expected = [1.0, 0.1 * kept + 0.1 / 8 * (1 - kept), 0.01 * (1 - (2 - first) / 2)]
    expected[2] += 0.01 / 8 * (2 - first) / 2
    assert scaling.slowed(FAST, theta=1000.0).tolist() == pytest.approx(expected, rel=1e-5)
    # on whole pairs: from pair 0 to pair 3
    whole = replace(scaling, whole_pairs=True).slowed(FAST, theta=1000.0)
    kept = torch.tensor([1.0, 2 / 3, 1 / 3])
    assert torch.allclose(whole, FAST * kept + FAST / 8 * (1 - kept), rtol=1e-5)


def test_yarn_makes_scores_louder_by_the_square_of_its_factor():
    one = torch.tensor([3])
    plain, loud = (
        rotation(one, 8, theta=50.0, dtype=torch.float32, scaling=replace(s, factor=1.0))
        for s in (replace(SCALINGS["yarn"], attention=1.0), SCALINGS["yarn"])
    )
    assert torch.allclose(loud.cos, 1.2 * plain.cos)
    assert torch.allclose(loud.sin, 1.2 * plain.sin)


@pytest.mark.parametrize("kind", SCALINGS)
@torch.no_grad()
def test_decoding_with_a_cache_gives_the_states_of_all_at_once(kind):
    model = llama.build(num_layers=2, hidden_size=24, num_heads=3, vocab_size=60, max_positions=40)
    config = replace(model.config, rope_scaling=SCALINGS[kind], rope_theta=30.0)
    model = build_model(config, family="llama", style=model.style).double().eval()
    for weight in model.parameters():
        weight.mul_(4)
    texts = ragged((20, 20, 20))
    batch = packed(texts)
    expected = in_order(model.decode(batch), batch).view(3, 20, -1)
    cache = model.new_cache(sequences=3, room=20)
    found = []
    for begin, end in pairwise((0, 1, 2, 9, 20)):
        piece = replace(texts, tokens=texts.tokens.reshape(3, 20)[:, begin:end].ravel())
        piece = replace(piece, lengths=texts.lengths * 0 + end - begin)
        part = packed(piece)
        found.append(in_order(model.decode(part, cache=cache), part).view(3, end - begin, -1))
    assert expected.abs().max() > 0.5
    assert (torch.cat(found, 1) - expected).abs().max() <= 1e-12
    plain = build_model(replace(config, rope_scaling=None), family="llama", style=model.style)
    plain = plain.double().eval()
    plain.load_state_dict(model.state_dict())
    assert (in_order(plain.decode(batch), batch).view(3, 20, -1) - expected).abs().max() > 1e-3
