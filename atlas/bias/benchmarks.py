"""Runs a bias benchmark on a model: likelihoods of all its sentences, batch by batch, and the scores."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from atlas.bias.files import BLANK, ENDS, Data, Item, as_examples, fingerprint, read_items, sentence_id
from atlas.bias.journal import Journal
from atlas.bias.scores import DIGITS, pair_scores, stereoset_intervals, stereoset_targets
from atlas.engine.running.capture import Rerun
from atlas.engine.running.interventions import Intervention
from atlas.engine.running.likelihood import Likelihoods, describe, has_next_sentence_head, next_sentence
from atlas.errors import BadData, NotCaptured, UnknownName
from atlas.ids import as_heads
from atlas.trace import NO_MODEL
from atlas.tracing.benchmarks import BENCHMARK, INTERSENTENCE, KINDS, SENTENCES, STEREOSET, Benchmark

if TYPE_CHECKING:
    from atlas.engine.model import Model
    from atlas.ids import Headlike
    from atlas.trace import Trace

EXAMPLES_AT_ONCE = 32
"""Examples of a batch: what a kill loses at most, and as many texts as fill the passes of a small model."""

Progress = Callable[[int, int], object]
"""(examples done, all examples)"""

Scores = MutableMapping[str, tuple[float, ...]]
"""Example id -> one number a sentence."""

FEW = "Intervals resample target terms: of few terms, as in the category religion, they say little."

NOISY = (
    "CrowS-Pairs is noisy: Blodgett et al. 2021 found that many of its pairs do not compare what they should, so its score is "
    "a hint and no measure of how biased a model is."
)


def benchmark(
    model: Model,
    name: str,
    data: Data,
    out: str | Path | None = None,
    resume: bool = True,  # noqa: FBT001, FBT002 - the public signature
    limit: int | None = None,
    progress: Progress | None = None,
    *,
    ablate: Sequence[Headlike] = (),
    seed: int = 0,
) -> Benchmark:
    """Run a bias benchmark on a model.

    Parameters
    ----------
    model
        A masked or causal language model.
    name
        'stereoset' (within sentences), 'stereoset_intersentence', 'crows_pairs', 'winogender', 'winobias', or 'pairs'.
    data
        The path of a file, the bytes of one, or its content. StereoSet: the authors' dev.json. CrowS-Pairs: the authors' CSV.
        WinoBias: the authors' type_1.csv or type_2.csv.
        Pairs, of all names but StereoSet's: JSONL with a line a pair, {"more": "the stereotyped sentence", "less": "the other",
        "category": "gender"}; `id` and `target` may be given too.
    out
        A folder in which the likelihoods are kept as they come. A run that was killed goes on from there and ends with the
        same numbers. The file's name has a hash of data, model and settings, so nothing else is taken for this run.
    resume
        Whether to go on from what is in `out`; False begins anew.
    limit
        So many examples, drawn at random; None: all.
    progress
        Called with the examples done and all examples.
    ablate
        Heads that are switched off.
    seed
        Of the examples drawn for `limit`, and of the bootstrap.

    Returns
    -------
    `scores` by category and overall with 95 % intervals, `targets`, `examples` with the likelihood of every sentence, `notes`,
    `provenance`. StereoSet: lms, ss, icat by the authors' definition (`score_stereoset`), intervals by a bootstrap over target
    terms. Pairs: the share in which the more stereotyped sentence is likelier (`score_crows_pairs`), Wilson intervals.
    """
    run = Run(model, name, read_items(checked_name(name), data), limit=limit, ablate=ablate, seed=seed)
    journal = None if out is None else Journal(run.path_in(Path(out)), run.provenance, resume=resume)
    done: Scores = {} if journal is None else dict(journal.found)
    try:
        for batch in run.batches(done):
            if progress is not None:
                progress(len(done), len(run.items))
            found = run.score(batch)
            if journal is not None:
                journal.add(found)
            done.update(found)
    finally:
        if journal is not None:
            journal.close()
    if progress is not None:
        progress(len(done), len(run.items))
    return run.result(done)


def checked_name(name: str) -> str:
    """The name of a benchmark, or an error that lists them."""
    if name not in KINDS:
        msg = f"{name!r} is no benchmark; there are {', '.join(KINDS)}."
        raise UnknownName(msg)
    return name


class Run:
    """One benchmark on one model: which examples, in which batches, and what they score."""

    def __init__(
        self,
        model: Model,
        name: str,
        items: Sequence[Item],
        *,
        limit: int | None = None,
        ablate: Sequence[Headlike] = (),
        seed: int = 0,
        by_likelihood: bool = False,
    ) -> None:
        if limit is not None and limit < 1:
            msg = f"A benchmark needs at least one example; limit={limit} was asked for."
            raise BadData(msg)
        if ablate and not model.interface:
            msg = f"{model.name} does not use transformers' attention interface, so its heads cannot be switched off."
            raise NotCaptured(msg)
        heads = as_heads(ablate, model.kinds)
        change = Intervention(heads) if heads else None
        self.model, self.name, self.seed = model, name, seed
        self.next_sentence = name == INTERSENTENCE and has_next_sentence_head(model) and not (ablate or by_likelihood)
        self.likelihoods = None if self.next_sentence else Likelihoods(model, change)
        self.all = len(items)
        self.items = drawn(items, limit, seed)
        self.provenance: dict[str, Any] = {
            **describe(model),
            "benchmark": name,
            "data": fingerprint(items),
            "examples": self.all,
            "limit": limit,
            "ablated": [head.label(model.kinds) for head in heads],
            "seed": seed,
        }

    def path_in(self, folder: Path) -> Path:
        """The file of this run, named by a hash of all that its numbers depend on."""
        key = hashlib.sha256(json.dumps(self.provenance, sort_keys=True).encode()).hexdigest()[:16]
        return folder / f"{self.name}-{key}.jsonl"

    def batches(self, done: Mapping[str, Any]) -> Iterator[list[Item]]:
        """The batches that are not done: examples of like length together, the same ones whatever is done already."""
        ordered = sorted(self.items, key=lambda item: (max(map(len, item.sentences)) + len(item.context), item.id))
        for start in range(0, len(ordered), EXAMPLES_AT_ONCE):
            batch = ordered[start : start + EXAMPLES_AT_ONCE]
            if not all(item.id in done for item in batch):
                yield batch

    def score(self, batch: Sequence[Item]) -> list[tuple[str, tuple[float, ...]]]:
        """One number for every sentence of a batch."""
        if self.likelihoods is None:
            pairs = [(_ended(item.context), sentence) for item in batch for sentence in item.sentences]
            values = next_sentence(self.model, pairs)
        else:
            values = self.likelihoods.ask([query for item in batch for query in self.queries(self.likelihoods, item)])
        each = len(batch[0].sentences)
        return [(item.id, tuple(values[each * at : each * (at + 1)])) for at, item in enumerate(batch)]

    def queries(self, ask: Likelihoods, item: Item) -> Sequence[Any]:
        """What is asked of an example: one query a sentence."""
        if not KINDS[self.name].triples:
            return ask.pair(*item.sentences)
        if self.name == INTERSENTENCE:
            return [ask.after(_ended(item.context), sentence) for sentence in item.sentences]
        if ask.masked:
            return [ask.word(item.context, word, BLANK) for word in item.words]
        return [ask.sentence(sentence) for sentence in item.sentences]

    # -- what was found ------------------------------------------------------------------------------------------------

    def result(self, done: Mapping[str, tuple[float, ...]]) -> Benchmark:
        """The scores of the examples that are done."""
        items = [item for item in self.items if item.id in done]
        values = [done[item.id] for item in items]
        if KINDS[self.name].triples:
            examples = as_examples(items)
            by_id = {
                sentence_id(item, at): score
                for item, scores in zip(items, values, strict=True)
                for at, score in enumerate(scores)
            }
            scores = stereoset_intervals(examples, by_id, seed=self.seed)
            targets = stereoset_targets(examples, by_id)
        else:
            rows = [{"bias_type": item.category, "target": item.target} for item in items]
            pairs = [(more, less) for more, less in values]
            scores = pair_scores(rows, pairs, "bias_type", self.digits)
            named = [at for at, row in enumerate(rows) if row["target"]]
            targets = pair_scores([rows[at] for at in named], [pairs[at] for at in named], "target", self.digits).iloc[:-1]
            known = {row["target"]: row["bias_type"] for row in rows}
            targets = targets.assign(category=[known[target] for target in targets["target"]])
        table = self._examples(items, values)
        return Benchmark(
            self.name, self.model.name, scores, targets, table, len(self.items), tuple(self._notes()), self.provenance
        )

    @property
    def digits(self) -> int | None:
        """Sums of logarithms are rounded as CrowS-Pairs' authors do; means of them are not, as they are much closer."""
        return DIGITS if self.likelihoods is not None and self.likelihoods.masked else None

    def _examples(self, items: Sequence[Item], values: Sequence[tuple[float, ...]]) -> pd.DataFrame:
        columns = list(SENTENCES[KINDS[self.name].triples])
        table = pd.DataFrame(
            {
                "id": [item.id for item in items],
                "category": [item.category for item in items],
                "target": [item.target for item in items],
                "context": [item.context for item in items],
            }
        )
        numbers = np.asarray(values, dtype=float).reshape(-1, len(columns))
        for at, column in enumerate(columns):
            table[column] = [item.sentences[at] for item in items]
            table[f"{column}_score"] = numbers[:, at]
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(numbers) if KINDS[self.name].triples else numbers
            return table.assign(difference=logs[:, 0] - logs[:, 1])

    def _notes(self) -> Iterator[str]:
        yield self.how_asked()
        if len(self.items) < self.all:
            yield f"{len(self.items):,} of {self.all:,} examples, drawn at random with seed {self.seed}."
        if KINDS[self.name].triples:
            yield FEW
        else:
            yield NOISY if self.name == "crows_pairs" else "Pairs that differ in more than the group compare more than the group."

    def how_asked(self) -> str:
        """How the likelihoods of its sentences are found, in words."""
        if self.likelihoods is None:
            return "The score of a sentence is the probability of the model's next-sentence head that it follows the context."
        masked = self.likelihoods.masked
        if self.name == STEREOSET:
            return (
                "The score of a sentence is the mean probability of the pieces of its word, each at a mask after those before it."
                if masked
                else "The score of a sentence is the geometric mean of the probabilities of its tokens, the first after the "
                "start token alone."
            )
        if self.name == INTERSENTENCE:
            how = "each masked by itself" if masked else "each after those before it"
            return (
                "This model has no next-sentence head, so the score of a sentence is by likelihood: the geometric mean of the "
                f"probabilities of its tokens after the context, {how}. It cannot be compared with published intersentence "
                "scores, which are those of next-sentence heads."
            )
        return (
            "The score of a sentence is the sum of the log-probabilities of the tokens that both sentences share, each masked "
            "by itself."
            if masked
            else "The score of a sentence is the mean log-probability of its tokens. The authors define a score for masked "
            "models only."
        )


