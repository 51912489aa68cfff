"""What the view of head effects shows: how much a prediction loses when each head is replaced."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import param

from atlas.errors import NotCaptured, TooLarge
from atlas.numbers import three
from atlas.state import effect_choices
from atlas.state.asking import Progress, Takes
from atlas.state.attribution import explained_target, target_in_words
from atlas.state.head_plane import HeadPlaneLens
from atlas.state.lens import counted
from atlas.state.other_text import other_texts, own_text, quoted
from atlas.state.plane import Cell, Plane, Thresholded
from atlas.trace import NO_MODEL
from atlas.tracing.effect_choices import CHOICES, EFFECT_CHOICES, EffectChoices
from atlas.tracing.explained import ATTRIBUTION_PATCHING, HEAD_EFFECTS, LOGIT, MOST_TOKENS_RUN

if TYPE_CHECKING:
    import pandas as pd

    from atlas.ids import HeadId

EFFECT, LOG_PROBABILITY, KL = "effect", "log_probability", "kl"
"""Columns of the effects."""

READINGS = {EFFECT: "effect on the logit", LOG_PROBABILITY: "effect on the log-probability", KL: "KL of the whole output"}

ZERO, MEAN, RESAMPLE, GRADIENT, PATCHING = "zero", "mean", "resample", "gradient", "attribution patching"
"""What the output of a head is replaced by; or by how much the target changes with a factor on it, in one backward pass, or with
its output on the way to the one in another text (`RESAMPLE`)."""

INTEGRATED = "integrated_gradients"
"""What the weights of a head do for the target, from evenly spread ones on."""

ESTIMATES = (GRADIENT, PATCHING, INTEGRATED)

ALL = "all three"
"""Zero, mean and resample beside each other."""

OTHERS = 6
"""Texts whose outputs heads are replaced by where the three stand beside each other: each takes a run a head."""

NO_PROBABILITY = (
    "Integrated gradients say how the scores of the heads of a layer add up to the logit. Choose the logit, or replace the heads."
)

NO_KL = (
    "A gradient says how the target changes and not how the whole output does. Choose the logit or the log-probability, or "
    "replace the heads."
)

SAID = 3
"""Heads named in the line."""


class HeadEffectsChoices(Thresholded):
    """Choices of the view of head effects."""

    quotes: ClassVar[tuple[str, ...]] = ("own",)
    """Choices that quote a text: a link without the text leaves them out."""

    value = param.Selector[str](objects=[EFFECT, LOG_PROBABILITY, KL], default=EFFECT, doc="What is compared before and after.")
    how = param.Selector[str](
        objects=[ZERO, MEAN, RESAMPLE, ALL, GRADIENT, PATCHING, INTEGRATED],
        default=ZERO,
        doc="What the output of a head is replaced by.",
    )
    own = param.String(default="", doc="The other text, whose outputs are put in position by position; empty: an example.")


class HeadEffectsLens(HeadPlaneLens):
    """The effects of all heads of the kind on screen."""

    key: ClassVar = "head_effects"
    choices_type: ClassVar = HeadEffectsChoices

    def depends(self) -> Hashable:
        """On the kind and the target; selected heads are marked only."""
        return self.kind, explained_target(self.workspace, LOGIT), self.choices.value, self.choices.how, self._own()

    @property
    def signed(self) -> bool:
        """Whether an effect can be against the target; a divergence has no sign."""
        return bool(self.choices.value != KL)

    def reading(self) -> str:
        """What is compared before and after."""
        return READINGS[self.choices.value]

    def whose(self) -> str:
        """How heads are replaced; of three choices each row has its own."""
        return "" if self.beside else self._how()

    @property
    def beside(self) -> bool:
        """Whether zero, mean and other texts stand beside each other."""
        return bool(self.choices.how == ALL)

    def rows_of_layer(self) -> int:
        """A row for each choice that stands beside the others."""
        return len(CHOICES) if self.beside else 1

    @property
    def reads_another(self) -> bool:
        """Whether outputs in another text are put in."""
        return self.choices.how in (RESAMPLE, PATCHING, ALL)

    def _own(self) -> str:
        """The reader's other text, where one is read."""
        return own_text(self.choices.own) if self.reads_another else ""

    def _others(self, most: int) -> tuple[str, ...]:
        """The other texts: that of the reader, then examples."""
        own = self._own()
        return (*([own] if own else []), *other_texts(self.trace, most))[:most]

    def _heads(self, runs: int) -> list[HeadId]:
        """The heads of the kind on screen; refused where so many runs of each are too many."""
        heads = [head for head in self.trace.head_ids if head.kind == self.kind]
        tokens = runs * len(heads) * sum(map(len, self.trace.token_tables.values()))
        if tokens > MOST_TOKENS_RUN:
            each = "a run of its own" if runs == 1 else f"{runs} runs of its own"
            msg = (
                f"Each of {self.of_kind()} takes {each}, {tokens:,} tokens in all, and {MOST_TOKENS_RUN:,} are the "
                "most. Shorten the text, or give some of the heads to atlas.attribution.head_effects in Python."
            )
            raise TooLarge(msg)
        return heads

    def choices_found(self) -> EffectChoices | None:
        """The effects under zero, mean and other texts; None while heads are being switched off."""
        trace, kind, target = self.trace, self.kind, explained_target(self.workspace, LOGIT)
        task = self.workspace.tasks.get(EFFECT_CHOICES)
        if task is None:
            raise NotCaptured(NO_MODEL)
        others = self._others(OTHERS)
        heads = self._heads(2 + len(others))

        def compare(progress: Progress) -> EffectChoices:
            def report(done: int, of: int) -> None:
                progress.tell(f"Switching off {len(heads):,} heads in {2 + len(others)} ways", done / of)

            made: EffectChoices = task(trace, target, heads, others, report)
            return made

        return self.ask(
            f"{ALL} {kind} {target} {self._own()}", compare, None, needs_model=True, takes=Takes((2 + len(others)) * len(heads))
        )

    def hanging(self) -> frozenset[tuple[int, int]]:
        """Cells of the heads whose sign or rank hangs on the choice; none where one choice is shown."""
        found = self.choices_found() if self.beside and self.plane().rows else None
        if found is None:
            return frozenset()
        return effect_choices.hanging(found.tables[self.choices.value], self.trace.n_heads(self.kind))

    def table(self) -> pd.DataFrame:
        """The plane; of three choices all that is known of every head."""
        found = self.choices_found() if self.beside and self.plane().rows else None
        return super().table() if found is None else found.tables[self.choices.value]

    def found(self) -> pd.DataFrame | None:
        """The effects; None while heads are being switched off."""
        trace, kind, how, target = self.trace, self.kind, self.choices.how, explained_target(self.workspace, LOGIT)
        task = self.workspace.tasks.get(ATTRIBUTION_PATCHING if how == PATCHING else HEAD_EFFECTS)
        if task is None:
            raise NotCaptured(NO_MODEL)
        heads = self._heads(0 if how in ESTIMATES else 1)
        other = self._others(1)[0] if how in (RESAMPLE, PATCHING) else None

        def replace(progress: Progress) -> pd.DataFrame:
            def report(done: int, of: int) -> None:
                if how == INTEGRATED:
                    progress.tell(f"Integrating gradients on the weights of {of:,} layers", done / of)
                elif how != PATCHING:
                    progress.tell(f"Switching off {of:,} heads", done / of)

            if how in (GRADIENT, PATCHING):
                progress.tell(f"Differentiating by the output of {len(heads):,} heads")

            made: pd.DataFrame = task(trace, target, RESAMPLE if how == PATCHING else how, heads, other, report)
            return made

        takes = Takes(gradients=True) if how in ESTIMATES else Takes(len(heads))
        return self.ask(f"{how} {kind} {target} {self._own()}", replace, None, needs_model=True, takes=takes)

    def _build_plane(self) -> Plane:
        if self.beside:
            return self._three_rows()
        if self.choices.how in ESTIMATES and self.choices.value == KL:
            raise NotCaptured(NO_KL)
        if self.choices.how == INTEGRATED and self.choices.value == LOG_PROBABILITY:
            raise NotCaptured(NO_PROBABILITY)
        found = self.found()
        if found is None:
            return Plane()
        values = found[self.choices.value].to_numpy(dtype=float)
        _check_known(values)
        self.line = self._describe(found, values)
        return self.of_heads(values)

    def _three_rows(self) -> Plane:
        found = self.choices_found()
        if found is None:
            return Plane()
        table = found.tables[self.choices.value]
        _check_known(table[ZERO].to_numpy(dtype=float))
        target = target_in_words(self.workspace, found.target)
        self.line = (
            f"{target}. {self._read()} of each of {self.of_kind()}, set to zero, to its mean over the text, and to its output in "
            f"{counted(found.n, 'other text')}: {effect_choices.in_words(found, self.choices.value)}"
        )
        return effect_choices.plane_of(table, self.trace.n_layers(self.kind), self.trace.n_heads(self.kind))

    def cell(self, row: int, column: int) -> Cell:
        """The numbers of a head; of three choices also which of them the row is."""
        found, compared = super().cell(row, column), self.choices_found() if self.beside else None
        if compared is None or not found:
            return found
        return found | {"column": effect_choices.whose(CHOICES[row % len(CHOICES)], compared.n)}

    def _numbers(self, row: int, column: int) -> Cell:
        """The chosen value, the two others, and the rank of the head by the size of its value."""
        compared = self.choices_found() if self.beside else None
        if compared is not None:
            head, choice = self.head_at(row, column), CHOICES[row % len(CHOICES)]
            at = head.layer * self.trace.n_heads(self.kind) + head.head
            return effect_choices.cell_of(compared.tables[self.choices.value].iloc[at], choice)
        numbers, found = super()._numbers(row, column), self.found()
        if found is None:
            return numbers
        at = row * len(self.plane().columns) + column
        short = {EFFECT: "logit", LOG_PROBABILITY: "log-probability", KL: "KL"}
        others = {short[name]: float(found[name].iloc[at]) for name in READINGS if name != self.choices.value}
        return numbers | others

    # -- in words ------------------------------------------------------------------------------------------------------

    def _how(self) -> str:
        how = self.choices.how
        if how not in (RESAMPLE, PATCHING):
            return {
                ZERO: "set to zero",
                MEAN: "set to its mean over the text",
                GRADIENT: "by gradient, an estimate of setting it to zero",
                INTEGRATED: "by integrated gradients on its weights, from evenly spread ones",
            }[how]
        (text,) = self._others(1)
        estimated = "by gradient, an estimate of being " if how == PATCHING else ""
        return f"{estimated}replaced by its output in {quoted(text)}"

    def _read(self) -> str:
        reading = self.reading()
        return reading[0].upper() + reading[1:]

    def _describe(self, found: pd.DataFrame, values: np.ndarray) -> str:
        order = np.argsort(-np.abs(np.nan_to_num(values)), kind="stable")[:SAID]
        most = ", ".join(f"L{found['layer'].iloc[at]} H{found['head'].iloc[at]} {three(values[at])}" for at in order)
        low, median, high = np.nanpercentile(values, [25, 50, 75])
        target = target_in_words(self.workspace, found.attrs["target"])
        spread = f"median {three(median)}, quartiles {three(low)} and {three(high)}"
        whose = f"{self._read()} of each of {self.of_kind()}, {self._how()}"
        return f"{target}. {whose}: largest {most}; all heads: {spread}{_checked(found)}"


def _checked(found: pd.DataFrame) -> str:
    """How far estimates agree with what was measured of some heads, or add up, in words; empty where all were measured."""
    if "layers" in found.attrs:
        layers = found.attrs["layers"]
        worst = int(np.argmax(layers["gap"]))
        gap, where = three(100 * layers["gap"][worst]), layers["layer"][worst]
        return f". The heads of a layer add up to what its weights do; the largest gap is {gap} %, in layer L{where}"
    if "pearson" not in found.attrs:
        return ""
    r, rho, n = (found.attrs[name] for name in ("pearson", "spearman", "n"))
    if not np.isfinite(r):
        return f". {counted(n, 'head')} patched one by one: too few, or all alike, for a correlation with the estimate"
    patched = f"{counted(n, 'head')} patched one by one"
    return f". {patched}: correlation of the effect on the target with its estimate r {three(r)}, ρ {three(rho)}"


def _check_known(values: np.ndarray) -> None:
    if not np.isfinite(values).any():
        msg = "This model gives a number and no probabilities. Choose the logit, which is that number."
        raise NotCaptured(msg)
