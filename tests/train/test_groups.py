import pytest

from headstart.errors import InputError
from headstart.train.groups import build_groups, layer_depths
from headstart.train.precision import named_parameters
from toy_training import make_learner, settings


def treatments(**changes: object):
    groups = build_groups(named_parameters(make_learner()), settings(**changes))
    return {name: group.treatment for group in groups for name, _ in group.members}


def test_norms_biases_and_embeddings_do_not_decay():
    found = treatments(weight_decay=0.1)
    decayed = {name for name, treatment in found.items() if treatment.weight_decay}
    assert decayed == {
        "model.blocks.0.qkv.weight",
        "model.blocks.0.out.weight",
        "model.blocks.1.qkv.weight",
        "model.blocks.1.out.weight",
        "model.unused.weight",
        "heads.next.weight",
    }


def test_further_globs_are_spared_from_decay():
    assert (
        treatments(weight_decay=0.1, no_decay=("*.out.*",))["model.blocks.0.out.weight"]
        == (treatments(weight_decay=0.0)["model.blocks.0.out.weight"])
    )


def test_layer_decay_goes_down_from_the_heads_to_the_embedding():
    found = treatments(layer_decay=0.5)
    assert found["heads.next.weight"].lr_scale == 1.0
    assert found["model.blocks.1.out.bias"].lr_scale == 0.5
    assert found["model.blocks.0.out.bias"].lr_scale == 0.25
    assert found["model.embed.weight"].lr_scale == 0.125


def test_two_stacks_of_different_depth_are_counted_each_from_its_own_top():
    depths = layer_depths(["a.blocks.0.w", "a.blocks.3.w", "b.blocks.0.w", "b.blocks.1.w", "n.w"])
    assert depths == {
        "a.blocks.0.w": 4,
        "a.blocks.3.w": 1,
        "b.blocks.0.w": 2,
        "b.blocks.1.w": 1,
        "n.w": 0,
    }


def test_the_last_matching_lr_scale_counts():
    found = treatments(lr_scales=(("heads.*", 2.0), ("*.bias", 3.0)))
    assert found["heads.next.weight"].lr_scale == 2.0
    assert found["heads.next.bias"].lr_scale == 3.0


def test_muon_takes_the_matrices_inside_blocks_and_splits_the_fused_one():
    found = treatments(optimizer="muon")
    muon = {name: t.parts for name, t in found.items() if t.method == "muon"}
    assert muon == {
        "model.blocks.0.qkv.weight": (1.0, 1.0, 1.0),
        "model.blocks.0.out.weight": (1.0,),
        "model.blocks.1.qkv.weight": (1.0, 1.0, 1.0),
        "model.blocks.1.out.weight": (1.0,),
    }


def test_frozen_parameters_ask_for_no_gradient():
    learner = make_learner()
    build_groups(named_parameters(learner), settings(freeze=("model.blocks.0.*", "model.embed*")))
    frozen = {name for name, p in learner.named_parameters() if not p.requires_grad}
    assert "model.embed.weight" in frozen
    assert "model.blocks.0.norm.bias" in frozen
    assert "model.blocks.1.norm.bias" not in frozen


@pytest.mark.parametrize("field", ["freeze", "no_decay"])
def test_a_glob_that_matches_nothing_names_the_nearest_parameters(field: str):
    with pytest.raises(InputError) as error:
        treatments(**{field: ("model.block.0.qkv.weight",)})
    assert str(error.value) == (
        "the glob 'model.block.0.qkv.weight' matches none of the 17 parameters; the nearest names "
        "are model.blocks.0.qkv.weight, model.blocks.1.qkv.weight, model.blocks.0.out.weight"
    )


def test_freezing_everything_is_refused():
    with pytest.raises(InputError) as error:
        treatments(freeze=("*",))
    assert str(error.value) == "nothing is left to train: freeze=['*'] covers all 17 parameters"
