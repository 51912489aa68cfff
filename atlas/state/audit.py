"""What the view of flagged words over many texts shows: what is flagged, and which heads look at it, as the texts come."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import pandas as pd
import param

from atlas.errors import BadData, NotCaptured
from atlas.ids import HeadId, as_head
from atlas.state.attention_bias import OTHER_SIDE
from atlas.state.detection import FIELDS, NO_DETECTOR, thresholds_of
from atlas.state.head_plane import HeadPlaneLens
from atlas.state.lens import counted
from atlas.state.many_texts import LISTED, LOST, PART_SECONDS, SHOWN_ROWS, ManyTextsLens, TextsChoices
from atlas.state.model_key import model_key
from atlas.state.plane import Plane, Thresholded
from atlas.state.ratio_plane import RatioPlaneLens, logarithms
from atlas.tracing.audits import AUDIT, AuditSoFar, Stretch
from atlas.tracing.chance import BEYOND
from atlas.tracing.many_texts import FEW_SENTENCES, TEMPLATES

if TYPE_CHECKING:
    from atlas.state.asking import Progress

ROWS = 10
"""Texts of a page of the list."""

CHANGED = "Heads are switched off, and this is asked of the whole model. Switch all heads on."

NO_HEADS = "In no text is a part of the words flagged and another part not, so nothing can be said of the heads."

FIRST_ALONE = "Rows of the list with a second text were read without it."


class AuditChoices(TextsChoices, Thresholded):
    """Choices of the view of flagged words over many texts."""


class Share(NamedTuple):
    """How much of all words a label flags."""

    label: str
    share: float
    lo: float
    hi: float
    words: int
    texts: int


class Line(NamedTuple):
    """One text."""

    at: int
    """Its place in the order of the file."""
    row: int
    text: str
    marks: tuple[Stretch, ...]
    """Where its flagged words are."""
    words: int
    head: HeadId | None
    """The head that looks most at flagged words; None: no head can be asked, and `note` says why."""
    ratio: float
    p: float
    note: str


class AuditLens(ManyTextsLens, RatioPlaneLens, HeadPlaneLens):
    """Layers x heads over all texts, the shares of the labels, and the texts."""

    page = param.Integer(default=1, bounds=(1, None), doc="Which page of the list of texts is shown.")

    key: ClassVar = "audit"
    choices_type: ClassVar = AuditChoices
    reads: ClassVar = {"selection": ("focus",), "thresholds": tuple(FIELDS.values()), "listed": ("texts",)}
    instead: ClassVar = "atlas audit"
    figures: ClassVar = ("ratio", "lo", "hi", "chance", "p", "q")

    def __init__(self, workspace: Any, **params: Any) -> None:
        self._lines: tuple[AuditSoFar, list[Line]] | None = None
        self._opened: tuple[Hashable, int] | None = None
        """The text opened last, and what it is one of: several may be alike."""
        super().__init__(workspace, **params)

    def depends(self) -> Hashable:
        """On the kind and on all that a run would take."""
        return self.kind, self.request(), len(self._wanted)

    # -- the run -------------------------------------------------------------------------------------------------------

    def request(self) -> Hashable:
        """All that the results depend on."""
        return model_key(self.trace), self.of_texts(), tuple(thresholds_of(self.workspace).items())

    def check(self) -> None:
        """A detector and the whole model are needed."""
        if AUDIT not in self.workspace.tasks:
            raise NotCaptured(NO_DETECTOR)
        if self.trace.provenance.get("changed"):
            raise NotCaptured(CHANGED)

    def part(self, held: dict[Any, Any]) -> Callable[[Progress], AuditSoFar]:
        """The next texts."""
        task, trace, texts, thresholds = self.workspace.tasks[AUDIT], self.trace, self.texts(), thresholds_of(self.workspace)
        if texts is None:
            raise BadData(LOST)

        def work(progress: Progress) -> AuditSoFar:
            made: AuditSoFar = task(trace, texts, thresholds, held, PART_SECONDS, progress.tell)
            return made

        return work

    def other_texts(self) -> None:
        """The list begins anew."""
        self.page = 1
        super().other_texts()

    def audit(self) -> AuditSoFar | None:
        """What is found so far, and the next part asked for."""
        found: AuditSoFar | None = self.shown()
        return found

    # -- heads ---------------------------------------------------------------------------------------------------------

    @property
    def no_plane(self) -> str:
        """Why the heads on screen have no numbers; empty: they have."""
        found = self.found()
        if found is None:
            return ""
        if self.trace.side(self.kind, "key") != "source":
            return OTHER_SIDE
        return "" if len(found.audit.heads) else NO_HEADS

    def ratios(self) -> pd.DataFrame | None:
        """Those of the kind on screen, over all texts so far."""
        found = self.found()
        if found is None or self.no_plane:
            return None
        heads = found.audit.heads
        return heads[heads["kind"] == self.kind].sort_values(["layer", "head"], ignore_index=True)

    def _build_plane(self) -> Plane:
        self._advance()
        heads = self.ratios()
        return Plane() if heads is None else self.of_heads(logarithms(heads["ratio"]))

    def heads(self) -> tuple[HeadId, ...]:
        """The heads of the kind on screen whose ratio is beyond chance."""
        return tuple(HeadId(self.kind, layer, head) for layer, head in sorted(self.beyond()))

    def select_heads(self, origin: str) -> None:
        """Select them."""
        heads = self.heads()
        if heads:
            self.workspace.selection.select_heads(heads, origin=origin, label="look at flagged words otherwise than chance")

    # -- labels and texts ----------------------------------------------------------------------------------------------

    def shares(self) -> list[Share]:
        """The labels with the share of words that they flag."""
        found = self.audit()
        if found is None:
            return []
        return [Share(*row) for row in found.audit.labels[list(Share._fields)].itertuples(index=False, name=None)]

    def lines(self) -> list[Line]:
        """The texts, those with most flagged words first."""
        found = self.audit()
        if found is None:
            return []
        if self._lines is None or self._lines[0] is not found:
            kinds = self.trace.kinds
            rows = zip(found.audit.texts.to_dict("records"), found.marks, strict=True)
            lines = [_line(at, row, marks, kinds) for at, (row, marks) in enumerate(rows)]
            self._lines = found, sorted(lines, key=lambda line: (-len(line.marks), line.at))
        return self._lines[1]

    def pages(self) -> int:
        """Pages of the list."""
        return max(1, -(-len(self.lines()) // ROWS))

    def on_page(self) -> list[Line]:
        """The texts that are shown."""
        start = (min(self.page, self.pages()) - 1) * ROWS
        return self.lines()[start : start + ROWS]

    def turn(self, by: int) -> None:
        """Show another page."""
        self.page = min(max(self.page + by, 1), self.pages())

    def current(self) -> int:
        """The place in the list of the text that the Atlas is asked for; -1: it is none of the list."""
        given = self.workspace.pipeline.input
        assert given is not None
        alike = [place for place, line in enumerate(self.lines()) if line.text == given.text]
        opened = [place for place in alike if self._opened == (self.request(), self.lines()[place].at)]
        return next(iter(opened or alike), -1)

    def where(self) -> str:
        """That place in words."""
        at, many = self.current(), len(self.lines())
        return f"{at + 1:,} of {many:,}" if at >= 0 else f"– of {many:,}"

    def step(self, by: int, origin: str) -> None:
        """Open the next text of the list (1) or the one before (-1)."""
        at, lines = self.current(), self.lines()
        place = at + by if at >= 0 else 0
        if 0 <= place < len(lines):
            self.page = place // ROWS + 1
            self.open(lines[place].at, origin)

    def open(self, at: int, origin: str) -> None:
        """Make a text the text of the Atlas, with the head that looks most at its flagged words in focus."""
        line = next((line for line in self.lines() if line.at == at), None)
        given, listed = self.workspace.pipeline.input, self.workspace.listed
        if line is None or given is None:
            return
        self._opened = self.request(), at
        if line.head is not None:
            self.workspace.selection.select_heads((line.head,), origin=origin)
        places = [place for place, each in enumerate(listed.texts.texts) if each.row == line.row]
        if self.choices.source == LISTED and places:
            listed.show(places[0])
            return
        given.put(line.text)
        self.workspace.pipeline.run()

    # -- files and words -----------------------------------------------------------------------------------------------

    def table(self) -> pd.DataFrame:
        """Every text; before a run the sets that come with Atlas."""
        found = self.audit()
        if found is None:
            return pd.DataFrame({"texts": list(TEMPLATES), "about": list(TEMPLATES.values())})
        return found.audit.texts

    def tables(self) -> dict[str, pd.DataFrame]:
        """The other tables by their names."""
        found = self.audit()
        return {} if found is None else {name: getattr(found.audit, name) for name in ("labels", "heads", "bad")}

    def notes(self) -> str:
        """Why there is no plane, and the rows that could not be used."""
        found = self.found()
        if found is None:
            return ""
        lines = [self.no_plane] if self.no_plane else []
        lines += [FEW_SENTENCES] if self.choices.source in TEMPLATES else []
        listed = self.workspace.listed.texts.texts if self.choices.source == LISTED else ()
        lines += [FIRST_ALONE] if any(each.pair for each in listed) else []
        bad = found.audit.bad
        first = [f"row {row:,} {reason}".removesuffix(".") for row, reason in bad.head(SHOWN_ROWS).itertuples(index=False)]
        if first:
            more = f", and {len(bad) - SHOWN_ROWS:,} more" if len(bad) > SHOWN_ROWS else ""
            lines.append(f"{counted(len(bad), 'row')} could not be used: {'; '.join(first)}{more}.")
        return "\n".join(lines)

    def describe(self) -> str:
        """How many texts, what is flagged in them, and how many heads look at it."""
        texts, found = self.texts(), self.found()
        if texts is None:
            return self.no_texts()
        name = self.name_of_texts(texts)
        if found is None:
            return f"{name}: not run yet with these thresholds"
        of = counted(found.of, "text")
        count = of if found.complete else f"{found.done:,} of {of}"
        table, about = found.audit.texts, found.audit.provenance
        some = int((table["flagged"] > 0).sum())
        said = f"{about['model']} on {count} of {name}, in {some:,} of which {about['detector']} flags words"
        heads = self.ratios()
        if heads is None:
            return said
        beyond = heads[heads["q"] <= BEYOND]
        more = int((beyond["ratio"] > 1).sum())
        split = f": {more:,} look more, {len(beyond) - more:,} less" if len(beyond) else ""
        n = counted(int(heads["n"].iloc[0]), "text")
        return f"{said}; {len(beyond):,} of {self.of_kind()} are beyond chance (q ≤ {BEYOND}, {n}){split}"


def _line(at: int, row: dict[Any, Any], marks: tuple[Stretch, ...], kinds: tuple[str, ...]) -> Line:
    head = as_head(row["head"], kinds) if row["head"] else None
    return Line(at, int(row["row"]), row["text"], marks, int(row["words"]), head, row["ratio"], row["p"], row["note"])
