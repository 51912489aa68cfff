"""Gradients, perturbation and ablation, how far attention agrees with them, and influence through all layers."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atlas.tracing.influence import influence

__all__ = ["influence"]

_HOMES = {"influence": ("atlas.tracing.influence", "influence")}
"""Where each name lives, and what it is called there: what needs torch is fetched when it is first used."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module 'atlas.attribution' has no attribute {name!r}; it offers {', '.join(__all__)}"
        raise AttributeError(msg)
    module, attribute = _HOMES[name]
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
