"""A view as HTML that stands alone: its plots live on in BokehJS, its words and numbers are text, and nothing is loaded.

`fragment` gives the part of a page, for whoever puts several views into one; `page` a whole file. Made of a view that no page
shows (see `single`), because drawing takes the plots of a view over.
"""

from __future__ import annotations

import functools
import html
import json
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import bokeh
import panel as pn
from bokeh.document import Document
from bokeh.models import ImportedStyleSheet
from bokeh.themes import Theme
from bokeh.util.paths import bokehjs_path

from atlas.patches.panes import Markup, PlainText, plots_of
from atlas.plots.colours import theme
from atlas.resources import asset
from atlas.state.stamp import Stamp, in_words
from atlas.views.base import View

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 2_000
"""Rows of a table in HTML: more are neither read nor quickly laid out; CSV and Parquet have all of them."""

HEIGHT = 420
"""Pixels of a plot that has no height of its own."""

BOKEH = ("bokeh.min.js", "bokeh-widgets.min.js")
"""Scripts of BokehJS; of the widgets plots have the button that resets the zoom."""

CONTROLS = frozenset({"aa-readout", "aa-cut", "aa-pages"})
"""Classes of words that belong to a control or to the pointer, which are not in a file."""

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:"
)
"""What a browser lets the file do: nothing that needs a network. BokehJS makes functions of the code of its callbacks."""

FOLLOWS = "Zooming, panning and the numbers under the pointer work in this file."
FOLLOWS_NOT = (
    "It is a copy of one view at one moment: controls are left out, a click selects nothing elsewhere, and what other views show "
    "does not follow."
)
TABLE = "This view is no plot; its numbers are below."


ELSEWHERE = "more rows are in the CSV and Parquet files."


class Fragment(NamedTuple):
    """A view as a part of a page."""

    html: str
    """Question, line, plots and words, or the numbers of what is no plot."""
    script: str
    """The script element that draws the plots; empty without any. The page needs the scripts of BokehJS before it."""
    said: tuple[str, ...]
    """What works in the file and what does not."""


def page(view: View, stamped: Stamp, like: View | None = None) -> str:
    """A whole file: the view, what no longer follows, and where it comes from. `like`: the view whose zoom it has."""
    part = fragment(view, like)
    return document(view.title, part.html + footer(stamped, part.said), scripts() + part.script, dark=view.dark)


def document(title: str, body: str, script: str, *, dark: bool = False) -> str:
    """An HTML page that may load nothing; `body` and `script` are HTML that the app wrote."""
    look = asset("css", "standalone.css").read_text(encoding="utf-8")
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)} · Attention Atlas</title>\n<style>\n{look}</style>\n</head>\n"
        f'<body class="{"dark" if dark else "light"}">\n{body}\n{script}\n</body>\n</html>\n'
    )


@functools.cache
def scripts() -> str:
    """BokehJS as script elements: the whole of what the plots need."""
    # Not `Resources.render`, to which Panel adds what its server has.
    folder = bokehjs_path() / "js"
    return "".join(f"<script>\n{(folder / name).read_text(encoding='utf-8')}\n</script>\n" for name in BOKEH)


def fragment(view: View, like: View | None = None) -> Fragment:
    """A view as a part of a page."""
    pieces = list(_pieces(view.stage))
    if has_other_plot(view):
        pieces.append(pn.pane.HoloViews(view.export().picture, linked_axes=False))
    panes = [piece for piece in pieces if isinstance(piece, pn.pane.HoloViews)]
    figures, said = _drawn(view, panes, like)
    try:
        plots = [_embedded(figure, dark=view.dark) for figure in figures]
    finally:
        for pane in panes:
            for plot in plots_of(pane):
                plot.cleanup()  # HoloViews lists the callbacks of plots on a class, for good
    places, script = iter(place for place, _ in plots), "".join(drawing for _, drawing in plots)
    inside = [piece if isinstance(piece, str) else next(places) for piece in pieces]
    problem = view.problem
    if problem:
        inside, script, said = [f'<p class="problem">{html.escape(problem)}</p>'], "", []
    elif not figures:
        inside.append(f'<p class="note">{TABLE}</p>{table_html(view.export().table)}')
    heading = (
        f'<p class="title">{html.escape(view.title)}</p>\n<h2>{html.escape(view.question)}</h2>\n'
        f'<p class="line">{html.escape(view.lens.line)}</p>\n'
    )
    body = f'<section class="view view-{view.key}">\n{heading}{"".join(inside)}\n</section>\n'
    return Fragment(body, script, (*([FOLLOWS, *said] if figures and not problem else ()), FOLLOWS_NOT))


def has_other_plot(view: View) -> bool:
    """Whether a view is a plot that the page draws by a script of ours: in a file it is drawn by BokehJS."""
    return not view.stage.select(pn.pane.HoloViews) and not view.problem and view.export().picture is not None


def footer(stamped: Stamp, said: tuple[str, ...] = ()) -> str:
    """Where it comes from, and what no longer follows."""
    rows = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(words)}</dd>" for name, words in in_words(stamped))
    note = f'<p class="note">{html.escape(" ".join(said))}</p>' if said else ""
    return f'<footer>{note}<dl class="stamp">{rows}</dl></footer>\n'


