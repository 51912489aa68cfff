"""What the benchmark view shows: the scores of the model on screen on a file of the reader's, as they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
import param

from atlas.errors import BadData, NotCaptured
from atlas.state.asking import Progress
from atlas.state.lens import counted
from atlas.state.model_key import model_key
from atlas.state.parts import PartsLens
from atlas.state.readers_file import digest_of
from atlas.tracing.benchmarks import BENCHMARK, INTERSENTENCE, KINDS, SENTENCES, STEREOSET, Benchmark, Kind

if TYPE_CHECKING:
    from atlas.trace import Trace

ENDINGS = (".json", ".jsonl", ".csv")

PART_SECONDS = 2.0
"""Seconds of a part of a run. Between two parts other readers of the same model have their turn, and the scores are redrawn."""

ALL = "all"
"""Every category, or every target."""

OVERALL = "overall"

LOST = "The file is no longer here. Choose it again."

MEASURES = {"ss": "Stereotype score (ideal 50)", "lms": "Language model score (ideal 100)", "icat": "both as ICAT (ideal 100)",
            "score": "More stereotyped is likelier (ideal 50)"}  # fmt: skip
"""Columns of the scores, and what they are called."""


class BenchmarkChoices(param.Parameterized):
    """Choices of the benchmark view."""

    benchmark = param.Selector[str](objects=list(KINDS), default=STEREOSET, doc="Which benchmark.")
    limit = param.Integer(default=0, bounds=(0, 1_000_000), doc="So many examples, drawn at random; 0: all.")
    category = param.String(default=ALL, doc="Which examples are shown.")
    target = param.String(default=ALL, doc="Which examples are shown.")


class Row(NamedTuple):
    """One row of the plot of scores."""

    name: str
    n: int
    values: dict[str, tuple[float, float, float]]
    """Measure -> value and the edges of its interval, which are NaN where there is none."""


class BenchmarkLens(PartsLens):
    """The results on the model on screen."""

    digest = param.String(default="", doc="A hash of the file; empty: there is none.")

    key: ClassVar = "benchmark"
    choices_type: ClassVar = BenchmarkChoices

    def __init__(self, workspace: Any, **params: Any) -> None:
        self.data: bytes | None = None
        self.file = ""
        self._begun: dict[Hashable, tuple[float, int]] = {}
        self.picked = ""
        super().__init__(workspace, **params)

    def depends(self) -> Hashable:
        """On the file and all choices."""
        choices = self.choices
        return self.digest, choices.benchmark, choices.limit, choices.category, choices.target, len(self._wanted), self.picked

    # -- the file and the run ------------------------------------------------------------------------------------------

    def take(self, name: str, data: bytes) -> None:
        """Take a file of the reader's."""
        digest = digest_of(name, data, "atlas bias", ENDINGS, f" {self.kind_of.title} reads {self.kind_of.file}.")
        self.drop_asked()
        self.data, self.file, self.digest = data, name, digest
        self.picked = ""
        self._redraw()

    def run(self) -> None:
        """Run the benchmark, or go on with it."""
        if self.can_begin():
            self._begun[self.request()] = time.monotonic(), len(self.held())
        super().run()

    def handed_over(self) -> Any:
        """The file and the results."""
        return self.data, self.digest, self.file, self.picked, dict(self._results)

    def take_over(self, handed: Any) -> None:
        """Show the results there; nothing is run."""
        self.data, self.digest, self.file, self.picked, self._results = handed
        self._redraw()

    @property
    def kind_of(self) -> Kind:
        """The benchmark chosen."""
        return KINDS[self.choices.benchmark]

    def can_begin(self) -> bool:
        """Whether there is a file."""
        return self.data is not None

    def check(self) -> None:
        """Benchmarks need a task."""
        if BENCHMARK not in self.workspace.tasks:
            msg = "A benchmark runs in the app alone."
            raise NotCaptured(msg)

    def request(self) -> Hashable:
        """All that the results depend on."""
        return model_key(self.trace), self.choices.benchmark, self.choices.limit, self.digest

    def part(self, held: dict[str, tuple[float, ...]]) -> Callable[[Progress], Benchmark]:
        """The next examples; `held` has what was scored."""
        task, trace, data = self.workspace.tasks[BENCHMARK], self.trace, self.data
        if data is None:
            raise BadData(LOST)
        name, limit = self.choices.benchmark, self.choices.limit or None
        since, before = self._begun.get(self.request(), (time.monotonic(), len(held)))

        def work(progress: Progress) -> Benchmark:
            def report(finished: int, of: int) -> None:
                pace = (time.monotonic() - since) / max(1, finished - before)
                left = f", about {pace * (of - finished):.0f} s left" if finished > before else ""
                progress.tell(f"{finished:,} of {of:,} examples{left}")

            made: Benchmark = task(trace, name, data, limit, held, PART_SECONDS, report)
            return made

        return work

    # -- what is shown -------------------------------------------------------------------------------------------------

    def rows(self) -> list[Row]:
        """The scores by category; of a chosen category, those of its targets."""
        found = self.shown()
        if found is None:
            return []
        kind, chosen = KINDS[found.name], self.category
        if chosen == ALL or not len(found.targets):
            table, name = found.scores, kind.key
        else:
            table, name = found.targets[found.targets["category"] == chosen], "target"
        rows = [Row(str(row[name]), int(row["n"]), _values(row, triples=kind.triples)) for row in table.to_dict("records")]
        return rows if name == kind.key else sorted(rows, key=lambda row: next(iter(row.values.values()))[0])

    def measures(self) -> tuple[str, ...]:
        """The measures of the benchmark chosen."""
        return ("ss", "lms", "icat") if self.kind_of.triples else ("score",)

    def categories(self) -> list[str]:
        """All categories there are examples of."""
        found = self.found()
        return [ALL, *([] if found is None else sorted(found.examples["category"].unique()))]

    def targets(self) -> list[str]:
        """All targets of the category chosen."""
        found = self.found()
        if found is None:
            return [ALL]
        rows = found.examples if self.category == ALL else found.examples[found.examples["category"] == self.category]
        return [ALL, *sorted(name for name in rows["target"].unique() if name)]

    @property
    def category(self) -> str:
        """The category chosen; all where the examples have none of that name."""
        return self.choices.category if self.choices.category in self.categories() else ALL

    @property
    def target(self) -> str:
        """The target chosen; all where the examples of the category have none of that name."""
        return self.choices.target if self.choices.target in self.targets() else ALL

    def examples(self) -> pd.DataFrame:
        """All examples of the category and target chosen."""
        found = self.shown()
        if found is None:
            return pd.DataFrame(columns=["id", "category", "target", "context", "difference"])
        table = found.examples
        for column, chosen in (("category", self.category), ("target", self.target)):
            if chosen != ALL:
                table = table[table[column] == chosen]
        return table.reset_index(drop=True)

    def differences(self) -> np.ndarray:
        """How much likelier the first sentence of each example shown is than the second, as a logarithm."""
        return self.examples()["difference"].to_numpy(dtype=float)

    def sentences(self) -> list[tuple[str, str, str, float]]:
        """Of the example picked: column, what it is called, the sentence as a text, its score."""
        found = self.found()
        row = None if found is None else found.examples[found.examples["id"] == self.picked]
        if found is None or row is None or row.empty:
            return []
        names, values = SENTENCES[KINDS[found.name].triples], row.iloc[0]
        before = f"{values['context']} " if found.name == INTERSENTENCE else ""
        return [(column, name, before + values[column], float(values[f"{column}_score"])) for column, name in names.items()]

    # -- what a reader does --------------------------------------------------------------------------------------------

    def open(self, example: str, column: str | None = None) -> None:
        """Pick an example, and make one of its sentences the text of the Atlas: the first, unless another is named."""
        self.picked = example
        texts = {name: text for name, _, text, _ in self.sentences()}
        given = self.workspace.pipeline.input
        assert given is not None
        if texts:
            given.put(texts[column or next(iter(texts))])
            self.workspace.pipeline.run()
        self._redraw()

    def table(self) -> pd.DataFrame:
        """Every example shown with its likelihoods; the benchmarks that can be run where none was."""
        if self.shown() is None:
            rows = [{"benchmark": name, "title": kind.title, "file": kind.file} for name, kind in KINDS.items()]
            return pd.DataFrame(rows)
        return self.examples()

    # -- in words ------------------------------------------------------------------------------------------------------

    def describe(self) -> str:
        """The scores in a line."""
        title, found = self.kind_of.title, self.found()
        if self.data is None:
            return f"{title}: choose a file ({self.kind_of.file})"
        if found is None:
            return f"{title} on {self.file}: not run yet"
        off = self.trace.provenance.get("changed", {}).get("ablated", ())
        without = f", {counted(len(off), 'head')} switched off" if off else ""
        count = ("" if found.complete else f"{len(found.examples):,} of ") + counted(found.of, "example")
        overall = found.scores[found.scores[KINDS[found.name].key] == OVERALL]
        values = _values(overall.iloc[0].to_dict(), triples=KINDS[found.name].triples) if len(overall) else {}
        told = ", ".join(f"{name.upper() if len(name) < 5 else name} {in_words(*value)}" for name, value in values.items())
        return f"{title} on {found.model}{without}, {count}: {told}"

    def notes(self) -> str:
        """What is to be known of the numbers."""
        found = self.shown()  # whoever asks first after a part has come takes it in
        return "" if found is None else " ".join(found.notes)


def _values(row: Mapping[Hashable, Any], *, triples: bool) -> dict[str, tuple[float, float, float]]:
    """The measures of a row of scores; a measure the row has not is left out."""
    if not triples:
        return {"score": (float(row["score"]), float(row["lo"]), float(row["hi"]))}
    return {
        name: (float(row[name]), float(row.get(f"{name}_lo", np.nan)), float(row.get(f"{name}_hi", np.nan)))
        for name in ("ss", "lms", "icat")
        if name in row
    }


def in_words(value: float, lo: float, hi: float) -> str:
    """A score with its interval."""
    return f"{value:.1f}" if np.isnan(lo) else f"{value:.1f} ({lo:.1f} to {hi:.1f})"


def without_likelihoods(trace: Trace) -> str:
    """Why the model of a trace cannot be asked; empty: it can."""
    if trace.live is None:
        return "its model is not here to run a benchmark."
    if trace.provenance.get("task") not in ("masked-lm", "causal-lm"):
        return "likelihoods are those of masked and of causal language models."
    return ""
