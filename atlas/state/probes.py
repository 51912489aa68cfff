"""What the view of the probes shows: how well each label can be read from the residual stream, over the texts of a file."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
import param

from atlas.errors import NotCaptured
from atlas.numbers import listed, three
from atlas.state.asking import Progress
from atlas.state.attention_depth import select_layers
from atlas.state.detection import FIELDS, TITLES, thresholds_of
from atlas.state.lens import counted
from atlas.state.model_key import model_key
from atlas.state.pressed import PressedLens
from atlas.state.readers_file import digest_of
from atlas.trace import NO_MODEL, Trace
from atlas.tracing.labelled import FOLDS, GATHER, LEAST, PROBES

MOST_TEXTS = 500
"""Texts of a file at most: each takes a run of the model on screen, which other readers wait for."""

CHANGED = "Heads are switched off, and probes read the whole model. Switch all heads on."

TOO_FEW = f"Too few words for a probe ({LEAST} flagged ones in {FOLDS} texts, and {LEAST} others): "


class ProbesChoices(param.Parameterized):
    """Choices of the view of the probes."""

    column = param.String(default="text", doc="The column or key of the file that holds the texts.")


class Request(NamedTuple):
    """What a press runs."""

    model: Hashable
    digest: str
    """Of the file; empty: there is none."""
    column: str
    thresholds: tuple[tuple[str, float], ...]


class ProbesLens(PressedLens):
    """The probes on the model on screen. They outlive its text: another text is no reason to fit them again."""

    key: ClassVar = "probes"
    choices_type: ClassVar = ProbesChoices
    reads: ClassVar = {"thresholds": tuple(FIELDS.values())}

    def __init__(self, workspace: Any, **params: Any) -> None:
        self._data: bytes | None = None
        self._digest = self.file = ""
        self._gathered: tuple[Request, Any] | None = None
        """The words that probes are being fitted to; dropped when these are there, because they are large."""
        self._results: dict[Request, pd.DataFrame] = {}
        super().__init__(workspace, **params)

    def depends(self) -> Hashable:
        """On all that a press would run."""
        return self.request()

    def request(self) -> Request:
        """What a press would run."""
        thresholds = tuple(thresholds_of(self.workspace).items())
        return Request(model_key(self.trace), self._digest, self.choices.column, thresholds)

    def take(self, name: str, data: bytes) -> None:
        """Take a file of the reader's."""
        digest = digest_of(name, data, "atlas audit --depth")
        self.drop_asked()
        self._data, self.file, self._digest = data, name, digest
        self._gathered = None
        self._redraw()

    @property
    def can_start(self) -> bool:
        """Not without a file, nor for what is there already."""
        return self._data is not None and super().can_start and self.request() not in self._results

    def cancel(self) -> None:
        """Stop, and let go of the words."""
        self._gathered = None
        super().cancel()

    def table(self) -> pd.DataFrame:
        """One row a label and layer; before the press, what a probe of each label needs."""
        found = self.shown()
        if found is not None:
            return found
        return pd.DataFrame({"label": list(FIELDS), "flagged_needed": LEAST, "others_needed": LEAST, "texts_needed": FOLDS})

    def shown(self) -> pd.DataFrame | None:
        """The table of the probes; None where it was not asked for, or is on its way."""
        return self.attempt(self._found, None)

    def of_label(self, label: str) -> pd.DataFrame | None:
        """The probes of one label by layer; None where there are none, or words were too few."""
        found = self.shown()
        if found is None:
            return None
        rows = found[found["label"] == label]
        return rows if rows["auc"].notna().any() else None

    def notes(self) -> str:
        """Labels without probes, and rows that were left out."""
        found = self.shown()
        if found is None:
            return ""
        first = found.drop_duplicates("label")
        few = [
            f"{TITLES.get(row['label'], row['label'])} {int(row['flagged']):,} of {counted(int(row['words']), 'word')}"
            for row in first[first["auc"].isna()].to_dict("records")
        ]
        left_out = [f"row {row} {reason}" for row, reason in found.attrs["left_out"]]
        lines = [TOO_FEW + ", ".join(few) + "."] if few else []
        lines += [f"{counted(len(left_out), 'row')} left out: {listed(left_out)}"] if left_out else []
        return "\n".join(lines)

    def select_layer(self, layer: int, origin: str) -> None:
        """Select the heads that read the stream at a depth; after the last layer there are none."""
        kind = self.trace.kinds[0]
        if 0 <= layer < self.trace.n_layers(kind):
            select_layers(self, kind, [layer], origin)

    # -- what is found -------------------------------------------------------------------------------------------------

    def _found(self) -> pd.DataFrame | None:
        trace, request, tasks = self.trace, self.request(), self.workspace.tasks
        if GATHER not in tasks or PROBES not in tasks or trace.live is None:
            raise NotCaptured(NO_MODEL)
        if trace.provenance.get("changed"):
            raise NotCaptured(CHANGED)
        if request not in self._results:
            self.line = f"{self.file}: not run yet" if self._data is not None else "choose a file of texts"
            if self._data is None or not self.is_pressed:
                self.drop_asked()
                return None
            table = self._fitted(trace, request)
            if table is None:
                return None
            self._results[request] = table
        found = self._results[request]
        self.line = self._describe(found)
        return found

    def _fitted(self, trace: Trace, request: Request) -> pd.DataFrame | None:
        """Two parts of work: the first needs the model, and the second, which is longer, does not keep it from others."""
        name, data, tasks, nothing = self.file, self._data, self.workspace.tasks, None
        if self._gathered is None or self._gathered[0] != request:

            def gather(progress: Progress) -> Any:
                def report(done: int, of: int) -> None:
                    progress.tell(f"Reading text {done + 1:,} of {of:,}", done / of)

                return tasks[GATHER](trace, name, data, request.column, dict(request.thresholds), MOST_TEXTS, report)

            words = self.ask(f"words {request}", gather, nothing, needs_model=True, keep=False)
            if words is None:
                return None
            self._gathered = request, words
        held = self._gathered[1]

        def fit(progress: Progress) -> pd.DataFrame:
            made: pd.DataFrame = tasks[PROBES](
                held, progress=lambda done, of: progress.tell(f"Fitting probe {done + 1:,} of {of:,}", done / of)
            )
            return made

        table: pd.DataFrame | None = self.ask(f"probes {request}", fit, None, keep=False)
        if table is not None:
            self._gathered = None
        return table

    def _describe(self, found: pd.DataFrame) -> str:
        words = counted(int(found["words"].iloc[0]), "word")
        best: dict[str, tuple[float, int]] = {}
        for row in found.dropna(subset="auc").to_dict("records"):
            label, reached = TITLES.get(row["label"], row["label"]).lower(), (float(row["auc"]), int(row["layer"]))
            best[label] = max(best.get(label, reached), reached, key=lambda each: each[0])
        names = ", ".join(f"{label} {three(auc)} at {_depth(layer, found)}" for label, (auc, layer) in best.items())
        said = f"best: {names}" if best else "words are too few for a probe"
        return f"{self.trace.provenance.get('model')} on {words} of {self.file}; {said}"


def _depth(layer: int, found: pd.DataFrame) -> str:
    return "the end" if layer == int(found["layer"].max()) else f"layer {layer}"


def without_stream(trace: Trace) -> str:
    """Why the model of a trace cannot be probed; empty: it can."""
    return "its model is not here to be probed." if trace.live is None else ""


def interval(row: Any) -> str:
    """The interval of a probe, in words."""
    return "" if np.isnan(row["lo"]) else f", 95 % {three(row['lo'])} to {three(row['hi'])}"
