"""What views read of a corpus: its heads with their roles, heads that are alike, and what a head does in an example."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

from atlas.ids import HEAD
from atlas.metrics.conditions import EXAMPLE, LONGEST, matching
from atlas.metrics.corpus_roles import corpus_roles, main_roles
from atlas.metrics.roles import ROLES, UNNAMED
from atlas.metrics.shared_keys import SHARED
from atlas.metrics.standard import Standard
from atlas.metrics.traits import HIGH
from atlas.single_flight import renewed
from atlas.tracing.corpus import Corpus, Exemplar
from atlas.tracing.corpus_groups import whole_of
from atlas.tracing.drills import Drills, as_columns, read_drills

if TYPE_CHECKING:
    from collections.abc import Callable

    from atlas.ids import HeadId
    from atlas.trace import Trace

__all__ = [
    "EXAMPLE", "LINKS", "LONGEST", "ROLES", "Link", "Near", "compared", "drills", "exemplars", "is_of", "links", "matching",
    "measured", "near", "of_head", "quantiles", "roles", "tokens",
]  # fmt: skip

METRIC_OF = {HIGH[role]: role for role in ROLES}
"""Word of the column `role` -> the metric it is read from."""

LINKS = 4
"""Links of an example that a line of text has room for."""

_OF: WeakKeyDictionary[Corpus, WeakKeyDictionary[Trace, bool]] = WeakKeyDictionary()
"""Whether a corpus is of the model of a trace. Views ask a dozen times a gesture, and 1,200 heads take milliseconds."""


class Link(NamedTuple):
    """What a token of an example looks at."""

    query: str
    key: str
    weight: float


class Near(NamedTuple):
    """A head, of this or another corpus, and how far it is."""

    corpus: str
    head: tuple[str, int, int]
    distance: float


def is_of(corpus: Corpus, trace: Trace) -> bool:
    """Whether a corpus is of the model of a trace: its name, kinds, layers and heads."""
    known = _OF.setdefault(corpus, WeakKeyDictionary())
    if trace not in known:
        known[trace] = _is_of(corpus, trace)
    return known[trace]


def _is_of(corpus: Corpus, trace: Trace) -> bool:
    model = trace.provenance.get("model")
    if not model or corpus.provenance["model"] != model or set(corpus.kinds) != set(trace.kinds):
        return False
    return set(measured(corpus)[HEAD].itertuples(index=False, name=None)) == {
        (head.kind, head.layer, head.head) for head in trace.head_ids
    }


def measured(corpus: Corpus) -> pd.DataFrame:
    """The head table of a corpus with a column `role` and those of its drills. Do not write into it."""
    return _once(corpus, "measured heads", lambda: _measured(corpus))


def _measured(corpus: Corpus) -> pd.DataFrame:
    table, drilled = corpus.heads, drills(corpus)
    named = table.assign(role=[HIGH.get(role, UNNAMED) for role in main_roles(roles(corpus), table)])
    return named if drilled is None else pd.concat([named, as_columns(drilled, named)], axis=1)


def drills(corpus: Corpus) -> Drills | None:
    """The drills beside a corpus, as they were when it was first asked for them; None where there are none."""
    whole = whole_of(corpus)  # texts made for drills are of no group
    found: Drills | None = whole.once("drills", lambda: read_drills(whole))
    return found


def with_drills(corpus: Corpus, found: Drills) -> Corpus:
    """The same corpus with drills beside it, which are in memory alone."""
    made = renewed(corpus)
    made.once("drills", lambda: found)
    return made


def quantiles(corpus: Corpus, metric: str) -> pd.DataFrame:
    """Its table of quantiles of a metric, made once: a reader goes from head to head. Do not write into it."""
    return _once(corpus, f"quantiles of {metric}", lambda: corpus.quantiles(metric))


def exemplars(corpus: Corpus) -> pd.DataFrame:
    """Its table of exemplars, made once. Do not write into it."""
    return _once(corpus, "exemplars", lambda: corpus.exemplars)


def tokens(corpus: Corpus) -> pd.DataFrame:
    """Its table of top tokens, made once. Do not write into it."""
    return _once(corpus, "tokens", lambda: corpus.tokens)


def _once(corpus: Corpus, name: str, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    table: pd.DataFrame = corpus.once(name, make)
    return table


def roles(corpus: Corpus) -> pd.DataFrame:
    """One row a head and role, as `corpus_roles` makes it. Do not write into it."""
    return _once(corpus, "roles", lambda: corpus_roles(corpus.heads, corpus.moments(), corpus.metrics))


def compared(corpus: Corpus, kind: str) -> pd.DataFrame:
    """The heads of a kind as clusters and maps of heads take them.

    Shared keys of several heads are no independent evidence of a cluster's name, so the corrected chance of each head over the
    texts stands beside them: a class of tokens that hardly occurs in a corpus names no cluster. Do not write into it.
    """

    def made() -> pd.DataFrame:
        table, every = measured(corpus), roles(corpus)
        known = [role for role in SHARED if role in set(every["role"])]
        chances = {f"{role}_p": every.loc[every["role"] == role, "q"].to_numpy() for role in known}
        return table.assign(**chances)[table["kind"] == kind].reset_index(drop=True)

    return _once(corpus, f"compared {kind}", made)


def of_head(table: pd.DataFrame, head: HeadId) -> pd.DataFrame:
    """The rows of one head."""
    # Numbers first: to compare the words of all rows takes most of the time, and a head page asks forty times a gesture.
    here = (table["layer"].to_numpy() == head.layer) & (table["head"].to_numpy() == head.head)
    rows = table.iloc[np.flatnonzero(here)]
    return rows[(rows["kind"] == head.kind).to_numpy()]


def near(corpora: dict[str, Corpus], name: str, head: HeadId, most: int = 8) -> list[Near]:
    """The heads with the most alike figures, nearest first, of all corpora on one scale; `name` is the corpus of the head.

    Only heads of the same kind, and only metrics that all of these corpora know.
    """
    tables = {
        each: measured(corpus)[measured(corpus)["kind"] == head.kind].reset_index(drop=True) for each, corpus in corpora.items()
    }
    tables = {each: table for each, table in tables.items() if len(table)}
    every = pd.concat([table.assign(corpus=each) for each, table in tables.items()], ignore_index=True)
    scale = Standard.of(every, corpora[name].metrics)
    values = scale.apply(every)
    if not values.shape[1]:
        return []
    own = of_head(every[every["corpus"] == name], head).index
    if not len(own):
        return []
    distances = np.sqrt(((values - values[own[0]]) ** 2).mean(1))
    order = [at for at in np.argsort(distances, kind="stable") if at != own[0]][:most]
    rows = every.loc[order, ["corpus", *HEAD]].itertuples(index=False, name=None)
    return [
        Near(str(where), (str(kind), int(layer), int(number)), float(distances[at]))
        for at, (where, kind, layer, number) in zip(order, rows, strict=True)
    ]


def links(example: Exemplar, most: int = LINKS) -> list[Link]:
    """The strongest links of an example, strongest first; a pair of words once, and no row that sees a single key."""
    edges = example.edges
    # The first row of a causal model is 1 whatever the head does.
    edges = edges[edges.groupby("query")["key"].transform("size") > 1].sort_values("weight", ascending=False, kind="stable")
    found: dict[tuple[str, str], Link] = {}
    for query, key, weight in edges[["query_token", "key_token", "weight"]].itertuples(index=False, name=None):
        pair = str(query), str(key)
        if pair not in found:
            found[pair] = Link(*pair, float(weight))
        if len(found) == most:
            break
    return list(found.values())
