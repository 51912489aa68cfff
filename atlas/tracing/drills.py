"""Drills: what every head does on texts that were made for it, and the file in which a corpus keeps that. No torch here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from atlas.definitions import DEFINITIONS
from atlas.errors import BadTraceFile
from atlas.ids import HEAD, KINDS, as_head
from atlas.numbers import listed
from atlas.tracing.corpus_sound import require, whole

if TYPE_CHECKING:
    from atlas.tracing.corpus import Corpus

FILE = "drills.json"
"""Beside the tables of a corpus."""

DRILL = "drill"
"""Name of the task that drills the heads of the model of a trace."""

FORMAT, VERSION = "attention-atlas drills", 1

MOST_BYTES = 64 << 20
"""Ten thousand heads with five drills each take 15 MB."""

DRILLS = ("drill_previous", "drill_duplicate", "drill_induction", "drill_retrieval", "drill_successor")

FIGURES = ("score", "lo", "hi", "null", "excess", "excess_lo", "n", "p", "q")

COLUMNS = [*HEAD, "drill", *FIGURES, "has"]

NAMED = 5
"""Heads that a sentence names."""


@dataclass(frozen=True, eq=False)
class Drills:
    """What every head scores on drills."""

    table: pd.DataFrame
    """One row a head and drill: kind, layer, head, drill, score, lo, hi (95 % interval over drills), null (the same head on the
    shuffled drills), excess ((score − null) / (1 − null)), excess_lo, n (drills), p, q (corrected for heads of a kind), has."""
    reasons: pd.DataFrame
    """drill, kind, reason: what this model cannot be drilled in."""
    provenance: Mapping[str, Any]

    @property
    def found(self) -> pd.DataFrame:
        """The rows of heads that have what the drill is for, the highest score of a drill first."""
        rows = self.table[self.table["has"]]
        order = {drill: at for at, drill in enumerate(DRILLS)}
        return rows.sort_values(
            ["drill", "score"], key=lambda column: column.map(order) if column.name == "drill" else -column, kind="stable",
            ignore_index=True,
        )  # fmt: skip

    @property
    def sentence(self) -> str:
        """What was found, in words, a drill a line."""
        kinds, lines = sorted(set(self.table["kind"])), []
        for drill in DRILLS:
            here, found = self.table[self.table["drill"] == drill], self.found[self.found["drill"] == drill]
            title = DEFINITIONS[drill].title
            if here.empty:
                continue
            ids = found[HEAD].itertuples(index=False, name=None)
            named = [as_head((str(kind), int(layer), int(head)), kinds).label(kinds) for kind, layer, head in ids]
            lines.append(f"{title}: {len(found):,} of {len(here):,} heads" + (f" ({listed(named, NAMED)})." if named else "."))
        return "\n".join(lines)

    def joined(self, other: Drills) -> Drills:
        """With other drills of the same model."""
        tables = [each for each in (self.table, other.table) if len(each)]
        table = pd.concat(tables, ignore_index=True) if tables else self.table
        return Drills(table, pd.concat([self.reasons, other.reasons], ignore_index=True), self.provenance)

    def as_json(self) -> bytes:
        """As a file."""
        rows = self.table[COLUMNS].astype(object)
        held = {name: rows[name].where(rows[name].notna(), None).tolist() for name in COLUMNS}
        whole = {
            "format": FORMAT, "version": VERSION, "provenance": dict(self.provenance), "table": held,
            "reasons": self.reasons.to_dict("records"),
        }  # fmt: skip
        return json.dumps(whole, ensure_ascii=False, allow_nan=False).encode()


def read_drills(corpus: Corpus) -> Drills | None:
    """The drills beside a corpus; None where its heads were not drilled."""
    import fsspec

    filesystem, folder = fsspec.url_to_fs(corpus.where)
    path = f"{folder.rstrip('/')}/{FILE}"
    with whole(path):
        if not filesystem.exists(path):
            return None
        require(filesystem.size(path) <= MOST_BYTES, "it is larger than drills are")
        try:
            found = json.loads(filesystem.cat_file(path))
        except RecursionError as error:
            msg = "it is nested too deep"
            raise BadTraceFile(msg) from error
        return _checked(found, corpus)


def _checked(found: Any, corpus: Corpus) -> Drills:
    require(isinstance(found, dict) and found.get("format") == FORMAT, "it holds no drills")
    require(found.get("version") == VERSION, "it is of another version")
    about, held, reasons = (found.get(name) for name in ("provenance", "table", "reasons"))
    require(isinstance(about, dict) and isinstance(held, dict) and set(held) == set(COLUMNS), "its table is none")
    require(isinstance(reasons, list) and all(map(_is_reason, reasons)), "its reasons are none")
    columns = {name: list(held[name]) for name in COLUMNS}
    require(len({len(column) for column in columns.values()}) == 1, "its columns have several lengths")
    require(set(columns["kind"]) <= set(KINDS) and set(columns["drill"]) <= set(DRILLS), "it has unknown drills or heads")
    require(all(type(each) is int for name in ("layer", "head") for each in columns[name]), "its heads have no numbers")
    require(all(type(each) is bool for each in columns["has"]), "it does not say which heads have it")
    table = pd.DataFrame(columns)
    for name in FIGURES:
        require(all(isinstance(each, int | float | None) for each in columns[name]), f"its {name} are no numbers")
        table[name] = np.array([np.nan if each is None else each for each in columns[name]], dtype=float)
    known = set(corpus.heads[HEAD].itertuples(index=False, name=None))
    drilled = list(table[[*HEAD, "drill"]].itertuples(index=False, name=None))
    require(len(set(drilled)) == len(drilled), "it has a head twice")
    require({head[:3] for head in drilled} <= known, "its heads are not those of the corpus")
    return Drills(table, pd.DataFrame(reasons, columns=["drill", "kind", "reason"]), about)


def _is_reason(entry: Any) -> bool:
    return isinstance(entry, dict) and all(isinstance(entry.get(name), str) for name in ("drill", "kind", "reason"))


def as_columns(drills: Drills, ids: pd.DataFrame) -> pd.DataFrame:
    """The drills as columns of a head table: NAME, NAME_lo, NAME_hi, NAME_uniform (the shuffled drills) and NAME_n."""
    found = {}
    for drill in DRILLS:
        rows = drills.table[drills.table["drill"] == drill]
        if rows.empty:
            continue
        own = ids[HEAD].merge(rows, on=HEAD, how="left")
        for end, name in {"": "score", "_lo": "lo", "_hi": "hi", "_uniform": "null", "_n": "n"}.items():
            found[drill + end] = own[name].to_numpy(float)
    return pd.DataFrame(found, index=ids.index)
