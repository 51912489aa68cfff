"""What the verdict says: whether the attention of the heads on screen is the reason for the prediction that is explained."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from typing import Any, ClassVar, NamedTuple

import pandas as pd
import param

from atlas.definitions import DEFINITIONS
from atlas.errors import NotCaptured, TooLarge
from atlas.ids import HeadId
from atlas.numbers import listed, three
from atlas.state.asking import Progress, Takes
from atlas.state.attribution import explained_target, target_in_words
from atlas.state.head_effects import MEAN, RESAMPLE, ZERO
from atlas.state.lens import counted
from atlas.state.other_text import other_text
from atlas.state.pressed import PressedLens
from atlas.state.words import shown_token
from atlas.trace import NO_MODEL
from atlas.tracing.explained import LOGIT, MOST_TOKENS_RUN, Target
from atlas.tracing.verdict import RULES, VERDICT, VERDICT_COST, Rule, Verdict, p_words, rho_words, two

METHODS = ("saliency", "input_x_gradient", "integrated_gradients")
"""The methods by gradients alone."""

Groups = tuple[dict[str, Any], ...]


class VerdictChoices(param.Parameterized):
    """Choices of the verdict."""

    method = param.Selector[str](objects=list(METHODS), default="integrated_gradients", doc="What the attention is held against.")
    how = param.Selector[str](
        objects=[ZERO, MEAN, RESAMPLE], default=ZERO, doc="What the output of a removed head is replaced by."
    )
    rules = param.Boolean(default=False, doc="Whether all rules are listed, instead of those that fired.")


class Request(NamedTuple):
    """What is judged."""

    heads: tuple[HeadId, ...]
    target: Target
    method: str
    how: str
    queries: tuple[int, ...] = ()
    """The tokens whose attention counts; none: all."""

    @property
    def key(self) -> str:
        """Names the result."""
        heads = " ".join(head.label((head.kind, "")) for head in self.heads)
        return f"{heads} from {self.queries} by {self.method} and {self.how} for {self.target}"


class Shown(NamedTuple):
    """All that is on screen."""

    sentence: str = ""
    groups: Groups = ()
    """Numbers and rules, as `BarList` takes them."""
    notes: tuple[str, ...] = ()
    cost: str = ""
    """What a press costs; empty where the verdict is there or on its way."""


class VerdictLens(PressedLens):
    """The verdict on the selected heads, else on the one in focus."""

    key: ClassVar = "verdict"
    choices_type: ClassVar = VerdictChoices
    reads: ClassVar = {"selection": ("heads", "focus", "queries"), "target": ("position", "outcome", "against")}

    def __init__(self, workspace: Any, **params: Any) -> None:
        self._shown: Shown | None = None
        super().__init__(workspace, **params)

    def depends(self) -> Hashable:
        """On what is judged, and how much of it is listed."""
        return self.request(), self.choices.rules

    def forget(self) -> None:
        """Drop what is shown, too."""
        super().forget()
        self._shown = None

    def request(self) -> Request:
        """What a press would judge."""
        choices, target = self.choices, explained_target(self.workspace, LOGIT)
        queries = tuple(sorted(self.workspace.selection.queries))
        return Request(self.shown_heads(), target, choices.method, choices.how, queries)

    def shown(self) -> Shown:
        """All that is on screen."""
        if self._shown is None:
            self._shown = self.attempt(self._work_out, Shown())
        return self._shown

    def verdict(self) -> Verdict | None:
        """The verdict; None where it was not asked for, or is on its way."""
        request = self.request()
        if not self.is_pressed:
            self.drop_asked()
            return None
        task, trace = self._task(VERDICT), self.trace
        other = other_text(trace) if request.how == RESAMPLE else None

        def work(progress: Progress) -> Verdict:
            method, beside = gradient_pair(request.method)
            made: Verdict = task(
                trace, request.target, request.heads, queries=request.queries, method=method, beside=beside,
                how=request.how, other=other, progress=progress.tell,
            )  # fmt: skip
            return made

        return self.ask(request.key, work, None, needs_model=True, takes=Takes(self._passes(request), gradients=True))

    def table(self) -> pd.DataFrame:
        """The sentence, the numbers and every rule."""
        found = self.verdict() if self.workspace.trace is not None else None
        fired = found.rules if found is not None else ()
        rows: list[tuple[str, str, Any]] = [("sentence", "", found.sentence)] if found is not None else []
        rows += [("number", name, value) for name, value in (found.numbers.items() if found is not None else ())]
        rows += [("rule", rule.name, "fired" if rule in fired else "") for rule in RULES]
        return pd.DataFrame(rows, columns=["what", "name", "value"])

    # -- what is found -------------------------------------------------------------------------------------------------

    def _task(self, name: str) -> Callable[..., Any]:
        task = self.workspace.tasks.get(name)
        if task is None:
            raise NotCaptured(NO_MODEL)
        return task

    def _work_out(self) -> Shown:
        request = self.request()
        passes = self._passes(request)
        self.line = self._describe(request, None)
        found = self.verdict()
        rules = self._rules(found)
        if found is None:
            cost = "" if self.is_pressed else self._cost(request, passes)
            return Shown("", rules if self.choices.rules else (), (), cost)
        self.line = self._describe(request, found)
        return Shown(found.sentence, (*self._numbers(request, found), *rules), found.notes)

    def _passes(self, request: Request) -> int:
        passes = int(self._task(VERDICT_COST)(self.trace, request.heads, request.method))
        tokens = passes * sum(map(len, self.trace.token_tables.values()))
        if tokens > MOST_TOKENS_RUN:
            msg = (
                f"A verdict takes {passes:,} passes of this text, {tokens:,} tokens in all; {MOST_TOKENS_RUN:,} are the most. "
                "Shorten the text, take another gradient method, or use atlas.attribution.verdict in Python with fewer draws."
            )
            raise TooLarge(msg)
        return passes

    @staticmethod
    def _cost(request: Request, passes: int) -> str:
        these = "this head" if len(request.heads) == 1 else f"these {len(request.heads):,} heads"
        method = DEFINITIONS[request.method].title.lower()
        return (
            f"Judging holds the attention of {these} against {method} and occlusion, and removes {these} and as many random "
            f"ones: {passes:,} passes of this text at most."
        )

    # -- in words ------------------------------------------------------------------------------------------------------

    def _describe(self, request: Request, found: Verdict | None) -> str:
        names = listed([head.label(self.trace.kinds) for head in request.heads])
        if request.queries:
            tokens = self.trace.token_tables[self.trace.side(self.kind, "query")]["token"]
            quoted = [f"'{shown_token(str(tokens.iloc[at]))}'" for at in request.queries]
            names += f"; attention from {listed(quoted)}"
        if found is None or found.target is None:
            return names
        return f"{names}. {target_in_words(self.workspace, found.target.words)}"

    @staticmethod
    def _numbers(request: Request, found: Verdict) -> Groups:
        numbers = found.numbers
        pairs = {
            "gradients": DEFINITIONS[request.method].title,
            "occlusion": DEFINITIONS["occlusion"].title,
            "ceiling": "Ceiling: two gradients",
        }
        scores = [
            _row(title, abs(numbers[f"{name}_rho"]), rho_words(*(numbers[f"{name}_{end}"] for end in ("rho", "lo", "hi"))),
                 f"chance ±{two(numbers[f'{name}_chance'])}, p {p_words(numbers[f'{name}_p'])}")
            for name, title in pairs.items()
        ]  # fmt: skip
        floor = rho_words(numbers["floor_rho"], numbers["floor_lo"], numbers["floor_hi"])
        share = f"{100 * numbers['floor_p']:.0f} % as high" if math.isfinite(numbers["floor_p"]) else ""
        scores.append(_row("Floor: random heads", abs(numbers["floor_rho"]), floor, share))
        own = "Without this head" if len(request.heads) == 1 else "Without these heads"
        effects = {"effect": own, "random_effect": "Without random heads", "random_high": "… 95 % of them below"}
        sizes = {name: abs(numbers[name]) for name in effects}
        highest = max((size for size in sizes.values() if math.isfinite(size)), default=0.0) or 1.0
        sets = counted(int(numbers["sets"]), "set")
        beside = {"effect": f"p {p_words(numbers['removal_p'])}, {sets}", "random_effect": "median size", "random_high": ""}
        changes = [_row(title, sizes[name] / highest, three(numbers[name]), beside[name]) for name, title in effects.items()]
        others = f"log-probability {three(numbers['log_probability'])}, KL {three(numbers['kl'])}"
        return (
            {
                "name": "Does it attend to what matters? (ρ)",
                "note": f"over {counted(int(numbers['n']), 'token')}",
                "rows": scores,
            },
            {"name": "What does the target lose?", "note": others, "rows": changes},
        )

    def _rules(self, found: Verdict | None) -> Groups:
        fired = found.rules if found is not None else ()
        rules = RULES if self.choices.rules else fired
        rows = [_rule(rule, fired=rule in fired) for rule in rules]
        title = "All rules" if self.choices.rules else "Rules that hold"
        return ({"name": title, "note": "of each part the first that holds counts", "rows": rows},)


def gradient_pair(method: str) -> tuple[str, str]:
    """The two gradient methods of the ceiling: this one and another; of a method that is none, two of one pass each."""
    first = method if method in METHODS else "input_x_gradient"
    return first, "saliency" if first == "input_x_gradient" else "input_x_gradient"


def _rule(rule: Rule, *, fired: bool) -> dict[str, Any]:
    return {"label": rule.name, "number": "✓" if fired else "", "note": f"{rule.part}: {rule.condition}"}


def _row(label: str, share: float, number: str, note: str) -> dict[str, Any]:
    return {"label": label, "shares": [share], "number": number, "note": note}
