import pytest

from headstart.errors import InputError
from headstart.nn import TransformerConfig

SIZES = {"vocab_size": 5, "num_layers": 4, "intermediate_size": 8}


def test_a_hidden_size_that_heads_do_not_divide_is_refused():
    with pytest.raises(InputError) as caught:
        TransformerConfig(**SIZES, hidden_size=10, num_heads=3)
    assert str(caught.value) == (
        "hidden_size 10 is not a multiple of num_heads 3: choose sizes that divide"
    )


def test_rotary_heads_of_odd_width_are_refused():
    with pytest.raises(InputError) as caught:
        TransformerConfig(**SIZES, hidden_size=9, num_heads=3)
    assert str(caught.value) == (
        "rotary positions need an even head size, but hidden_size 9 / num_heads 3 = 3"
    )
    assert TransformerConfig(**SIZES, hidden_size=9, num_heads=3, position="learned").head_dim == 3


def test_every_nth_layer_is_global_the_first_included():
    config = TransformerConfig(**SIZES, hidden_size=8, num_heads=2, window=4, global_every=3)
    assert [config.is_global(n) for n in range(4)] == [True, False, False, True]
