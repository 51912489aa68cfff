"""The names of the models that can be chosen, for a list on the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from atlas.engine.loading.catalog import entries
from atlas.tracing.two_traces import MODEL_NAMES


def model_names() -> list[str]:
    """Names of the models of the catalog that can be traced, those shipped with Atlas first."""
    return [entry.name for entry in entries() if entry.traceable]


TASKS: Mapping[str, Callable[..., Any]] = {MODEL_NAMES: model_names}
"""What views ask for, by name."""
