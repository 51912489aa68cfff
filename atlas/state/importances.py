"""How much the prediction that is explained hangs on each head, in three ways, for whoever shows one number a head."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from atlas.errors import AtlasError, NotCaptured, TooLarge
from atlas.state.asking import Progress, Takes
from atlas.state.attribution import explained_target
from atlas.state.display import IMPORTANCE, IMPORTANCES, INTEGRATED, REMOVAL
from atlas.trace import NO_MODEL
from atlas.tracing.explained import HEAD_EFFECTS, LOGIT, MOST_TOKENS_RUN

if TYPE_CHECKING:
    from atlas.state.lens import Lens

HOW: Mapping[str, str] = MappingProxyType({IMPORTANCE: "gradient", INTEGRATED: "integrated_gradients", REMOVAL: "zero"})
"""What `head_effects` does for each of them."""

SHORT: Mapping[str, str] = MappingProxyType(
    {IMPORTANCE: "gradient importance", INTEGRATED: "integrated gradients", REMOVAL: "removal importance"}
)
"""What a list of numbers of heads calls them, where a long title is cut."""

SAID: Mapping[str, str] = MappingProxyType(
    {
        IMPORTANCE: "Differentiating by the output of",
        INTEGRATED: "Integrating gradients on the weights of",
        REMOVAL: "Switching off",
    }
)


def name_on_trace(name: str, kind: str, target: Any) -> str:
    """Under which name an importance of all heads of a kind is kept with the trace."""
    return f"{name} {kind} {target}"


def importances(lens: Lens, names: Collection[str]) -> pd.DataFrame:
    """layer, head and a column for each name, of the heads of the kind on screen; without rows until it is there.

    `attrs["target"]` is the prediction in words. All of them are asked for at once: a lens waits for one thing.
    """
    trace, kind, target = lens.trace, lens.kind, explained_target(lens.workspace, LOGIT)
    task = lens.workspace.tasks.get(HEAD_EFFECTS)
    if task is None:
        raise NotCaptured(NO_MODEL)
    wanted = [name for name in IMPORTANCES if name in names]
    heads = [head for head in trace.head_ids if head.kind == kind]
    tokens = len(heads) * sum(map(len, trace.token_tables.values()))
    if REMOVAL in wanted and tokens > MOST_TOKENS_RUN:
        msg = (
            f"Switching off {len(heads):,} heads one by one takes {tokens:,} tokens, and {MOST_TOKENS_RUN:,} are the most. "
            "Shorten the text, or take the importance by gradient."
        )
        raise TooLarge(msg)

    def weigh(progress: Progress) -> pd.DataFrame:
        table = pd.DataFrame({"layer": [head.layer for head in heads], "head": [head.head for head in heads]})
        for name in wanted:
            progress.tell(f"{SAID[name]} {len(heads):,} heads")
            made = trace.once(name_on_trace(name, kind, target), _working(task, trace, target, name, heads, progress))
            table[name] = made["effect"].abs().to_numpy()
            table.attrs["target"] = made.attrs.get("target", "")
        return table

    nothing = pd.DataFrame({name: [] for name in ("layer", "head", *wanted)})
    return lens.ask(
        f"{' '.join(wanted)} {kind} {target}",
        weigh,
        nothing,
        needs_model=True,
        takes=Takes(len(heads) if REMOVAL in wanted else 1, gradients=True),
    )


class ImportanceColumns:
    """The importances that are on screen, as columns of a lens's table of heads."""

    def __init__(self, lens: Lens) -> None:
        self._lens = lens
        self.reason = ""
        """Why no head has one."""
        self.waiting = False
        self.target = ""
        """The prediction that they are of."""

    def wanted(self) -> frozenset[str]:
        """Those that place, colour, size or rank the heads."""
        display = self._lens.workspace.display
        axes = (display.x, display.y) if display.layout == "metrics" else ()
        return frozenset({display.colour, display.size, display.metric, *axes}) & frozenset(IMPORTANCES)

    def depends(self) -> Hashable:
        """What they depend on: nothing where there are none."""
        wanted = self.wanted()
        return wanted and (wanted, explained_target(self._lens.workspace, LOGIT))

    def known(self) -> frozenset[str]:
        """Those of them that are worked out."""
        trace, kind, wanted = self._lens.workspace.trace, self._lens.kind, self.wanted()
        if trace is None or not wanted:
            return frozenset()
        target = explained_target(self._lens.workspace, LOGIT)
        return frozenset(name for name in wanted if trace.holds(name_on_trace(name, kind, target)))

    def added_to(self, table: pd.DataFrame, *, ask: bool) -> pd.DataFrame:
        """The table with them, unknown until they are there; they are not asked for while something else is waited for."""
        wanted, self.reason, self.waiting, self.target = self.wanted(), "", False, ""
        unknown = table.assign(**dict.fromkeys(wanted, np.nan))
        if not wanted or not ask:
            return unknown
        try:
            found = importances(self._lens, wanted)
        except AtlasError as error:  # the other numbers are there all the same
            self.reason = str(error)
            return unknown
        self.waiting, self.target = self._lens.busy, found.attrs.get("target", "")
        return table.merge(found, on=["layer", "head"], how="left") if len(found) else unknown


def _working(
    task: Callable[..., Any], trace: Any, target: Any, name: str, heads: Any, progress: Progress
) -> Callable[[], pd.DataFrame]:
    def report(done: int, of: int) -> None:
        progress.tell(f"{SAID[name]} {len(heads):,} heads", done / max(of, 1))

    def work() -> pd.DataFrame:
        made: pd.DataFrame = task(trace, target, HOW[name], heads, None, report)
        return made

    return work
