"""What the card that measures a corpus shows: the texts, a run over them as it goes on, and the corpus at its end."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import pandas as pd
import param

from atlas.errors import NotCaptured
from atlas.state.asking import Progress
from atlas.state.corpora import choices_of, free_name
from atlas.state.lens import counted
from atlas.state.model_key import model_key
from atlas.state.parts import PartsLens
from atlas.state.readers_file import digest_of
from atlas.state.session_folder import SessionFolder
from atlas.tracing.corpus_run import MEASURE, ON_WORKERS, REACHES_WORKERS, READ, Given

if TYPE_CHECKING:
    from atlas.tracing.corpus import Corpus

SAMPLE, FILE = "sample", "file"
"""Where the texts come from."""

PART_SECONDS = 2.0
"""Seconds of a part of a run. Between two parts other readers of the same model have their turn."""

SHOWN = 12
"""Bad rows that are listed; the table to take away has all."""

WORKERS = "corpus workers"
"""What the runs of a server that go to workers wait for: one has them at a time, or two runs would start twice as many."""

CHANGED = (
    "Heads are switched off on screen, and a corpus is of the model as it is. Switch them on again in the bar of what is "
    "selected, then measure."
)

NO_MODEL = "A corpus is measured in the app, on a model that is here."

LOST = "Choose a file of texts, or the sample."


class Ceiling(NamedTuple):
    """How much a run takes, and why no more."""

    texts: int
    letters: int
    why: str


FOR_OTHERS = Ceiling(2_000, 1_000_000, "because the readers of a server share its processor")
FOR_ONESELF = Ceiling(20_000, 20_000_000, "because the page's own process does the work, and its queue waits meanwhile")


class CorpusRunChoices(param.Parameterized):
    """Choices of the card that measures a corpus."""

    source = param.Selector[str](objects=[SAMPLE, FILE], default=SAMPLE, doc="Which texts.")
    column = param.String(default="text", doc="The column or key of the file that holds the texts.")
    group = param.String(default="", doc="The column or key by which the texts are also shown apart; empty: none.")
    most = param.Integer(default=200, bounds=(2, FOR_ONESELF.texts), doc="So many texts at most.")


class Part(NamedTuple):
    """What some seconds of a run made."""

    corpus: Corpus | None
    """None: there is more to do."""

    @property
    def complete(self) -> bool:
        """Whether there is no more to do."""
        return self.corpus is not None


class Chosen(NamedTuple):
    """The texts that a run takes."""

    texts: tuple[str, ...]
    left_out: int
    """Usable ones that are too many."""
    groups: tuple[str, ...] = ()
    """The group of every text; empty: none was asked for."""


class CorpusRunLens(PartsLens):
    """The texts, and runs of this session. A run outlives the text on screen: another text is no reason to stop it."""

    key: ClassVar = "corpus_run"
    choices_type: ClassVar = CorpusRunChoices
    kept_runs: ClassVar = 3
    """Each has some megabytes on the disk of the server."""

    def __init__(self, workspace: Any, **params: Any) -> None:
        self.file = self._digest = ""
        self._data: bytes | None = None
        self._read: tuple[Hashable, Given] | None = None
        self._begun: dict[Hashable, tuple[float, int]] = {}
        self._made: dict[Hashable, str] = {}
        """Runs that are finished, and what their corpora are called."""
        self._folder = SessionFolder()
        super().__init__(workspace, **params)

    def depends(self) -> Hashable:
        """On the texts and the number of them."""
        choices = self.choices
        return self._digest, choices.source, choices.column, choices.group, choices.most, len(self._wanted), len(self._made)

    # -- what a reader does --------------------------------------------------------------------------------------------

    def take(self, name: str, data: bytes) -> None:
        """Take a file of the reader's."""
        digest = digest_of(name, data, "atlas corpus")
        self.drop_asked()
        self._data, self.file, self._digest = data, name, digest
        self.choices.source = FILE
        self._redraw()

    def run(self) -> None:
        """Measure, or go on where it was stopped."""
        if self.can_run:
            self._begun.pop(self.request(), None)
            super().run()

    def leave(self) -> None:
        """The reader has gone: the folder goes too."""
        super().leave()
        self._folder.close()

    # -- what there is -------------------------------------------------------------------------------------------------

    @property
    def ceiling(self) -> Ceiling:
        """How much a run takes here."""
        return FOR_OTHERS if self.workspace.corpora.for_others else FOR_ONESELF

    @property
    def limits(self) -> str:
        """The ceiling in words."""
        found = self.ceiling
        why = "because one run at a time has the workers of this server" if self.workspace.corpora.workers else found.why
        return (
            f"Up to {found.texts:,} texts with {found.letters:,} letters in all are measured here, {why}. "
            "`atlas corpus` takes any number, on several workers."
        )

    @property
    def workers(self) -> int:
        """Processes that measure; 0: the page's own, in parts, as where no other can load the model."""
        workers, reaches = int(self.workspace.corpora.workers), self.workspace.tasks.get(REACHES_WORKERS)
        return workers if workers and reaches is not None and reaches(self.trace) else 0

    def lane(self) -> Hashable:
        """Workers have models of their own."""
        return WORKERS if self.workers else None

    def can_begin(self) -> bool:
        """Whether there are texts."""
        return self.workspace.trace is not None and bool(self.chosen().texts)

    @property
    def corpus_name(self) -> str:
        """Of the corpus of these texts; empty where it was not measured."""
        return "" if self.workspace.trace is None else self._made.get(self.request(), "")

    def chosen(self) -> Chosen:
        """The first texts, as many as fit."""
        given = self._given()
        if given is None:
            return Chosen((), 0)
        ceiling, letters = self.ceiling, 0
        found = []
        for text in given.texts[: min(self.choices.most, ceiling.texts)]:
            letters += len(text)
            if letters > ceiling.letters:
                break
            found.append(text)
        return Chosen(tuple(found), len(given.texts) - len(found), given.groups[: len(found)])

    def bad(self) -> str:
        """The rows that cannot be used, the first of them one by one."""
        given = self._given()
        if given is None or not given.bad:
            return ""
        rows = [f"row {row:,} {reason}" for row, reason in given.bad[:SHOWN]]
        more = len(given.bad) - len(rows)
        lines = [f"{counted(len(given.bad), 'row')} cannot be used:", *rows]
        return "\n".join([*lines, f"and {more:,} more"] if more else lines)

    def table(self) -> pd.DataFrame:
        """Every text that is measured with its letters, and every row that cannot be used with the reason."""
        self.shown()
        given, chosen = self._given(), self.chosen()
        if given is None:
            ceiling = self.ceiling
            return pd.DataFrame({"most_texts": [ceiling.texts], "most_letters": [ceiling.letters], "why": [ceiling.why]})
        texts = pd.DataFrame({"row": pd.NA, "text": chosen.texts, "letters": [len(text) for text in chosen.texts], "problem": ""})
        if chosen.groups:
            texts.insert(2, "group", chosen.groups)
        bad = pd.DataFrame({"row": [row for row, _ in given.bad], "problem": [reason for _, reason in given.bad]})
        return pd.concat([texts, bad], ignore_index=True) if len(bad) else texts

    # -- what is done --------------------------------------------------------------------------------------------------

    def _texts_key(self) -> Hashable:
        choices = self.choices
        return (SAMPLE, self.ceiling.texts) if choices.source == SAMPLE else (self._digest, choices.column, choices.group.strip())

    def request(self) -> Hashable:
        """The model and the texts."""
        return model_key(self.trace), self._texts_key(), self.choices.most

    def _given(self) -> Given | None:
        """The texts, where they were read."""
        return self._read[1] if self._read is not None and self._read[0] == self._texts_key() else None

    def check(self) -> None:
        """A run takes the model as it is."""
        trace, tasks = self.trace, self.workspace.tasks
        if READ not in tasks or MEASURE not in tasks or trace.live is None:
            raise NotCaptured(NO_MODEL)
        if trace.provenance.get("changed"):
            raise NotCaptured(CHANGED)

    def _advance(self) -> Part | None:
        self.check()
        if self.choices.source == FILE and self._data is None:
            self.line = LOST
            return None
        if self._given() is None and not self._reads():
            return None
        found: Part | None = super()._advance()
        return found

    def _reads(self) -> bool:
        """Read the texts; False while they are on their way."""
        task, key, column, group = self.workspace.tasks[READ], self._texts_key(), self.choices.column, self.choices.group.strip()
        name, data, most = self.file, self._data if self.choices.source == FILE else None, self.ceiling.texts

        def work(progress: Progress) -> Given:
            progress.tell("Reading the texts")
            made: Given = task(name, data, column, group, most)
            return made

        nothing: Given | None = None
        found = self.ask(f"{id(self)} texts {key}", work, nothing, keep=False)
        if found is not None:
            self._read = key, found
        return found is not None

    def part(self, held: dict[Any, Any]) -> Callable[[Progress], Part]:  # noqa: ARG002 - the folder holds it
        """Some seconds of the run."""
        tasks, trace, key, workers = self.workspace.tasks, self.trace, self.request(), self.workers
        chosen, folder = self.chosen(), self._folder
        given = Given(chosen.texts, (), chosen.groups)
        begun = self._begun.setdefault(key, (time.monotonic(), -1))
        done_before = [begun[1]]
        where = self._where(key)

        def report(progress: Progress, done: int, of: int) -> None:
            if done_before[0] < 0:
                done_before[0] = done
                self._begun[key] = begun[0], done
            new = done - done_before[0]
            left = (time.monotonic() - begun[0]) / new * (of - done) if new > 0 else 0.0
            said = f"{done:,} of {of:,} texts" if done < of else "Choosing examples"
            # Without the share, from which the time left of this part would be told as well.
            progress.tell(said + (f", about {left:.0f} s left" if left >= 1 else ""))

        def work(progress: Progress) -> Part:
            def tell(done: int, of: int) -> None:
                report(progress, done, of)

            with folder.used() as path:
                if not workers:
                    return Part(tasks[MEASURE](trace, given, str(path / where), PART_SECONDS, tell))
                progress.tell(f"Starting {workers} {'process' if workers == 1 else 'processes'}")
                return Part(tasks[ON_WORKERS](trace, given, str(path / where), workers, tell))

        return work

    def _keep(self, key: Hashable, part: Any) -> None:
        if part.corpus is not None:
            self._open(key, part.corpus)
        super()._keep(key, part)

    @staticmethod
    def _where(key: Hashable) -> str:
        return hashlib.sha256(repr(key).encode()).hexdigest()[:16]

    def _open(self, key: Hashable, corpus: Corpus) -> None:
        """Offer the corpus to all views of corpora, and show it there."""
        corpora = self.workspace.corpora
        name = free_name(Path(self.file).stem if self.choices.source == FILE else SAMPLE, corpora.opened)
        self._made[key] = name
        with self.workspace.one_message():
            corpora.opened = {**corpora.opened, name: corpus}
            choices_of(self.workspace).corpus = name

    def let_go(self, key: Hashable) -> None:
        """Also of its corpus, and of what it has left on the disk."""
        super().let_go(key)
        self._begun.pop(key, None)
        name, corpora = self._made.pop(key, None), self.workspace.corpora
        if name in corpora.opened:
            corpora.opened = {each: corpus for each, corpus in corpora.opened.items() if each != name}
        self._folder.remove(self._where(key))

    # -- in words ------------------------------------------------------------------------------------------------------

    def describe(self) -> str:
        """Which texts, and how far their run is."""
        given, chosen = self._given(), self.chosen()
        assert given is not None
        named = "the sample" if self.choices.source == SAMPLE else self.file
        of = (
            f"{len(chosen.texts):,} of {counted(len(given.texts), 'text')}"
            if chosen.left_out
            else counted(len(chosen.texts), "text")
        )
        bad = f", {counted(len(given.bad), 'row')} that cannot be used" if given.bad else ""
        begun = "stopped" if self.request() not in self._wanted else "running"
        state = "measured" if self.corpus_name else begun if self.is_begun else "not run yet"
        groups = f" in {counted(len(set(chosen.groups)), 'group')}" if chosen.groups else ""
        return f"{of}{groups} of {named}{bad}: {state}"

    def result(self) -> str:
        """What came of the run; empty before its end."""
        name = self.corpus_name
        corpus = self.workspace.corpora.opened.get(name)
        if corpus is None:
            return ""
        about = corpus.provenance
        cut = f"; {counted(about['cut'], 'text')} cut to the model's length" if about["cut"] else ""
        bad = f"; {counted(about['bad'], 'text')} left out" if about["bad"] else ""
        return (
            f"{counted(about['texts'], 'text')} with {about['tokens']:,} tokens measured{cut}{bad}. "
            f"The cards of this tab show them as {name!r}."
        )
