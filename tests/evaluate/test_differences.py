"""Best against best: the winner's curse is taken off, lucky seeds give nothing, variances are
moderated."""

import numpy as np
import pytest

from headstart.evaluate.differences import adjusted_means, best_against_best, optimism


def planted(rng, *, own=3, controls=2, gap=0.0, seeds=5, noise=0.02):
    draw = rng.normal(0, 0.03, (1, seeds, 1))
    mine = 0.7 + gap + draw + rng.normal(0, noise, (own, seeds, 1))
    return mine, 0.7 + draw + rng.normal(0, noise, (controls, seeds, 1))


def test_the_best_of_equal_arms_is_not_flattered():
    rng = np.random.default_rng(0)
    naive, honest = [], []
    for _ in range(600):
        own, controls = planted(rng, own=4, controls=1)
        honest.append(best_against_best(own, controls, labels=[100]).mean[0])
        naive.append(own.mean(axis=1).max() - controls.mean())
    assert np.mean(naive) > 0.007  # what picking the best of four equal arms would claim
    assert abs(np.mean(honest)) < 0.0025


def test_the_optimism_of_equal_and_of_distant_arms_is_known():
    # the largest of two standard normals is expected at 1/sqrt(pi) = .564
    assert optimism(np.array([0.5, 0.5]), 0.01) == pytest.approx(0.00564, rel=0.1)
    assert optimism(np.array([0.5, 0.4]), 0.01) == pytest.approx(0.0, abs=1e-4)
    assert optimism(np.array([0.5, -np.inf]), 0.01) == 0.0


@pytest.mark.parametrize(
    ("own_arms", "controls", "highest"), [(1, 1, 0.94), (3, 1, 0.98), (3, 2, 0.99)]
)
def test_intervals_cover_the_truth_at_their_level_and_a_little_more_among_equal_arms(
    own_arms, controls, highest
):
    rng = np.random.default_rng(1)
    inside = []
    for _ in range(500):
        arms = planted(rng, own=own_arms, controls=controls, gap=0.01)
        inside.append(best_against_best(*arms, labels=[100]).interval(0).contains(0.01))
    assert 0.86 < np.mean(inside) < highest


def test_an_arm_that_misses_the_hard_draws_gains_nothing_by_it():
    luck = np.array([0.10, 0.05, 0.0, -0.05, -0.10])
    arms = np.stack([0.70 + luck, 0.69 + luck])[:, :, None]
    arms[1, 2:, 0] = np.nan  # only the easy draws: raw mean .765
    arms = np.concatenate([arms, np.full((1, 5, 1), np.nan)])
    arms[2, 0, 0] = 0.9  # a single seed is no basis
    means = adjusted_means(arms)[:, 0]
    assert means[0] == pytest.approx(0.70)
    assert means[1] == -np.inf  # two of five seeds are fewer than half
    assert means[2] == -np.inf
    arms[1, 2, 0] = 0.69
    assert adjusted_means(arms)[1, 0] == pytest.approx(0.69)


def test_one_seed_leaves_the_difference_unbounded():
    result = best_against_best(np.full((1, 1, 1), 0.8), np.full((1, 1, 1), 0.7), labels=[50])
    assert result.mean[0] == pytest.approx(0.1)
    assert np.isinf(result.covariance[0, 0])


def test_a_small_test_file_widens_the_interval_and_a_large_one_hardly_does():
    rng = np.random.default_rng(2)
    own, controls = planted(rng, own=1, controls=1, noise=0.002)

    def width(rows):
        right = [rng.random((1, 1, 1, rows)) < share for share in (0.75, 0.65)]
        right = [np.broadcast_to(part, (1, 5, 1, rows)) for part in right]
        result = best_against_best(
            own, controls, labels=[50], own_correct=right[0], control_correct=right[1]
        )
        return result.interval(0).high - result.interval(0).low

    seeds_only = best_against_best(own, controls, labels=[50]).interval(0)
    assert width(200) > 5 * (seeds_only.high - seeds_only.low)
    assert width(200) > 5 * width(20000)


