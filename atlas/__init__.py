"""Attention Atlas: see what the attention of any transformer does, and how far what you see can be trusted.

Importing this loads neither torch nor panel: every name below is fetched when it is first used, so that `atlas --help`, a shell
completion or a notebook that only opens a saved trace does not wait for libraries it never touches.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atlas import attribution, bias, corpus, errors, metrics, text
    from atlas.app import explore
    from atlas.corpus.monitor import Monitor
    from atlas.engine.bertviz import to_bertviz
    from atlas.engine.loading.load import load
    from atlas.engine.running.interventions import Intervention, Output, Pattern
    from atlas.figure import view
    from atlas.ids import HeadId
    from atlas.trace import Trace
    from atlas.tracing.compare import compare
    from atlas.tracing.corpus import Corpus
    from atlas.tracing.opening import open_saved as open
    from atlas.tracing.recorded import from_attention

__version__ = "0.1.0"

__all__ = [
    "Corpus",
    "HeadId",
    "Intervention",
    "Monitor",
    "Output",
    "Pattern",
    "Trace",
    "__version__",
    "attribution",
    "bias",
    "compare",
    "corpus",
    "errors",
    "explore",
    "from_attention",
    "load",
    "metrics",
    "open",
    "text",
    "to_bertviz",
    "view",
]

_MODULES = frozenset({"attribution", "bias", "corpus", "errors", "metrics", "text"})

_HOMES = {
    "Corpus": ("atlas.tracing.corpus", "Corpus"),
    "HeadId": ("atlas.ids", "HeadId"),
    "Intervention": ("atlas.engine.running.interventions", "Intervention"),
    "Monitor": ("atlas.corpus.monitor", "Monitor"),
    "Output": ("atlas.engine.running.interventions", "Output"),
    "Pattern": ("atlas.engine.running.interventions", "Pattern"),
    "Trace": ("atlas.trace", "Trace"),
    "compare": ("atlas.tracing.compare", "compare"),
    "explore": ("atlas.app", "explore"),
    "from_attention": ("atlas.tracing.recorded", "from_attention"),
    "load": ("atlas.engine.loading.load", "load"),
    "open": ("atlas.tracing.opening", "open_saved"),
    "to_bertviz": ("atlas.engine.bertviz", "to_bertviz"),
    "view": ("atlas.figure", "view"),
}
"""Where each public name lives, and what it is called there."""


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"atlas.{name}")
    if name not in _HOMES:
        msg = f"module 'atlas' has no attribute {name!r}; it offers {', '.join(__all__)}"
        raise AttributeError(msg)
    module, attribute = _HOMES[name]
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
