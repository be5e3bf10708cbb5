import pytest

from headstart.errors import InputError
from headstart.families import FAMILIES, find
from headstart.families.fields import Fields


def test_a_family_is_found_by_its_name():
    assert [find(family.name) for family in FAMILIES] == list(FAMILIES)


def test_an_unknown_family_names_the_nearest():
    with pytest.raises(InputError) as caught:
        find("robert")
    assert str(caught.value) == (
        "no family 'robert' (there are: bert, roberta, gpt, modern, reformer, llama, t5, marian, "
        "vit, clip, dual). Did you mean 'roberta'?"
    )
    with pytest.raises(InputError) as caught:
        find("xyz")
    assert str(caught.value) == (
        "no family 'xyz' (there are: bert, roberta, gpt, modern, reformer, llama, t5, marian, vit, "
        "clip, dual)."
    )


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_config_written_and_read_is_the_same(family):
    model = family.build(num_layers=3, hidden_size=48, num_heads=4, vocab_size=99, dropout=0.2)
    values = family.write_config(model.config, model.style)
    fields = Fields(values, "test")
    assert family.config_from_hf(fields) == model.config
    assert family.style_from_hf(fields) == model.style


def test_build_chooses_heads_of_64_and_a_rounded_inner_width():
    config = find("modern").build(num_layers=1, hidden_size=256, vocab_size=50).config
    assert (config.num_heads, config.intermediate_size) == (4, 704)  # 256 * 8 / 3 = 682.7 -> 704
    assert (config.dropout, config.attention_dropout, config.window) == (0.0, 0.0, None)
