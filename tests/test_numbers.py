"""Numbers on the screen: three digits, no powers of ten where a reader would write a number out."""

from __future__ import annotations

import math

import pytest

from atlas.numbers import three


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.12345, "0.123"), (-0.5, "−0.5"), (999.4, "999"), (999.6, "1,000"), (65_543.2, "65,500"), (-3_456_789, "−3,460,000"),
        (0.0, "0"), (math.nan, "N/A"), (math.inf, "∞"), (-math.inf, "−∞"), (0.000123456, "0.000123"),
    ],
)  # fmt: skip
def test_three_digits(value, said):
    assert three(value) == said
