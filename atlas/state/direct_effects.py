"""What the view of direct effects shows: who wrote a prediction, and which tokens the part of a head comes from."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
import param

from atlas.errors import AtlasError, NotCaptured
from atlas.ids import HeadId
from atlas.numbers import three
from atlas.state.asking import QUICK_CELLS, Progress, Takes
from atlas.state.attribution import MOST_TOKENS, explained_target, target_in_words
from atlas.state.direct_lists import Row, Step, beyond_chance, signed, steps_of, strongest
from atlas.state.head_plane import HeadPlaneLens
from atlas.state.lens import counted
from atlas.state.plane import Array, Axis, Cell, Marked, Plane, Thresholded
from atlas.state.words import shown_token
from atlas.trace import NO_MODEL
from atlas.tracing.direct_effects import DIRECT_EFFECTS, HEAD, LEAST_OUTCOMES, DirectEffects, token_parts
from atlas.tracing.explained import LOGIT
from atlas.tracing.predictions import masks_of

if TYPE_CHECKING:
    import pandas as pd


ALONE, SECOND = "", "second"
"""What the outcome is held against: nothing (or what the reader chose with it), the likeliest other one; else '#' and an id."""

OFFERED = 8
"""Likeliest other outcomes that the outcome can be held against."""

PASSES = 4
"""Passes at most: one or two for the outcome, one for how it reads the stream, one for what is added behind it."""

SAID = 3
"""Heads named in the line."""

ALL_ADD_UP = 1e-4
"""Gap between the parts and the model's own value, as a share of the sum of |parts|, up to which they are said to add up."""


class DirectEffectsChoices(Thresholded):
    """Choices of the view of direct effects."""

    against = param.String(
        default=ALONE,
        doc="What the outcome is held against: '' nothing, 'second' the likeliest other one, '#12' an outcome's id.",
    )


class Tokens(NamedTuple):
    """Which tokens the parts of some heads come from."""

    heads: tuple[HeadId, ...]
    side: str
    names: tuple[str, ...]
    parts: Array
    why: str
    """Which heads these are, in words."""


