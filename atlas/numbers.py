"""How numbers and lists are written on the screen."""

from __future__ import annotations

import math
from collections.abc import Sequence

THOUSAND = 999.5
"""What three digits round to 1,000: from here on Python would write 1e+03."""


RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def three(value: float) -> str:
    """Three significant digits; an unknown number is N/A, never 0."""
    if math.isnan(value):
        return "N/A"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    digits = f"{value:.3g}"
    if "e-" in digits:
        mantissa, exponent = digits.split("e-")
        return f"{mantissa}·10⁻{exponent.lstrip('0').translate(RAISED)}".replace("-", "−")
    return (f"{float(digits):,.0f}" if abs(value) >= THOUSAND else digits).replace("-", "−")


def listed(items: Sequence[str], most: int = 4) -> str:
    """The first few of some names, and how many more there are."""
    return ", ".join(items[:most]) + (f" and {len(items) - most:,} more" if len(items) > most else "")


def component(number: int, share: float) -> str:
    """An axis of a principal component analysis, with the share of the variance along it where that is known."""
    return f"component {number}" + ("" if math.isnan(share) else f" ({three(100 * share)} % of the variance)")
