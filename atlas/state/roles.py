"""What the role profile shows: seven roles of the heads looked at, against their layer and all heads of their kind."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import ClassVar

import pandas as pd
import param

from atlas.ids import HeadId
from atlas.numbers import listed
from atlas.state.heads import title_of
from atlas.state.lens import Lens, counted
from atlas.state.selected_table import selected_table
from atlas.state.words import heads_in_words, token_names
from atlas.tracing.roles import FEW_ROWS, Profile, Role, farthest, profile_of, reached_by, roles_of, strongest

BARS, RADAR = "bars", "radar"

STRONGEST = 5
"""Heads that a tap on a role selects: enough to see whether they do it in the same way, few enough to be named."""

LEAST_REACH = 2.0
"""z-scores in sight at least: on a narrower axis small differences would look large."""


class RolesChoices(param.Parameterized):
    """Choices of the role profile."""

    look = param.Selector[str](objects=[BARS, RADAR], default=BARS, doc="Bars or a radar.")


class RolesLens(Lens):
    """The role profile on screen."""

    key: ClassVar = "roles"
    choices_type: ClassVar = RolesChoices
    reads: ClassVar = {"selection": ("focus", "queries")}
    marked_by: ClassVar = ("focus", "heads")

    _made_for: Hashable = None
    _found: tuple[Profile, list[HeadId]] | None = None

    def depends(self) -> Hashable:
        """Not on the heads, which are only looked at, nor on tokens that are looked at."""
        return self.kind, self.workspace.selection.queries

    def forget(self) -> None:
        """The profile of all heads is made anew only for other rows or another kind."""
        wanted = self.workspace.trace, self.kind, self.workspace.selection.queries
        if wanted != self._made_for:
            self._made_for, self._found = wanted, None

    def roles(self) -> list[Role]:
        """The roles of the heads looked at, in their order; none where there is no trace."""
        return self.attempt(self._roles, [])

    def reach(self) -> float:
        """How far the axis goes on both sides of 0: the same whichever heads are looked at."""
        found = self.attempt(lambda: farthest(self._profile()[0]), math.nan)
        return LEAST_REACH if math.isnan(found) else max(found, LEAST_REACH)

    def title(self, role: str) -> str:
        """What the screen calls a role."""
        return title_of(role)

    def strongest(self, role: str) -> list[HeadId]:
        """The heads that do most of a role."""
        profile, heads = self._profile()
        return [heads[row] for row in strongest(profile, role, STRONGEST)]

    def words(self) -> str:
        """What the heads do more than the others, and how usual that is."""
        return self.attempt(lambda: self._in_words(self._roles()), "")

    def table(self) -> pd.DataFrame:
        """One row a role: every number that is shown."""
        return pd.DataFrame([{"kind": self.kind, **vars(role)} for role in self.roles()])

    def _profile(self) -> tuple[Profile, list[HeadId]]:
        if self._found is None:
            self.forget()
            table = selected_table(self.workspace, self.trace)
            heads = [HeadId(self.kind, int(layer), int(head)) for layer, head in zip(table["layer"], table["head"], strict=True)]
            self._found = profile_of(table), heads
        return self._found

    def _roles(self) -> list[Role]:
        profile, heads = self._profile()
        shown = set(self.shown_heads())
        self.line = self._describe()
        return roles_of(profile, [row for row, head in enumerate(heads) if head in shown])

    def _in_words(self, roles: list[Role]) -> str:
        known = [role for role in roles if math.isfinite(role.z)]
        if not known:
            few = any(role.reason.startswith(FEW_ROWS) for role in roles)
            reasons = "; ".join(dict.fromkeys(role.reason for role in roles))
            return f"No role can be told: {reasons}." + (" Select more tokens or analyse a longer text." if few else "")
        most = max(known, key=lambda role: role.z)
        n_heads = len(self.shown_heads())
        where = f"above {most.lower:,} of {counted(most.known, 'head')}"
        reached, of = reached_by(self._profile()[0], most.z)
        if most.z <= 0:
            return "In no role is it above the mean of all heads." + _layer_in_words(known)
        found = f"Highest: {title_of(most.role).lower()}, z {most.z:.2f} ({where}). {self._chance(most, n_heads)}"
        found += f" {reached:,} of {counted(of, 'head')} reach such a z in one of their roles."
        return found + _layer_in_words(known)

    @staticmethod
    def _chance(most: Role, n_heads: int) -> str:
        """What chance says of a role."""
        if most.excess <= 0:
            return "Evenly spread attention has more of it: the other heads have still less."
        if n_heads > 1:
            return f"{most.unlikely:,} of the {counted(n_heads, 'head')} have more than chance gives (q ≤ 0.05)."
        if math.isnan(most.q):
            return "Chance is not known: the text has too few such tokens."
        said = "more than chance gives" if most.unlikely else "chance gives as much to one of so many heads"
        return f"q = {most.q:.2g}: {said}."

    def _describe(self) -> str:
        trace, kind = self.trace, self.kind
        every, of_layer = trace.n_layers(kind) * trace.n_heads(kind), trace.n_heads(kind)
        several = "Mean of " if len(self.shown_heads()) > 1 else ""
        chosen = self.workspace.selection.queries
        said = listed(token_names(trace, trace.side(kind, "query"), chosen))
        rows = f"{'row' if len(chosen) == 1 else 'rows'} of {said}" if chosen else "all rows"
        return f"{several}{heads_in_words(self.workspace)}, against {every:,} heads and {of_layer:,} of a layer; on {rows}"


def _layer_in_words(known: list[Role]) -> str:
    """What stands out within the layer."""
    within = [role for role in known if math.isfinite(role.z_layer)]
    if not within:
        return ""
    most = max(within, key=lambda role: role.z_layer)
    return f" Within the layer: {title_of(most.role).lower()}." if most.z_layer > 0 else ""
