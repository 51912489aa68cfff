"""The opened corpora: heads measured over many texts. Whoever runs the app names their folders; a reader chooses by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import param

from atlas.errors import NothingYet
from atlas.state.choices import register_choices
from atlas.state.plane import Thresholded
from atlas.tracing.corpus import Corpus
from atlas.tracing.corpus_groups import groups_of, whole_of
from atlas.tracing.corpus_heads import is_of
from atlas.tracing.drills import DRILLS
from atlas.tracing.over_time import FOLLOWED

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from atlas.state.workspace import Workspace
    from atlas.trace import Trace

KEY = "corpus"
"""Under this key a link holds the choices of all views of corpora."""

HOW_TO = (
    "No corpus of {model} is open here. Measure its heads over many texts in the card 'Measure a corpus', or with "
    "`atlas corpus {model} FILES -o FOLDER`, and start the app with `atlas serve --corpus FOLDER`."
)

UNFIT = "no corpus of this model is open here"


class Corpora(param.Parameterized):
    """Name -> opened corpus. A name is all that a link holds: no visitor can make the server open a folder."""

    opened = param.Dict(default={}, doc="Name -> corpus.")
    workers = param.Integer(default=0, doc="Processes that measure a corpus for a page; 0: the page's own, between other work.")
    for_others = param.Boolean(default=False, doc="Whether others than who runs the app may be among its readers.")

    def of(self, trace: Trace) -> dict[str, Corpus]:
        """Those of the model of a trace, each with its groups."""
        return self._with_groups(self.whole_of(trace))

    def whole_of(self, trace: Trace) -> dict[str, Corpus]:
        """Those of the model of a trace, without their groups."""
        return {name: corpus for name, corpus in self.opened.items() if is_of(corpus, trace)}

    def every(self) -> dict[str, Corpus]:
        """All of them, each with its groups."""
        return self._with_groups(self.opened)

    def _with_groups(self, some: Mapping[str, Corpus]) -> dict[str, Corpus]:
        found: dict[str, Corpus] = {}
        for name, corpus in some.items():
            found[name] = corpus
            for group, part in groups_of(corpus).items():
                found[free_name(f"{name}: {group}", {*found, *self.opened})] = part
        return found


class CorpusChoices(Thresholded):
    """Choices of the views of corpora."""

    corpus = param.String(default="", doc="Name of the corpus; empty, or one that is not open here: the first of this model.")
    exemplars = param.String(default="", doc="The metric whose examples are shown; empty: the role that the head has most of.")
    conditions = param.String(default="", doc="What the finder looks for.")
    against = param.String(default="", doc="Name of the corpus that is compared; empty: the next one of the same shape.")
    drill = param.Selector[str](objects=list(DRILLS), default="drill_induction", doc="The drill whose scores are shown.")
    followed = param.Selector[str](objects=list(FOLLOWED), default="heads", doc="What is followed over checkpoints.")


# Here too and not by a lens alone: a corpus is chosen also where no view of corpora was imported.
register_choices(KEY, CorpusChoices)


def free_name(plain: str, taken: Container[str]) -> str:
    """A name, numbered where it is taken."""
    name, number = plain, 2
    while name in taken:
        name, number = f"{plain} ({number})", number + 1
    return name


def named(corpora: Iterable[Corpus]) -> dict[str, Corpus]:
    """Corpora under the last part of their folders' names, numbered where two are alike."""
    found: dict[str, Corpus] = {}
    for corpus in corpora:
        plain = Path(corpus.where.rstrip("/")).name or str(corpus.provenance["model"])
        found[free_name(plain, found)] = corpus
    return found


def choices_of(workspace: Workspace) -> CorpusChoices:
    """The choices of the views of corpora."""
    found = workspace.choices_of(KEY)
    assert isinstance(found, CorpusChoices)
    return found


def chosen(workspace: Workspace) -> tuple[str, Corpus]:
    """The corpus on screen and its name: the chosen one if it is of the model on screen, else the first that is."""
    trace = workspace.trace
    found = {} if trace is None else workspace.corpora.of(trace)
    if not found:
        raise NothingYet(HOW_TO.format(model="MODEL" if trace is None else trace.provenance.get("model") or "MODEL"))
    name = choices_of(workspace).corpus
    name = name if name in found else next(iter(found))
    return name, found[name]


def name_of(workspace: Workspace) -> str:
    """The name of the corpus on screen; empty where there is none."""
    trace = workspace.trace
    found = {} if trace is None else workspace.corpora.of(trace)
    wanted = choices_of(workspace).corpus
    return wanted if wanted in found else next(iter(found), "")


def chosen_whole(workspace: Workspace) -> tuple[str, Corpus]:
    """The corpus that has what is on screen, all its texts, and its name."""
    name, corpus = chosen(workspace)
    whole = whole_of(corpus)
    return next((each for each, found in workspace.corpora.opened.items() if found is whole), name), whole


def whole_name_of(workspace: Workspace) -> str:
    """The name of the corpus that has what is on screen; empty where there is none."""
    return chosen_whole(workspace)[0] if name_of(workspace) else ""


def without_corpus(workspace: Workspace) -> str:
    """Why no view of a corpus can be had; empty where one is open."""
    return "" if name_of(workspace) or workspace.trace is None else UNFIT
