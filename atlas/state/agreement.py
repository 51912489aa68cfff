"""What the view of agreement shows: how far each head attends to the tokens that a method says matter."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import param

from atlas.definitions import DEFINITIONS
from atlas.errors import NotCaptured, TooLarge
from atlas.numbers import three
from atlas.state.asking import Progress, of_attributions
from atlas.state.attribution import METHODS, explained_target, target_in_words
from atlas.state.head_plane import HeadPlaneLens
from atlas.state.lens import counted
from atlas.state.plane import Cell, Plane, Thresholded
from atlas.trace import NO_MODEL
from atlas.tracing.chance import BEYOND
from atlas.tracing.explained import AGREEMENT, LOGIT, Agreement
from atlas.tracing.verdict import rho_words

if TYPE_CHECKING:
    import pandas as pd

    from atlas.trace import Trace


MOST_PAIRS = 2_000_000_000
"""Pairs of tokens ranked over all heads, about half a minute: 1,200 heads at 1,000 tokens fit."""

MOST_LAYERS = 16
"""Layers whose means are all written out: five lines of a card. Of more, the highest and the lowest."""

ENDS = 3
"""How many of either."""


class AgreementChoices(Thresholded):
    """Choices of the view of agreement."""

    method = param.Selector[str](objects=list(METHODS), default="integrated_gradients", doc="What heads are compared with.")


class AgreementLens(HeadPlaneLens):
    """The agreement of all heads of the kind on screen."""

    key: ClassVar = "agreement"
    choices_type: ClassVar = AgreementChoices
    missing: ClassVar = "no order"

    def depends(self) -> Hashable:
        """On the kind, the target and the method; selected heads are marked only."""
        return self.kind, explained_target(self.workspace, LOGIT), self.choices.method

    @property
    def signed(self) -> bool:
        """A head can attend to the tokens that matter least."""
        return True

    def reading(self) -> str:
        """Spearman's correlation."""
        return "ρ"

    def _highest(self) -> float:
        """One scale for all models and texts."""
        return 1.0

    def found(self) -> Agreement | None:
        """The agreement of all heads of all kinds; None while it is being worked out."""
        task = self.workspace.tasks.get(AGREEMENT)
        if task is None:
            raise NotCaptured(NO_MODEL)
        trace, method, target = self.trace, self.choices.method, explained_target(self.workspace, LOGIT)
        check_ranking(trace)

        def compare(progress: Progress) -> Agreement:
            made: Agreement = task(trace, target, method, progress.tell)
            return made

        return self.ask(
            f"{method} {target}", compare, None, needs_model=True, takes=of_attributions(self.workspace, [method], trace)
        )

    def own(self) -> pd.DataFrame | None:
        """The rows of the kind on screen, layer by layer."""
        found = self.found()
        return None if found is None else found.table[found.table["kind"] == self.kind]

    def beyond(self) -> frozenset[tuple[int, int]]:
        """Heads, as (layer, head), that agree or disagree beyond chance."""
        own = self.own() if self.plane().rows else None
        if own is None:
            return frozenset()
        marked = own[own["q"] <= BEYOND]
        return frozenset(zip(marked["layer"].tolist(), marked["head"].tolist(), strict=True))

    def layers_in_words(self) -> str:
        """The mean of each layer of the kind on screen, with its interval; empty while it is being worked out."""
        found = self.found() if self.plane().rows else None
        if found is None:
            return ""
        own = found.layers[found.layers["kind"] == self.kind]
        which = ""
        if len(own) > MOST_LAYERS:
            which, known = f", highest and lowest of {len(own):,}", own.dropna(subset="mean").sort_values("mean", ascending=False)
            own = known[(np.arange(len(known)) < ENDS) | (np.arange(len(known))[::-1] < ENDS)]
        means = zip(own["layer"].tolist(), own[["mean", "lo", "hi"]].to_numpy(dtype=float).tolist(), strict=True)
        said = ", ".join(f"L{layer} {rho_words(*numbers)}" for layer, numbers in means)
        return f"Mean ρ by layer (95 %, bootstrap over its heads){which}: {said}."

    def _build_plane(self) -> Plane:
        found, own = self.found(), self.own()
        if found is None or own is None:
            return Plane()
        self.line = self._describe(found, own)
        return self.of_heads(own["rho"].to_numpy(dtype=float))

    def _numbers(self, row: int, column: int) -> Cell:
        """All that is known of the agreement of a head."""
        numbers, found, own = super()._numbers(row, column), self.found(), self.own()
        if found is None or own is None:
            return numbers
        each = own.iloc[row * len(self.plane().columns) + column]
        names = {
            "lo": "95 % from", "hi": "to", "p": "p", "q": "q", "tau": "τ", "jaccard": f"Jaccard of the top {found.top}",
            "rbo": "RBO", "n": "tokens",
        }  # fmt: skip
        return numbers | {said: float(each[name]) for name, said in names.items()}

    def _describe(self, found: Agreement, own: pd.DataFrame) -> str:
        target = target_in_words(self.workspace, found.target.words)
        tokens = counted(int(own["n"].iloc[0]), "token")
        known, beyond = own["rho"].dropna(), own[own["q"] <= BEYOND]
        compared = f"{target}. {DEFINITIONS[self.choices.method].title}"
        if not len(known):
            return f"{compared}: no order of {tokens} to compare, special ones left out"
        ways = f" ({int((beyond['rho'] > 0).sum())} agree, {int((beyond['rho'] < 0).sum())} disagree)" if len(beyond) else ""
        corrected = f"q ≤ {BEYOND}, corrected over {counted(len(found.table), 'head')}"
        mean = three(float(np.mean(known)))
        return (
            f"{compared}: {len(beyond):,} of {self.of_kind()} beyond chance{ways}, {corrected}; mean ρ {mean} (by chance 0); "
            f"{tokens}, special ones left out"
        )


def check_ranking(trace: Trace) -> None:
    """Raise where ranking the tokens of all heads would take too long."""
    sizes = [(trace.n_layers(kind) * trace.n_heads(kind), trace.attention_of(kind).n_keys) for kind in trace.kinds]
    pairs = sum(heads * keys * (keys - 1) // 2 for heads, keys in sizes)
    if pairs > MOST_PAIRS:
        msg = (
            f"Ranking all heads on this text takes {pairs / 1e6:,.0f} million pairs of tokens, and {MOST_PAIRS / 1e6:,.0f} "
            "million are the most. Shorten the text, or use atlas.attribution.agreement in Python."
        )
        raise TooLarge(msg)
