"""The logit lens: what every layer would predict, written where there is room for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import panel as pn
import panel_material_ui as pmui
from bokeh.core.properties import value

from atlas.errors import AtlasError
from atlas.plots.colours import BACKGROUND, FONT, text_on
from atlas.plots.map import labels
from atlas.plots.map_words import LETTER, ROOM, Squares, Word, middle_words
from atlas.plots.raster import coded, quantised
from atlas.state.logit_lens import ENTROPY, PLAIN, PROBABILITY, RANK, TUNED, LogitLensLens
from atlas.state.workspace import Workspace
from atlas.trace import Trace
from atlas.tracing.logit_lens import without_lens
from atlas.views.base import TIGHT
from atlas.views.glyph import Glyph
from atlas.views.map import looks_of_words, no_labels
from atlas.views.plane import PlaneView
from atlas.views.shows import Shows

if TYPE_CHECKING:
    import holoviews as hv

SHOWN = {"probability of the final token": PROBABILITY, "rank of the final token": RANK, "entropy": ENTROPY}

LENSES = {"logit lens": PLAIN, "tuned lens": TUNED}

MOST_WORDS = 1_500
"""Words drawn at once: 60 kB, and more of them than can be read."""

LEAST_LETTERS = 3
"""Of a token in a cell: cut to fewer it could be any."""


POINT = "Point at a cell for the tokens its layer would predict; click it to explain its likeliest token and select the position."


class LogitLensView(PlaneView):
    """What the model would predict if it stopped at a layer."""

    key: ClassVar = "lens"
    title: ClassVar = "Logit lens"
    question: ClassVar = "When does the model make up its mind?"
    help: ClassVar = (
        "Columns are positions, rows the states of the residual stream, from the embedding at the top to the last layer, whose "
        "row is the model's own prediction. Every state is read through the model's own final norm and unembedding. A causal "
        "model predicts the token after the position, a masked model the one at it. In a cell stands its likeliest token. The "
        "final token is the likeliest one of the last row. Early layers were not trained to be read this way: that a token "
        "cannot be read yet does not mean that the layer does not hold it. A tuned lens, where one was given, reads each state "
        "through an affine map that was fitted to predict what the last layer predicts; it may know what the layer does not. "
        "Click a cell to explain its token and select its position, a name at the left to select the heads of a layer."
    )
    defines: ClassVar = ("lens_probability", "lens_rank", "lens_entropy")
    lens_type: ClassVar = LogitLensLens
    logit_lens = Shows(LogitLensLens)
    wide: ClassVar = True

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self.words = Glyph()
        self.under.object = POINT

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """A model that predicts tokens, and is here."""
        return without_lens(trace)

    def tools(self) -> list[Any]:
        """What the colours say, and where a fitted lens was given, by which lens."""
        choices, look = self.logit_lens.choices.param, {"size": "small", "margin": TIGHT}
        given = pn.bind(lambda *_: self.can_choose(), self.workspace.param.revision, choices.lens)
        return [
            pmui.Select.from_param(choices.show, label="Colour", options=SHOWN, width=268, **look),
            pmui.Select.from_param(choices.lens, label="Lens", options=LENSES, width=150, visible=given, **look),
        ]

    def can_choose(self) -> bool:
        """Whether there is a fitted lens beside the plain one, or a link asks for one that is not here."""
        return bool(self.logit_lens.tuned_name()) or self.logit_lens.choices.lens == TUNED

    def over(self) -> list[tuple[Callable[..., Any], Callable[[], Any]]]:
        """The marks, and the tokens in front of them."""
        return [*super().over(), (self._labels, no_labels)]

    def written(self) -> list[Word]:
        """The likeliest token of every cell on screen, cut to its cell; none where a cell is too small."""
        plane = self.plane.plane()
        if not plane.rows:
            return []
        view, (wide, high) = self.window(len(plane.columns), len(plane.rows)), self.pixels
        columns, rows = (range(int(low), int(np.ceil(end))) for low, end in ((view.x0, view.x1), (view.y0, view.y1)))
        squares = Squares(
            len(plane.columns), len(plane.rows), columns, rows, wide / (view.x1 - view.x0), high / (view.y1 - view.y0)
        )
        most = int((squares.wide - ROOM) / LETTER)
        if most < LEAST_LETTERS or len(rows) * len(columns) > MOST_WORDS:
            return []

        def line(row: int, column: int) -> list[str]:
            word = self.logit_lens.word(row, column)
            return [word if len(word) <= most else f"{word[: most - 1]}…"]

        return middle_words(squares, line)

    def _looks(self, words: list[Word]) -> dict[str, list[Any]]:
        """The ink of every word on the colour of its cell."""
        whole = self.plane.plane().whole
        if whole is None:
            return {"ink": [], "ground": []}
        palette, levels = self.palette(), quantised(coded(whole), self.scale(), hatch=False)
        return {"ink": [text_on(palette[levels[word.row, word.column]]) for word in words], "ground": [0.0] * len(words)}

    def _labels(self, **_: Any) -> hv.Labels:
        words = self.written()
        hooks = [self.words.hook, looks_of_words(self._looks(words))]
        look = {"text_font": value(FONT), "text_font_size": "8pt", "text_align": "left", "text_baseline": "top"}
        return labels([word[:3] for word in words]).opts(
            background_fill_color=self.palette()[BACKGROUND], default_tools=[], hooks=hooks, **look
        )

    def _redraw(self) -> None:
        super()._redraw()
        words = self.written()
        self.words.write(words, **self._looks(words))

    def write(self) -> None:
        """Write what the cell under the pointer predicts."""
        found = self._cell(*self._pointer)
        try:
            self.under.object = POINT if found is None else self.logit_lens.cell_in_words(*found)
        except AtlasError as error:
            self.under.object = str(error)
