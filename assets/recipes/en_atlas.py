"""en_atlas: a small spaCy pipeline of parts of speech, dependencies, sentences and entities, for where no other is installed.

Trained by spaCy's own loop from en_atlas.cfg on UD English EWT with the entities of UniversalNER. The weights that score
best on a twenty-fifth of the training documents, looked at every 400 steps, are kept.
"""

from __future__ import annotations

import json
import lzma
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import spacy
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example
from spacy.training.initialize import init_nlp
from spacy.training.loop import train as spacy_train
from spacy.util import load_config

from .places import REPO
from .training import TIMES, WHOLE, Outcome, Plan

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.vocab import Vocab

NAME = "en_atlas"
VERSION = "1.0.0"
DATA = REPO.parent / "shared" / "data" / "ud_ewt_ner"
CONFIG = Path(__file__).with_name("en_atlas.cfg")
PLAN = Plan(steps=3_600, learning_rate=1e-3, seed=41)
WORDS_PER_STEP = 1_000
SENTENCES_A_DOCUMENT = 8  # sentence ends are learnt only where more than one sentence is read; a whole page is too long a batch
CHOOSE_EVERY = 25  # documents: one in 25 is not trained on but decides which of the run's weights are kept
RATE_ENDS = 5 / 3  # of the run: where the falling rate would be 0; planned that long, it had its best weights before
LOOKS = 9  # how often in a run the weights are scored on the chosen part; a number of steps it divides is scored at its end too
SCORES = {  # as they are known -> as spaCy calls them
    "UPOS": "pos_acc",
    "UAS": "dep_uas",
    "LAS": "dep_las",
    "NER F1": "ents_f",
    "sentences F1": "sents_f",
}
# UD renamed these relations in 2024; Atlas keeps the name its other pipelines are mapped to (atlas/text/names.py).
RELATIONS = {"obl:unmarked": "obl:npmod", "nmod:unmarked": "nmod:npmod", "root": "ROOT"}


@dataclass(frozen=True)
class Sentence:
    """One sentence of the treebank; `head` counts from 0, a root's is its own place; no `ner` where nobody annotated it."""

    document: str
    words: list[str]
    spaces: list[bool]
    pos: list[str]
    head: list[int]
    dep: list[str]
    ner: list[str] | None


def spaces_of(text: str, words: Sequence[str]) -> list[bool]:
    """Whether white space follows each word in the text: the treebank's own mark is wrong inside "don't"."""
    found, at = [], 0
    for word in words:
        start = text.find(word, at)
        if start < 0:
            message = f"the word {word!r} is not in the text after character {at}: {text!r}"
            raise ValueError(message)
        at = start + len(word)
        found.append(at >= len(text) or text[at].isspace())
    return found


def sentences(path: Path) -> Iterator[Sentence]:
    """Every sentence of a file of the treebank."""
    with lzma.open(path, "rt", encoding="utf-8") as file:
        for row in map(json.loads, file):
            yield Sentence(
                document=row["sent_id"].rsplit("-", 1)[0],
                words=row["tokens"],
                spaces=spaces_of(row["text"], row["tokens"]),
                pos=row["upos"],
                head=[place if head == 0 else head - 1 for place, head in enumerate(row["head"])],
                dep=[RELATIONS.get(name, name) for name in row["deprel"]],
                ner=row["ner"],
            )


def entities(doc: Doc, labels: Sequence[str], first: int) -> list[Span]:
    """Spans of B- and I- labels that begin at token `first`."""
    found: list[Span] = []
    for place, label in enumerate(labels, first):
        if label.startswith("B-"):
            found.append(Span(doc, place, place + 1, label=label[2:]))
        elif label.startswith("I-"):
            found[-1] = Span(doc, found[-1].start, place + 1, label=label[2:])
    return found


def document(vocab: Vocab, group: Sequence[Sentence]) -> Doc:
    """Some sentences that follow each other, as one annotated text."""
    words, spaces, pos, heads, deps = [], [], [], [], []
    for sentence in group:
        heads += [len(words) + head for head in sentence.head]
        words += sentence.words
        spaces += [*sentence.spaces[:-1], True]
        pos += sentence.pos
        deps += sentence.dep
    doc = Doc(vocab, words=words, spaces=spaces, pos=pos, heads=heads, deps=deps)
    spans, missing, first = [], [], 0
    for sentence in group:
        if sentence.ner is None:
            missing.append(Span(doc, first, first + len(sentence.words)))
        else:
            spans += entities(doc, sentence.ner, first)
        first += len(sentence.words)
    doc.set_ents(spans, missing=missing, default="outside")
    return doc


