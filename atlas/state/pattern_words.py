"""Patterns in words: the best heads of each with score, chance and n, and what a head makes of a sentence."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from atlas.definitions import DEFINITIONS
from atlas.ids import HeadId
from atlas.state.lens import counted
from atlas.state.outcome_line import percent
from atlas.tracing.patterns import DIRECTIONS, MIN_ARCS, MIN_ROWS, Arcs

if TYPE_CHECKING:
    import pandas as pd

BEST = 3
"""Heads listed of a pattern: the next ones are in the exported table."""

SHORT = {DIRECTIONS[0]: "d→h", DIRECTIONS[1]: "h→d", "": ""}
"""Where a relation is read: in the row of the dependent, or in the row of its head."""

ALL = "all"

MEANINGS = {
    "acl": "clause of a noun", "advcl": "adverbial clause", "advmod": "adverb", "amod": "adjective", "appos": "apposition",
    "aux": "auxiliary", "case": "preposition", "cc": "and, or, but", "ccomp": "clause as object", "compound": "compound",
    "conj": "conjunct", "cop": "form of be", "csubj": "clause as subject", "det": "determiner", "iobj": "indirect object",
    "mark": "conjunction", "nmod": "noun of a noun", "nsubj": "subject", "nummod": "number", "obj": "object",
    "obl": "noun of a verb", "pobj": "noun of a preposition", "prep": "preposition", "punct": "punctuation",
    "xcomp": "open complement",
}  # fmt: skip
"""What frequent relations are, for a reader who does not know the names of parsers."""


def title_of_pattern(name: str, *, relation: bool) -> str:
    """What the screen calls a pattern; a relation has the name that the parser gives it."""
    if relation:
        meaning = MEANINGS.get(name) or MEANINGS.get(name.split(":", maxsplit=1)[0])
        return "all relations" if name == ALL else f"{name} ({meaning})" if meaning else name
    return DEFINITIONS[name].title


def with_chosen(groups: list[dict[str, Any]], kind: str, chosen: Collection[HeadId]) -> list[dict[str, Any]]:
    """The groups with some heads marked."""
    keys = {f"{head.layer}.{head.head}" for head in chosen if head.kind == kind}

    def row(each: dict[str, Any]) -> dict[str, Any]:
        return each | {"state": "chosen" if each["key"].rpartition(" ")[2] in keys else ""}

    return [group | {"rows": [row(each) for each in group["rows"]]} for group in groups]


def groups_of(table: pd.DataFrame, beyond: float) -> list[dict[str, Any]]:
    """The best heads of each pattern, with two bars each: score and chance."""
    groups = []
    for name, part in table.groupby("pattern", sort=False):
        best = part.sort_values(["score", "chance"], ascending=[False, True], kind="stable").head(BEST)
        relation = bool((part["direction"] != "").any())
        follow = part[part["q"] <= beyond]
        count = _heads_of(follow)
        groups.append({
            "key": f"pattern {name}" if count else "",
            "name": title_of_pattern(str(name), relation=relation),
            "note": _about(part, relation=relation, follow=count),
            "pressed": False,
            "rows": [_row(row, str(name), beyond) for row in best.itertuples()],
        })  # fmt: skip
    return groups


def _row(row: Any, name: str, beyond: float) -> dict[str, Any]:
    # Where nothing is tested, the heading says so.
    said = "beyond" if row.direction else "beyond chance"
    verdict = "" if math.isnan(row.q) else said if row.q <= beyond else f"q {row.q:.2g}"
    return {
        "key": f"head {name} {row.direction or 'place'} {int(row.layer)}.{int(row.head)}",
        "label": f"L{int(row.layer)} H{int(row.head)}",
        "shares": [float(row.score), float(row.chance)],
        "number": f"{share(float(row.score))} ({share(float(row.chance))})",
        "note": ", ".join(filter(None, [SHORT[row.direction], verdict])),
    }


def share(value: float) -> str:
    """A share in percent; one that is exactly 0, as no hits are, is not 'under' anything."""
    return percent(value) if value else "0 %"


def _about(part: pd.DataFrame, *, relation: bool, follow: int) -> str:
    """On how many rows or arcs a pattern rests, and how many heads follow it."""
    most = int(part["n"].max()) if part["n"].notna().any() else 0
    heads = _heads_of(part)
    on = f"{counted(most, 'arc' if relation else 'row')}"
    if most < (MIN_ARCS if relation else MIN_ROWS):
        return f"{on}, too few to test"
    if part["q"].isna().all():
        return f"{on}, not tested"
    return f"{on}; {follow:,} of {heads:,} beyond chance"


def _heads_of(part: pd.DataFrame) -> int:
    """How many heads are in some rows, each counted once."""
    return len(set(zip(part["layer"].tolist(), part["head"].tolist(), strict=True)))


def arcs_in_words(found: Arcs, relations: pd.DataFrame, head: HeadId, direction: str) -> str:
    """'L1 H2 finds the syntactic head of 5 of 12 words of this sentence ...'."""
    hits = sum(hit for *_, hit in found.found)
    seen = len(found.found) + found.outside
    parts = [f"{head}, the head in focus, finds {hits:,} of {counted(seen, 'arc')} here"]
    mine = relations[
        (relations["pattern"] == ALL)
        & (relations["direction"] == direction)
        & (relations["layer"] == head.layer)
        & (relations["head"] == head.head)
    ]
    if len(mine):
        row = mine.iloc[0]
        parts.append(
            f"in the whole text {share(float(row['score']))} of {int(row['n']):,}, without punctuation; the best fixed offset, "
            f"{int(row['offset']):+d}, {share(float(row['chance']))}".replace("-", "−")
        )
    if found.outside:
        parts.append(f"for {counted(found.outside, 'word')} it points out of what is drawn")
    if found.unseen:
        parts.append(f"{counted(found.unseen, 'arc')} that it may not see")
    return "; ".join(parts) + "."