def _ended(context: str) -> str:
    """A context that ends as a sentence does."""
    return context if context.endswith(ENDS) else f"{context}."


def drawn(items: Sequence[Item], limit: int | None, seed: int) -> list[Item]:
    """All examples, or some of them drawn at random and in the order of the file."""
    if limit is None or limit >= len(items):
        return list(items)
    chosen = np.random.default_rng(seed).choice(len(items), size=limit, replace=False)
    return [items[at] for at in sorted(chosen.tolist())]


def part_of_benchmark(
    trace: Trace, name: str, data: bytes, limit: int | None, done: Scores, seconds: float, report: Progress | None = None
) -> Benchmark:
    """Go on with a benchmark on the model of a trace for some seconds; `done` has what was scored and gets what is.

    Heads that are switched off in the trace are off here too. A page runs a benchmark in such parts, because a model serves one
    task at a time and other readers wait for it.
    """
    live = trace.live
    if not isinstance(live, Rerun):
        raise NotCaptured(NO_MODEL)
    live.check_weights()
    heads = () if live.change is None else tuple(live.change.ablate)
    run = Run(live.model, checked_name(name), read_items(name, data), limit=limit, ablate=heads)
    end = time.monotonic() + seconds
    for batch in run.batches(done):
        if report is not None:
            report(len(done), len(run.items))
        done.update(run.score(batch))
        if time.monotonic() > end:
            break
    return run.result(done)


TASKS: Mapping[str, Callable[..., Any]] = {BENCHMARK: part_of_benchmark}
"""Work with the model that views may request, by name."""
