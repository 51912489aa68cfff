"""The choices of single views: small Param classes, known by the key of the view's lens, so that a link can hold them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import param

CHOICES: dict[str, type[param.Parameterized]] = {}
"""Key of a lens -> the class of its choices. Classes alone: their instances belong to a workspace."""


def register_choices(key: str, choices_type: type[param.Parameterized]) -> None:
    """Make the choices of a lens known to links; a key belongs to one class."""
    known = CHOICES.setdefault(key, choices_type)
    if known.__qualname__ != choices_type.__qualname__:
        msg = f"The choices {choices_type.__qualname__} use the key {key!r} of {known.__qualname__}; choose another key."
        raise ValueError(msg)


def without_quotes(choices: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Choices without those that quote the text, which their classes name in `quotes`: for a link that leaves the text out."""
    quoting = {key: getattr(CHOICES.get(key), "quotes", ()) for key in choices}
    left = {key: {name: value for name, value in given.items() if name not in quoting[key]} for key, given in choices.items()}
    return {key: given for key, given in left.items() if given}
