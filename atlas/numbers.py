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
    return f"{float(digits):,.0f}".replace("-", "−") if abs(value) >= THOUSAND else raised(digits)


def raised(digits: str) -> str:
    """A number as Python writes it, with its minus and its power of ten as print has them: '−4.02e-07' is '−4.02·10⁻⁷'."""
    mantissa, power, exponent = digits.partition("e")
    if power:
        minus = "⁻" if exponent.startswith("-") else ""
        mantissa += f"·10{minus}{exponent.lstrip('+-0').translate(RAISED)}"
    return mantissa.replace("-", "−")


def listed(items: Sequence[str], most: int = 4) -> str:
    """The first few of some names, and how many more there are."""
    return ", ".join(items[:most]) + (f" and {len(items) - most:,} more" if len(items) > most else "")


def component(number: int, share: float) -> str:
    """An axis of a principal component analysis, with the share of the variance along it where that is known."""
    return f"component {number}" + ("" if math.isnan(share) else f" ({three(100 * share)} % of the variance)")
