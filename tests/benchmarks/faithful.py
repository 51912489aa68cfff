"""How each attribution method fares on the embedded models, over held-out texts: three tables beside the others.

The texts come from the recipes' own generators, with seeds that no training step has: the moods of mood-mini's own evaluation,
and stories whose next word (gpt-mini) or hidden word (bert-mini) is the model's decision.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

import atlas
from assets.recipes.mood_mini import HELD_OUT_SEED
from assets.recipes.mood_texts import texts as mood_texts
from assets.recipes.streams import HELD_OUT_STORY_SEED, story_texts
from atlas.attribution.faithfulness import NORMALISED, Judged, judged_texts, mean_intervals, summary
from atlas.attribution.methods import METHODS
from atlas.attribution.statistics import spearman
from atlas.tracing.faithfulness import COMPREHENSIVENESS, RANDOM, SUFFICIENCY
from tests.benchmarks.timing import Row, seconds

COUNT = 200
"""Texts of each model."""

NORMALISED_STORIES = 100
"""Of these texts for gpt-mini, the first that get normalised scores: they take about five times as long as all else."""

WORDS = (16, 28)
"""Words of a story that the model reads, drawn between these."""

AGREEMENT = "agreement"
COLUMNS = {
    COMPREHENSIVENESS: "comprehensiveness ↑",
    SUFFICIENCY: "sufficiency ↓",
    NORMALISED[COMPREHENSIVENESS]: "normalised ↑",
    NORMALISED[SUFFICIENCY]: "normalised ↓",
    AGREEMENT: "ρ with occlusion",
}
"""Columns of a table. Only the normalised scores compare from one model to another."""

HELD_AGAINST = "occlusion"
"""The method that intervenes: the others are held against it."""

SEED = 7


def mood() -> list[str]:
    """Texts of a mood, of the seed that mood-mini's card is measured on."""
    return [made.text for made in mood_texts(HELD_OUT_SEED, COUNT)]


def beginnings() -> Iterator[tuple[list[str], random.Random]]:
    """The first words of held-out stories, and what else is drawn for each."""
    for number, story in enumerate(itertools.islice(story_texts(HELD_OUT_STORY_SEED, COUNT), COUNT)):
        draw = random.Random(SEED + number)
        yield story.split()[: draw.randint(*WORDS)], draw


def stories() -> list[str]:
    """Beginnings of stories that go on with a word."""
    return [" ".join(words) for words, _ in beginnings()]


def hidden_words() -> list[str]:
    """Beginnings of stories with one word hidden; punctuation beside it stays."""
    found = []
    for words, draw in beginnings():
        at = draw.randrange(len(words))
        bare = words[at].strip(".,!?;:\"'")
        words[at] = words[at].replace(bare, "[MASK]", 1) if bare else "[MASK]"
        found.append(" ".join(words))
    return found


def agreement(judged: Judged) -> dict[str, float]:
    """Spearman's correlation of each method with occlusion over the tokens of one text; magnitudes where a method has no sign."""
    held = judged.weights[HELD_AGAINST]
    found = {}
    for name, weights in judged.weights.items():
        signed = METHODS[name].signed
        rows, vector = (weights, held) if signed else (np.abs(weights), np.abs(held))
        found[name] = float(spearman(rows[None], vector, permutations=0).rho[0])
    shuffled = np.random.default_rng((SEED, judged.text)).permutation(len(held)).astype(float)
    return found | {RANDOM: float(spearman(shuffled[None], held, permutations=0).rho[0])}


def measured(name: str, texts: Callable[[], list[str]], normalised: int = COUNT) -> pd.DataFrame:
    """Comprehensiveness and sufficiency and agreement with occlusion of every method the model can have.

    The first `normalised` texts have normalised scores too.
    """
    model = atlas.load(name)
    methods = [method for method in METHODS if not METHODS[method].reason(model)]
    every = texts()
    judged = [
        one
        for part, normalise in ((every[:normalised], True), (every[normalised:], False))
        for one in judged_texts(model.traces(part, capture=("predictions",)), len(part), methods, seed=SEED, normalise=normalise)
    ]
    rows = [*methods, RANDOM]
    rho = np.array([[agreement(each)[row] for each in judged] for row in rows])
    agreed = pd.DataFrame({"method": rows, "score": AGREEMENT}).assign(**mean_intervals(rho, SEED))
    return pd.concat([summary(judged, rows, SEED), agreed], ignore_index=True)


def in_words(found: pd.DataFrame, name: str) -> str:
    """A table for README, methods by falling comprehensiveness."""
    cells = {
        (row.method, row.score): f"{row.mean:.3f} ({row.lo:.3f} to {row.hi:.3f})".replace("-", "−") for row in found.itertuples()
    }
    sure = found[found["score"] == COMPREHENSIVENESS].sort_values("mean", ascending=False)
    n_texts = int(sure["n"].max())
    n_normalised = int(found[found["score"] == NORMALISED[COMPREHENSIVENESS]]["n"].max())
    fewer = f" (normalised: {n_normalised})" if n_normalised < n_texts else ""
    lines = [
        f"| {name}, {n_texts} texts{fewer} | {' | '.join(COLUMNS.values())} |",
        f"|---|{'---|' * len(COLUMNS)}",
    ]
    for method in sure["method"]:
        title = METHODS[method].title if method in METHODS else "random order"
        own = {score: "itself" if (method, score) == (HELD_AGAINST, AGREEMENT) else cells[method, score] for score in COLUMNS}
        lines.append(f"| {title} | {' | '.join(own.values())} |")
    return "\n".join(lines)


def _row(name: str, texts: Callable[[], list[str]], normalised: int = COUNT) -> Row:
    tables: list[pd.DataFrame] = []
    took = seconds(lambda: tables.append(measured(name, texts, normalised)))
    found = tables[0]
    lost = found[found["score"] == COMPREHENSIVENESS].set_index("method")
    chance = lost.loc[RANDOM]
    better = [method for method in lost.index if lost.loc[method, "lo"] > chance["hi"]]
    said = f"{len(better)} of {len(lost) - 1} methods take out more than random orders do, beyond both intervals"
    figures = {"seconds": round(took), "table": found.round(4).to_dict("records")}
    return Row(f"comprehensiveness of attribution methods, {name}", said, "no bar", True, figures, in_words(found, name))


def faithfulness_mood() -> Row:
    """The classifier."""
    return _row("mood-mini", mood)


def faithfulness_gpt() -> Row:
    """The next word."""
    return _row("gpt-mini", stories, NORMALISED_STORIES)


def faithfulness_bert() -> Row:
    """A hidden word."""
    return _row("bert-mini", hidden_words)


ROWS = (faithfulness_mood, faithfulness_gpt, faithfulness_bert)
