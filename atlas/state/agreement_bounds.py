"""Between which bounds the agreement of the heads on screen lies: two gradient methods above, random heads below."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import ClassVar

from atlas.definitions import DEFINITIONS
from atlas.errors import NotCaptured
from atlas.ids import HeadId
from atlas.state.agreement import AgreementChoices, check_ranking
from atlas.state.asking import Progress, of_attributions
from atlas.state.attribution import explained_target
from atlas.state.lens import Lens, counted
from atlas.state.verdict import gradient_pair
from atlas.trace import NO_MODEL
from atlas.tracing.explained import LOGIT
from atlas.tracing.verdict import BOUNDS, Bounds, correlation, p_words, two

UNDER_WAY = "Ceiling and floor: on their way."


class AgreementBoundsLens(Lens):
    """The ceiling and the floor of the verdict for the selected heads, else the one in focus; removes no head."""

    key: ClassVar = "agreement"
    choices_type: ClassVar = AgreementChoices
    reads: ClassVar = {"selection": ("heads", "focus"), "target": ("position", "outcome", "against")}

    def depends(self) -> Hashable:
        """On the heads, the target and the method."""
        return self.shown_heads(), explained_target(self.workspace, LOGIT), self.choices.method

    def found(self) -> Bounds | None:
        """The numbers; None while they are worked out."""
        task = self.workspace.tasks.get(BOUNDS)
        if task is None:
            raise NotCaptured(NO_MODEL)
        trace, heads, method = self.trace, self.shown_heads(), self.choices.method
        target, pair = explained_target(self.workspace, LOGIT), gradient_pair(method)
        check_ranking(trace)

        def compare(progress: Progress) -> Bounds:
            made: Bounds = task(trace, target, heads, method=method, pair=pair, progress=progress.tell)
            return made

        takes = of_attributions(self.workspace, [method, *pair], trace)
        return self.ask(f"{heads} by {method} for {target}", compare, None, needs_model=True, takes=takes)

    def words(self) -> tuple[str, ...]:
        """The ceiling, the floor, and why a number is not known; or that they are on their way."""
        found = self.attempt(self.found, None)
        if found is None:
            return (UNDER_WAY,) if self.busy else tuple(filter(None, [self.problem]))
        return self._ceiling(found), self._floor(found, self.shown_heads()), *found.notes

    def _ceiling(self, found: Bounds) -> str:
        titles = (DEFINITIONS[name].title for name in gradient_pair(self.choices.method))
        one, other = (title[0].lower() + title[1:] for title in titles)
        numbers = found.numbers
        agree = f"{correlation(numbers, 'ceiling')}, p {p_words(numbers['ceiling_p'])}"
        tokens = counted(int(numbers["n"]), "token")
        return f"Ceiling, two gradient methods: {one} and {other} agree with {agree}, over {tokens}."

    def _floor(self, found: Bounds, heads: tuple[HeadId, ...]) -> str:
        numbers, count = found.numbers, len(heads)
        own = f"{correlation(numbers, 'scores')}, p {p_words(numbers['scores_p'])}"
        if count == 1:
            these, random = f"{heads[0].label(self.trace.kinds)} ({own})", counted(int(numbers["sets"]), "head")
        else:
            these = f"the {count:,} selected heads (their mean attention: {own})"
            random = f"{counted(int(numbers['sets']), 'set')} of {count:,} heads"
        if not numbers["sets"]:
            return f"Floor, random heads: there are no others than {these}."
        layers = "the same layers" if numbers["same_layers"] else "any layer"
        mean, low, high, share = (numbers[f"floor_{name}"] for name in ("rho", "lo", "hi", "p"))
        spread = f"mean ρ {two(mean)}, 95 % of them {two(low)} to {two(high)}"
        as_high = f"{100 * share:.0f} % are as high as {these}, itself counted" if math.isfinite(share) else f"beside {these}"
        return f"Floor, random heads: {random} of {layers}, {spread}; {as_high}."
