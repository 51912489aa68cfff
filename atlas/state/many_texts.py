"""What lenses share that go through many texts: where these come from, and what stands for them in a request."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from typing import Any, ClassVar

import param

from atlas.errors import TextError
from atlas.state.parts import PartsLens
from atlas.state.readers_file import digest_of
from atlas.trace import Trace
from atlas.tracing.listed import NO_TEXTS, TextList
from atlas.tracing.many_texts import TEMPLATES, TextsOf

MOST_LETTERS = 200_000
"""Letters of pasted texts at most, as of any text of a page."""

FILE, PASTED, LISTED = "file", "pasted", "listed"

SOURCES = (*TEMPLATES, PASTED, LISTED, FILE)

PART_SECONDS = 2.0
"""Seconds of a part of a run. Between two parts other readers of the same model have their turn, and the numbers are redrawn."""


SHOWN_ROWS = 5
"""Rows that cannot be used that are named on screen; the file has all of them."""

LOST = "The file is no longer here. Choose it again."

NO_TEXTS_YET = {
    PASTED: "paste texts, one a line",
    LISTED: "give a list under 'Texts of a file', at the side",
    FILE: "choose a file of texts",
}
"""Source -> what to do where it has no texts."""


class TextsChoices(param.Parameterized):
    """Where the texts come from."""

    source = param.Selector[str](objects=[*SOURCES], default="occupations", doc="Where the texts come from.")
    column = param.String(default="text", doc="The column or key of the file that holds the texts.")


class ManyTextsLens(PartsLens):
    """Goes through texts that come with Atlas, that a reader has pasted or listed, or of a file."""

    digest = param.String(default="", doc="A hash of the file; empty: there is none.")
    pasted = param.String(default="", doc="Texts the reader typed, one a line.")

    instead: ClassVar[str] = ""
    """The command that takes larger files."""

    def __init__(self, workspace: Any, **params: Any) -> None:
        self._data: bytes | None = None
        self.file = ""
        self._list: tuple[TextList, str] = NO_TEXTS, ""
        """The list at the side as it was last asked for, and its hash."""
        super().__init__(workspace, **params)

    def take(self, name: str, data: bytes) -> None:
        """Take a file of the reader's."""
        digest = digest_of(name, data, self.instead)
        self.drop_asked()
        self._data, self.file, self.digest = data, name, digest
        self.choices.source = FILE
        self.other_texts()

    def paste(self, texts: str) -> None:
        """Take texts that the reader typed, one a line."""
        if len(texts) > MOST_LETTERS:
            msg = f"These texts have {len(texts):,} letters, more than the {MOST_LETTERS:,} a page takes. Give them as a file."
            raise TextError(msg)
        if texts != self.pasted:
            self.drop_asked()
            self.pasted = texts
            self.other_texts()

    def other_texts(self) -> None:
        """The reader has given other texts."""
        self._redraw()

    def texts(self) -> TextsOf | None:
        """The texts chosen; None where there are none yet."""
        source = self.choices.source
        if source == PASTED:
            return TextsOf("pasted texts.txt", self.pasted.encode("utf-8", "replace")) if self.pasted.strip() else None
        if source == LISTED:
            found = self.workspace.listed.texts
            return TextsOf(found.name, found) if found.texts else None
        if source == FILE:
            return None if self._data is None else TextsOf(self.file, self._data, self.choices.column)
        return TextsOf(source, None)

    def can_begin(self) -> bool:
        """Whether there are texts."""
        return self.texts() is not None

    def of_texts(self) -> Hashable:
        """What stands for the texts in a request: not the texts themselves, because it is asked for at every drawing."""
        choices = self.choices
        given = {
            FILE: (self.digest, self.file, choices.column),
            PASTED: hashlib.sha256(self.pasted.encode("utf-8", "replace")).hexdigest(),
            LISTED: self._digest_of_list(),
        }
        return choices.source, given.get(choices.source)

    def _digest_of_list(self) -> str:
        found = self.workspace.listed.texts
        if found is not self._list[0]:
            self._list = found, hashlib.sha256(repr(found.texts).encode("utf-8", "replace")).hexdigest()
        return self._list[1]

    def no_texts(self) -> str:
        """What to do where there are no texts."""
        return NO_TEXTS_YET[self.choices.source]

    def name_of_texts(self, texts: TextsOf) -> str:
        """The texts in words."""
        return texts.name if texts.data is not None else f"{texts.name} (texts that come with Atlas)"

    def handed_over(self) -> Any:
        """The texts and the results."""
        listed = self.workspace.listed.texts if self.choices.source == LISTED else NO_TEXTS
        return self._data, self.file, self.digest, self.pasted, listed, dict(self._results)

    def take_over(self, handed: Any) -> None:
        """Show the results there; nothing is run."""
        self._data, self.file, self.digest, self.pasted, listed, self._results = handed
        if listed.texts:
            self.workspace.listed.put(listed)
        self._redraw()


def without_model(trace: Trace) -> str:
    """Why the model of a trace cannot be asked; empty: it can."""
    return "its model is not here to read other texts." if trace.live is None else ""
