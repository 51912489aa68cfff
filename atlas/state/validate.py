"""Which values a stranger may set: a link's fields are checked one by one against the Params they are for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import param

from atlas.numbers import listed
from atlas.state.compact import Unusable, shown
from atlas.state.display import METRICS, MORE_THAN_METRICS

MOST_NAMED = 12
"""Legal values that a message names: there are thirty metrics, and nobody reads thirty names."""

LONGEST_NAME = 1_000
"""Letters of a model's name or folder, of a token or a label: the longest paths there are, and no novel in a place for a name."""


def differing(holder: param.Parameterized) -> dict[str, Any]:
    """What is not at its default, as plain values."""
    values = {name: value for name, value in holder.param.values().items() if name != "name"}
    return {name: value for name, value in values.items() if value != holder.param[name].default}


def defaults(holder: type[param.Parameterized]) -> dict[str, Any]:
    """Every field at its default."""
    return {name: holder.param[name].default for name in holder.param if name != "name"}


def checked(holder: type[param.Parameterized], given: Any, what: str) -> tuple[dict[str, Any], list[str]]:
    """The fields of `given` that may be set on a `holder`, clipped to their bounds, and what is to be said about the others."""
    if not isinstance(given, Mapping):
        return {}, [f"The link's {what} cannot be read and is left out."]
    found: dict[str, Any] = {}
    said = []
    for name, value in given.items():
        try:
            if name == "name" or name not in holder.param:
                msg = "is not known here"
                raise Unusable(msg)  # noqa: TRY301 - one place says what was left out, whatever the reason
            found[name], clipped = _legal(holder.param[name], name, value)
        except Unusable as problem:
            said.append(f"The link's {what}: {shown(name)} {problem}; it is left out.")
        else:
            said.extend([f"The link's {what}: {name} was {shown(value)} and is set to {found[name]}."] if clipped else [])
    return found, said


def text(value: Any, most: int | None = None) -> str:
    """A text, whatever letters it has, if it is one; how long it may be is settled before anything is unpacked."""
    if not isinstance(value, str):
        msg = f"is no text but {shown(value)}"
        raise Unusable(msg)
    if most is not None and len(value) > most:
        msg = f"has {len(value):,} letters, more than {most:,}"
        raise Unusable(msg)
    return value


def name(value: Any) -> str:
    """A name, path or label: short, on one line."""
    found = text(value, LONGEST_NAME)
    if any(ord(letter) < 0x20 or ord(letter) == 0x7F for letter in found):
        msg = f"has control characters: {shown(found)}"
        raise Unusable(msg)
    return found


def flag(value: Any) -> bool:
    """Yes or no."""
    if not isinstance(value, bool):
        msg = f"is neither yes nor no but {shown(value)}"
        raise Unusable(msg)
    return value


def _legal(field: Any, key: str, value: Any) -> tuple[Any, bool]:
    """The value for a Param, and whether it had to be brought inside its bounds."""
    if isinstance(field, param.Selector):
        return _one_of(tuple(field.objects), value), False
    if key in MORE_THAN_METRICS:
        return _one_of((*MORE_THAN_METRICS[key], *METRICS), value), False
    if isinstance(field, param.Boolean):
        return flag(value), False
    if isinstance(field, param.Number):
        return _number(field, value)
    return text(value, LONGEST_NAME), False


def _one_of(allowed: tuple[Any, ...], value: Any) -> Any:
    if not isinstance(value, str) or value not in allowed:
        msg = f"is {shown(value)}, which is none of {listed([*map(str, allowed)], MOST_NAMED)}"
        raise Unusable(msg)
    return value


def _number(field: Any, value: Any) -> tuple[float, bool]:
    whole = isinstance(field, param.Integer)
    known = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value) and not whole)
    if not known or isinstance(value, bool):
        msg = f"is no {'whole ' if whole else ''}number but {shown(value)}"
        raise Unusable(msg)
    low, high = field.bounds or (None, None)
    inside = value if low is None else max(value, low)
    inside = inside if high is None else min(inside, high)
    return inside, inside != value
