"""What a head writes for the tokens it looks at, as the tokens that this promotes and suppresses."""

from __future__ import annotations

from typing import ClassVar

from atlas.state.head_readings import HeadReadingsLens
from atlas.trace import Trace
from atlas.tracing.head_readings import without_readings
from atlas.views.shows import Shows
from atlas.views.token_lists import TokenListsView


class HeadReadingsView(TokenListsView):
    """The output of a head, read as tokens."""

    key: ClassVar = "head_readings"
    title: ClassVar = "What a head writes"
    question: ClassVar = "What does this head write when it looks there?"
    help: ClassVar = (
        "For each selected token that is looked at (without a selection, those that the head in focus looks at most): what the "
        "head would write with all of its attention there, and which tokens that raises most, through the final norm and the "
        "unembedding. A head that raises the token itself copies it: the note says which rank of all tokens it has. "
        "The tokens it lowers most are in the saved table. What the layers "
        "after it make of it is not in this, so early heads are read with care. Click a heading to select its token."
    )
    defines: ClassVar = ("head_reading",)
    lens_type: ClassVar = HeadReadingsLens
    listed = Shows(HeadReadingsLens)

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """A model that predicts tokens, which is here."""
        reasons = [without_readings(trace, kind) for kind in trace.kinds]
        return f"What its heads write cannot be read as tokens: {reasons[0]}" if all(reasons) else ""
