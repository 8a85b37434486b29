import itertools

import numpy as np
import pytest
import scipy.stats

from ggt_hub.evaluation.statistics import bootstrap, holm, swap_test


def test_the_interval_of_many_values_is_that_of_the_normal_approximation():
    values = np.random.default_rng(1).normal(10, 2, 400)
    mean, low, high = bootstrap(values)
    assert mean == pytest.approx(values.mean())
    # 1.96 * 2 / sqrt(400) = 0.196; 2,000 resamples place a quantile to a few hundredths of that
    assert mean - low == pytest.approx(0.196, abs=0.03)
    assert high - mean == pytest.approx(0.196, abs=0.03)


def test_equal_values_have_no_spread_and_nothing_is_left_out():
    assert bootstrap([3.0, 3.0, 3.0]) == (3.0, 3.0, 3.0)
    assert bootstrap([1.0, float("inf")]).mean == float("inf")
    assert np.isnan(bootstrap([1.0, float("nan")]).mean)
    assert np.isnan(bootstrap([])).all()


def test_the_same_values_give_the_same_interval():
    assert bootstrap([1.0, 2.0, 5.0]) == bootstrap([1.0, 2.0, 5.0])


def test_means_of_several_columns_are_combined_in_every_resample():
    pairs = np.random.default_rng(2).uniform(size=(60, 2))
    mean, low, high = bootstrap(pairs, combine=lambda a, b: a * b)
    assert mean == pytest.approx(pairs[:, 0].mean() * pairs[:, 1].mean())
    assert low < mean < high
    single = bootstrap(pairs[:, 0])
    assert bootstrap(pairs, combine=lambda a, b: a) == pytest.approx(single)


SKEWED = np.random.default_rng(3).exponential(2, 40)


def test_intervals_are_the_bias_corrected_and_accelerated_ones_of_scipy():
    expected = scipy.stats.bootstrap(
        (SKEWED,), np.mean, n_resamples=9999, method="BCa", rng=5
    ).confidence_interval
    plain = scipy.stats.bootstrap((SKEWED,), np.mean, n_resamples=9999, method="percentile", rng=5)
    _, low, high = bootstrap(SKEWED)
    # Two draws of 9,999 place such a quantile to a hundredth of the interval; BCa moves this one by a tenth.
    near = 0.03 * (expected.high - expected.low)
    assert (low, high) == pytest.approx(tuple(expected), abs=near)
    assert abs(high - plain.confidence_interval.high) > 1.5 * near


def test_one_value_has_no_interval():
    mean, low, high = bootstrap([3.0])
    assert mean == 3
    assert np.isnan([low, high]).all()


@pytest.mark.parametrize("count", [2, 5, 6, 12, 25])
def test_the_swap_test_is_scipys_permutation_test(count):
    rng = np.random.default_rng(count)
    a, b = rng.normal(size=count), rng.normal(0.4, 1, size=count)
    expected = scipy.stats.permutation_test(
        (b - a,), np.mean, permutation_type="samples", n_resamples=9999, rng=1, vectorized=True
    ).pvalue
    # up to 14 pairs both try all swaps; else two draws of 9,999
    assert swap_test(a, b) == pytest.approx(expected, abs=1e-9 if count <= 13 else 0.02)


def test_equal_runs_are_no_difference_and_few_pictures_never_a_clear_one():
    assert swap_test(SKEWED, SKEWED) == 1
    assert [swap_test(np.zeros(n), np.arange(1.0, n + 1)) for n in (1, 2, 5, 6)] == [1, 0.5, 1 / 16, 1 / 32]


def test_swaps_of_several_columns_are_those_of_what_is_combined():
    a, b = np.random.default_rng(4).uniform(size=(2, 10, 2))
    found = swap_test(a, b, combine=lambda x, y: x * y)
    differences = []
    for swaps in itertools.product([False, True], repeat=10):
        mask = np.array(swaps)[:, None]
        x, y = np.where(mask, b, a).mean(0), np.where(mask, a, b).mean(0)
        differences.append(abs(y.prod() - x.prod()))
    seen = abs(b.mean(0).prod() - a.mean(0).prod())
    assert found == pytest.approx(np.mean(np.array(differences) >= seen - 1e-12))


def test_holm_is_the_worked_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
