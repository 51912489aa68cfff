"""Drills every head of a model on texts that the package makes itself, so that roles do not hang on what a corpus holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from atlas.corpus.drill_texts import MAKERS, SUCCESSOR, Made, Reader, TooFew, ordinals
from atlas.corpus.measure import Loaded
from atlas.corpus.store import Store
from atlas.corpus.workers import ModelSource
from atlas.engine.loading.identity import library_versions
from atlas.engine.loading.load import load
from atlas.engine.model import Model
from atlas.engine.running.drilling import COPY, MASS, attended, raised, without_raised
from atlas.errors import CorpusError, UnknownName
from atlas.ids import HEAD
from atlas.metrics.drift import LEAST_TEXTS
from atlas.metrics.drills import Scores, head_scores
from atlas.tracing.corpus import open_corpus
from atlas.tracing.drills import COLUMNS, DRILLS, FILE, Drills

if TYPE_CHECKING:
    from os import PathLike

RETRIEVAL = "drill_retrieval"

NUMBER = 32
"""Drills of each sort: the interval of a score that is anything between 0 and 1 is then ± 0.15 at most."""

LOGITS = 4_000_000_000
"""Logits for all words of the ordered lists, heads and layers: a minute for a model of width 768."""

TWO_TEXTS = "its queries and keys are tokens of two texts, so nothing in it is earlier or the same token again."
SEES_ALL = "no answer is written here: the text of a fact is read by cross-attention."
NO_ANSWER = "the model neither writes on nor fills masks, so no answer is copied."


def drills(
    model: Any,
    names: Sequence[str] = (),
    n: int = NUMBER,
    seed: int = 0,
    out: str | PathLike[str] | None = None,
    *,
    revision: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    trust_remote_code: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Drills:
    """What every head scores on drills, beside what it scores on the same drills shuffled.

    Parameters
    ----------
    model
        A name, folder or hub id, as `atlas.load` takes it; or a loaded model.
    names
        Of 'previous', 'duplicate', 'induction', 'retrieval', 'successor'; by default all that the model can be drilled in.
    n
        Drills of each sort. The ordered lists of 'successor' have as many as the tokenizer has words of them.
    seed
        Of all that is drawn.
    out
        The folder of a corpus of this model, beside which the drills are kept: the views of that corpus show them.
    progress
        Called with the drills done and their number.
    """
    wanted = _wanted(names)
    if n < LEAST_TEXTS:
        msg = f"A head is tested from {LEAST_TEXTS} drills on; n={n} was asked for."
        raise CorpusError(msg)
    loaded = _loaded(model, ModelSource(str(model), revision, device, dtype, trust_remote_code))
    if out is not None:
        _check_same(str(out), loaded)
    found = _Run(loaded.model, n, seed, progress, wanted).done()
    if out is not None:
        Store(str(out)).put(found.as_json(), FILE)
    return found


def _wanted(names: Sequence[str]) -> tuple[str, ...]:
    known = {name.removeprefix("drill_"): name for name in DRILLS}
    unknown = [name for name in names if name.removeprefix("drill_") not in known]
    if unknown:
        msg = f"There is no drill {unknown[0]!r}; there are {', '.join(known)}."
        raise UnknownName(msg)
    asked = {known[name.removeprefix("drill_")] for name in names}
    return tuple(name for name in DRILLS if not names or name in asked)


def _loaded(model: Any, source: ModelSource) -> Loaded:
    if isinstance(model, Model):
        return Loaded.of(model)
    return Loaded.of(load(model)) if isinstance(model, tuple) else source.load()


def _check_same(out: str, loaded: Loaded) -> None:
    """Only the corpus of this model may keep its drills."""
    corpus = open_corpus(out)
    heads = [(head.kind, head.layer, head.head) for head in loaded.heads]
    about = corpus.provenance
    other = about["model"] != loaded.model.name or about.get("revision") != loaded.model.revision
    if other or list(corpus.heads[HEAD].itertuples(index=False, name=None)) != heads:
        version = f" ({about['revision']})" if about.get("revision") else ""
        msg = (
            f"{out} is a corpus of {about['model']}{version}, and {loaded.model.name} was to be drilled. Drill that one, or give "
            "another corpus."
        )
        raise CorpusError(msg)


class _Run:
    """All drills of one model."""

    def __init__(
        self, model: Model, n: int, seed: int, progress: Callable[[int, int], None] | None, wanted: tuple[str, ...]
    ) -> None:
        self.model, self.n, self.seed, self.wanted = model, n, seed, wanted
        self.reader = Reader(
            model.tokenizer, model.encode, model.kinds, model.limit, model.hf.get_input_embeddings().weight.shape[0],
            masked=model.task == "masked-lm" and getattr(model.tokenizer, "mask_token_id", None) is not None,
        )  # fmt: skip
        self._progress, self._done, self._all = progress, 0, 0
        self._tables: list[pd.DataFrame] = []
        self._reasons: list[tuple[str, str, str]] = []

    def done(self) -> Drills:
        """Run them one after another."""
        kinds = {name: able for name in self.wanted if (able := self._kinds(name))}
        self._all = 2 * self.n * len(kinds)
        retrieval, successor = (kinds.pop(name, []) for name in (RETRIEVAL, SUCCESSOR))
        self._attention(kinds, MASS)
        if retrieval:
            self._attention({RETRIEVAL: retrieval}, COPY)
        if successor:
            self._successors(successor)
        self._step(self._all - self._done)
        about = {
            "model": self.model.name, "revision": self.model.revision, "class": type(self.model.hf).__name__, "n": self.n,
            "seed": self.seed, "versions": library_versions(), "made": datetime.now(UTC).isoformat(timespec="seconds"),
        }  # fmt: skip
        table = pd.concat(self._tables, ignore_index=True)[COLUMNS] if self._tables else pd.DataFrame(columns=COLUMNS)
        return Drills(table, pd.DataFrame(self._reasons, columns=["drill", "kind", "reason"]), about)

    def _kinds(self, name: str) -> list[str]:
        """The kinds of attention that a drill is for; why others are left out is kept."""
        found = []
        for kind in self.model.kinds:
            reason = self._reason(name, kind)
            if reason:
                self._reasons.append((name, kind, reason))
            else:
                found.append(kind)
        return found

    def _reason(self, name: str, kind: str) -> str:
        if name == SUCCESSOR:
            return without_raised(self.model, kind, self.reader.around, int(self.reader.plain_ids[-1]))
        if name != RETRIEVAL:
            return TWO_TEXTS if kind == "cross" else ""
        if self.reader.translates:
            return "" if kind == "cross" else SEES_ALL
        writes = kind == "decoder" and self.model.task == "causal-lm"
        return "" if writes or (kind == "encoder" and self.reader.masked) else NO_ANSWER

    def _attention(self, kinds: Mapping[str, Sequence[str]], rule: str) -> None:
        made: dict[str, Made] = {}
        for name, able in kinds.items():
            try:
                made[name] = MAKERS[name](self.reader, self.n, self.seed)
            except TooFew as reason:
                self._reasons += [(name, kind, str(reason)) for kind in able]
        # All at once, because they share texts: a text that is said twice is drilled for both copies and for what follows.
        found = attended(self.model, [drill for each in made.values() for drill in (*each.drills, *each.twins)], rule, self._step)
        for at, name in enumerate(made):
            for kind in kinds[name]:
                drilled, twins = found[kind][2 * self.n * at :][: 2 * self.n].reshape(2, self.n, -1)
                self._keep(name, kind, head_scores(drilled, twins, published=rule == COPY))

    def _successors(self, kinds: Sequence[str]) -> None:
        size = sum(each.n_layers * each.n_heads for each in self.model.size.kinds if each.kind in kinds)
        most = max(LEAST_TEXTS, LOGITS // max(1, size * self.reader.n_ids))
        found = ordinals(self.reader, most, self.seed)
        if len(found.tokens) < LEAST_TEXTS:
            reason = (
                f"its tokenizer has {len(found.tokens)} words of the ordered lists as one token, and {LEAST_TEXTS} are needed."
            )
            self._reasons += [(SUCCESSOR, kind, reason) for kind in kinds]
            return
        for kind in kinds:
            highest = raised(self.model, kind, self.reader.around, found.tokens, found.others)
            right, by_chance = (np.array(each)[:, None] == highest for each in (found.successors, found.shuffled))
            self._keep(SUCCESSOR, kind, head_scores(right, by_chance))

    def _keep(self, name: str, kind: str, scores: Scores) -> None:
        (size,) = (each for each in self.model.size.kinds if each.kind == kind)
        ids = {
            "kind": kind,
            "layer": np.repeat(np.arange(size.n_layers), size.n_heads),
            "head": np.tile(np.arange(size.n_heads), size.n_layers),
            "drill": name,
        }
        self._tables.append(pd.DataFrame(ids | scores._asdict()))

    def _step(self, number: int) -> None:
        self._done += number
        if self._progress is not None:
            self._progress(self._done, self._all)
