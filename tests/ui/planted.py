"""Models whose attention is known in advance, and a service that has them and tiny real ones."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

import atlas
from atlas.engine.running.service import Service
from atlas.errors import UnknownName
from atlas.ids import HeadId
from atlas.trace import Texts
from tests.engine.families import loaded

TEXT = "the doctor told the nurse that she was late . nobody answered him ."
"""With [CLS] and [SEP] sixteen tokens: no scale is made of a sample of its rows."""

LAYERS, HEADS = 4, 4

PREVIOUS = HeadId("encoder", 2, 1)
"""The one head that looks at the token before."""

POS = {"doctor": "NOUN", "nurse": "NOUN", "told": "VERB", "answered": "VERB", "was": "VERB", ".": "PUNCT"}


def weights(n_tokens: int, seed: int = 0) -> np.ndarray:
    """(layer, head, query, key): noise everywhere, no two heads alike, and one head that looks at the token before."""
    rng = np.random.default_rng([seed, n_tokens])
    found = rng.dirichlet(np.full(n_tokens, 0.6), size=(LAYERS, HEADS, n_tokens))
    before = np.eye(n_tokens, k=-1)
    before[0, 0] = 1
    found[PREVIOUS.layer, PREVIOUS.head] = 0.9 * before + 0.1 / n_tokens
    return found


def trace_of(text: str, seed: int = 0) -> Any:
    """Recorded attention on the words of a text, with what is known of the words."""
    words = text.split(" ")
    recorded = atlas.from_attention(weights(len(words) + 2, seed), ["[CLS]", *words, "[SEP]"])
    return replace(recorded, token_tables={"source": annotated(text)}, texts=Texts(text))


def annotated(text: str) -> pd.DataFrame:
    """The table of tokens as a tokenizer and a parser leave it: places in the text, words, sentences, parts of speech."""
    rows: list[dict[str, Any]] = [_special("[CLS]")]
    at = sentence = 0
    for number, word in enumerate(text.split(" ")):
        rows.append(
            {"token": word, "piece": word, "id": number, "start": at, "end": at + len(word), "special": False, "segment": 0,
             "word": number, "sentence": sentence, "pos": POS.get(word, "X"), "entity": None}
        )  # fmt: skip
        at += len(word) + 1
        sentence += word == "."
    table = pd.DataFrame([*rows, _special("[SEP]")]).astype({"start": "Int64", "end": "Int64"})
    return table.rename_axis("position")


def _special(token: str) -> dict[str, Any]:
    return {"token": token, "piece": token, "id": 0, "start": None, "end": None, "special": True, "segment": -1,
            "word": -1, "sentence": -1, "pos": None, "entity": None}  # fmt: skip


class Planted:
    """Stands in for a model: the planted attention on any text, slow or failing where the text says so."""

    kinds = ("encoder",)
    hf: Any = None

    def __init__(self, name: str, seed: int = 0) -> None:
        self.name, self.seed = name, seed
        self.hf = self
        self.reached, self.go_on = threading.Event(), threading.Event()

    def trace(self, text: str, *_: str | None, progress: Any, **__: Any) -> Any:
        """Run a text: 'wait ...' runs until it is cancelled, 'fail ...' fails."""
        if text.startswith("wait"):
            self.reached.set()
            while not self.go_on.wait(0.02):
                progress(1, 4)
        if text.startswith("fail"):
            msg = f"This text is refused: {text.removeprefix('fail').strip()}. Write another one."
            raise UnknownName(msg)
        if text.startswith("break"):
            msg = text.removeprefix("break").strip()
            raise RuntimeError(msg)
        return trace_of(text, self.seed)


def service() -> Service:
    """A service that knows planted models and tiny random ones by name, and nothing else."""
    made = {"planted": lambda: Planted("planted"), "other": lambda: Planted("other", 1)}
    made |= {f"tiny {name}": lambda name=name: loaded(name) for name in ("BERT", "GPT-2", "T5")}

    def loader(name: str, *_: Any, **__: Any) -> Any:
        if name not in made:
            msg = f"There is no model {name!r} here. Choose one of {', '.join(made)}."
            raise UnknownName(msg)
        return made[name]()

    return Service(loader)