def documents(vocab: Vocab, found: Iterable[Sentence]) -> Iterator[tuple[int, Doc]]:
    """Texts of a few sentences each, with the number of the document they are from."""
    for number, (_, group) in enumerate(groupby(found, key=lambda sentence: sentence.document)):
        gathered = list(group)
        for first in range(0, len(gathered), SENTENCES_A_DOCUMENT):
            yield number, document(vocab, gathered[first : first + SENTENCES_A_DOCUMENT])


def prepare(folder: Path, data: Path) -> tuple[Path, Path]:
    """The texts to learn from and those to choose by, in spaCy's own format."""
    places = folder / "train.spacy", folder / "choose.spacy"
    if not all(place.exists() for place in places):
        bins = DocBin(), DocBin()
        for number, doc in documents(spacy.blank("en").vocab, sentences(data / "train.jsonl.xz")):
            bins[number % CHOOSE_EVERY == 0].add(doc)
        folder.mkdir(parents=True, exist_ok=True)
        for place, gathered in zip(places, bins, strict=True):
            gathered.to_disk(place)
    return places


def pipeline(train: Path, choose: Path, plan: Plan) -> Language:
    """The pipeline before its first step."""
    settings = {
        "paths.train": str(train),
        "paths.dev": str(choose),
        "system.seed": plan.seed,
        "training.max_steps": plan.steps,
        "training.eval_frequency": max(1, plan.steps // LOOKS),
        "training.optimizer.learn_rate.warmup_steps": plan.warmup_steps,
        "training.optimizer.learn_rate.total_steps": round(RATE_ENDS * plan.steps),
        "training.optimizer.learn_rate.initial_rate": plan.learning_rate,
    }
    return init_nlp(load_config(CONFIG, overrides=settings))


def ship(nlp: Language, folder: Path) -> None:
    """Save what annotates and nothing of how it was trained: paths of this machine, scores of the part it was chosen by."""
    nlp.meta.update(
        {
            "name": NAME.removeprefix("en_"),
            "version": VERSION,
            "description": "Parts of speech, dependencies, sentences and entities of English; see MODEL_CARD.md.",
            "license": "CC BY-SA 4.0",
            "author": "Attention Atlas",
            "performance": {},
        }
    )
    nlp.config["paths"] = {}
    nlp.config["corpora"] = {}
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    nlp.to_disk(folder)
    (folder / "vocab" / "lookups.bin").unlink()  # empty, and spaCy reads a vocabulary without it


def train_pipeline(
    work: Path, minutes: float | None, device: str, plan: Plan = PLAN, log: Callable[[str], None] = print, data: Path = DATA
) -> Outcome:
    """Train from the beginning to the end: spaCy keeps no optimiser's state, so a run that broke off begins again."""
    del minutes, device  # a run cannot be parted; spaCy's convolutions are made for the CPU
    folder, done = work / NAME, work / "final" / NAME
    if (done / "meta.json").exists() and (folder / WHOLE).exists():
        return Outcome(plan.steps, finished=True, stopped_by_signal=False, losses=())
    began = time.monotonic()
    nlp = pipeline(*prepare(folder, data), plan)
    log(f"training {plan.steps} steps")
    (folder / "run").mkdir(exist_ok=True)
    spacy_train(nlp, folder / "run", stdout=sys.stdout, stderr=sys.stderr)
    ship(spacy.load(folder / "run" / "model-best"), done)
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir(exist_ok=True)
    (checkpoints / TIMES).write_text(json.dumps({"step": plan.steps, "seconds": time.monotonic() - began}) + "\n")
    (folder / WHOLE).touch()
    return Outcome(plan.steps, finished=True, stopped_by_signal=False, losses=())


def measures(nlp: Language, data: Path = DATA) -> dict[str, object]:
    """Scores on the treebank's dev part: on its own sentences and words, and on raw texts of a few sentences."""
    found = list(sentences(data / "dev.jsonl.xz"))
    alone = [document(nlp.vocab, [sentence]) for sentence in found]
    together = [doc for _, doc in documents(nlp.vocab, found)]
    own = nlp.evaluate([Example(Doc(nlp.vocab, [t.text for t in doc], [bool(t.whitespace_) for t in doc]), doc) for doc in alone])
    raw = nlp.evaluate([Example(nlp.make_doc(doc.text), doc) for doc in together])
    table = {
        title: {name: round(100 * float(scores[key]), 2) for name, key in SCORES.items()}
        for title, scores in (("the treebank's sentences and words", own), ("raw texts of up to eight sentences", raw))
    }
    del table["the treebank's sentences and words"]["sentences F1"]  # they were given
    by_type = {f"NER F1 {name}": round(100 * scores["f"], 2) for name, scores in sorted(own["ents_per_type"].items())}
    return {"sentences": len(found), **table, "by type, the treebank's sentences and words": by_type}