class DirectEffectsLens(HeadPlaneLens):
    """The parts of the prediction that is explained."""

    key: ClassVar = "direct"
    choices_type: ClassVar = DirectEffectsChoices
    reads: ClassVar = {"target": ("position", "outcome", "against")}
    marked_by: ClassVar = ("heads", "focus", "queries", "keys")
    missing: ClassVar = "its block is one writer"

    _tokens: tuple[DirectEffects, tuple[HeadId, ...], str, Tokens] | None = None

    def depends(self) -> Hashable:
        """On the target and what it is held against; selected heads and tokens are marked only."""
        return explained_target(self.workspace, LOGIT), self.choices.against

    # -- the parts -----------------------------------------------------------------------------------------------------

    @property
    def writing(self) -> tuple[str, ...]:
        """The kinds of heads that write into the stream of the prediction; an encoder's heads write into its own."""
        return ("decoder", "cross") if "cross" in self.trace.kinds else self.trace.kinds[:1]

    def found(self) -> DirectEffects | None:
        """The parts; None while they are being worked out."""
        trace, task, target = self.trace, self.workspace.tasks.get(DIRECT_EFFECTS), explained_target(self.workspace, LOGIT)
        if task is None:
            raise NotCaptured(NO_MODEL)
        chosen = self.choices.against if self.choices.against in self.offered().values() else ALONE
        if chosen:
            target = replace(target, against=int(chosen[1:]) if chosen != SECOND else None)

        def work(progress: Progress) -> DirectEffects:
            made: DirectEffects = task(trace, target, second=chosen == SECOND, tell=progress.tell)
            return made

        return self.ask(f"{target} {chosen}", work, None, needs_model=True, takes=Takes(PASSES))

    def offered(self) -> dict[str, str]:
        """What the outcome can be held against, in words -> as the choice has it."""
        trace, target = self.workspace.trace, self.workspace.target
        first = (
            f"'{shown_token(target.against.strip() or target.against)}', as chosen"
            if target.against
            else "nothing: its logit alone"
        )
        found = {first: ALONE, "the likeliest other one": SECOND}
        if trace is None or trace.outcomes is None:
            return found
        ids, names, at = trace.outcomes.ids, trace.outcomes.names, explained_target(self.workspace, LOGIT).position
        masks = masks_of(trace)
        row = masks[-1] if at < 0 and masks else at if -len(ids) <= at < len(ids) else 0
        explained = target.outcome or names[row, 0]
        others = [(name, one) for name, one in zip(names[row], ids[row], strict=True) if name != explained]
        return found | {f"'{shown_token(str(name).strip() or str(name))}'": f"#{one}" for name, one in others[:OFFERED]}

    @property
    def signed(self) -> bool:
        """A part speaks for the outcome or against it."""
        return True

    def reading(self) -> str:
        """What a head adds to."""
        return "adds to the difference" if self._contrast() else "adds to the logit"

    def _contrast(self) -> bool:
        found = self.found() if self.workspace.trace is not None else None
        return found is not None and found.target.against_id is not None

    def rows_of_layer(self) -> int:
        """A row for each kind of heads."""
        return len(self.writing)

    def head_at(self, row: int, column: int) -> HeadId:
        """The head of a cell."""
        each = len(self.writing)
        return HeadId(self.writing[row % each], row // each, column)

    def _build_plane(self) -> Plane:
        found = self.found()
        if found is None:
            return Plane()
        self.line = self._describe(found)
        kinds = self.writing
        layers, across = self.trace.n_layers(kinds[0]), max(self.trace.n_heads(kind) for kind in kinds)
        values = np.full((layers * len(kinds), across), np.nan)
        for head, effect in found.of_heads.items():
            values[head.layer * len(kinds) + kinds.index(head.kind), head.head] = effect
        names = [f"L{at}" if kind == kinds[0] else f"L{at} {kind}" for at in range(layers) for kind in kinds]
        return Plane(tuple(names), tuple(f"H{at}" for at in range(across)), values)

    def _numbers(self, row: int, column: int) -> Cell:
        numbers, found = super()._numbers(row, column), self.found()
        if found is None:
            return numbers
        table, head = found.table, self.head_at(row, column)
        mine = table[(table["kind"] == head.kind) & (table["layer"] == head.layer) & (table["head"] == head.head)]
        if mine.empty or mine["lo"].isna().all():
            return numbers
        names = {"lo": "random outcomes 95 % from", "hi": "to", "q": "q"}
        return numbers | {word: float(mine[name].iloc[0]) for name, word in names.items()}

    def beyond(self) -> frozenset[tuple[int, int]]:
        """The cells of the heads beyond chance."""
        found = self.found() if self.plane().rows else None
        if found is None:
            return frozenset()
        kinds = self.writing
        return frozenset(
            (head.layer * len(kinds) + kinds.index(head.kind), head.head)
            for head, out in zip(found.of_heads, beyond_chance(found.table)[found.table["what"] == HEAD], strict=True)
            if out
        )

    # -- lists ---------------------------------------------------------------------------------------------------------

    def strongest(self) -> tuple[Row, ...]:
        """The writers with the largest parts, and the others as one."""
        found = self.found() if self.plane().rows else None
        return () if found is None else strongest(found.table, self.reading())

    def steps(self) -> tuple[Step, ...]:
        """What embeddings, then the heads and the feed-forward block of every layer, and all biases wrote, in this order."""
        found = self.found() if self.plane().rows else None
        return () if found is None else steps_of(found.table, several=len(self.writing) > 1)

    # -- tokens of heads -----------------------------------------------------------------------------------------------

    def heads_split(self) -> tuple[tuple[HeadId, ...], str]:
        """The heads whose parts are split by token, and which they are."""
        found, selection = self.found(), self.workspace.selection
        if found is None:
            return (), ""
        known = [head for head in sorted(selection.heads) if head in found.values_read]
        if known:
            side = self.trace.side(known[0].kind, "key")
            alike = tuple(head for head in known if self.trace.side(head.kind, "key") == side)
            said = alike[0].label(self.trace.kinds) if len(alike) == 1 else counted(len(alike), "selected head")
            left = len(selection.heads) - len(alike)
            return alike, said + (f" ({counted(left, 'selected head')} of another kind, not shown)" if left else "")
        focus = selection.focus
        if focus is not None and focus in found.values_read and (focus.layer, focus.head) != (0, 0):
            return (focus,), f"{focus.label(self.trace.kinds)}, the head in focus"
        effects = found.of_heads
        if not effects:
            return (), ""
        most = max(effects, key=lambda head: abs(effects[head]))
        return (most,), f"{most.label(self.trace.kinds)}, the strongest head, because none is selected"

    def tokens(self) -> Tokens | None:
        """The parts of these heads by the tokens that they come from; None where there are none."""
        found = self.found() if self.plane().rows else None
        if found is None:
            return None
        heads, why = self.heads_split()
        if not heads:
            return None
        if self._tokens is None or self._tokens[:3] != (found, heads, why):
            self._tokens = found, heads, why, self._split(found, heads, why)
        return self._tokens[3]

    def _split(self, found: DirectEffects, heads: tuple[HeadId, ...], why: str) -> Tokens:
        trace, side = self.trace, self.trace.side(heads[0].kind, "key")
        names = tuple(shown_token(str(name)) for name in trace.reading(side).table["token"])
        nothing = Tokens(heads, side, (), np.empty(0), why)
        if len(names) > MOST_TOKENS:
            return nothing._replace(why=f"{why}: {len(names):,} tokens are more than have room for bars")
        weights = len(heads) * len(found.rows) * len(names)
        if weights > QUICK_CELLS:
            return nothing._replace(
                why=f"{why}: {weights:,} weights are more than are split by token at once. Select fewer heads"
            )
        try:
            return Tokens(heads, side, names, np.sum([token_parts(trace, found, head) for head in heads], axis=0), why)
        except AtlasError as error:
            return nothing._replace(why=str(error))

    def tokens_in_words(self) -> str:
        """Whose part is split, and into what."""
        tokens = self.tokens() if self.workspace.trace is not None else None
        if tokens is None or not tokens.names:
            return "" if tokens is None else tokens.why
        order = np.argsort(-np.abs(tokens.parts), kind="stable")[:SAID]
        most = ", ".join(f"'{tokens.names[at]}' ({at}) {signed(float(tokens.parts[at]))}" for at in order if tokens.parts[at])
        whose = "Its" if len(tokens.heads) == 1 else "Their"
        total = signed(float(tokens.parts.sum()))
        return f"{tokens.why}. {whose} {total} comes from the tokens looked at: {most}. Click a bar to select the token as key."

    def marked_tokens(self) -> tuple[int, ...]:
        """Places of the selected keys among the bars."""
        tokens, selection = self.tokens(), self.workspace.selection
        if tokens is None or selection.focus is None or self.trace.side(selection.focus.kind, "key") != tokens.side:
            return ()
        return tuple(sorted(at for at in selection.keys if at < len(tokens.names)))

    def select_token(self, at: int, origin: str) -> None:
        """Select a token as key, or let go of it; a head that has such keys comes into focus first."""
        tokens, selection = self.tokens(), self.workspace.selection
        if tokens is None or not 0 <= at < len(tokens.names):
            return
        if selection.focus not in tokens.heads:
            selection.focus_on(tokens.heads[0], origin=origin)
        selection.toggle_tokens([at], axis="to", side=tokens.side, origin=origin)

    # -- selection -----------------------------------------------------------------------------------------------------

    def marked(self) -> Marked:
        """The selected heads of all kinds on the plane, or the one whose part is split."""
        if not self.plane().rows:
            return Marked()
        kinds = self.writing
        heads = [head for head in self.workspace.selection.heads if head.kind in kinds] or self.heads_split()[0]
        return Marked(cells=frozenset((len(kinds) * head.layer + kinds.index(head.kind), head.head) for head in heads))

    def select_cell(self, row: int, column: int, origin: str) -> None:
        """Show a head large and select it."""
        head = self.head_at(row, column)
        if head.head < self.trace.n_heads(head.kind):
            super().select_cell(row, column, origin)

    def select_name(self, axis: Axis, at: int, origin: str) -> None:
        """Select the heads of a row, or those of one number in all rows."""
        plane = self.plane()
        others = range(len(plane.columns) if axis == "row" else len(plane.rows))
        heads = [self.head_at(*((at, other) if axis == "row" else (other, at))) for other in others]
        label = f"layer {at // len(self.writing)}" if axis == "row" else f"number {at}"
        self._select_heads([head for head in heads if head.head < self.trace.n_heads(head.kind)], label, origin)

    def select_step(self, at: int, origin: str) -> None:
        """Select the heads of a step; a step without heads does nothing."""
        steps = self.steps()
        if 0 <= at < len(steps) and steps[at].heads:
            self._select_heads(steps[at].heads, steps[at].name, origin)

    def select_row(self, place: int, origin: str) -> None:
        """Show and select the head of a row of the list; a row that no head wrote does nothing."""
        rows = self.strongest()
        head = rows[place].head if 0 <= place < len(rows) else None
        if head is not None:
            self.workspace.selection.pick(head, origin=origin)

    def _select_heads(self, heads: list[HeadId] | tuple[HeadId, ...], label: str, origin: str) -> None:
        selection = self.workspace.selection
        if frozenset(heads) == selection.heads:
            selection.clear("heads", origin=origin)
        else:
            selection.select_heads(heads, origin=origin, label=label)

    # -- in words ------------------------------------------------------------------------------------------------------

    def table(self) -> pd.DataFrame:
        """Every writer."""
        found = self.found() if self.plane().rows else None
        if found is None:
            raise NotCaptured(self.problem or self.empty)
        return found.table.assign(beyond_chance=beyond_chance(found.table))

    def tokens_table(self) -> pd.DataFrame | None:
        """The tokens on screen."""
        import pandas as pd

        tokens = self.tokens()
        if tokens is None or not tokens.names:
            return None
        heads = " ".join(head.label(self.trace.kinds) for head in tokens.heads)
        places = range(len(tokens.names))
        return pd.DataFrame(
            {"heads": heads, "side": tokens.side, "position": places, "token": tokens.names, "effect": tokens.parts}
        )

    def _describe(self, found: DirectEffects) -> str:
        table = found.table
        heads = table[table["what"] == HEAD]
        sums = f"{counted(len(table), 'part')} add up to {three(found.total)}; the model gives {three(found.value)}"
        if found.gap > ALL_ADD_UP:
            sums += f": a gap of {three(100 * found.gap)} % of their sizes"
        said = f"{target_in_words(self.workspace, found.target.words)}. {sums}"
        if heads.empty:
            return said
        order = heads["effect"].abs().sort_values(ascending=False).index[:SAID]
        most = ", ".join(f"{heads['writer'][at]} {signed(float(heads['effect'][at]))}" for at in order)
        out = int(beyond_chance(heads).sum())
        chance = f"{out} of {counted(len(heads), 'head')} beyond chance" if heads["q"].notna().any() else "No chance level"
        return f"{said}. {chance}; largest {most}"

    def notes(self) -> str:
        """What is held, what could not be taken apart, and why there is no chance level."""
        found = self.found() if self.workspace.trace is not None and self.plane().rows else None
        if found is None:
            return ""
        said = list(found.notes)
        if found.outcomes < LEAST_OUTCOMES:
            other = "" if found.target.against_id is not None else "; hold the outcome against another one above"
            said.append(f"the model has {counted(found.outcomes, 'further outcome')}, too few for a chance level{other}")
        if "encoder" in self.trace.kinds and len(self.writing) > 1:
            said.append("the encoder's heads write into its own stream, and act on the prediction through the cross heads")
        return " ".join(f"{each[0].upper()}{each[1:]}." for each in said if each)
