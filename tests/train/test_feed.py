import itertools
from contextlib import contextmanager

import pytest
import torch

from headstart.batch import Batch
from headstart.train.feed import Feeder, dropout_seed, mask_rng
from toy_training import NextToken, Sequence

CPU = torch.device("cpu")


def feeder(*, ahead: int, accumulate: int = 2, device: torch.device = CPU) -> Feeder:
    return Feeder(
        Sequence(), NextToken(), seed=3, accumulate=accumulate, ahead=ahead, device=device
    )


@pytest.mark.parametrize("count", [1, 3])
def test_preparing_ahead_gives_the_same_batches_in_any_order_of_positions(count):
    plain, ahead = feeder(ahead=0), feeder(ahead=count)
    for position in (0, 1, 2, 7, 7, 3):
        pairs = zip(plain.micros(position), ahead.micros(position), strict=True)
        for one, two in pairs:
            assert torch.equal(one.batch.inputs["tokens"], two.batch.inputs["tokens"])
            assert (one.index == two.index).all()
            assert one.tokens == two.tokens
    ahead.close()


def test_batches_wait_pinned_for_the_gpu_that_will_use_them_and_for_no_other(monkeypatch):
    current, pinned = [], []

    @contextmanager
    def on(device):
        current.append(str(device))
        yield
        current.pop()

    def pin(batch):
        pinned.append(list(current))
        return batch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device", on)
    monkeypatch.setattr(Batch, "pinned", pin)
    for device in ("cpu", "cuda:1"):
        made = feeder(ahead=1, accumulate=1, device=torch.device(device))
        assert len([*made.micros(0), *made.micros(1)]) == 2
        made.close()  # the next one, in its thread, may be ready by now or never
    assert len(pinned) in (2, 3)  # none on the CPU
    assert all(gpus == ["cuda:1"] for gpus in pinned)


def test_micro_batches_are_the_sources_batches_in_order():
    numbers = [m.index[0] // 4 for p in range(3) for m in feeder(ahead=0).micros(p)]
    assert numbers == [0, 1, 2, 3, 4, 5]


def test_every_seed_position_and_micro_batch_has_its_own_randomness():
    keys = list(itertools.product(range(5), range(5), range(2)))
    assert len({dropout_seed(*key) for key in keys}) == len(keys)
    assert len({float(mask_rng(*key).random()) for key in keys}) == len(keys)
    assert dropout_seed(1, 2, 3) == dropout_seed(1, 2, 3)


def test_what_goes_wrong_in_the_thread_comes_out_where_the_batch_is_asked_for():
    class Broken(Sequence):
        def batch(self, n):
            if n == 3:
                raise ValueError("row 3")
            return super().batch(n)

    made = Feeder(Broken(), NextToken(), seed=0, accumulate=1, ahead=2, device=CPU)
    for position in range(3):
        assert len(list(made.micros(position))) == 1
    with pytest.raises(ValueError, match=r"^row 3$"):
        list(made.micros(3))
    made.close()


def test_the_objective_hears_how_much_of_the_run_is_done():
    heard = []

    class Listening(NextToken):
        def prepare(self, sequences, rng, progress=0.0):
            heard.append(progress)
            return super().prepare(sequences, rng, progress)

    made = Feeder(Sequence(), Listening(), seed=0, accumulate=1, ahead=0, device=CPU)
    list(made.micros(1))
    made.total = 4
    for position in (0, 1, 3, 9):  # returns can push the position past the total
        list(made.micros(position))
    assert heard == [0.0, 0.125, 0.375, 0.875, 1.0]
