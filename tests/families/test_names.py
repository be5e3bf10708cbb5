import pytest
import torch

from headstart.errors import CheckpointError
from headstart.families import FAMILIES, make_head
from headstart.families.names import Rule, Spelling, compare_names, spell_out

SIZES = {"num_layers": 2, "hidden_size": 16, "num_heads": 2, "vocab_size": 30}


def numbered(shape, start=0):
    return torch.arange(start, start + torch.Size(shape).numel(), dtype=torch.float32).view(shape)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_rules_of_every_family_invert_for_the_body_and_each_head(family):
    model = family.build(**SIZES)
    parts = [(family.rules(model.config), model)]
    parts += [(family.heads[kind], make_head(model, kind, outputs=3)) for kind in family.heads]
    for rules, module in parts:
        state = {n: numbered(t.shape, k) for k, (n, t) in enumerate(module.state_dict().items())}
        seen = set()
        for rule in spell_out(rules, state):
            theirs = rule.to_theirs(state[rule.ours])
            shapes = [tuple(tensor.shape) for tensor in theirs.values()]
            assert shapes == rule.shapes_in_file(tuple(state[rule.ours].shape))
            assert torch.equal(rule.to_ours(list(theirs.values())), state[rule.ours])
            assert not seen & set(theirs)
            seen |= set(theirs)


def test_a_transposed_rule_turns_the_matrix():
    rule = Rule(("a",), "b", transposed=True)
    assert rule.to_ours([numbered((2, 3))]).tolist() == [[0, 3], [1, 4], [2, 5]]
    assert rule.shapes_in_file((3, 2)) == [(2, 3)]


def test_parts_of_unequal_heights_are_cut_by_their_shares():
    rule = Rule(("q", "k", "v"), "qkv", shares=(4, 1, 1))
    back = rule.to_theirs(numbered((12, 2)))
    assert [tuple(tensor.shape) for tensor in back.values()] == [(8, 2), (2, 2), (2, 2)]
    assert back["k"].tolist() == [[16, 17], [18, 19]]
    assert torch.equal(rule.to_ours(list(back.values())), numbered((12, 2)))
    assert rule.shapes_in_file((12, 2)) == [(8, 2), (2, 2), (2, 2)]


def test_a_vector_that_the_file_holds_as_one_row():
    rule = Rule(("final_bias",), "bias", lone=1)
    assert rule.to_ours([numbered((1, 3))]).tolist() == [0, 1, 2]
    assert rule.to_theirs(numbered((3,)))["final_bias"].tolist() == [[0, 1, 2]]
    assert rule.shapes_in_file((3,)) == [(1, 3)]


def test_a_stacking_rule_keeps_the_order_query_key_value():
    rule = Rule(("q", "k", "v"), "qkv")
    parts = [torch.full((1, 2), float(n)) for n in range(3)]
    assert rule.to_ours(parts).tolist() == [[0, 0], [1, 1], [2, 2]]
    back = rule.to_theirs(rule.to_ours(parts))
    assert {name: tensor.tolist() for name, tensor in back.items()} == {
        "q": [[0, 0]],
        "k": [[1, 1]],
        "v": [[2, 2]],
    }


def test_layer_numbers_of_two_digits_are_filled_in():
    (rule,) = spell_out([Rule(("h.{n}.w",), "blocks.{n}.weight")], ["blocks.11.weight"])
    assert rule == Rule(("h.11.w",), "blocks.11.weight")


def test_prefixes_old_names_and_buffers_are_seen_through():
    spelling = Spelling(
        prefixes=("bert.",), renamed=((r"\.gamma$", ".weight"),), dropped=("position_ids",)
    )
    names = ["bert.norm.gamma", "bert.position_ids", "cls.bias"]
    assert spelling.index(names) == {"norm.weight": "bert.norm.gamma", "cls.bias": "cls.bias"}


def test_two_names_of_one_weight_are_refused():
    with pytest.raises(CheckpointError) as caught:
        Spelling(prefixes=("bert.",)).index(["bert.norm.weight", "norm.weight"])
    assert str(caught.value) == "'bert.norm.weight' and 'norm.weight' are the same weight"


def test_all_that_does_not_fit_comes_in_one_sentence():
    wanted = {"a": (2, 3), "b": (4,), "c": (5,), **{f"m{n}": (1,) for n in range(5)}}
    found = {"a": (3, 2), "c": (5,), "x": (1,), "tied": (9,)}
    assert compare_names(wanted, found, allowed=["tied"]) == (
        "6 weights missing (b, m0, m1, m2, ...), 1 left over (x), "
        "1 of another shape (a: file 3 x 2, config 2 x 3)"
    )
    assert compare_names({"a": (1,)}, {"a": (1,)}) is None
