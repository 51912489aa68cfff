"""What the views of embeddings show: the vectors of the tokens before the first layer."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import pandas as pd
import param

from atlas.errors import NotCaptured
from atlas.state.asking import Progress
from atlas.state.lens import Lens, counted
from atlas.state.plane import Axis, Cell, Marked, Plane, PlaneLens, Thresholded
from atlas.state.stream_writes import selected_positions
from atlas.state.words import shown_token
from atlas.trace import Trace
from atlas.tracing.embeddings import (
    ENTERING,
    NORMED,
    PARTS,
    POSITION,
    SEGMENT,
    SUM,
    TOKEN,
    are_held,
    cosines,
    embeddings,
    lengths,
    placed,
    raw,
)
from atlas.tracing.qkv import token_types

COSINE, RAW = "cosine", "raw"
"""What the plane shows."""

BY_POSITION, BY_TYPE = "position", "type"
"""What colours a token on the map."""

QUICK_WORK = 30_000_000
"""Multiplications that are done while the page waits, some 20 ms; for more of them the lens asks."""

WORDS = {
    TOKEN: "token vectors",
    POSITION: "position vectors",
    SEGMENT: "segment vectors",
    SUM: "sums of the vectors",
    NORMED: "vectors after the norm",
    ENTERING: "vectors that enter layer 0",
}
"""The vectors in words."""

ABSENT = {
    POSITION: "no position vectors are added to the embeddings here; how it knows positions stands in the card of positions",
    SEGMENT: "no segment vectors are added to the embeddings here",
    SUM: "nothing is added to the token vectors here",
    NORMED: "no norm follows the embeddings here",
    ENTERING: "the last of these vectors enters the first layer as it is",
}
"""Why a model has no such vectors."""


class EmbeddingVectorsChoices(param.Parameterized):
    """Choices of the map of embeddings."""

    part = param.Selector[str](objects=list(PARTS), default=TOKEN, doc="Whose places are shown: which vectors of a token.")
    colour = param.Selector[str](objects=[BY_POSITION, BY_TYPE], default=BY_TYPE, doc="What colours a token on the map.")


class EmbeddingsChoices(Thresholded):
    """Choices of the plane of embeddings."""

    show = param.Selector[str](objects=[COSINE, RAW], default=COSINE, doc="Cosines of tokens, or the numbers themselves.")
    part = param.Selector[str](objects=list(PARTS), default=TOKEN, doc="Which vectors of a token are compared.")


@dataclass(frozen=True)
class EmbeddingPlane(Plane):
    """Tokens down; tokens, or the dimensions of their vectors, across."""

    pairs: bool = True
    """Whether columns are tokens too."""

    def name(self, axis: Axis, at: int, most: int | None = None) -> str:
        """A token and its position, because a text may hold a token more than once; a dimension."""
        name = super().name(axis, at, most)
        return f"{name} ({at})" if axis == "row" or self.pairs else name


class Vectors(NamedTuple):
    """The vectors of the tokens, and where they lie."""

    lengths: dict[str, np.ndarray]
    """Vector -> (token,)"""
    places: np.ndarray
    """(token, 2) of the chosen vectors"""
    shares: tuple[float, float]
    """Of their variance, along both axes"""


def embedding_names(trace: Trace, stream: str) -> tuple[str, ...]:
    """The tokens of a stream as a reader knows them."""
    return tuple(shown_token(str(token)) for token in trace.token_tables[trace.side(stream, "query")]["token"])


def vectors_named(trace: Trace, stream: str, part: str) -> np.ndarray:
    """(token, width) one of the vectors; an error that says which there are where the model has none such."""
    parts = embeddings(trace, stream)
    if part not in parts:
        msg = f"There are no {WORDS[part]} to show: {ABSENT[part]}. There are: {', '.join(parts)}."
        raise NotCaptured(msg)
    return parts[part]


def described(trace: Trace, stream: str, part: str, vectors: np.ndarray) -> str:
    """Whose vectors they are, and how many."""
    of = f" of the {stream}" if len(trace.kinds) > 1 else ""
    return f"{WORDS[part]} of {counted(len(vectors), 'token')}{of}, {vectors.shape[1]:,} numbers each"


def work_of(trace: Trace, stream: str, part: str) -> int:
    """Multiplications that comparing all tokens takes, roughly."""
    n, width = vectors_named(trace, stream, part).shape
    return n * n * width


class EmbeddingsLens(PlaneLens):
    """Embeddings compared, or as they are."""

    key: ClassVar = "embeddings"
    choices_type: ClassVar = EmbeddingsChoices
    reads: ClassVar = {"selection": ("focus",)}
    marked_by: ClassVar = ("queries", "keys")
    missing: ClassVar = "a vector of zeros"
    nothing: ClassVar = EmbeddingPlane()

    def depends(self) -> Hashable:
        """On the stream of the kind on screen: tokens are marked."""
        return self.stream, self.choices.show, self.choices.part

    @property
    def pairs(self) -> bool:
        """Whether tokens are compared with tokens."""
        return bool(self.choices.show == COSINE)

    @property
    def signed(self) -> bool:
        """Cosines and numbers have two signs."""
        return True

    def titles(self) -> tuple[str, str]:
        """Tokens, or the numbers of a token."""
        return "token", "token" if self.pairs else "dimension"

    def reading(self) -> str:
        """What the value of a cell is called."""
        return "cosine" if self.pairs else "number"

    def whose(self) -> str:
        """Which vectors."""
        return str(self.choices.part)

    def _highest(self) -> float:
        """Cosines have one scale in every text."""
        return 1.0 if self.pairs else super()._highest()

    def _build_plane(self) -> EmbeddingPlane:
        values = self._compared()
        if values is None:
            return EmbeddingPlane()
        trace, stream, part = self.trace, self.stream, self.choices.part
        names = embedding_names(trace, stream)
        what = "Cosines" if self.pairs else "Numbers"
        self.line = f"{what} of the {described(trace, stream, part, vectors_named(trace, stream, part))}"
        columns = names if self.pairs else tuple(str(at) for at in range(values.shape[1]))
        return EmbeddingPlane(names, columns, values, pairs=self.pairs)

    def _compared(self) -> np.ndarray | None:
        trace, stream, part, pairs = self.trace, self.stream, str(self.choices.part), self.pairs

        def made() -> np.ndarray:
            vectors = vectors_named(trace, stream, part)
            return cosines(vectors) if pairs else raw(vectors)

        held = are_held(trace, stream)
        if held and (not pairs or work_of(trace, stream, part) <= QUICK_WORK):
            return made()

        def told(progress: Progress) -> np.ndarray:
            progress.tell("Comparing the embeddings")
            return made()

        return self.ask(f"{stream} {part} {pairs}", told, None, needs_model=not held, keep=False)

    def _numbers(self, row: int, column: int) -> Cell:
        """The value, and the lengths of the two vectors."""
        found, vectors = super()._numbers(row, column), vectors_named(self.trace, self.stream, self.choices.part)
        places = {"row": row, "column": column} if self.pairs else {"row": row}
        return found | {f"length of the {name}": float(np.linalg.norm(vectors[at].astype(float))) for name, at in places.items()}

    # -- selection -----------------------------------------------------------------------------------------------------

    def selected(self) -> frozenset[int]:
        """The selected tokens of the stream, on whichever axis."""
        return frozenset(selected_positions(self, self.stream))

    def marked(self) -> Marked:
        """The rows, and the columns, of the selected tokens."""
        if not self.plane().rows:
            return Marked()
        chosen = self.selected()
        return Marked(chosen, chosen if self.pairs else frozenset())

    def select_cell(self, row: int, column: int, origin: str) -> None:
        """Select the tokens of a cell; again: let go of them."""
        self._select({row, column} if self.pairs else {row}, origin)

    def select_name(self, axis: Axis, at: int, origin: str) -> None:
        """Select a token; a dimension selects none."""
        if axis == "row" or self.pairs:
            self._select({at}, origin)

    def _select(self, tokens: set[int], origin: str) -> None:
        select_tokens(self, self.stream, tokens, origin)


class EmbeddingVectorsLens(Lens):
    """Lengths of embeddings, and their map."""

    key: ClassVar = "embedding_vectors"
    choices_type: ClassVar = EmbeddingVectorsChoices
    reads: ClassVar = {"selection": ("focus",)}
    marked_by: ClassVar = ("queries", "keys")

    _found: Vectors | None = None

    def depends(self) -> Hashable:
        """On the stream of the kind on screen: tokens are marked."""
        return self.stream, self.choices.part, self.choices.colour

    def forget(self) -> None:
        """Drop what was worked out."""
        self._found = None

    def found(self) -> Vectors | None:
        """The lengths and the map; None until they are there."""
        if self._found is None:
            self._found = self.attempt(self._work_out, None)
        return self._found

    def _work_out(self) -> Vectors | None:
        trace, stream, part = self.trace, self.stream, str(self.choices.part)

        def made() -> Vectors:
            return Vectors(lengths(embeddings(trace, stream)), *placed(vectors_named(trace, stream, part)))

        held = are_held(trace, stream)
        if held and work_of(trace, stream, part) <= QUICK_WORK:
            found: Vectors | None = made()
        else:

            def told(progress: Progress) -> Vectors:
                progress.tell("Placing the embeddings")
                return made()

            found = self.ask(f"{stream} {part}", told, None, needs_model=not held, keep=False)
        if found is not None:
            self.line = f"On the map: the {described(trace, stream, part, vectors_named(trace, stream, part))}"
        return found

    def types(self) -> tuple[str, ...]:
        """The category of every token."""
        return token_types(self.trace, self.trace.side(self.stream, "query"))

    def names(self) -> tuple[str, ...]:
        """The tokens."""
        return embedding_names(self.trace, self.stream)

    def selected(self) -> tuple[int, ...]:
        """The selected tokens of the stream."""
        return selected_positions(self, self.stream)

    def select(self, tokens: set[int], origin: str) -> None:
        """Select tokens by their vectors."""
        select_tokens(self, self.stream, tokens, origin, again=False)

    def table(self) -> pd.DataFrame:
        """One row a token and vector: its length; and where those on the map stand."""
        found = self.found()
        if found is None:
            raise NotCaptured(self.problem or self.empty or "The embeddings are still being read.")
        parts = []
        for part, long in found.lengths.items():
            at = np.arange(len(long))
            place = found.places if part == self.choices.part else np.full((len(long), 2), np.nan)
            columns = {"vector": part, "position": at, "token": list(self.names()), "length": long}
            parts.append(pd.DataFrame(columns | {"x": place[:, 0], "y": place[:, 1]}))
        return pd.concat(parts, ignore_index=True)


def select_tokens(lens: Lens, stream: str, tokens: set[int], origin: str, *, again: bool = True) -> None:
    """Select tokens of a stream; `again`: those that are selected already are let go."""
    selection, side = lens.workspace.selection, lens.trace.side(stream, "query")
    chosen = () if again and set(selected_positions(lens, stream)) == tokens else sorted(tokens)
    selection.select_tokens(chosen, axis=lens.workspace.display.axis, side=side, origin=origin)
