import torch
from torch import nn

from headstart.families import modern
from headstart.nn import LoRALinear, add_lora, merge_lora
from layouts import packed, ragged

NAMES = ["stack.blocks.0.attention.qkv", "stack.blocks.1.mlp.down"]


def model():
    sizes = {"num_layers": 2, "hidden_size": 16, "num_heads": 2, "vocab_size": 60}
    return modern.build(**sizes).double()


def adapted(seed=0):
    net = model()
    add_lora(net, NAMES, rank=3, alpha=6.0, seed=seed)
    with torch.no_grad():
        for name in NAMES:
            net.get_submodule(name).lora_up.add_(0.1)
    return net


def test_new_adapters_change_nothing():
    net, batch = model(), packed(ragged())
    before = net.encode(batch)
    add_lora(net, NAMES)
    assert torch.equal(net.encode(batch), before)


def test_merged_adapters_compute_the_same_as_unmerged_ones():
    net, batch = adapted(), packed(ragged())
    apart = net.encode(batch)
    assert (apart - model().encode(batch)).abs().max() > 1e-3
    merge_lora(net)
    assert not any(isinstance(part, LoRALinear) for part in net.modules())
    assert (net.encode(batch) - apart).abs().max() <= 1e-12


def test_an_adapter_adds_alpha_over_rank_times_the_product():
    base = nn.Linear(2, 2, bias=False)
    lora = LoRALinear(base, rank=1, alpha=3.0)
    with torch.no_grad():
        base.weight.zero_()
        lora.lora_down.copy_(torch.tensor([[1.0, 2.0]]))
        lora.lora_up.copy_(torch.tensor([[1.0], [-1.0]]))
    # (1*10 + 2*1) = 12, times 3 / 1
    assert lora(torch.tensor([[10.0, 1.0]])).tolist() == [[36.0, -36.0]]


def test_only_the_adapter_learns_and_its_base_keeps_its_name():
    net = adapted()
    part = net.get_submodule(NAMES[0])
    learns = {name for name, weight in part.named_parameters() if weight.requires_grad}
    assert learns == {"lora_down", "lora_up"}
    assert set(model().state_dict()) <= set(net.state_dict())


def test_the_seed_decides_the_start_and_the_global_generator_is_left_alone():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    one, same, other = (adapted(seed).get_submodule(NAMES[0]).lora_down for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    net = adapted()
    torch.set_rng_state(state)
    merge_lora(net)
    assert torch.equal(torch.get_rng_state(), state)
