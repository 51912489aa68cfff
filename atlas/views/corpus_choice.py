"""What the views of corpora share: the choice of one by its name, and why a view is not offered without one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import panel_material_ui as pmui

from atlas.state.corpora import choices_of, name_of, whole_name_of, without_corpus
from atlas.state.workspace import Workspace
from atlas.views.base import TIGHT, View, one_message


class CorpusView(View):
    """A view of a corpus of the model on screen."""

    needs_corpus: ClassVar[bool] = True
    """Whether it is not offered without one."""

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        # Not from_param: the names are those of the corpora that are open, and a link may name another one.
        self.corpus = pmui.Select(label="Corpus", options=[], size="small", margin=TIGHT, width=170)
        choice = () if self.has_groups else ("corpus", whole_name_of, _whole_names)
        self._follow = Follow(workspace, self.corpus, *choice)

    has_groups: ClassVar[bool] = True
    """Whether what it shows is kept of groups of texts too."""

    @classmethod
    def offered(cls, workspace: Workspace) -> str:
        """Only where a corpus of this model is open."""
        return super().offered(workspace) or (without_corpus(workspace) if cls.needs_corpus else "")


class Follow:
    """Keeps a control at the corpus on screen, and the choice at the control."""

    def __init__(
        self,
        workspace: Workspace,
        control: pmui.Select,
        field: str = "corpus",
        current: Callable[[Workspace], str] = name_of,
        offers: Callable[[Workspace], list[str]] | None = None,
    ) -> None:
        self._workspace, self._control, self._field, self._current = workspace, control, field, current
        self._offers = offers or _names
        self._busy = False
        choices_of(workspace).param.watch(self._show, ["corpus", field] if field != "corpus" else ["corpus"])
        workspace.corpora.param.watch(self._show, "opened")
        workspace.param.watch(self._show, "revision")
        control.param.watch(self._choose, "value")
        self._show()

    def _show(self, *_: object) -> None:
        names, current = self._offers(self._workspace), self._current(self._workspace)
        self._busy = True
        try:
            self._control.param.update(options=names, value=current if current in names else None, visible=len(names) > 1)
        finally:
            self._busy = False

    def _choose(self, event: Any) -> None:
        if event.new and not self._busy and event.new != self._current(self._workspace):
            with one_message():
                setattr(choices_of(self._workspace), self._field, event.new)


def _whole_names(workspace: Workspace) -> list[str]:
    trace = workspace.trace
    return [] if trace is None else list(workspace.corpora.whole_of(trace))


def _names(workspace: Workspace) -> list[str]:
    trace = workspace.trace
    return [] if trace is None else list(workspace.corpora.of(trace))
