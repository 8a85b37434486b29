import numpy as np
import pytest

from ggt_hub.evaluation.statistics import bootstrap


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
