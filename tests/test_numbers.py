"""Numbers on the screen: three digits, no powers of ten where a reader would write a number out."""

from __future__ import annotations

import math

import pytest

from atlas.numbers import component, raised, three


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.12345, "0.123"), (-0.5, "−0.5"), (999.4, "999"), (999.6, "1,000"), (65_543.2, "65,500"), (-3_456_789, "−3,460,000"),
        (0.0, "0"), (math.nan, "N/A"), (math.inf, "∞"), (-math.inf, "−∞"), (0.000123456, "0.000123"),
        (4.0189e-7, "4.02·10⁻⁷"), (-8e-10, "−8·10⁻¹⁰"),
    ],
)  # fmt: skip
def test_three_digits(value, said):
    assert three(value) == said


@pytest.mark.parametrize(
    ("written", "said"), [("2.23731e-36", "2.23731·10⁻³⁶"), ("-1.5e+20", "−1.5·10²⁰"), ("-0.25", "−0.25"), ("inf", "inf")]
)
def test_powers_of_ten_are_raised(written, said):
    assert raised(written) == said


def test_an_axis_says_its_share_of_the_variance_where_it_is_known():
    assert component(1, 0.27349) == "component 1 (27.3 % of the variance)"
    assert component(2, math.nan) == "component 2"
