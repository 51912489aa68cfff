"""Numbers as the page writes them, read back."""

from __future__ import annotations

import unicodedata


def number(written: str) -> float:
    """The number that is written: '−0.123', or '1.2·10⁻⁹' of a small one."""
    digits, _, power = unicodedata.normalize("NFKC", written).replace("−", "-").partition("·10")
    return float(f"{digits}e{power or 0}")
