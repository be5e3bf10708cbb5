import pytest

from headstart.errors import InputError
from headstart.train import TrainSettings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": 0.0}, "lr must be more than 0, but is 0.0"),
        ({"lr": float("nan")}, "lr must be more than 0, but is nan"),
        ({"weight_decay": -1.0}, "weight_decay must be 0 or more, but is -1.0"),
        ({"beta2": 1.0}, "beta2 must be at least 0 and below 1, but is 1.0"),
        ({"accumulate": 0}, "accumulate must be a whole number, 1 or more, but is 0"),
        ({"accumulate": True}, "accumulate must be a whole number, 1 or more, but is True"),
        ({"keep": 1.5}, "keep must be a whole number, 1 or more, but is 1.5"),
        ({"layer_decay": 0.0}, "layer_decay must be above 0 and at most 1, but is 0.0"),
        ({"optimizer": "adam"}, "optimizer must be one of adamw, muon, but is 'adam'"),
        ({"lr_scales": (("*.w", -1.0),)}, "lr_scales[*.w] must be 0 or more, but is -1.0"),
        (
            {"fused": (("*.w", (1.0, 0.0)),)},
            "fused[*.w] must be one or more numbers above 0, but is (1.0, 0.0)",
        ),
        ({"warmup": 2.0}, "warmup must be a share between 0 and 1, but is 2.0"),
    ],
)
def test_settings_that_cannot_be_are_refused(change: dict[str, object], message: str):
    with pytest.raises(InputError) as error:
        TrainSettings(**change)  # type: ignore[arg-type]
    assert str(error.value) == message


def test_bookkeeping_is_not_decisive_and_everything_else_is():
    names = set(TrainSettings().decisive())
    assert names == set(TrainSettings.__dataclass_fields__) - {"keep", "save_minutes"}
    assert TrainSettings(keep=9).decisive() == TrainSettings().decisive()
    assert TrainSettings(lr=1.0).decisive() != TrainSettings().decisive()
