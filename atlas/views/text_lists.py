"""Two lists at the side: the texts of a file, which a reader goes through, and those that were read in this session."""

from __future__ import annotations

from typing import Any

import panel as pn
import panel_material_ui as pmui

from atlas.components.notice import Notice
from atlas.components.text_rows import TextRow, TextRows
from atlas.state.listed_texts import LONGEST_FILTER
from atlas.state.readers_file import TEXT_ENDINGS
from atlas.state.validate import LONGEST_NAME
from atlas.state.workspace import Workspace
from atlas.tracing.listed import MOST_BYTES, MOST_TEXTS
from atlas.views.base import gesture
from atlas.views.plain import plain
from atlas.views.upload import file_input

LISTED, RECENT = "Texts of a file", "Recent texts"

HINT = (
    "Go through your own texts one after another: a .csv or .json file with a column text, .jsonl, or .txt with a text a line, "
    f"up to {MOST_TEXTS:,} of them and {MOST_BYTES // 1_000_000} MB. Columns pair, target (for encoder-decoders) and label or "
    "group are read where there are any. The file stays in this session and is gone with the page."
)

NONE_YET = "None yet."


class ListedPanel:
    """The texts of a file: choose one, filter, step, press."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace, self.listed = workspace, workspace.listed
        own = self.listed.param
        self.upload = file_input(TEXT_ENDINGS, MOST_BYTES, "aa-texts-file")
        self.column = pmui.TextInput.from_param(
            own.column, label="Column of texts", size="small", max_length=LONGEST_NAME, sizing_mode="stretch_width",
            visible=pn.bind(self._asks_column, own.texts, own.problem, own.column),
        )  # fmt: skip
        self.hint = plain(HINT, "aa-texts-hint", margin=(0, 10))
        self.about = plain(pn.bind(lambda *_: self.listed.about(), own.texts, own.busy), "aa-texts-about", margin=(4, 10))
        self.problem = Notice(problem=own.problem)
        self.filter = pmui.TextInput(
            label="Filter (contains)", size="small", max_length=LONGEST_FILTER, sizing_mode="stretch_width",
            css_classes=["aa-texts-filter"],
        )  # fmt: skip
        self.rows = TextRows(label=LISTED, css_classes=["aa-texts-rows"])
        self.upload.param.watch(lambda _: self._taken(), "value")
        # With every letter: the list is there to be looked through.
        self.filter.param.watch(lambda event: self._filtered(event.new), "value_input")
        self.rows.on_press(lambda key: self._pressed(int(key)))
        self.rows.on_step(self._stepped)
        self.rows.on_turn(self._turned)
        self.listed.param.watch(self._draw, ["texts", "filter", "page", "chosen"])
        given = workspace.pipeline.input
        assert given is not None
        given.param.watch(self._draw, ["text", "pair"])
        self._draw()

    def body(self) -> Any:
        """What is in the fold."""
        parts = [self.hint, self.upload, self.column, self.problem, self.about, self.filter, self.rows]
        return pn.Column(*parts, sizing_mode="stretch_width")

    def _asks_column(self, *_: object) -> bool:
        """Whether the column is to be seen: at first, where a file has none of that name, and where it is an unusual one."""
        listed = self.listed
        return not listed.texts.texts or bool(listed.problem) or listed.column != listed.param.column.default

    def _draw(self, *_: object) -> None:
        listed, now = self.listed, self.listed.current()
        rows = [TextRow(str(at), f"{each.row:,}", each.text, each.label, at == now) for at, each in listed.on_page()]
        some = bool(listed.texts.texts)
        self.rows.param.update(
            rows=rows, where=listed.where() if some else "", page=listed.page, pages=listed.pages(), visible=some
        )
        self.filter.visible, self.hint.visible = some, not some
        if self.filter.value_input != listed.filter:
            self.filter.param.update(value=listed.filter, value_input=listed.filter)

    @gesture
    def _taken(self) -> None:
        if isinstance(self.upload.value, bytes):
            self.listed.take(str(self.upload.filename), self.upload.value)

    @gesture
    def _filtered(self, words: Any) -> None:
        self.listed.filter = str(words or "")[:LONGEST_FILTER]

    @gesture
    def _pressed(self, at: int) -> None:
        self.listed.show(at)

    @gesture
    def _stepped(self, by: int) -> None:
        self.listed.step(by)

    @gesture
    def _turned(self, by: int) -> None:
        self.listed.turn(by)


class RecentPanel:
    """The texts that were read: press one to go back."""

    def __init__(self, workspace: Workspace) -> None:
        self.recent = workspace.recent
        self.rows = TextRows(label=RECENT, css_classes=["aa-recent-rows"])
        self.none = plain(NONE_YET, margin=(0, 10))
        self.rows.on_press(lambda key: self._pressed(int(key)))
        self.recent.param.watch(self._draw, "jobs")
        pipeline = workspace.pipeline
        assert pipeline.input is not None
        assert pipeline.choice is not None
        pipeline.input.param.watch(self._draw, ["text", "pair", "target", "truncate", "chat"])
        pipeline.choice.param.watch(self._draw, "name_or_path")
        self._draw()

    def body(self) -> Any:
        """What is in the fold."""
        return pn.Column(self.none, self.rows, sizing_mode="stretch_width")

    def _draw(self, *_: object) -> None:
        now = self.recent.now()
        rows = [
            TextRow(str(at), "", " · ".join(filter(None, [job.text, job.pair, job.target])), job.model[0], at == now)
            for at, job in enumerate(self.recent.jobs)
        ]
        self.rows.param.update(rows=rows, visible=bool(rows))
        self.none.visible = not rows

    @gesture
    def _pressed(self, at: int) -> None:
        self.recent.go_back(at)
