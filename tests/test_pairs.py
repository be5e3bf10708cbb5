"""Every objective with every family: the pair can work, or is refused before any data are read.

The table here is written by hand, apart from the one that the settings hold.
"""

from typing import get_args

import pytest

from headstart.abilities import ObjectiveName
from headstart.config import PretrainSettings
from headstart.errors import InputError
from headstart.families import FAMILIES, find
from headstart.nn import Patches
from headstart.recipes.building import refuse_objective
from headstart.settings_file import make_settings

ENCODERS = ["modern", "bert", "roberta", "reformer"]
DECODERS = ["gpt", "llama", "reformer"]
BOTH = ["modern", "bert", "roberta", "gpt", "llama", "reformer"]
TWO_STACKS = ["t5", "marian"]
IMAGES = ["vit"]
TWO_TOWERS = ["clip", "dual"]
NEEDS = {
    "mlm": ("encoder", ENCODERS),
    "nsp": ("encoder", ENCODERS),
    "hybrid": ("encoder", ENCODERS),
    "causal": ("decoder", DECODERS),
    "bow": ("decoder or encoder", BOTH),
    "spans": ("decoder or encoder", BOTH),
    "contrast": ("decoder or encoder or image encoder", [*BOTH, *IMAGES]),
    "span_corruption": ("encoder-decoder", TWO_STACKS),
    "mae": ("image encoder", IMAGES),
    "simmim": ("image encoder", IMAGES),
    "beit": ("image encoder", IMAGES),
    "image_text": ("two towers", TWO_TOWERS),
}
IS_A = {
    "modern": "an encoder",
    "bert": "an encoder",
    "roberta": "an encoder",
    "reformer": "an encoder",
    "gpt": "a decoder",
    "llama": "a decoder",
    "t5": "an encoder-decoder",
    "marian": "an encoder-decoder",
    "vit": "an image encoder",
    "clip": "two towers",
    "dual": "two towers",
}
# A Reformer becomes what its objective needs, a checkpoint of one is what it is.
NAMES = get_args(ObjectiveName)
PAIRS = [(name, family.name) for name in NAMES for family in FAMILIES]


def first_that_cannot(objective: str, able: dict[str, bool]) -> str | None:
    return next((part for part in objective.split("+") if not able[part]), None)


def test_the_table_names_all_parts_and_families():
    assert {part for name in NAMES for part in name.split("+")} == set(NEEDS)
    assert {family.name for family in FAMILIES} == set(IS_A)
    assert {family for _, able in NEEDS.values() for family in able} == set(IS_A)


@pytest.mark.parametrize(("objective", "family"), PAIRS)
def test_a_pair_works_or_is_refused_with_the_families_that_can(objective, family):
    wrong = first_that_cannot(objective, {p: family in able for p, (_, able) in NEEDS.items()})
    given = {"objective.name": objective, "model.family": family}
    if wrong is None:
        settings = make_settings(PretrainSettings, given=given)
        assert (settings.objective.name, settings.model.family) == (objective, family)
        return
    with pytest.raises(InputError) as caught:
        make_settings(PretrainSettings, given=given)  # no recipe is begun without settings
    needs, able = NEEDS[wrong]
    others = [n for n in NAMES if all(family in NEEDS[part][1] for part in n.split("+"))]
    assert str(caught.value) == (
        f"objective.name {objective}: {wrong} needs {needs} ({', '.join(able)}), but model.family "
        f"{family} is {IS_A[family]}, which can do {', '.join(others)}."
    )


@pytest.fixture(scope="module")
def models():
    """A tiny model of every family, as a checkpoint would bring it."""
    found = {}
    for family in FAMILIES:
        kind = {} if family.name == "vit" else {"vocab_size": 40, "max_positions": 16}
        shape = {"patches": Patches(image_size=8, patch_size=4)} if family.name == "vit" else kind
        found[family.name] = find(family.name).build(
            num_layers=2, hidden_size=16, num_heads=2, intermediate_size=32, **shape
        )
    return found


@pytest.mark.parametrize(("objective", "family"), PAIRS)
def test_what_a_checkpoint_cannot_do_is_refused_with_the_families_that_can(
    models, objective, family
):
    model = models[family]
    settings = make_settings(
        PretrainSettings, given={"objective.name": objective, "start": "runs/old"}
    )
    kinds = {part: needs.split(" or ") for part, (needs, _) in NEEDS.items()}
    wrong = first_that_cannot(objective, {p: model.arrangement in k for p, k in kinds.items()})
    if wrong is None:
        refuse_objective(settings, model)
        return
    with pytest.raises(InputError) as caught:
        refuse_objective(settings, model)
    needs, able = NEEDS[wrong]
    assert str(caught.value) == (
        f"objective.name {objective}: {wrong} needs {needs} ({', '.join(able)}), but runs/old "
        f"holds a model of family {family} ({model.arrangement})"
    )
