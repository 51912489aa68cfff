"""The key of the colours of a plot, as marks and words."""

from __future__ import annotations

import html
from collections.abc import Iterable

from atlas.plots.colours import Category


def key_markup(entries: Iterable[tuple[str, Category]], before: str = "", after: str = "") -> str:
    """Each name with its mark, on as many lines as it takes; words before and after them."""
    parts = [
        f'<span style="white-space:nowrap"><span style="color:{how.colour}" aria-hidden="true">{how.letter}</span> '
        f"{html.escape(words)}</span>"
        for words, how in entries
    ]
    first, last = (f"<span>{html.escape(words)}</span>" if words else "" for words in (before, after))
    return f'<div style="display:flex;flex-wrap:wrap;gap:2px 12px;font-size:0.8rem">{first}{"".join(parts)}{last}</div>'
