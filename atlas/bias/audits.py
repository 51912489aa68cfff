"""Many texts through a detector, and the attention of every head to what it flags, text by text and together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from atlas.attribution.statistics import false_discovery
from atlas.bias.heads import Received, ratio_of, received, two_sided
from atlas.engine.loading.load import load
from atlas.engine.model import Model
from atlas.engine.running.token_labels import token_labels
from atlas.errors import AtlasError, BadData
from atlas.text.files import BadRow, TextRow, TextRows
from atlas.tracing.labelled import Thresholds, TokenLabels, flagged, limits, tokens_within, words_of

PERMUTATIONS = 999

EDGES = (2.5, 97.5)
"""Percentiles of a 95 % interval."""

Progress = Callable[[int, int], object]
"""(texts done, all texts)"""


class Audit(NamedTuple):
    """What was found in many texts."""

    texts: pd.DataFrame
    """row, text, words, flagged, one column a label (flagged words); head, ratio, p: the head that looks most at flagged words;
    note: why a text has no attention."""
    labels: pd.DataFrame
    """label, words, share (of all words), texts (with at least one), lo and hi (95 % of the share, texts resampled)."""
    heads: pd.DataFrame
    """kind, layer, head, ratio (attention to flagged words of all texts, over even attention), lo and hi (95 %, texts resampled),
    p (labels permuted within each text), q (Benjamini-Hochberg over heads), n (texts)."""
    bad: pd.DataFrame
    """row, reason: what could not be read or run; nothing else was left out."""
    provenance: dict[str, Any]


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
        Of the null, which flags as many other tokens of each text, and of the intervals, which resample texts.
    progress
        Called with the texts done and all texts.

    Notes
    -----
    The ratio of a head over all texts is Σ over texts of the attention that flagged tokens get, over Σ of what they would get
    from even attention under the same mask: texts count by their length and by how much is flagged in them. Texts in which
    nothing or everything is flagged say nothing about heads.
    """
    rows = texts if isinstance(texts, TextRows) else TextRows(tuple(TextRow(at, text) for at, text in enumerate(texts, 1)), ())
    finder = detector if isinstance(detector, Model) else load(detector)
    asked = finder if model is None else model if isinstance(model, Model) else load(model)
    random = np.random.default_rng(seed)
    found, pooled, bad = [], Pooled(), list(rows.bad)
    for done, row in enumerate(rows.texts):
        if progress is not None:
            progress(done, len(rows.texts))
        try:
            labels = token_labels(finder, row.text)
        except AtlasError as error:
            bad.append(BadRow(row.row, str(error)))
            continue
        found.append(_of_text(row, labels, thresholds, asked, pooled, permutations, random))
    if progress is not None:
        progress(len(rows.texts), len(rows.texts))
    if not found:
        msg = f"None of {len(bad):,} rows could be used" + (f"; the first one {bad[0].reason}." if bad else ".")
        raise BadData(msg)
    names = tuple(found[0]["counts"])
    table = pd.DataFrame([{**each, **each["counts"]} for each in found])
    columns = ["row", "text", "words", "flagged", *names, "head", "ratio", "p", "note"]
    provenance = {
        "detector": finder.name, "model": asked.name, "texts": len(found), "permutations": permutations, "seed": seed,
        "thresholds": thresholds,
    }  # fmt: skip
    return Audit(
        table[columns],
        _labels(table, names, random),
        pooled.table(random),
        pd.DataFrame(sorted(bad), columns=["row", "reason"]),
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
    line: dict[str, Any] = {
        "row": row.row,
        "text": row.text,
        "words": len(words.table),
        "flagged": int(marked.any(axis=1).sum()),
        "counts": {label: int(marked[:, at].sum()) for at, label in enumerate(words.labels)},
        "head": "", "ratio": np.nan, "p": np.nan, "note": "",
    }  # fmt: skip
    if not line["flagged"]:
        return line | {"note": "nothing is flagged"}
    try:
        trace = model.trace(row.text, capture=())
        spans = words.table[["start", "end"]].to_numpy(dtype=int)[marked.any(axis=1)]
        tokens = frozenset().union(*(tokens_within(trace, 0, int(start), int(end)) for start, end in spans))
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
        columns = ["kind", "layer", "head", "ratio", "lo", "hi", "p", "q", "n"]
        if self._heads is None or self._null is None:
            return pd.DataFrame(columns=columns)
        mass, even = (np.array(values) for values in zip(*self._texts, strict=True))
        ratio, n = ratio_of(mass.sum(0), even.sum(0)), len(mass)
        lo = hi = np.full(len(ratio), np.nan)
        if n > 1:
            draws = random.multinomial(n, np.full(n, 1 / n), size=PERMUTATIONS)
            lo, hi = np.nanpercentile(ratio_of(draws @ mass, draws @ even), EDGES, axis=0)
        p = two_sided(ratio, ratio_of(*self._null))
        return self._heads.assign(ratio=ratio, lo=lo, hi=hi, p=p, q=false_discovery(p), n=n)[columns]


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
