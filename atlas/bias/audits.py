"""Many texts through a detector, and the attention of every head to what it flags, text by text and together."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from atlas.attribution.statistics import false_discovery
from atlas.bias.detection import Detector, detector_for
from atlas.bias.heads import Received, ratio_of, received, two_sided
from atlas.bias.page_texts import MOST_TEXTS, numbered, rows_of_page
from atlas.engine.gradients.subject import model_of
from atlas.engine.loading.load import load
from atlas.engine.model import Model
from atlas.engine.running.token_labels import token_labels
from atlas.errors import AtlasError, BadData, TooLarge
from atlas.text.files import BadRow, TextRow, TextRows
from atlas.tracing.audits import AUDIT, Audit, AuditSoFar, Stretch
from atlas.tracing.labelled import Thresholds, TokenLabels, flagged, limits, tokens_within, words_of
from atlas.tracing.many_texts import TextsOf

if TYPE_CHECKING:
    from atlas.trace import Trace

PERMUTATIONS = 999

EDGES = (2.5, 97.5)
"""Percentiles of a 95 % interval."""

MOST_WEIGHTS = 500_000_000
"""Weights of attention of one text at most on a page: they take seconds, in which nobody can stop the run. Of 144 heads those of
1,800 tokens."""

Progress = Callable[[int, int], object]
"""(texts done, all texts)"""

Tell = Callable[[str, float], object]
"""(message, share done)"""


def audit(
    detector: str | Model | Any,
    texts: TextRows | Sequence[str],
    model: str | Model | Any = None,
    thresholds: Thresholds = None,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    progress: Progress | None = None,
) -> Audit:
    """Detect biased language in many texts, and ask which heads look at it more than chance, over all texts together.

    Parameters
    ----------
    detector
        A token classifier: a Model, or whatever `atlas.load` takes.
    texts
        What `atlas.text.files.read_texts` read, or texts.
    model
        Whose attention is asked; None: the detector's own. Words are matched by characters.
    thresholds
        As `detect` takes them.
    permutations, seed
        Of the null, which puts the flagged stretches elsewhere in each text, and of the intervals, which resample texts.
    progress
        Called with the texts done and all texts.

    Notes
    -----
    The ratio of a head over all texts is Σ over texts of the attention that flagged tokens get, over Σ of what they would get
    from even attention under the same mask: texts count by their length and by how much is flagged in them. Texts in which
    nothing or everything is flagged say nothing about heads.
    """
    finder = detector if isinstance(detector, Model) else load(detector)
    asked = finder if model is None else model if isinstance(model, Model) else load(model)
    run = Run(Detector(finder.name, partial(token_labels, finder), thresholds), asked, numbered(texts), permutations, seed)
    while not run.is_over:
        if progress is not None:
            progress(run.done, run.of)
        run.step()
    if progress is not None:
        progress(run.done, run.of)
    return run.result()


class Run:
    """An audit under way. It is asked for its result at any time, and that of all texts does not depend on when it was."""

    def __init__(
        self,
        detector: Detector,
        model: Model,
        rows: TextRows,
        permutations: int = PERMUTATIONS,
        seed: int = 0,
        check: Callable[[Model, str], None] | None = None,
    ) -> None:
        self._detector, self._model, self._rows, self._permutations, self._seed = detector, model, rows, permutations, seed
        self._check = check
        self._random = np.random.default_rng(seed)
        self._found: list[dict[str, Any]] = []
        self._pooled, self._bad = Pooled(), list(rows.bad)
        self.done = 0

    @property
    def of(self) -> int:
        """Texts in all."""
        return len(self._rows.texts)

    @property
    def is_over(self) -> bool:
        """Whether no text is left."""
        return self.done >= self.of

    @property
    def is_empty(self) -> bool:
        """Whether no text could be used so far."""
        return not self._found

    def marks(self) -> tuple[tuple[Stretch, ...], ...]:
        """The flagged words of the texts that were used."""
        return tuple(each["marks"] for each in self._found)

    def step(self) -> None:
        """Read the next text; one that cannot be read goes to the bad rows."""
        row = self._rows.texts[self.done]
        try:
            if self._check is not None:
                self._check(self._model, row.text)
            labels = self._detector.labels(row.text)
        except AtlasError as error:
            self._bad.append(BadRow(row.row, str(error)))
        else:
            thresholds, random = self._detector.thresholds, self._random
            self._found.append(_of_text(row, labels, thresholds, self._model, self._pooled, self._permutations, random))
        self.done += 1

    def result(self) -> Audit:
        """What was found so far; raises where no text could be used."""
        if self.is_empty:
            msg = f"None of {len(self._bad):,} rows could be used"
            msg += f"; the first one {self._bad[0].reason.removesuffix('.')}." if self._bad else "."
            raise BadData(msg)
        random = copy.deepcopy(self._random)  # the texts that follow must not depend on whether somebody looked
        names = tuple(self._found[0]["counts"])
        table = pd.DataFrame([{**each, **each["counts"]} for each in self._found])
        columns = ["row", "text", "words", "flagged", *names, "head", "ratio", "p", "note"]
        provenance = {
            "detector": self._detector.name, "model": self._model.name, "texts": len(self._found),
            "permutations": self._permutations, "seed": self._seed, "thresholds": self._detector.thresholds,
        }  # fmt: skip
        return Audit(
            table[columns],
            _labels(table, names, random),
            self._pooled.table(random),
            pd.DataFrame(sorted(self._bad), columns=["row", "reason"]),
            provenance,
        )


def _of_text(
    row: TextRow,
    labels: TokenLabels,
    thresholds: Thresholds,
    model: Model,
    pooled: Pooled,
    permutations: int,
    random: np.random.Generator,
) -> dict[str, Any]:
    """The line of one text; its sums go to the pool."""
    words = words_of(labels)
    marked = flagged(words, limits(words.labels, thresholds, labels.thresholds))
    spans = words.table[["start", "end"]].to_numpy(dtype=int)[marked.any(axis=1)]
    line: dict[str, Any] = {
        "row": row.row,
        "text": row.text,
        "words": len(words.table),
        "flagged": len(spans),
        "counts": {label: int(marked[:, at].sum()) for at, label in enumerate(words.labels)},
        "marks": tuple((int(start), int(end)) for start, end in spans),
        "head": "", "ratio": np.nan, "p": np.nan, "note": "",
    }  # fmt: skip
    if not line["flagged"]:
        return line | {"note": "nothing is flagged"}
    try:
        trace = model.trace(row.text, capture=())
        tokens = frozenset().union(*(tokens_within(trace, 0, start, end) for start, end in line["marks"]))
    except AtlasError as error:
        return line | {"note": f"no attention: {error}"}
    if not 0 < len(tokens) < int((~trace.tokens()["special"]).sum()):
        return line | {"note": "every token is flagged" if tokens else "no token of the model is flagged"}
    sums = received(trace, tokens, permutations, random)
    pooled.add(sums)
    ratio = ratio_of(sums.mass, sums.even)
    if np.isfinite(ratio).any():
        most = int(np.nanargmax(ratio))
        # The largest of many heads is held against the largest of the same heads under other labels.
        largest = np.nanmax(ratio_of(sums.null_mass, sums.null_even), axis=0)
        kind, layer, head = sums.heads.to_numpy()[most]
        line |= {
            "head": f"{kind} L{layer} H{head}",
            "ratio": float(ratio[most]),
            "p": float((1 + (largest >= ratio[most]).sum()) / (1 + len(largest))),
        }
    return line


class Pooled:
    """What heads give to flagged tokens, added up over texts of one model."""

    def __init__(self) -> None:
        self._heads: pd.DataFrame | None = None
        self._texts: list[tuple[np.ndarray, np.ndarray]] = []
        self._null: tuple[np.ndarray, np.ndarray] | None = None

    def add(self, sums: Received) -> None:
        """Add those of one text."""
        self._heads = sums.heads
        self._texts.append((sums.mass, sums.even))
        null = (sums.null_mass, sums.null_even)
        self._null = null if self._null is None else (self._null[0] + null[0], self._null[1] + null[1])

    def table(self, random: np.random.Generator) -> pd.DataFrame:
        """The heads over all texts."""
        columns = ["kind", "layer", "head", "ratio", "lo", "hi", "chance", "p", "q", "n"]
        if self._heads is None or self._null is None:
            return pd.DataFrame(columns=columns)
        mass, even = (np.array(values) for values in zip(*self._texts, strict=True))
        ratio, n = ratio_of(mass.sum(0), even.sum(0)), len(mass)
        lo = hi = np.full(len(ratio), np.nan)
        if n > 1:
            draws = random.multinomial(n, np.full(n, 1 / n), size=PERMUTATIONS)
            lo, hi = np.nanpercentile(ratio_of(draws @ mass, draws @ even), EDGES, axis=0)
        null = ratio_of(*self._null)
        p = two_sided(ratio, null)
        return self._heads.assign(ratio=ratio, lo=lo, hi=hi, chance=null.mean(axis=1), p=p, q=false_discovery(p), n=n)[columns]


def _labels(table: pd.DataFrame, names: Iterable[str], random: np.random.Generator) -> pd.DataFrame:
    """How much of all words each label flags."""
    n, words = len(table), table["words"].to_numpy(dtype=float)
    draws = random.multinomial(n, np.full(n, 1 / n), size=PERMUTATIONS)
    lines = []
    for name in names:
        counts = table[name].to_numpy(dtype=float)
        shares = ratio_of(draws @ counts, draws @ words)
        lo, hi = np.nanpercentile(shares, EDGES) if n > 1 and np.isfinite(shares).any() else (np.nan, np.nan)
        share = counts.sum() / words.sum() if words.sum() else np.nan
        lines.append((name, int(counts.sum()), share, lo, hi, int((counts > 0).sum())))
    return pd.DataFrame(lines, columns=["label", "words", "share", "lo", "hi", "texts"])


# -- for pages -------------------------------------------------------------------------------------------------------------


def part_of_audit(
    trace: Trace, texts: TextsOf, thresholds: Mapping[str, float], kept: dict[str, Any], seconds: float, tell: Tell
) -> AuditSoFar:
    """Go on with the audit of some texts by the model of a trace for some seconds; `kept` holds what is done.

    A page works in such parts, because a model serves one task at a time and other readers wait for it.
    """
    run: Run | None = kept.get("run")
    if run is None:
        model = model_of(trace).model
        rows = rows_of_page(texts, MOST_TEXTS, "reads", "Use `atlas audit` for it.")
        kept["run"] = run = Run(detector_for(model, thresholds), model, rows, check=_check_size)
    # The tables take longer with every text: at least as much time goes into texts, or the last of them would hardly come on.
    end = time.monotonic() + (max(seconds, kept.get("tables", 0.0)) if seconds else 0.0)
    while not run.is_over:
        tell(f"Text {run.done + 1:,} of {run.of:,}", run.done / run.of)
        run.step()
        if not run.is_empty and time.monotonic() > end:
            break
    begun = time.monotonic()
    found = AuditSoFar(run.result(), run.marks(), run.done, run.of)
    kept["tables"] = time.monotonic() - begun
    return found


def _check_size(model: Model, text: str) -> None:
    """Refuse a text that would keep other readers waiting."""
    encoded = model.encode(text, truncate=True)
    weights = encoded.n_source**2 * sum(kind.n_layers * kind.n_heads for kind in model.size.kinds)
    if weights > MOST_WEIGHTS:
        msg = f"has {weights:,} weights of attention, more than the {MOST_WEIGHTS:,} that a page reads of one text"
        raise TooLarge(msg)


TASKS: Mapping[str, Callable[..., Any]] = {AUDIT: part_of_audit}
"""Work with the model that views may request, by name."""
