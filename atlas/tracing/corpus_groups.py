"""A group of the texts of a corpus, as a corpus of its own: what its heads do over these texts alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from atlas.errors import NotCaptured
from atlas.single_flight import renewed
from atlas.tracing.corpus import ALL, Corpus

if TYPE_CHECKING:
    import pandas as pd

    from atlas.metrics.moments import Moments

LARGEST_GROUPS = 24
"""Groups of a corpus that are offered by name, the largest ones: in a column of ids each text is a group of its own."""

NOT_APART = "A corpus keeps {what} over all its texts, and not of a group."


class CorpusGroup(Corpus):
    """The texts of one group. It has the means of heads; distributions, tokens and examples are kept of the whole corpus."""

    def __init__(self, corpus: Corpus, group: str) -> None:
        vars(self).update(vars(renewed(corpus)))  # the tables are the same
        self.whole, self.group = corpus, group
        self.provenance: Mapping[str, Any] = {**corpus.provenance, "texts": corpus.n_texts[group], "group": group}

    def __repr__(self) -> str:
        return f"<Group {self.group!r} of {self.whole!r}: {self.provenance['texts']:,} texts>"

    @property
    def groups(self) -> tuple[str, ...]:
        """It has no groups of its own."""
        return (ALL,)

    def heads_of(self, group: str) -> pd.DataFrame:
        """The table `heads` over its texts."""
        return self.whole.heads_of(self.group) if group == ALL else super().heads_of(group)

    def moments(self, group: str = ALL) -> Moments:
        """(head, metric) count, mean and sum of squares over its texts."""
        return self.whole.moments(self.group) if group == ALL else super().moments(group)

    @property
    def n_texts(self) -> dict[str, int]:
        """'' -> how many texts it has."""
        return {ALL: self.provenance["texts"]}

    def quantiles(self, name: str) -> NoReturn:  # noqa: ARG002  (there are none of any metric)
        """Raise, because there are none."""
        raise NotCaptured(NOT_APART.format(what="distributions"))

    def distribution(self, name: str) -> NoReturn:  # noqa: ARG002
        """Raise, because there is none."""
        raise NotCaptured(NOT_APART.format(what="distributions"))

    def sketch(self, name: str) -> NoReturn:  # noqa: ARG002
        """Raise, because there is none."""
        raise NotCaptured(NOT_APART.format(what="distributions"))

    @property
    def distances(self) -> NoReturn:
        """Raise, because there are none."""
        raise NotCaptured(NOT_APART.format(what="distances"))

    @property
    def tokens(self) -> NoReturn:
        """Raise, because there are none."""
        raise NotCaptured(NOT_APART.format(what="top tokens"))

    @property
    def exemplars(self) -> NoReturn:
        """Raise, because there are none."""
        raise NotCaptured(NOT_APART.format(what="examples"))

    def edges(self, row: Any) -> NoReturn:  # noqa: ARG002
        """Raise, because there are none."""
        raise NotCaptured(NOT_APART.format(what="examples"))


def groups_of(corpus: Corpus) -> dict[str, CorpusGroup]:
    """The groups of a corpus by name, the largest first; none where one group holds all its texts."""
    found: dict[str, CorpusGroup] = corpus.once("groups", lambda: _largest(corpus))
    return found


def _largest(corpus: Corpus) -> dict[str, CorpusGroup]:
    texts = corpus.n_texts
    names = sorted((name for name in texts if name != ALL), key=lambda name: (-texts[name], name))
    divides = len(names) > 1
    return {name: CorpusGroup(corpus, name) for name in names[:LARGEST_GROUPS]} if divides else {}


def whole_of(corpus: Corpus) -> Corpus:
    """The corpus that a group is a part of; any other is whole."""
    return corpus.whole if isinstance(corpus, CorpusGroup) else corpus


def are_disjoint(a: Corpus, b: Corpus) -> bool:
    """Whether no text is counted in both, as a test of two sets of texts assumes."""
    return whole_of(a) is not whole_of(b) or (isinstance(a, CorpusGroup) and isinstance(b, CorpusGroup) and a.group != b.group)
