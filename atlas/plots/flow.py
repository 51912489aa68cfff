"""Attention as ribbons between tokens or words: one glyph of all ribbons, the bars of the tokens, and their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import holoviews as hv
import numpy as np
import numpy.typing as npt
from bokeh.core.properties import expr, field, value
from bokeh.models import CustomJSExpr
from bokeh.models.glyphs import Patches, Quad

from atlas.plots.colours import BLUE, FONT, SKY, category, theme
from atlas.plots.frame import Hook, frame, number
from atlas.plots.marks import FROM, TO, marks
from atlas.plots.ribbons import ACROSS, DOWN, Column, Flow, named

X_RANGE, Y_RANGE = (-0.16, 1.16), (1.01, -0.045)
"""Room for names at both sides and for titles above; heights run downwards."""

BAR = 0.004
"""Half the width of a token's bar."""

NAME_LETTERS = 16
"""Most letters of a name beside a ribbon: most whole words, and as many as have room on a page of 1,280 pixels."""

MOST_BARS = 1_100
"""Most bars of tokens: of longer texts they would be thinner than a pixel, and only those of selected tokens are drawn."""

FAINTEST, STRONGEST = 0.14, 0.75
"""Opacity of a ribbon of weight 0 and of the strongest ribbon."""

HALF_LIT, FADED = 0.5, 0.12
"""Share of its opacity that a ribbon keeps of which one of two selected ends is selected, or none."""

OUTLINE = {
    "xs": """
for (let i = 0; i < this.data.x0.length; i++) {
  const {x0, x1} = this.data, xs = new Float32Array(2 * across.length)
  for (let j = 0; j < across.length; j++) { xs[j] = xs[xs.length - 1 - j] = x0[i] + (x1[i] - x0[i]) * across[j] }
  yield xs
}""",
    "ys": """
for (let i = 0; i < this.data.y0.length; i++) {
  const {y0, y1, width} = this.data, ys = new Float32Array(2 * down.length)
  for (let j = 0; j < down.length; j++) {
    const middle = y0[i] + (y1[i] - y0[i]) * down[j]
    ys[j] = middle - width[i] / 2
    ys[ys.length - 1 - j] = middle + width[i] / 2
  }
  yield ys
}""",
}
"""Puts the curve of `ribbons` between the ends of each ribbon, in the browser: 2,000 outlines of 66 points would be 700 kB."""

RIBBON = ("x0", "y0", "x1", "y1")
ABOUT_RIBBON = ("width", "colour", "link", "weight", "chance")
BOX = ("left", "bottom", "right", "top")
ABOUT_BAR = ("colour", "name", "about")
WORD = ("x", "y", "text")

ELEMENTS = ("ribbons", "bars", "left", "right", "titles")
"""Parts of the plot, as `flow_columns` names them."""


class Look(NamedTuple):
    """What of a flow does not depend on the weights."""

    queries: Sequence[str]
    keys: Sequence[str]
    """Names of the tokens or words; in a flow layer by layer both are the same."""
    selected: tuple[frozenset[int], frozenset[int]] = (frozenset(), frozenset())
    """Queries and keys."""
    categories: Sequence[str] = ()
    """Of the queries; empty: all ribbons have one colour."""
    view: tuple[float, float] = (0.0, 1.0)
    pixels: float = 600.0
    """The part of the height that is on screen, and how high it is."""
    dark: bool = False
    positions: tuple[Sequence[str], Sequence[str]] = ((), ())
    """Where the tokens of queries and keys stand, as names are followed by; empty: a token stands at its own place."""

    def called(self, axis: str, at: int) -> str:
        """A query or key by its name, and where it stands, because a text may hold a word more than once."""
        names, positions = (self.keys, self.positions[1]) if axis == "key" else (self.queries, self.positions[0])
        return f"{short(names[at])} ({positions[at] if positions else at})"


def flow_columns(flow: Flow, look: Look) -> dict[str, dict[str, Any]]:
    """The columns of every element."""
    ribbons = flow.ribbons
    names = ["" if flow.stacked else f"L{step}: " for step in range(len(flow.columns))]
    return {
        "ribbons": {
            **{name: getattr(ribbons, name).astype(np.float32) for name in (*RIBBON, "width", "weight", "chance")},
            "colour": ribbon_colours(flow, look),
            "link": [
                f"{names[step]}{look.called('query', query)} → {look.called('key', key)}"
                for step, query, key in zip(ribbons.step, ribbons.query, ribbons.key, strict=True)
            ],
        },
        "bars": _bars(flow, look),
        "left": _names(flow.columns[:1], look, -2.5 * BAR),
        "right": _names(flow.columns[-1:], look, 2.5 * BAR),
        "titles": {
            "x": np.array([x for x, _ in flow.titles], np.float32),
            "y": np.full(len(flow.titles), -0.012, np.float32),
            "text": [words for _, words in flow.titles],
        },
    }


