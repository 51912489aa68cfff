"""What the view of cut attention shows: how the prediction changes when some tokens are hidden, window of layers by window."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple
from weakref import ref

import numpy as np
import param

from atlas.errors import NotCaptured, TooLarge
from atlas.numbers import three
from atlas.state.asking import Progress, Takes
from atlas.state.attribution import explained_target
from atlas.state.lens import counted
from atlas.state.outcome_line import percent
from atlas.state.pressed import PressedLens
from atlas.state.words import visible
from atlas.trace import NO_MODEL
from atlas.tracing.explained import LOGIT, MOST_TOKENS_RUN, Target
from atlas.tracing.knockout import (
    DRAWS,
    KNOCKOUT,
    Group,
    Knockout,
    Plan,
    Setting,
    Window,
    groups_of,
    plan_of,
    queries_of,
    quoted,
    third,
)

if TYPE_CHECKING:
    import pandas as pd

    from atlas.trace import Trace

ALL, SELECTED = "all", "selected"

MOST_LAYERS = 200
"""More layers than any model has."""

BEYOND, WITHIN, UNKNOWN = "Beyond chance", "Not told from chance", "No level of chance"
"""How the change of a group that says most stands to that without random tokens."""

RESOLVING = 2
"""Passes beside the cuts: to find the outcome, and to compare with the uncut run."""


class KnockoutChoices(param.Parameterized):
    """Choices of the view of cut attention."""

    window = param.Integer(default=0, bounds=(0, MOST_LAYERS), doc="Layers that are cut at once; 0: a third of them.")
    heads = param.Selector[str](objects=[ALL, SELECTED], default=ALL, doc="Whether all heads are cut, or the selected ones.")


class Request(NamedTuple):
    """What is run."""

    target: Target
    setting: Setting
    keys: tuple[int, ...]
    """The selected tokens that are looked at; none: the parts of the text."""


class KnockoutLens(PressedLens):
    """The curves of the groups of tokens. They stay on screen when something else is selected, and say so."""

    key: ClassVar = "knockout"
    choices_type: ClassVar = KnockoutChoices
    reads: ClassVar = {
        "selection": ("focus", "heads", "queries", "keys"),
        "target": ("position", "outcome", "against"),
    }

    _latest: tuple[ref[Trace], Request, Knockout] | None = None
    """What was measured last."""
    _planned: tuple[ref[Trace], Request, Plan] | None = None

    def depends(self) -> Hashable:
        """On what a press would run."""
        return self.request()

    def request(self) -> Request:
        """What a press would run."""
        trace, kind, selection = self.trace, self.kind, self.workspace.selection
        target = explained_target(self.workspace, LOGIT)
        queries = tuple(sorted(selection.queries)) or queries_of(trace, kind, target)
        heads = selection.heads_of(kind) if self.choices.heads == SELECTED else ()
        return Request(target, Setting(kind, queries, heads, self.window), tuple(sorted(selection.keys)))

    @property
    def n_layers(self) -> int:
        """Layers of the kind on screen."""
        return self.trace.n_layers(self.kind)

    @property
    def window(self) -> int:
        """Layers that are cut at once."""
        return min(self.choices.window or third(self.n_layers), self.n_layers)

    def choose_window(self, size: int) -> None:
        """Cut so many layers at once; the usual number stays usual for a model of other depth."""
        self.choices.window = 0 if size == third(self.n_layers) else size

    def found(self) -> Knockout | None:
        """What is on screen; None before the first press."""
        return self.attempt(self._work_out, None)

    def handed_over(self) -> Any:
        """What was pressed for, and what was measured last."""
        return set(self._pressed), self._latest

    def take_over(self, handed: Any) -> None:
        """Show what was shown there."""
        pressed, self._latest = handed
        super().take_over(pressed)

    def table(self) -> pd.DataFrame:
        """Every point of every curve. Before the run: what it takes."""
        import pandas as pd

        found = self.found()
        return pd.DataFrame({"passes": [self._runs(self.request())]}) if found is None else found.table

    # -- what is found -------------------------------------------------------------------------------------------------

    def _kept(self) -> Knockout | None:
        latest = self._latest
        return latest[2] if latest is not None and latest[0]() is self.trace else None

    def _work_out(self) -> Knockout | None:
        task = self.workspace.tasks.get(KNOCKOUT)
        if task is None:
            raise NotCaptured(NO_MODEL)
        request, kept = self.request(), self._kept()
        if not self.is_pressed:
            self.drop_asked()
            ready = f"{self._runs(request):,} passes of the text at most"
            if kept is None:
                self.line = f"{self._chosen(request)}: {ready}. Press Run"
            else:
                self.line = (
                    f"{self.describe(kept)}. That is of an earlier choice; press Run for {self._chosen(request)} ({ready})"
                )
            return kept
        trace, groups = self.trace, self.groups(request)

        def work(progress: Progress) -> Knockout:
            made: Knockout = task(trace, request.target, request.setting, groups, progress=progress.tell)
            return made

        takes = Takes(self._passes(request))
        found = self.ask(f"{request}", work, None, needs_model=True, takes=takes)
        if found is None:
            return kept
        self._latest = ref(trace), request, found
        self.line = self.describe(found)
        return found

    def groups(self, request: Request) -> tuple[Group, ...]:
        """The groups that a press would measure."""
        return groups_of(self.trace, request.setting.kind, request.setting.queries, request.keys)

    def _plan(self, request: Request) -> Plan:
        if self._planned is None or self._planned[:2] != (ref(self.trace), request):
            self._planned = ref(self.trace), request, plan_of(self.trace, request.setting, self.groups(request))
        return self._planned[2]

    def _runs(self, request: Request) -> int:
        return len(self._plan(request).runs()) + RESOLVING

    def _passes(self, request: Request) -> int:
        """Passes of a press; refused where they are too many."""
        runs = self._runs(request)
        tokens = runs * sum(map(len, self.trace.token_tables.values()))
        if tokens > MOST_TOKENS_RUN:
            msg = (
                f"Cutting takes {runs:,} passes of this text, {tokens:,} tokens in all, and {MOST_TOKENS_RUN:,} are the most. "
                "Select the tokens to hide, shorten the text, or use atlas.attribution.knockout in Python with fewer draws."
            )
            raise TooLarge(msg)
        return runs

    # -- in words ------------------------------------------------------------------------------------------------------

    def _chosen(self, request: Request) -> str:
        groups = self.groups(request)
        what = f"{groups[0].name} and what is beside it" if request.keys else counted(len(groups), "group") + " of tokens"
        heads = f" in {counted(len(request.setting.heads), 'head')}" if request.setting.heads else ""
        return f"{what}, hidden{heads} {counted(request.setting.size, 'layer')} at a time"

    def shown_group(self, found: Knockout) -> int:
        """The group whose band of chance is drawn: the selected one, else the one that matters most."""
        keys = self.workspace.selection.keys
        if keys and self._latest is not None and self._latest[1].keys == tuple(sorted(keys)):
            return 0
        for at, group in enumerate(found.groups):
            if keys and set(group.keys) == keys:
                return at
        return self._strongest(found)[0]

    def _strongest(self, found: Knockout, group: int | None = None) -> tuple[int, int]:
        """(group, layer) that lies furthest beyond chance; where nothing does, the largest change."""
        size, marked = np.abs(found.change[:, :-1]), found.marked[:, :-1].copy()
        if group is not None:
            others = np.arange(len(size)) != group
            size[others], marked[others] = -1.0, False
        if marked.any():
            bands = [found.band(at) for at in range(len(size))]
            low, high = (np.array([band[end][:-1] for band in bands]) for end in (0, 2))
            size = np.where(marked, np.fmax(low - found.change[:, :-1], found.change[:, :-1] - high), -1.0)
        at, layer = np.unravel_index(int(size.argmax()), size.shape)
        return int(at), int(layer)

    def describe(self, found: Knockout) -> str:
        """What hiding the shown group does where that says most, beside random tokens."""
        at, layer = self._strongest(found, self.shown_group(found))
        said = (
            f"If {self._looking(found)} look at {found.groups[at].name} in {in_layers(found.window(layer))}, "
            f"{self._outcome(found, at, layer)}"
        )
        return "".join(map(visible, said))

    def _outcome(self, found: Knockout, at: int, layer: int) -> str:
        low, _, high = found.band(at)
        change, target = float(found.change[at, layer]), found.target
        name = f"'{target.outcome.strip() or target.outcome}'"
        if found.says_probability:
            after, least, most = map(found.probability_after, (change, low[layer], high[layer]))
            whole, left = percent(target.probability), percent(after)
            goes = "falls" if change < 0 else "rises"
            said = f"{name} stays at {whole}" if whole == left else f"{name} {goes} from {whole} to {left}"
            chance = _span(percent(least), percent(most))
        else:
            against = f" against '{target.against.strip() or target.against}'" if target.against_id is not None else ""
            said = f"the {found.of} of {name}{against} changes by {three(change)}"
            chance = _span(three(low[layer]), three(high[layer]))
        if not found.groups[at].keys:
            return f"{said}: no selected token can be seen from there"
        if not len(found.random[at]):
            return f"{said}; {no_chance(found, at)}"
        beyond = "beyond chance" if found.marked[at, layer] else "not told from chance"
        return f"{said}; without as many random tokens: {chance}, so this is {beyond}"

    def _looking(self, found: Knockout) -> str:
        setting = found.plan.setting
        side = self.trace.side(setting.kind, "query")
        heads = f" through {counted(len(setting.heads), 'selected head')}" if setting.heads else ""
        if len(setting.queries) == self.trace.attention_of(setting.kind).n_queries:
            return f"no token{heads} can"
        place = f" ({setting.queries[0]})" if len(setting.queries) == 1 else ""
        return f"{quoted(self.trace, side, setting.queries)}{place}{heads} cannot"

    def notes(self) -> tuple[str, ...]:
        """Which prediction it is about, and which groups have no level of chance."""
        found = self.found() if self.workspace.trace is not None else None
        if found is None:
            return ()
        before = f", probability {percent(found.target.probability)} as it is" if found.says_probability else ""
        words = found.target.words.removeprefix(f"{LOGIT} of ")
        first = f"The outcome: {words}{before}. Random tokens: {DRAWS} sets at most, of those that can be seen from there."
        lacking = [f"{group.name}: {no_chance(found, at)}." for at, group in enumerate(found.groups) if _lacks(found, at)]
        return ("".join(map(visible, first)), *lacking)

    # -- gestures ------------------------------------------------------------------------------------------------------

    def chips(self) -> list[dict[str, object]]:
        """Every group with the change furthest beyond chance, or its largest."""
        found = self.found() if self.workspace.trace is not None else None
        if found is None:
            return []
        rows: dict[str, list[dict[str, object]]] = {BEYOND: [], WITHIN: [], UNKNOWN: []}
        for at, group in enumerate(found.groups):
            _, layer = self._strongest(found, at)
            row = UNKNOWN if not len(found.random[at]) else BEYOND if found.marked[at, layer] else WITHIN
            rows[row].append({
                "key": str(at),
                "label": f"{signed(float(found.change[at, layer]))} in {in_layers(found.window(layer))}: {group.name}",
                "active": self._is_selected(found, at),
                "title": f"{group.name}: select {counted(len(group.keys), 'token')} as 'to', and what looks as 'from'",
            })  # fmt: skip
        return [{"name": name, "chips": chips} for name, chips in rows.items() if chips]

    def select(self, at: int, origin: str) -> None:
        """Select the tokens of a group as keys and what looks as queries; selected ones are cleared."""
        found, selection = self.found(), self.workspace.selection
        if found is None or not 0 <= at < len(found.groups):
            return
        if self._is_selected(found, at):
            selection.clear("tokens", origin=origin)
        elif found.groups[at].keys:
            selection.select_pairs(self._from(found), found.groups[at].keys, origin=origin)

    def _from(self, found: Knockout) -> frozenset[int]:
        """What looks; nothing selected means all."""
        setting = found.plan.setting
        every = self.trace.attention_of(setting.kind).n_queries
        return frozenset(setting.queries if len(setting.queries) < every else ())

    def _is_selected(self, found: Knockout, at: int) -> bool:
        selection = self.workspace.selection
        return selection.keys == set(found.groups[at].keys) != set() and selection.queries == self._from(found)


def _lacks(found: Knockout, at: int) -> bool:
    return bool(found.groups[at].keys) and not len(found.random[at])


def no_chance(found: Knockout, at: int) -> str:
    """Why a group has no level of chance."""
    others, size = found.plan.others[at], len(found.groups[at].keys)
    there = "no other token is" if not others else "one other token is" if others == 1 else f"{others:,} other tokens are"
    return f"{there} too few to draw {size:,} from at random, so there is no level of chance"


def in_layers(window: Window) -> str:
    """'layer 3', 'layers 2 to 4'."""
    first, last = window
    return f"layer {first}" if first == last else f"layers {first} to {last}"


def signed(value: float) -> str:
    """A change with its sign, to a hundredth of a nat."""
    return f"{value:+.2f}".replace("-", "−").replace("−0.00", "0.00").replace("+0.00", "0.00")


def _span(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"
