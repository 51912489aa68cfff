"""The notebook of findings on the page: what a reader pins, edits, restores, loads and saves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import panel as pn

from atlas.components.findings_book import FindingsBook
from atlas.state.contradictions import HELP, contradictions
from atlas.state.findings import CLAIMS, EDITED, MOST_LETTERS, OF_REPORT, Findings, dumps, markdown
from atlas.state.shared import SharedState
from atlas.views.base import gesture
from atlas.views.report_press import ReportPress

if TYPE_CHECKING:
    import param

TITLES = {"title": "Title", "hypothesis": "Hypothesis", "uncertainty": "Uncertainty", "steps": "Next steps"}

ASKS = {"title": "What the report is called", "question": "The question that it answers"}

ENDINGS = {"json": "Save as JSON", "md": "Save as Markdown"}

ABOUT = (
    "A finding is a view as it was when you pinned it: Restore brings back its model, text, selection and choices, and the run "
    "where it is needed. Findings are kept by this browser alone, not by the server; whoever uses this browser can see them. "
    "Save them to a file to keep them elsewhere. Report makes one HTML file of all of them, with every picture and number made "
    "again; `atlas report findings.json -o report.html` makes the same of the file saved as JSON."
)


class Notebook:
    """Joins the findings of a session to what its page shows of them."""

    def __init__(self, findings: Findings, shared: SharedState, dark: param.Parameter) -> None:
        self.findings, self.shared = findings, shared
        findings.link = shared.link
        findings.offered = True
        self.book = FindingsBook(
            fields=[[name, TITLES[name], most] for name, most in EDITED.items()],
            claims=[list(each) for each in CLAIMS.items()],
            endings=[list(each) for each in ENDINGS.items()],
            asks=[[name, ASKS[name], most] for name, most in OF_REPORT.items()],
            help=f"{ABOUT} {HELP}",
            most=MOST_LETTERS,
            dark=dark,
            css_classes=["aa-findings"],
            align="center",
        )
        self.report = ReportPress(shared, self.book)
        self.book.on_ask(
            begin=self._begin, load=findings.add, edit=findings.edit, move=findings.move, remove=findings.remove,
            restore=self._restore, export=self._file, report=self.report.start, cancel=self.report.cancel,
        )  # fmt: skip
        findings.param.watch(self._show, ["found", "said"])

    def _begin(self, text: str) -> None:
        # Once the page is complete: what is changed before that never arrives there, and this is asked for while it is made.
        pn.state.onload(lambda: self._take(text))

    def _take(self, text: str) -> None:
        if not self.findings.take(text):
            self.book.say_unread()

    def _show(self, *_: object) -> None:
        found = self.findings.found
        self.book.param.update(kept=dumps(found), flags=contradictions(found), said=self.findings.said)

    @gesture
    def _restore(self, key: str) -> None:
        finding = self.findings.get(key)
        if finding is not None and not self.shared.open(finding.token):
            self.findings.said = f"This finding cannot be restored. {self.shared.complaint}"

    def _file(self, ending: str) -> dict[str, Any] | None:
        """The findings as a file of an ending."""
        found = self.findings.found
        if ending == "json":
            return {"name": "findings.json", "kind": "application/json", "text": dumps(found, indent=1)}
        if ending == "md":
            return {"name": "findings.md", "kind": "text/markdown", "text": markdown(found, contradictions(found))}
        return None
