"""How a number is written on the screen."""

from __future__ import annotations

import math

THOUSAND = 999.5
"""What three digits round to 1,000: from here on Python would write 1e+03."""


def three(value: float) -> str:
    """Three significant digits; an unknown number is N/A, never 0."""
    if math.isnan(value):
        return "N/A"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    digits = f"{value:.3g}"
    return (f"{float(digits):,.0f}" if abs(value) >= THOUSAND else digits).replace("-", "−")
