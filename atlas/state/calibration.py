"""What the view of the calibration shows: how far the labels on screen can be believed."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from atlas.numbers import three
from atlas.state.detection import FIELDS, TITLES, asked_labels, thresholds_of, under
from atlas.state.lens import Lens, counted
from atlas.tracing.calibration import UNCALIBRATED, LabelCalibration, Rate, tier_of

if TYPE_CHECKING:
    from atlas.state.detection import Found
    from atlas.tracing.calibration import Calibration


class CalibrationLens(Lens):
    """The reliability of every label, its error rates at the thresholds of now, and the flagged words of the text by tier."""

    key: ClassVar = "calibration"
    reads: ClassVar = {"thresholds": tuple(FIELDS.values())}

    _found: Found | None = None

    def depends(self) -> Hashable:
        """On the thresholds alone."""
        return tuple(thresholds_of(self.workspace).items())

    def forget(self) -> None:
        """What is flagged is worked out anew."""
        self._found = None

    def found(self) -> Found | None:
        """The words of the text with what is known of their detector; None while the text is being read."""
        return self.attempt(self._work_out, None)

    def _work_out(self) -> Found | None:
        if self._found is None:
            labels = asked_labels(self)
            if labels is not None:
                self._found = under(labels, thresholds_of(self.workspace))
                known = labels.calibration
                who = labels.detector
                self.line = UNCALIBRATED.format(detector=who) if known is None else f"{who} on {known.data}"
        return self._found

    def known(self) -> Calibration | None:
        """The calibration of the detector; None where none is known, or the text is being read."""
        found = self.found()
        return None if found is None else found.calibration

    def note(self) -> str:
        """What is missing, in words."""
        found = self.found()
        if found is None or found.calibration is not None:
            return ""
        who = found.detector
        changed = self.trace.provenance.get("changed") and who == str(self.trace.provenance.get("model"))
        why = " It runs with changes here, and what was measured is the whole model." if changed else ""
        return UNCALIBRATED.format(detector=who) + why

    def of_label(self, label: str) -> LabelCalibration | None:
        """The calibration of one label."""
        known = self.known()
        return None if known is None else known.labels.get(label)

    def groups(self) -> list[dict[str, Any]]:
        """Of every label: error rates at its threshold, and its flagged words in this text by tier."""
        found = self.found()
        if found is None:
            return []
        labels = found.words.labels
        order = sorted(labels, key=[*FIELDS, *labels].index)  # that of the diagrams first
        return [self._group(found, labels.index(label), label) for label in order]

    def _group(self, found: Found, column: int, label: str) -> dict[str, Any]:
        """The rows of one label; without a calibration, its flagged words alone."""
        marked, known = found.flagged[:, column], self.of_label(label)
        name = f"{TITLES.get(label, label)}: {int(marked.sum()):,} of {counted(len(marked), 'word')} flagged"
        if known is None:
            return {"name": name, "rows": []}
        limit = thresholds_of(self.workspace).get(label, 0.5)
        errors = known.errors(limit)
        rows = [
            _rate("right when flagged", errors.precision, errors.flagged),
            _rate("found when labelled", errors.recall, known.positives),
            _rate("false alarms", Rate(errors.false_alarms, np.nan, np.nan), known.words - known.positives),
            *({"label": f"{tier} confidence", "number": f"{n:,}", "note": "here"} for tier, n in found.tiers(column).items()),
        ]
        return {"name": name, "rows": rows}

    def table(self) -> pd.DataFrame:
        """The reliability table of every label; where none is known, the flagged words alone."""
        found = self.found()
        if found is None:
            return pd.DataFrame(columns=["label"])
        labels, known = found.words.labels, found.calibration
        if known is None:
            counts = found.flagged.sum(axis=0)
            return pd.DataFrame({"detector": found.detector, "label": labels, "flagged_in_text": counts})
        limit = thresholds_of(self.workspace)
        tables = []
        for label in labels:
            if label in known.labels:
                of, errors = known.labels[label], known.labels[label].errors(limit.get(label, 0.5))
                bins = ("low", "high", "n", "mean", "share", "share_lo", "share_hi")
                table = pd.DataFrame({"label": label, **{name: getattr(of, name) for name in bins}, "believed": of.believed()})
                table["tier"] = [tier_of(share) for share in of.believed()]
                rates = {"precision": errors.precision.value, "recall": errors.recall.value, "false_alarms": errors.false_alarms}
                tables.append(table.assign(threshold=errors.threshold, **rates))
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["label"])


def _rate(label: str, rate: Rate, of: int) -> dict[str, Any]:
    """A row with an interval, and of how many words it is."""
    edges = "" if np.isnan(rate.lo) else f"{rate.lo:.2f} to {rate.hi:.2f} "
    return {"label": label, "shares": [rate.value], "number": three(rate.value), "note": f"{edges}of {of:,}"}
