"""What the card that sets side B shows: what is compared with what, what could not be aligned, and what one press compares."""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar

import numpy as np
import pandas as pd
import param

from atlas.errors import AtlasError
from atlas.numbers import listed
from atlas.state.asking import Progress
from atlas.state.lens import counted
from atlas.state.library import examples
from atlas.state.second_lens import KEY, RUNNING, CompareChoices, SecondLens, pairs_in_words
from atlas.state.words import shown_token
from atlas.trace import Trace
from atlas.tracing.counterfactual import COUNTERFACTUALS, Counterfactual
from atlas.tracing.two_heads import Partners, partners
from atlas.tracing.two_traces import MODEL_NAMES, TwoTraces

OTHER_TEXT, OTHER_MODEL, WITHOUT_HEADS, COUNTERFACTUAL, HALF = "text", "model", "heads", "counterfactual", "half"
PRESETS = {
    COUNTERFACTUAL: "A counterfactual",
    OTHER_TEXT: "Another text",
    OTHER_MODEL: "Another model",
    WITHOUT_HEADS: "Without these heads",
    HALF: "Half precision",
}
"""What one press compares with, in the order of the buttons."""

OTHERS = {"bert-mini": "gpt-mini", "": "bert-mini"}
"""Model on screen -> the embedded model that it is held against; '': any other. It reads the same text by itself."""

HALF_PRECISION = "bfloat16"

UNKNOWN_PIECES = ("<unk>", "[UNK]")
"""What vocabularies have in place of everything that they have not."""

MOST_ALONE = 8
"""Tokens without partner that are named."""

LETTERS = 160
"""Letters of a text that the card repeats."""

NO_TERMS = "This text has no identity term that could be exchanged. Type another text below, or take another preset."


class CompareLens(SecondLens):
    """Both sides in words."""

    key: ClassVar = KEY
    choices_type: ClassVar = CompareChoices
    reads: ClassVar = {
        "second": ("used", "trace", "error", "busy", "message", "model", "dtype", "text", "pair", "target", "ablated"),
        "selection": ("focus", "heads"),
    }

    note = param.String(default="", doc="Why a preset could not be made.")

    _waits: bool = False

    def depends(self) -> Hashable:
        """On side B, and on the selected heads, which a button switches off."""
        second = self.workspace.second
        return self.compared(), second.busy, second.message, tuple(second.values().items()), self.shown_heads()

    # -- what one press compares -----------------------------------------------------------------------------------------

    def preset(self, name: str) -> None:
        """Compare with one of `PRESETS`."""
        self.note, self._waits = "", False
        second, trace = self.workspace.second, self.workspace.trace
        if trace is None:
            return
        if name == WITHOUT_HEADS:
            second.put(ablated=frozenset(self.shown_heads()))
        elif name == HALF:
            second.put(dtype=HALF_PRECISION)
        elif name == OTHER_MODEL:
            second.put(model=self.other_model())
        elif name == OTHER_TEXT:
            second.put(text=self.other_text())
        else:
            self._counterfactual()

    def other_model(self) -> str:
        """The embedded model that the one on screen is held against."""
        name = str(self.trace.provenance.get("model") or "")
        return OTHERS.get(name, OTHERS[""])

    def other_text(self) -> str:
        """An example, of the same model where there is one: the one that has most words in common with the text."""
        own, model = self.trace.texts.text or "", self.trace.provenance.get("model")
        known = set(own.lower().split())
        different = [each for each in examples() if each.text != own and not each.pair]
        of_model = [each for each in different if each.model == model] or different
        return max(of_model, key=lambda each: len(known & set(each.text.lower().split()))).text

    def _counterfactual(self) -> None:
        found = self._made()
        if found is None:
            self._waits = True
        else:
            self._take(found)

    def _made(self) -> list[Counterfactual] | str | None:
        """The counterfactuals of the text, or why there are none; None while they are made."""
        task, text = self.workspace.tasks.get(COUNTERFACTUALS), self.trace.texts.text
        if task is None or text is None:
            return "This trace has no text, or was opened outside the app: there is nothing to exchange words in."

        def make(progress: Progress) -> list[Counterfactual] | str:
            progress.tell("Looking for identity terms")
            try:
                made: list[Counterfactual] = task(text)
            except AtlasError as error:
                return str(error)
            return made

        return self.ask("counterfactuals", make, None)

    def _take(self, found: list[Counterfactual] | str) -> None:
        if isinstance(found, str) or not found:
            self.note = found if isinstance(found, str) else NO_TERMS
        else:
            self.workspace.second.put(text=found[0].text)

    def arrived(self) -> None:
        """The counterfactuals are there: the first becomes the text of side B."""
        super().arrived()
        if self._waits:
            self._waits = False
            found = self._made()
            if found is not None:
                self._take(found)

    def run(self, model: str, text: str, dtype: str) -> None:
        """Compare with what the reader typed; what is empty, or as on side A, is that of side A."""
        self.note = ""
        own = self.trace.texts.text or ""
        self.workspace.second.put(model=model.strip(), text="" if text.strip() in ("", own) else text, dtype=dtype)

    def clear(self) -> None:
        """No second side."""
        self.note = ""
        self.workspace.second.clear()

    # -- in words ------------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """The models that can be chosen by name."""
        task = self.workspace.tasks.get(MODEL_NAMES)
        return [] if task is None else list(task())

    def rows(self) -> list[tuple[str, str]]:
        """What is compared with what: a name and what is to be said of it."""
        found: list[tuple[str, str]] = self.attempt(self._rows, [])
        return found

    def _rows(self) -> list[tuple[str, str]]:
        trace, second = self.trace, self.workspace.second
        rows = [("Side A", _described(trace))]
        if not second.used and second.trace is None:
            self.line = "Nothing is compared yet: press one of the buttons, or set side B below"
            return rows
        if second.error:
            self.line = "Side B could not be run"
            return [*rows, ("Side B", second.error)]
        two = second.two()
        if two is None:
            self.line = f"{RUNNING}: {second.message}" if second.message else RUNNING
            return [*rows, ("Side B", second.message or RUNNING)]
        rows.append(("Side B", _described(two.b)))
        pairs = self._pairs(two)
        if isinstance(pairs, str):
            self.line = "The two sides cannot be compared head by head"
            return [*rows, ("Not compared", pairs)]
        self.line = "B − A in every view below" if pairs is None else f"B − A below; {pairs_in_words(pairs)}"
        aligned = [_aligned(two, side) for side in trace.token_tables if side in two.b.token_tables]
        return [*rows, *aligned, *_outside_vocabulary(two)]

    def _pairs(self, two: TwoTraces) -> Partners | str | None:
        """How heads are paired, or why they are not: no problem of this card, whose buttons are the way out."""
        kind, by = self.kind, self.by

        def pair(progress: Progress) -> Partners | str:
            try:
                return partners(two, kind, by, lambda share: progress.tell("Pairing heads", share))
            except AtlasError as error:
                return str(error)

        return self.ask(self.key_of(two, "pairs"), pair, None, keep=False)

    def table(self) -> pd.DataFrame:
        """The words of both sides; before there is a side B, the rows in words."""
        two = self.workspace.second.two()
        if two is None:
            return pd.DataFrame(self.rows(), columns=["what", "words"])
        sides = [side for side in self.trace.token_tables if side in two.b.token_tables]
        return pd.concat([two.word_table(side).assign(side=side) for side in sides], ignore_index=True)


