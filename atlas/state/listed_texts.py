"""The texts of a file, which a reader goes through one after another."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import param

from atlas.errors import AtlasError, fault
from atlas.scheduler import Task
from atlas.state.inputs import LONGEST_TEXT
from atlas.state.lens import counted
from atlas.state.pipeline import TICK, Arrival, in_script
from atlas.state.validate import LONGEST_NAME
from atlas.tracing.listed import NO_TEXTS, TAKES_TARGET, ListedText, TextList, listed_in, writable

if TYPE_CHECKING:
    from atlas.state.workspace import Workspace

ROWS = 8
"""Texts of a page of the list: a third of the sidebar on a small screen."""

BAD_SHOWN = 8
"""Rows that cannot be used and are named: the first of them tell what is wrong with a file."""

LONGEST_PROBLEM = 600
"""Letters of what is wrong with a file: it may name the columns, and a file that is none of texts may have any number."""

LONGEST_FILTER = 200
"""Letters of a filter."""


class Given(NamedTuple):
    """A file as the reader gave it."""

    name: str
    data: bytes


class ListedTexts(param.Parameterized):
    """A list of texts, which of them is asked for, and the part of the list that is shown.

    It belongs to one session. All sessions share the texts of a server's operator, and nothing here changes those.
    """

    texts = param.ClassSelector(class_=TextList, default=NO_TEXTS, doc="The list.")
    column = param.String(default="text", doc="The column or key of a reader's file that holds the texts.")
    filter = param.String(default="", doc="Only texts are shown and stepped through that contain this.")
    page = param.Integer(default=1, bounds=(1, None), doc="Which page of the list is shown.")
    chosen = param.Integer(default=-1, doc="The text chosen last, by its place; -1: none was.")
    busy = param.Boolean(default=False, doc="Whether a file is being read.")
    problem = param.String(default="", doc="Why a file cannot be read.")

    def __init__(self, workspace: Workspace, **params: object) -> None:
        super().__init__(**params)
        self._workspace = workspace
        self._given: Given | None = None
        self._task: Task[TextList] | None = None
        self._places: dict[tuple[str, str], int] = {}
        self._found: tuple[int, ...] = ()
        self.param.watch(self._read_again, "column")
        self.param.watch(self._filter, "filter")

    # -- the list ------------------------------------------------------------------------------------------------------

    def put(self, texts: TextList) -> None:
        """Show a list, from its beginning."""
        self._places = {(each.text, each.pair): at for at, each in reversed(list(enumerate(texts.texts)))}
        self._found = tuple(range(len(texts.texts)))
        self.param.update(texts=texts, filter="", page=1, chosen=-1, busy=False, problem="")
        self.page = self._page_of(self.current())

    def take(self, name: str, data: bytes) -> None:
        """Take a file of the reader's; it is read in another thread where there is an event loop that would wait."""
        self._given = Given(writable(name), data)
        self._read()

    def leave(self) -> None:
        """Wait for no file any more."""
        task, self._task = self._task, None
        if task is not None:
            task.leave()
        self.busy = False

    def _read_again(self, *_: object) -> None:
        if self._given is not None:
            self._read()

    def _read(self) -> None:
        assert self._given is not None
        self.leave()
        work = partial(listed_in, *self._given, LONGEST_TEXT, self.column[:LONGEST_NAME].strip() or "text")
        if in_script():
            try:
                self._take_over(work(), None)
            except AtlasError as error:
                self._take_over(None, error)
            return
        workspace = self._workspace
        self._task = workspace.scheduler.submit(
            lambda _: work(), lane=self, session=workspace.pipeline.session, in_background=True
        )
        self.param.update(busy=True, problem="")
        param.parameterized.async_executor(partial(self._follow, self._task))  # type: ignore[attr-defined]  # Panel's own

    async def _follow(self, task: Task[TextList]) -> None:
        arrival = Arrival(task.future)
        while not await arrival.within(TICK):
            if task is not self._task:
                return
        if task is not self._task:
            return
        self._task = None
        error = task.future.exception()
        with self._workspace.one_message():
            self._take_over(None if error is not None else task.future.result(), error)

    def _take_over(self, found: TextList | None, error: BaseException | None) -> None:
        if error is not None:
            problem = writable(str(error) if isinstance(error, AtlasError) else fault(error))
            cut = problem[:LONGEST_PROBLEM]
            self.param.update(busy=False, problem=problem if problem == cut else f"{cut} …")
        elif found is not None and not found.texts:
            self.param.update(busy=False, problem="\n".join([f"{found.name} holds no text that can be used.", *_named(found)]))
        elif found is not None:
            self.put(found)

    # -- where in it the reader is -------------------------------------------------------------------------------------

    def found(self) -> tuple[int, ...]:
        """Places of the texts that the filter leaves."""
        return self._found

    def current(self) -> int:
        """The place of the text that is asked for; -1 where that is none of the list."""
        given = self._workspace.pipeline.input
        assert given is not None
        asked = given.text, given.pair
        texts = self.texts.texts
        if 0 <= self.chosen < len(texts) and texts[self.chosen][1:3] == asked:
            return self.chosen  # of several alike the one that was chosen
        return self._places.get(asked, -1)

    def pages(self) -> int:
        """How many pages the texts take that the filter leaves."""
        return max(1, -(-len(self._found) // ROWS))

    def on_page(self) -> list[tuple[int, ListedText]]:
        """Place and text of the rows shown."""
        start = (self.page - 1) * ROWS
        return [(at, self.texts.texts[at]) for at in self._found[start : start + ROWS]]

    def where(self) -> str:
        """The place of the text that is asked for among those that the filter leaves, in words."""
        at, many = self.current(), len(self._found)
        place = bisect_left(self._found, at)
        within = place < many and self._found[place] == at
        return f"{place + 1:,} of {many:,}" if within else f"– of {many:,}"

    # -- what a reader does --------------------------------------------------------------------------------------------

    def turn(self, by: int) -> None:
        """Show another page of the list."""
        self.page = min(max(self.page + by, 1), self.pages())

    def step(self, by: int) -> None:
        """Run the next text (1) or the one before (-1) of those that the filter leaves; none lies beyond the ends."""
        at = self.current()
        place = bisect_right(self._found, at) if by > 0 else bisect_left(self._found, at) - 1
        if 0 <= place < len(self._found):
            self.show(self._found[place])

    def show(self, at: int) -> None:
        """Run a text of the list as the Run button would: what still runs is dropped."""
        if 0 <= at < len(self.texts.texts):
            self.ask(at)
            self._workspace.pipeline.run()

    def ask(self, at: int) -> None:
        """Put a text of the list where a run takes it from."""
        given, row = self._workspace.pipeline.input, self.texts.texts[at]
        assert given is not None
        given.put(row.text, row.pair, row.target if row.target and self.takes_target() else "")
        self.chosen = at
        self.page = self._page_of(at)

    def takes_target(self) -> bool:
        """Whether the model chosen is an encoder-decoder, as far as that is known before it has read a text."""
        pipeline, trace = self._workspace.pipeline, self._workspace.trace
        assert pipeline.choice is not None
        if trace is not None and pipeline.shown is not None and pipeline.shown.model == pipeline.choice.request():
            return "cross" in trace.kinds
        known = self._workspace.tasks.get(TAKES_TARGET)
        return known is not None and bool(known(pipeline.choice.request()))

    def _filter(self, *_: object) -> None:
        self._found = self.texts.containing(self.filter[:LONGEST_FILTER])
        self.page = self._page_of(self.current())

    def _page_of(self, at: int) -> int:
        """The page a text is on; the first where the filter leaves it out."""
        place = bisect_left(self._found, at)
        return place // ROWS + 1 if place < len(self._found) and self._found[place] == at else 1

    # -- in words ------------------------------------------------------------------------------------------------------

    def about(self) -> str:
        """What the list holds, and the rows that cannot be used."""
        texts = self.texts
        if self.busy and self._given is not None:
            return f"Reading {self._given.name}"
        if not texts.texts:
            return ""
        more = "; only the first rows of it are listed" if texts.left_out else ""
        return "\n".join([f"{texts.name}: {counted(len(texts.texts), 'text')}{more}", *_named(texts)])


def _named(texts: TextList) -> list[str]:
    """The rows that cannot be used, the first of them one by one."""
    if not texts.bad:
        return []
    rows = [f"row {row:,} {reason}" for row, reason in texts.bad[:BAD_SHOWN]]
    more = len(texts.bad) - len(rows)
    return [f"{counted(len(texts.bad), 'row')} cannot be used:", *rows, *([f"and {more:,} more"] if more else [])]