def table_html(table: pd.DataFrame, most: int = MOST_ROWS, rest: str = ELSEWHERE) -> str:
    """A table of numbers; of more than so many rows the first, and `rest` says where the others are."""
    named = table.index.name is not None
    shown = table.head(most).to_html(index=named, border=0, na_rep="N/A", escape=True, float_format=lambda value: f"{value:.6g}")
    more = len(table) - most
    note = f'<p class="note">{more:,} {html.escape(rest)}</p>' if more > 0 else ""
    return f'<div class="table">{shown}</div>{note}'


# -- inside ------------------------------------------------------------------------------------------------------------


def _pieces(shown: Any) -> Iterator[Any]:
    """The plots of a body, and its words as HTML, in the order of the page; controls have nothing to control in a file."""
    if not shown.visible:
        return
    if isinstance(shown, pn.pane.HoloViews):
        yield shown
    elif isinstance(shown, Markup):
        yield f'<div class="words">{shown.object or ""}</div>'  # written by the app (see Markup)
    elif isinstance(shown, PlainText):
        if not CONTROLS & set(shown.css_classes or ()):
            yield f'<p class="words">{html.escape(str(shown.object or ""))}</p>'
    elif isinstance(shown, pn.layout.base.ListLike):
        yield '<div class="row">' if isinstance(shown, pn.Row) else "<div>"
        for each in shown:
            yield from _pieces(each)
        yield "</div>"


def around(*, dark: bool) -> Theme:
    """The colours of what the plots leave to the page around them, which in a file has no theme."""
    colours = theme(dark=dark)
    text = {"text_color": colours.ink}
    axis = {"axis_label_text_color": colours.muted, "major_label_text_color": colours.muted} | {
        f"{part}_line_color": colours.rule for part in ("axis", "major_tick", "minor_tick")
    }
    plot = {"background_fill_color": colours.paper, "border_fill_color": colours.paper, "outline_line_color": colours.rule}
    legend = {"background_fill_color": colours.paper, "label_text_color": colours.ink, "border_line_color": colours.rule}
    return Theme(
        json={"attrs": {"Plot": plot, "Axis": axis, "Title": text, "Legend": legend, "Grid": {"grid_line_color": colours.rule}}}
    )


def _embedded(figure: Any, *, dark: bool) -> tuple[str, str]:
    """The place of a plot, and the script element that draws it there."""
    name, document = f"atlas-{uuid.uuid4().hex}", Document()
    document.theme = around(dark=dark)
    document.add_root(figure)
    # Not `json_item`, which warns at every plot that Python hears of nothing any more: the file says so.
    item = {"root_id": figure.id, "doc": document.to_json(deferred=False), "version": bokeh.__version__}
    # Names of tokens are in it: a `</script>` among them must not end the element.
    written = json.dumps(item, ensure_ascii=False).replace("<", "\\u003c")
    return f'<div class="plot" id="{name}"></div>', f'<script>Bokeh.embed.embed_item({written}, "{name}")</script>\n'


def _drawn(view: View, panes: list[Any], like: View | None) -> tuple[list[Any], list[str]]:
    """The Bokeh figures of the panes, and what does not work in them, in words."""
    figures, said = [], []
    zoomed = _ranges(like)
    for at, pane in enumerate(panes):
        root = pane.get_root(Document())
        for model in root.references():
            sheets = getattr(model, "stylesheets", None)
            if sheets:  # those of Panel are files of its server
                model.stylesheets = [sheet for sheet in sheets if not isinstance(sheet, ImportedStyleSheet)]
        for plot in plots_of(pane):
            # A plot that stretches downwards has no height in a file.
            plot.state.update(sizing_mode="stretch_width", height=pane.height or plot.state.height or HEIGHT)
            if like is not None and at < len(zoomed):
                _zoom(plot.state, zoomed[at])
            words = view.stand_alone(plot.state)
            if words and words not in said:
                said.append(words)
        figures.append(root)
    return figures, said


Seen = dict[str, tuple[float, float]]


def _ranges(view: View | None) -> list[Seen]:
    """What part of each plot of a page is on screen."""
    if view is None:
        return []
    panes = [piece for piece in _pieces(view.stage) if isinstance(piece, pn.pane.HoloViews)]
    return [_seen(next((plot.state for plot in plots_of(pane)), None)) for pane in panes]


def _seen(figure: Any) -> Seen:
    found = {} if figure is None else {name: getattr(figure, name) for name in ("x_range", "y_range") if hasattr(figure, name)}
    ends: dict[str, Any] = {name: (getattr(each, "start", None), getattr(each, "end", None)) for name, each in found.items()}
    return {name: each for name, each in ends.items() if all(isinstance(end, int | float) for end in each)}


def _zoom(figure: Any, seen: Seen) -> None:
    for name, (start, end) in seen.items():
        span = getattr(figure, name, None)
        if span is not None and hasattr(span, "start"):
            span.update(start=start, end=end)