def marked_columns(flow: Flow, look: Look) -> dict[str, dict[str, Any]]:
    """Those that change with the selected tokens or the part on screen."""
    return {
        "ribbons": {"colour": ribbon_colours(flow, look)},
        "bars": _bars(flow, look),
        "left": _names(flow.columns[:1], look, -2.5 * BAR),
        "right": _names(flow.columns[-1:], look, 2.5 * BAR),
    }


def ribbon_colours(flow: Flow, look: Look) -> npt.NDArray[np.uint32]:
    """The colour of every ribbon with its opacity, which grows with the root of the weight; faded where it is not selected."""
    ribbons = flow.ribbons
    if look.categories:
        known = {name: category(name).colour for name in set(look.categories)}
        base = np.array([packed(known[look.categories[query]]) for query in ribbons.query], np.uint32)
    else:
        base = np.full(len(ribbons.query), packed(SKY if look.dark else BLUE), np.uint32)
    highest = float(ribbons.weight.max(initial=0.0)) or 1.0
    alpha = FAINTEST + (STRONGEST - FAINTEST) * np.sqrt(ribbons.weight / highest)
    return (base | np.round(255 * alpha * lit(flow, look)).astype(np.uint32)).astype(np.uint32)


def lit(flow: Flow, look: Look) -> npt.NDArray[np.float64]:
    """How much of its opacity every ribbon keeps; all of it where nothing is selected.

    It loses half where queries and keys are selected and only one of its ends is, and most where none of its ends is.
    """
    sides = [(flow.ribbons.query, look.selected[0]), (flow.ribbons.key, look.selected[1])]
    ends = [np.isin(places, sorted(chosen)) for places, chosen in sides if chosen]
    share = np.mean(ends, axis=0) if ends else np.ones(len(flow.ribbons.query))
    return np.asarray(np.select([share == 1, share > 0], [1.0, HALF_LIT], FADED))


def packed(colour: str, alpha: float = 0.0) -> int:
    """A colour as Bokeh reads it from a number: red, green, blue, opacity, one byte each."""
    return int(colour.removeprefix("#"), 16) << 8 | round(255 * alpha)


def short(name: str) -> str:
    """A name in the room beside a ribbon."""
    return name if len(name) <= NAME_LETTERS else f"{name[: NAME_LETTERS - 1]}…"


def flow_plot(flow: Flow, look: Look, *, height: int, hooks: Mapping[str, Sequence[Hook]] | None = None) -> hv.Overlay:
    """The whole plot; `hooks` are hooks of single elements, by their names in `ELEMENTS`."""
    around, columns, listening = theme(dark=look.dark), flow_columns(flow, look), hooks or {}
    shared = frame(dark=look.dark, x_label="", y_label="", x_range=X_RANGE, y_range=Y_RANGE, height=height)
    shared |= {"xaxis": None, "yaxis": None, "toolbar": "right", "default_tools": ["save", "pan", "wheel_zoom", "reset"]}

    def options(name: str, *own: Hook) -> dict[str, Any]:
        return shared | {"hooks": [*shared["hooks"], *own, *listening.get(name, ())]}

    ribbons, bars = columns["ribbons"], columns["bars"]
    hover: dict[str, Any] = {"tools": ["hover"]}
    parts: list[Any] = [
        hv.Segments(ribbons, list(RIBBON), list(ABOUT_RIBBON)).opts(
            **hover,
            hover_tooltips=_tooltip("@link", "weight @weight{%.3g}", "spread evenly @chance{%.3g}"),
            **options("ribbons", as_ribbons),
        ),
        hv.Rectangles(bars, list(BOX), list(ABOUT_BAR)).opts(
            **hover, line_alpha=0.0, hover_tooltips=_tooltip("@name", "@about"), **options("bars", as_bars)
        ),
    ]
    text = {"text_font": value(FONT), "text_font_size": "11px", "text_baseline": "middle", "text_color": around.ink}
    looks = {
        "left": text | {"text_align": "right"},
        "right": text | {"text_align": "left"},
        "titles": text | {"text_align": "center", "text_baseline": "bottom", "text_color": around.muted},
    }
    parts += [hv.Labels(columns[name], ["x", "y"], "text").opts(**looks[name], **options(name)) for name in looks]
    return hv.Overlay(parts).opts(**shared, show_legend=False)


