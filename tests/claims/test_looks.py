"""Boundaries spend what they say: against integrals of the normal distribution of several dimensions, and published values."""

import numpy as np
import pytest
from scipy import stats

from apo_bench.claims.looks import LEVELS, Design, nominal_levels, pocock


def o_brien_fleming(level, fraction):
    """Lan & DeMets 1983, one-sided."""
    return 2 * stats.norm.sf(stats.norm.isf(level / 2) / fraction**0.5)


@pytest.mark.parametrize("level", [0.025, 0.002])
@pytest.mark.parametrize("looks", [(6, 12), (6, 12, 24), (5, 6, 30), (6, 12, 24, 48)])
def test_the_level_is_spent_as_the_looks_say(looks, level):
    """Crossing none of the first boundaries has the probability that a normal distribution with correlations sqrt(n_i / n_j) gives it."""
    levels = nominal_levels(level, [look / looks[-1] for look in looks])
    covariance = np.sqrt(np.minimum.outer(looks, looks) / np.maximum.outer(looks, looks))
    for number in range(1, len(looks) + 1):
        bounds = stats.norm.isf(levels[:number])
        inside = stats.multivariate_normal(np.zeros(number), covariance[:number, :number], abseps=1e-7, maxpts=10**6)
        kept = stats.norm.cdf(bounds[0]) if number == 1 else inside.cdf(bounds)
        assert 1 - kept == pytest.approx(level * np.log(1 + (np.e - 1) * looks[number - 1] / looks[-1]), rel=0.01)


def test_published_boundaries():
    """Jennison & Turnbull 2000, the O'Brien-Fleming-like spending function at 0.025 one-sided: 4.33, 2.96, 2.36, 2.01 for four equal
    looks; and 2.96, 1.97 for two (Lan & DeMets 1983)."""
    four, two = (nominal_levels(0.025, np.arange(1, num + 1) / num, o_brien_fleming) for num in (4, 2))
    assert stats.norm.isf(four) == pytest.approx([4.333, 2.963, 2.359, 2.014], abs=2e-3)
    assert stats.norm.isf(two) == pytest.approx([2.963, 1.969], abs=2e-3)


def test_a_single_look_adjusts_nothing():
    design, p_values = Design((), 5), np.array([0.01, 0.3])
    assert design.taken(7) == [7] and design.taken(4) == []
    assert design.adjust(p_values, 7) is p_values and design.nominal_level(0.02, 7) == 0.02


def test_looks_count_once_they_are_reached():
    design = Design((6, 12, 24), 5)
    assert [design.taken(number) for number in (5, 6, 11, 12, 30)] == [[], [6], [6], [6, 12], [6, 12, 24]]
    assert [design.next_look(number) for number in (0, 6, 7, 24)] == [6, 12, 12, None] and Design((), 5).next_look(3) is None


@pytest.mark.parametrize("look", [6, 12, 24])
def test_an_adjusted_p_is_the_level_at_which_the_boundary_is_reached(look):
    design = Design((6, 12, 24), 5)
    for level in (0.025, 0.0021, 1e-5):
        nominal = nominal_levels(level, [0.25, 0.5, 1.0], pocock)[design.looks.index(look)]
        assert design.adjust(np.array([nominal]), look) == pytest.approx(level, rel=1e-3)
        assert design.nominal_level(level, look) == pytest.approx(nominal, rel=1e-3)
    assert list(design.adjust(np.array([0.9, 1.0, 0.0]), look)) == pytest.approx([1.0, 1.0, LEVELS[0]])
