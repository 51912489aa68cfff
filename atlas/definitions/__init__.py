"""What every number means, as data: the help texts of the app, the README's table and the tests all read it from here.

Notation: p is a weight, i a query (row), j a key (column), nᵢ the number of keys row i may see. Means over rows are over the
*informative* rows, those that may see two keys or more: the first row of a causal model is 1 whatever the head does. A mass
on a set of keys is averaged over the informative rows that may see at least one of them; NAME_rows says how many rows that
are. Masked cells are nowhere counted.
In a model with learned sinks a row sums to less than 1: masses and maxima are shares of all of its attention; entropy and
distance are those of the part that goes to tokens, scaled to sum to 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from atlas.definitions.attribution import ATTRIBUTIONS
from atlas.definitions.bias import BIAS
from atlas.definitions.compare import COMPARE
from atlas.definitions.corpus import CORPUS
from atlas.definitions.definition import Definition
from atlas.definitions.drills import DRILLS
from atlas.definitions.effects import EFFECTS
from atlas.definitions.heads import HEADS
from atlas.definitions.metrics import METRICS
from atlas.definitions.predictions import PREDICTIONS
from atlas.definitions.tokens import TOKENS
from atlas.definitions.tradeoff import TRADEOFF
from atlas.definitions.vectors import EMBEDDINGS, VECTORS

__all__ = ["DEFINITIONS", "Definition"]

DEFINITIONS: Mapping[str, Definition] = MappingProxyType(
    {
        item.name: item
        for item in (
            *METRICS,
            *HEADS,
            *TOKENS,
            *PREDICTIONS,
            *VECTORS,
            *EMBEDDINGS,
            *BIAS,
            *TRADEOFF,
            *ATTRIBUTIONS,
            *EFFECTS,
            *CORPUS,
            *DRILLS,
            *COMPARE,
        )
    }
)
