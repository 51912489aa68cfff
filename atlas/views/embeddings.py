"""The embeddings: the vectors of the tokens before the first layer, compared, as they are, and on a map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import panel_material_ui as pmui

from atlas.plots.lines import Line, key_of_marks, key_of_parts
from atlas.plots.vectors import TYPES, Points
from atlas.state.embeddings import BY_POSITION, BY_TYPE, COSINE, RAW, EmbeddingsLens, EmbeddingVectorsLens
from atlas.trace import Trace
from atlas.tracing.embeddings import PARTS, without_embeddings
from atlas.views.base import TIGHT
from atlas.views.plane import PlaneView
from atlas.views.shows import Shows
from atlas.views.token_vectors import POSITIONS, TokenVectorsView

if TYPE_CHECKING:
    import pandas as pd

SHOWN = {"cosine": COSINE, "the numbers": RAW}

COLOURED = {"position": BY_POSITION, "type of token": BY_TYPE}

VECTORS = {
    "token": PARTS[0],
    "position": PARTS[1],
    "segment": PARTS[2],
    "their sum": PARTS[3],
    "after the norm": PARTS[4],
    "entering layer 0": PARTS[5],
}


class EmbeddingsView(PlaneView):
    """Every token with every token, before the first layer."""

    key: ClassVar = "embeddings"
    title: ClassVar = "Embeddings"
    question: ClassVar = "Which tokens are alike before the first layer?"
    help: ClassVar = (
        "The vectors that a model makes of its input before any attention: a token's row of the table (as it is added, so scaled "
        "where the model scales it), the vectors of its position and its segment where a model adds such, their sum, and what a "
        "norm or a linear map makes of that. Cosine: rows and columns are tokens; two of the same token have 1 by their token "
        "vectors and less where positions are added. The numbers: a row is a token, a column one of its numbers. In an "
        "encoder-decoder, the side of the attention on screen. Click a cell or a name to select its tokens."
    )
    defines: ClassVar = ("embedding_cosine",)
    lens_type: ClassVar = EmbeddingsLens

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """A trace of a model with a table of tokens."""
        return without_embeddings(trace)

    def tools(self) -> list[Any]:
        """Which vectors, and what is shown of them."""
        choices, look = self.plane.choices.param, {"size": "small", "margin": TIGHT}
        return [
            pmui.Select.from_param(choices.part, label="Vectors", options=VECTORS, width=166, **look),
            pmui.Select.from_param(choices.show, label="Show", options=SHOWN, width=140, **look),
        ]


class EmbeddingVectorsView(TokenVectorsView):
    """Lengths of the vectors, and the tokens on one map."""

    key: ClassVar = "embedding_vectors"
    title: ClassVar = "Embedding vectors"
    question: ClassVar = "How long are the embeddings, and where do they lie?"
    help: ClassVar = (
        "Above: the length of each token's vectors, those that are added and what comes of them; a position vector that is short "
        "beside its token's changes little. Below: the tokens on the two axes along which the chosen vectors differ most (PCA); "
        "the axes say which share of the variance they show. Two of the same token lie on each other by their token vectors. "
        "Click a mark, or draw a box around some, to select their tokens."
    )
    defines: ClassVar = ("embedding_length", "embedding_map")
    lens_type: ClassVar = EmbeddingVectorsLens
    vectors = Shows(EmbeddingVectorsLens)
    file: ClassVar = "embedding-vectors"

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """A trace of a model with a table of tokens."""
        return without_embeddings(trace)

    def tools(self) -> list[Any]:
        """Which vectors are on the map, and what colours them."""
        choices, look = self.vectors.choices.param, {"size": "small", "margin": TIGHT}
        return [
            pmui.Select.from_param(choices.part, label="On the map", options=VECTORS, width=166, **look),
            pmui.Select.from_param(choices.colour, label="Colour", options=COLOURED, width=150, **look),
        ]

    def lines(self) -> list[Line] | None:
        """The lengths of all vectors."""
        found = self.vectors.found()
        if found is None:
            return None
        names = self.vectors.names()
        return [
            Line(part, np.arange(float(len(long))), long, [f"{name} ({at}): {part}" for at, name in enumerate(names)])
            for part, long in found.lengths.items()
        ]

    def points(self) -> Points | None:
        """A mark a token."""
        found = self.vectors.found()
        if found is None:
            return None
        n, part = len(found.places), str(self.vectors.choices.part)
        names = [f"{name} ({at})" for at, name in enumerate(self.vectors.names())]
        return Points(found.places, [part] * n, np.arange(n), names, self.vectors.types(), self.vectors.selected())

    def shares(self) -> tuple[float, float]:
        """Of the chosen vectors."""
        found = self.vectors.found()
        return (np.nan, np.nan) if found is None else found.shares

    def coloured_by(self) -> str:
        """Position or type."""
        return str(self.vectors.choices.colour)

    def key_of_colours(self) -> str:
        """What the colours of both plots mean."""
        found = self.vectors.found()
        if found is None:
            return ""
        key = key_of_parts({part: part for part in found.lengths})
        if self.coloured_by() == BY_TYPE:
            return key + key_of_marks({name: TYPES[name] for name in sorted(set(self.vectors.types()))})
        return f"{key}<div style='font-size:0.8rem'>{POSITIONS.format('which vectors')}</div>"

    def pick(self, points: Points, rows: list[int]) -> None:
        """Select the tokens of some marks."""
        self.vectors.select({int(points.positions[row]) for row in rows}, self.key)

    def table(self) -> pd.DataFrame:
        """Every length and place."""
        return self.vectors.table()
