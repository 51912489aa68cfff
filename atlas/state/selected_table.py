"""The head table for the selected tokens, worked out once a selection for all lenses that need it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from atlas.tracing.selected_heads import selected_heads

if TYPE_CHECKING:
    import pandas as pd

    from atlas.state.workspace import Workspace
    from atlas.trace import Trace

_NEWEST: WeakKeyDictionary[Trace, dict[tuple[Any, ...], pd.DataFrame]] = WeakKeyDictionary()
"""The newest table of a trace. Another reader of the same trace may replace it; then it is worked out again."""


def selected_table(workspace: Workspace, trace: Trace) -> pd.DataFrame:
    """`selected_heads` of the kind on screen for the selected tokens, as a copy."""
    selection = workspace.selection
    key = (workspace.kind, selection.queries, selection.keys)
    known = _NEWEST.get(trace, {}).get(key)
    if known is None:
        known = selected_heads(trace, *key)
        _NEWEST[trace] = {key: known}
    return known.copy()
