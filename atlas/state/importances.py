"""How much the prediction that is explained hangs on each head, in three ways, for whoever shows one number a head."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pandas as pd

from atlas.errors import NotCaptured, TooLarge
from atlas.state.asking import Progress, Takes
from atlas.state.attribution import explained_target
from atlas.state.display import IMPORTANCE, IMPORTANCES, INTEGRATED, REMOVAL
from atlas.state.head_effects import MOST_TOKENS_RUN
from atlas.trace import NO_MODEL
from atlas.tracing.explained import HEAD_EFFECTS, LOGIT

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


def importances(lens: Lens, names: Collection[str]) -> pd.DataFrame:
    """layer, head and a column for each name, of the heads of the kind on screen; without rows until it is there.

    All of them are asked for at once: a lens waits for one thing.
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
            made = trace.once(f"{name} {kind} {target}", _working(task, trace, target, name, heads, progress))
            table[name] = made["effect"].abs().to_numpy()
        return table

    nothing = pd.DataFrame({name: [] for name in ("layer", "head", *wanted)})
    return lens.ask(
        f"{' '.join(wanted)} {kind} {target}",
        weigh,
        nothing,
        needs_model=True,
        takes=Takes(len(heads) if REMOVAL in wanted else 1, gradients=True),
    )


def _working(
    task: Callable[..., Any], trace: Any, target: Any, name: str, heads: Any, progress: Progress
) -> Callable[[], pd.DataFrame]:
    def report(done: int, of: int) -> None:
        progress.tell(f"{SAID[name]} {len(heads):,} heads", done / max(of, 1))

    def work() -> pd.DataFrame:
        made: pd.DataFrame = task(trace, target, HOW[name], heads, None, report)
        return made

    return work
