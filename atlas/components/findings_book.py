"""The notebook of findings: a button in the header, and a dialog that lists, edits, loads and saves what a reader pinned."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import param
from panel.custom import JSComponent

from atlas.components.assets import script, style

TEXTS = {
    "restore": ("key",), "remove": ("key",), "edit": ("key", "name", "value"), "export": ("ending",),
    "report": ("title", "question"), "cancel": (),
}  # fmt: skip
"""What the browser may ask for -> the texts that it sends with it."""

PIECE = 1_000_000
"""Letters of a long file in a message to the browser: other messages have their turn between two of them."""

LONG = frozenset({"begin", "load"})
"""What comes with all findings. It comes in pieces: a longer text than a text box takes would end the connection."""


class FindingsBook(JSComponent):
    """All texts are plain text. The browser keeps `kept` in its own storage, and says at the start what it has kept.

    While nothing was pinned or kept, `kept` is empty and nothing is sent or stored.
    """

    kept = param.String(default="", doc="The findings as JSON, as the browser keeps them; empty: none was ever here.")
    flags = param.Dict(default={}, doc="Key of a finding -> what contradicts it, in words.")
    said = param.String(default="", doc="What could not be kept or read, and why.")
    fields = param.List(default=[], doc="What the reader writes: [name, title, letters at most].")
    claims = param.List(default=[], doc="What a hypothesis can claim: [value, words].")
    endings = param.List(default=[], doc="What the findings can be saved as: [ending, words].")
    making = param.Boolean(default=False, doc="Whether a report is being made.")
    told = param.String(default="", doc="How far the report is, what it has become, or why there is none.")
    asks = param.List(default=[], doc="What the reader may write over a report: [name, words, letters at most].")
    help = param.String(default="", doc="What it is, and how contradictions are found.")
    most = param.Integer(default=0, doc="Bytes of a file that is read, at most.")
    dark = param.Boolean(default=False, doc="Whether the page is dark.")

    _esm = script("findings_book")
    _stylesheets: ClassVar[list[str]] = [style("findings_book")]

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"margin": 0, **params})
        self._answers: Mapping[str, Callable[..., object]] = {}

    def on_ask(self, **answers: Callable[..., object]) -> None:
        """Call these with what the reader asks for: those of TEXTS with their texts, `move(key, by)`, those of LONG with a text.

        `export` returns a file as {'name', 'kind', 'text'}; `begin` gets what the browser kept, `load` what is in a file.
        """
        self._answers = answers

    def say_unread(self) -> None:
        """Tell the browser that what it kept could not be read, so that it puts that aside before it keeps something else."""
        self._send_msg({"unread": True})

    async def hand_over(self, name: str, kind: str, text: str) -> None:
        """Hand a long file to the browser of this page, piece by piece."""
        for start in range(0, len(text), PIECE):
            self._send_msg({"part": text[start : start + PIECE], "first": not start})
            await asyncio.sleep(0)
        self._send_msg({"file": {"name": name, "kind": kind}})

    def _handle_msg(self, data: Any) -> None:
        """Handle what the browser asks for. What it kept may come from anybody, so every value is checked."""
        asked = data.get("ask") if isinstance(data, dict) else None
        answer = self._answers.get(asked) if isinstance(asked, str) else None
        if answer is None:
            return
        if asked == "move":
            if isinstance(data.get("key"), str) and type(data.get("by")) is int:
                answer(data["key"], data["by"])
        elif asked in LONG:
            pieces = data.get("pieces")
            if isinstance(pieces, list) and all(isinstance(piece, str) for piece in pieces):
                answer("".join(pieces))
        elif asked in TEXTS:
            given = [data.get(name) for name in TEXTS[asked]]
            if all(isinstance(each, str) for each in given):
                found = answer(*given)
                if asked == "export" and found is not None:
                    self._send_msg({"file": found})
