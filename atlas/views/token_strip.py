"""The text itself, always on screen: painted by attention, and where tokens are selected."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import panel as pn
import param

from atlas.components.chips import Chips
from atlas.components.notice import Notice
from atlas.components.token_strip import Pick, TokenStrip
from atlas.plots.colours import sequential
from atlas.plots.frame import number
from atlas.state.detection import TITLES
from atlas.state.flagged_tokens import Flag, FlaggedTokensLens, in_words
from atlas.state.token_strip import StripLens
from atlas.state.workspace import Workspace
from atlas.views.base import bind_rule, gesture
from atlas.views.plain import plain

ORIGIN = "strip"

CHIPPED = 24
"""Sentences that get a button each; of a longer text the strip itself is the better map."""

FOLD = 26
"""Pixels of the button that unfolds the text: it stands before the first strip and is about all of them."""

SIDES = {"source": "Text", "target": "Decoder's text"}

FLAGGED = "flagged"
"""Before the label in the key of a chip of flagged words."""

NAMES = {"pos": "Part of speech", "entity": "Entities", "sentence": "Sentences"}


class StripView(pn.viewable.Viewer):
    """The tokens of one side: what is known of them, what they received or sent, which of them are selected."""

    key: ClassVar = "strip"

    dark = param.Boolean(default=False, allow_refs=True, doc="Whether the page is dark.")
    shown = param.Boolean(default=True, doc="Whether the trace has tokens on this side.")

    def __init__(self, workspace: Workspace, side: str, **params: Any) -> None:
        super().__init__(**params)
        self.workspace = workspace
        self.lens = StripLens(workspace, side)
        self.flagged = (
            FlaggedTokensLens(workspace) if side == "source" else None
        )  # a detector reads the text, not what is written
        self._flags: dict[int, list[Flag]] = {}
        display, own, first = workspace.display, self.param, side == "source"
        self.strip = TokenStrip(
            label=SIDES[side], lines=4 if first else 2, foldable=first, folded=not display.unfolded, dark=own.dark,
            margin=(2, 4) if first else (2, 4, 2, 4 + FOLD), css_classes=[f"aa-strip-{side}"],
        )  # fmt: skip
        self.chips = Chips(inline=True, dark=own.dark, visible=display.param.unfolded, css_classes=[f"aa-chips-{side}"])
        self.strip.param.watch(lambda event: setattr(display, "unfolded", not event.new), "folded")
        display.param.watch(lambda event: setattr(self.strip, "folded", not event.new), "unfolded")
        self.strip.on_pick(self._picked)
        self.chips.on_chip(self._pressed)
        self._tokens: list[dict[str, Any]] = []

        self.param.watch(lambda _: self.lens.safely(self._draw), "dark")
        workspace.display.param.watch(lambda _: self.lens.safely(self._draw), "axis")
        self.lens.param.watch(lambda event: setattr(self.strip, "busy", event.new), "busy")

    def __panel__(self) -> Any:
        """The text, and what there is to say of it when it is unfolded."""
        problem = Notice(problem=self.lens.param.problem, dark=self.param.dark)
        self.lens.follow(self._draw)
        if self.flagged is not None:
            self.flagged.follow(self._underline)
        return pn.Column(self.strip, problem, self.chips, visible=self.param.shown, sizing_mode="stretch_width", margin=0)

    def painted_line(self) -> Any:
        """Says what the colours of the text are."""
        line = self.lens.param.line
        if self.flagged is not None:
            line = pn.bind(lambda *parts: "; ".join(filter(None, parts)), line, self.flagged.param.line)
        return plain(line, "aa-strip-line", styles={"opacity": "0.75"}, one_line=True, visible=bind_rule(line, bool))

    def _draw(self) -> None:
        self.shown = self.lens.there
        if not self.shown:
            return
        tokens: list[dict[str, Any]] = self.lens.attempt(self.lens.tokens, [])
        weights = self.lens.weights()
        changes = self._painted(weights) | self._marked()
        palette = list(sequential(dark=self.dark))
        if self.strip.palette != palette:
            changes["palette"] = palette
        if tokens != self._tokens:
            self._tokens = tokens
            changes["tokens"] = tokens
        self.strip.param.update(**changes)
        self.chips.groups = self._groups()

    def _underline(self) -> None:
        """Underline the tokens of flagged words, and say of each what it is flagged with."""
        if self.flagged is None or not self.shown:
            return
        self._flags = self.flagged.flags()
        last = max(self._flags, default=-1)
        self.strip.notes = [in_words(self._flags.get(position, [])) for position in range(last + 1)]
        self.chips.groups = self._groups()

    def _painted(self, weights: np.ndarray | None) -> dict[str, Any]:
        if weights is None:
            return {"weights": [], "values": [], "meaning": ""}
        scaled = [None if np.isnan(shade) else float(shade) for shade in self.lens.shades(weights)]
        return {"weights": scaled, "values": [number(float(value)) for value in weights], "meaning": self.lens.meaning()}

    def _marked(self) -> dict[str, Any]:
        selection, side = self.workspace.selection, self.lens.side
        return {
            "selected_from": sorted(selection.queries) if selection.side("query") == side else [],
            "selected_to": sorted(selection.keys) if selection.side("key") == side else [],
            "axis": self._axis(),
        }

    def _axis(self) -> str:
        """What a click selects here: in cross attention a token of the text can only be looked at, whatever the switch says."""
        selection, side, axis = self.workspace.selection, self.lens.side, self.workspace.display.axis
        if axis == "from" and selection.side("query") != side:
            return "to"
        return "from" if axis == "to" and selection.side("key") != side else axis

    @gesture
    def _picked(self, pick: Pick) -> None:
        selection, axis, side = self.workspace.selection, self.workspace.display.axis, self.lens.side
        if pick["clear"]:
            selection.clear("tokens", origin=ORIGIN)
        elif pick["mode"] == "toggle":
            selection.toggle_tokens(pick["positions"], axis=axis, side=side, origin=ORIGIN)
        else:
            selection.select_tokens(pick["positions"], axis=axis, side=side, origin=ORIGIN)

    @gesture
    def _pressed(self, press: Any) -> None:
        """A chip selects the tokens it stands for; pressed again, or with Control, it adds to or takes from what is selected."""
        positions = self._of_chip(press["key"])
        selection, axis, side = self.workspace.selection, self.workspace.display.axis, self.lens.side
        if press["additive"] or self._held() == set(positions):
            selection.toggle_tokens(positions, axis=axis, side=side, origin=ORIGIN)
        else:
            selection.select_tokens(positions, axis=axis, side=side, origin=ORIGIN)

    def _held(self) -> set[int]:
        marked = self._marked()
        return set(marked["selected_from"]) | set(marked["selected_to"])

    def _of_chip(self, key: str) -> list[int]:
        name, _, value = key.partition(":")
        if name == FLAGGED:
            return sorted(token for token, flags in self._flags.items() if value in {flag.label for flag in flags})
        return [token["position"] for token in self._tokens if not token["special"] and str(token[name]) == value]

    def _groups(self) -> list[dict[str, Any]]:
        held = self._held()
        found = []
        for name, title in NAMES.items():
            values: dict[str, list[int]] = {}
            for token in self._tokens:
                if not token["special"] and str(token[name]) not in ("", "-1"):
                    values.setdefault(str(token[name]), []).append(token["position"])
            if name == "sentence" and not 1 < len(values) <= CHIPPED:
                continue
            chips = [
                {
                    "key": f"{name}:{value}",
                    "label": f"{int(value) + 1}" if name == "sentence" else value,
                    "count": len(positions),
                    "active": bool(held) and set(positions) <= held,
                    "title": f"Select the {len(positions)} tokens of this {'sentence' if name == 'sentence' else 'kind'}",
                }
                for value, positions in sorted(values.items(), key=lambda item: item[1][0] if name == "sentence" else item[0])
            ]
            if chips:
                found.append({"name": title, "chips": chips})
        return [*found, *self._flagged_group(held)]

    def _flagged_group(self, held: set[int]) -> list[dict[str, Any]]:
        """A chip a label, which selects the tokens of all words flagged with it."""
        chips = [
            {
                "key": f"{FLAGGED}:{label}", "label": label.lower(), "count": len(positions),
                "active": bool(held) and set(positions) <= held, "title": f"Select the {len(positions)} tokens flagged as this",
            }
            for label in TITLES.values() if (positions := self._of_chip(f"{FLAGGED}:{label}"))
        ]  # fmt: skip
        return [{"name": "Flagged", "chips": chips}] if chips else []