def _described(trace: Trace) -> str:
    """Model, precision, what was switched off, and the text."""
    provenance, texts = trace.provenance, trace.texts
    parts = [str(provenance.get("model") or "recorded attention")]
    dtype = str(provenance.get("dtype") or "")
    parts += [dtype] if dtype not in ("", "float32") else []
    ablated = sorted((provenance.get("changed") or {}).get("ablated", ()))
    if ablated:
        parts.append(f"without {listed([str(head) for head in ablated])}")
    said = [each for each in (texts.text, texts.pair, texts.target) if each]
    quoted = " | ".join(each if len(each) <= LETTERS else f"{each[: LETTERS - 1]}…" for each in said)
    return f"{', '.join(parts)}: {quoted or 'no text kept'}"


def _aligned(two: TwoTraces, side: str) -> tuple[str, str]:
    """How many words of a side are in pairs, and what has no partner."""
    name = "Aligned" if len(two.a.token_tables) == 1 else f"Aligned ({side})"
    try:
        words = two.words(side)
    except AtlasError as error:  # the target of a decoder may have nothing in common where the source has
        return name, str(error)
    count = counted(int(np.count_nonzero(words.units.words)), "token" if words.level == "token" else "word")
    alone = [f"only in {which}: {_tokens(tokens)}" for which, tokens in zip("AB", two.alone(side), strict=True) if tokens]
    return name, "; ".join([f"{count} in pairs", *(alone or ["nothing is without a partner"])])


def _outside_vocabulary(two: TwoTraces) -> list[tuple[str, str]]:
    """The tokens of either text that its model does not know: they differ on screen and not for the model."""
    tables = [trace.token_tables["source"] for trace in (two.a, two.b)]
    unknown = [table[table["piece"].isin(UNKNOWN_PIECES)] if "piece" in table else table[:0] for table in tables]
    named = [
        f"on {which} {_tokens(list(dict.fromkeys(each['token'])))}"
        for which, each in zip("AB", unknown, strict=True)
        if len(each)
    ]
    if not named:
        return []
    piece = next(str(each["piece"].iloc[0]) for each in unknown if len(each))
    same = two.a.texts.text != two.b.texts.text and list(tables[0]["id"]) == list(tables[1]["id"])
    both = "; both sides read the same tokens" if same else ""
    return [("Not in the vocabulary", f"{'; '.join(named)}: each is read as {piece}, so the model cannot tell them apart{both}")]


def _tokens(tokens: list[str]) -> str:
    return listed([shown_token(token) for token in tokens], MOST_ALONE)
