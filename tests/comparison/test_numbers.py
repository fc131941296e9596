"""Numbers as readers see them."""

import pytest

from apo_bench.comparison.numbers import bounds, count, decimal, number, p_value, significant


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [
        (-0.046, 0.114, ("−0.05", "+0.11")),
        (0.004, 0.09, ("+0.004", "+0.090")),  # "[0.00, +0.09] better" would contradict itself
        (-0.09, -0.0004, ("−0.0900", "−0.0004")),
        (-0.09, 0.004, ("−0.09", "0.00")),
        (-0.09, 0.0, ("−0.09", "0.00")),
        (1e-9, 0.09, ("0.00000", "+0.09000")),
    ],
)
def test_interval_of_a_difference_shows_its_side_of_zero(low, high, shown):
    assert bounds(low, high, "score", signed=True) == shown


def test_a_unit_has_its_scale_and_places_and_minus_is_a_minus():
    assert number(-0.1234, "share") == "−12.3" and number(0.1234, "squared error") == "0.1234"
    assert bounds(0.001, 0.2, "score") == ("0.00", "0.20")


@pytest.mark.parametrize("signed", [False, True])
def test_what_rounds_to_zero_has_no_sign(signed):
    assert {decimal(value, 2, signed) for value in (-0.0, -0.004, 0.004)} == {"0.00"}
    assert number(-0.00004, "squared error", signed) == "0.0000" and number(-0.0001, "share", signed) == "0.0"


def test_p_values_have_three_places_and_are_never_zero():
    assert [p_value(value) for value in (None, 0.0, 0.00099, 0.001, 0.0321, 1.0)] == ["", "<0.001", "<0.001", "0.001", "0.032", "1.000"]


def test_counts_and_sizes():
    assert count(1210.4) == "1,210"
    assert [significant(value) for value in (0.0, 0.06604, 100.0, 99.96, 1234.0)] == ["0", "0.066", "100", "100", "1230"]