def as_ribbons(plot: Any, _: Any) -> None:
    """HoloViews hook: draws segments as ribbons. HoloViews has no element with this shape whose columns are single numbers."""
    renderer = plot.handles["glyph_renderer"]
    if not isinstance(renderer.glyph, Patches):
        curve = {"across": ACROSS.tolist(), "down": DOWN.tolist()}
        outline: dict[str, Any] = {name: expr(CustomJSExpr(args=curve, code=code)) for name, code in OUTLINE.items()}
        glyph = Patches(**outline, fill_color=field("colour"), line_color=field("colour"), line_width=0.5)
        _replace_glyph(renderer, glyph)
    # Of many ribbons under the pointer the strongest, which come first, are named.
    # HoloViews writes braces around the columns of a tooltip, and Bokeh finds formatters by the name with its braces.
    plot.handles["hover"].update(limit=4, formatters=dict.fromkeys(("@{weight}", "@{chance}"), "printf"))


def as_bars(plot: Any, _: Any) -> None:
    """HoloViews hook: takes the colours of the bars from their column, also where all are the same."""
    renderer = plot.handles["glyph_renderer"]
    wanted = field("colour")
    if renderer.glyph.fill_color != wanted:
        places: dict[str, Any] = {name: field(name) for name in BOX}
        _replace_glyph(renderer, Quad(**places, fill_color=wanted, line_color=None))


def _replace_glyph(renderer: Any, glyph: Any) -> None:
    renderer.update(glyph=glyph, selection_glyph=None, nonselection_glyph=None, hover_glyph=None, muted_glyph=None)


def _bars(flow: Flow, look: Look) -> dict[str, Any]:
    """One bar a token, in the colours of the selection; layer by layer only those of selected tokens."""
    colours, ground = marks(dark=look.dark), packed(theme(dark=look.dark).muted, 0.55)
    found: dict[str, list[Any]] = {name: [] for name in (*BOX, *ABOUT_BAR)}
    stacked = flow.stacked and sum(len(column.low) for column in flow.columns) <= MOST_BARS
    for column in flow.columns:
        queries, keys = _selected(column, look)
        for at in range(len(column.low)) if stacked else sorted(queries | keys):
            chosen = TO if at in keys else FROM if at in queries else ""
            found["left"].append(column.x - BAR)
            found["right"].append(column.x + BAR)
            found["bottom"].append(column.low[at])
            found["top"].append(column.high[at])
            found["colour"].append(packed(colours[chosen], 1.0) if chosen else ground)
            found["name"].append(look.called(column.axis, at))
            found["about"].append(_drawn(column, at))
    arrays = {name: np.array(found[name], np.float32) for name in BOX}
    return arrays | {"colour": np.array(found["colour"], np.uint32)} | {name: found[name] for name in ("name", "about")}


def _selected(column: Column, look: Look) -> tuple[frozenset[int], frozenset[int]]:
    """The selected queries and keys that are in a column."""
    nobody: frozenset[int] = frozenset()
    queries, keys = look.selected
    return (nobody if column.axis == "key" else queries), (nobody if column.axis == "query" else keys)


def _drawn(column: Column, at: int) -> str:
    if column.axis == "token":
        return ""
    verb = "gives" if column.axis == "query" else "receives"
    return f"{verb} {number(column.mass[at])}, of it drawn {number(column.drawn[at])}"


def _names(columns: Sequence[Column], look: Look, away: float) -> dict[str, Any]:
    """The names beside a column, at some distance; none without a column."""
    for column in columns:
        queries, keys = _selected(column, look)
        shown = named(column, look.view, look.pixels, queries | keys)
        names = look.keys if column.axis == "key" else look.queries
        return {
            "x": np.full(len(shown), column.x + away, np.float32),
            "y": column.middle[shown].astype(np.float32),
            "text": [short(names[at]) for at in shown],
        }
    return {name: [] for name in WORD}


def _tooltip(first: str, *others: str) -> str:
    rest = "".join(f"<div>{each}</div>" for each in others)
    style = f"font: 12px {FONT}; font-variant-numeric: tabular-nums"
    return f'<div style="{style}"><b>{first}</b>{rest}</div>'