def test_scores_that_do_not_pair_are_refused():
    with pytest.raises(ValueError, match="seeds and label counts must be the same"):
        best_against_best(np.zeros((1, 5, 2)), np.zeros((1, 4, 2)), labels=[1, 2])


def answered(rng, seeds, *, rows=400):
    """Two arms that answer the same rows right with every seed, and their scores."""
    own, control = (rng.random((1, 1, 1, rows)) < share for share in (0.8, 0.7))
    own, control = (np.repeat(right, seeds, 1) for right in (own, control))
    score = own.mean(axis=-1) + 0.01 * np.arange(seeds)[None, :, None]
    return (score, control.mean(axis=-1)), (own, control)


@pytest.mark.parametrize("whose", [(0, 1), (1,)])
def test_seeds_that_one_side_lacks_tell_nothing_of_the_test_rows(whose):
    scores, right = answered(np.random.default_rng(0), 2)
    want = best_against_best(
        *scores, labels=[50], own_correct=right[0], control_correct=right[1]
    ).test_se
    more = [np.full((1, 3, 1), np.nan if side in whose else 0.8) for side in (0, 1)]
    scores = [np.concatenate(pair, 1) for pair in zip(scores, more, strict=True)]
    more = [np.full((1, 3, 1, 400), side not in whose) for side in (0, 1)]
    right = [np.concatenate(pair, 1) for pair in zip(right, more, strict=True)]
    found = best_against_best(*scores, labels=[50], own_correct=right[0], control_correct=right[1])
    assert found.test_se == pytest.approx(want)


@pytest.mark.parametrize("rows", [1, 2])
def test_one_or_two_test_rows_on_which_all_seeds_agree_prove_nothing(rows):
    right = [np.full((1, 5, 2, rows), side) for side in (True, False)]
    found = best_against_best(
        *(part.mean(axis=-1) for part in right),
        labels=[50, 200],
        own_correct=right[0],
        control_correct=right[1],
    )
    assert found.mean == pytest.approx([1.0, 1.0])
    assert np.isfinite(found.covariance).all()
    assert found.interval(0).low < 0.5


def test_a_seed_that_few_arms_have_takes_nothing_from_what_is_known_of_the_noise():
    rng = np.random.default_rng(3)
    arms = 0.7 + rng.normal(0, 0.02, (6, 5, 1)) + rng.normal(0, 0.005, (6, 5, 3))
    before = best_against_best(arms[:4], arms[4:], labels=[50, 200, 800])
    lone = np.full((6, 1, 3), np.nan)
    lone[0, 0, 0] = 0.7  # one cell repeated with another seed
    more = np.concatenate([arms, lone], axis=1)
    after = best_against_best(more[:4], more[4:], labels=[50, 200, 800])
    assert (before.doubt > 0).any()  # what the best of four is flattered by
    assert before.covariance[0, 1] > 0  # the label counts share their seeds
    assert after.doubt == pytest.approx(before.doubt)
    assert after.covariance == pytest.approx(before.covariance)
    assert after.mean == pytest.approx(before.mean)


@pytest.mark.parametrize("seeds", [(5, 5, 5, 5), (5, 2)])
def test_intervals_of_two_arms_alone_and_of_fewer_seeds_cover_the_truth_too(seeds):
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(500):
        arms = 0.7 + rng.normal(0, 0.03, (1, 5, 1)) + rng.normal(0, 0.015, (2, 5, len(seeds)))
        for place, there in enumerate(seeds):
            arms[:, there:, place] = np.nan
        result = best_against_best(arms[:1], arms[1:], labels=10 * 4 ** np.arange(len(seeds)))
        inside.append([result.interval(place).contains(0.0) for place in range(len(seeds))])
    # the shape of the noise from the very pair adds nothing, two seeds are not five
    assert np.mean(inside, axis=0) == pytest.approx(0.90, abs=0.035)
