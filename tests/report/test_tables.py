"""Numbers as readers see them."""

from types import SimpleNamespace

import pytest

from apo_bench.comparison.results import METRICS
from apo_bench.evaluation.statistics import Estimate
from apo_bench.report.tables import averaged_over, interval, intervals_over, number

SCORE, SHARE = (next(metric for metric in METRICS if metric.unit == unit) for unit in ("score", "share"))


def estimate(low: float, high: float) -> Estimate:
    return Estimate(value=(low + high) / 2, low=low, high=high, standard_error=(high - low) / 4)


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [
        (-0.046, 0.114, "[−0.05, +0.11]"),
        (0.004, 0.09, "[+0.004, +0.090]"),  # "[0.00, +0.09] better" would contradict itself
        (-0.09, -0.0004, "[−0.0900, −0.0004]"),
        (-0.09, 0.004, "[−0.09, 0.00]"),
        (-0.09, 0.0, "[−0.09, 0.00]"),
        (1e-9, 0.09, "[0.00000, +0.09000]"),
    ],
)
def test_interval_of_a_difference_shows_its_side_of_zero(low, high, shown):
    assert interval(SCORE, estimate(low, high), signed=True) == shown


def test_shares_are_percent_and_minus_is_a_minus():
    assert number(SHARE, -0.1234) == "−12.3" and number(SHARE, -0.0001) == "0.0"
    assert interval(SCORE, estimate(0.001, 0.2)) == "[0.00, 0.20]"


def test_one_replicate_is_known_over_prompts_several_over_replicates():
    one, five = (SimpleNamespace(seeds=list(range(number)), num_test_prompts=256) for number in (1, 5))
    assert (averaged_over(one), intervals_over(one)) == ("256 test prompts", "prompts")
    assert (averaged_over(five), intervals_over(five)) == ("256 test prompts and 5 replicates", "replicates")
