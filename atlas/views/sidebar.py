"""The sidebar: which model, which text, run and cancel, and what is happening."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import panel as pn
import panel_material_ui as pmui

from atlas.components.notice import Notice
from atlas.errors import CAN_BE_CUT, SET_A_TEMPLATE
from atlas.patches.inputs import take_at_once
from atlas.state.inputs import LONGEST_TEXT
from atlas.state.library import NOTHING, Example, Listed
from atlas.state.pipeline import BUSY
from atlas.state.validate import LONGEST_NAME
from atlas.state.workspace import Workspace
from atlas.views.base import bind_rule
from atlas.views.icons import RUN, STOP
from atlas.views.plain import plain
from atlas.views.text_lists import LISTED, RECENT, ListedPanel, RecentPanel

OTHER = "another one …"
"""The entry of the list that opens the field for a folder or a hub id."""

GROUPS = {"memory": "In memory", "here": "Shipped with Atlas", "on disk": "On this disk", "hub": "From the hub"}

WRITE_A_NAME = "Write a folder, or owner/name of a model on the hub."

UNLISTED = "{name} is not in the catalog: it is read from that folder, or fetched from the hub."

CUT = "Cut a text that is too long"

CONVERSATION = "The text is a conversation"

LINES = "Each line that begins with system:, user: or assistant: begins a message; the model's chat template writes them out."
"""What a conversation looks like."""

NOT_RUN = "Not run yet: the page shows the run before."


def ignore(_: Example) -> None:
    """For a sidebar without examples."""


class Sidebar(pn.viewable.Viewer):
    """Asks the two questions a run answers; `folds` are titles and what is folded away under them, below the lists."""

    def __init__(
        self,
        workspace: Workspace,
        models: Sequence[Listed],
        examples: Sequence[Example] = (),
        show_example: Callable[[Example], None] = ignore,
        folds: Sequence[tuple[str, Any]] = (),
        **params: Any,
    ) -> None:
        super().__init__(**params)
        self.workspace = workspace
        self.show_example = show_example
        self.folds = folds
        self.models = {model.name: model for model in models}
        self.examples = {example.name: example for example in examples}
        self.boxes: dict[str, Any] = {}
        self.listed, self.recent = ListedPanel(workspace), RecentPanel(workspace)

    def __panel__(self) -> Any:
        return pn.Column(
            *self._model(),
            *self._text(),
            *self._run(),
            *self._examples(),
            *self._more(),
            sizing_mode="stretch_width",
            css_classes=["aa-sidebar"],
        )

    # -- model ---------------------------------------------------------------------------------------------------------

    def _model(self) -> list[Any]:
        choice = self.workspace.pipeline.choice
        assert choice is not None
        known = choice.name_or_path if choice.name_or_path in self.models else OTHER
        picker = pmui.Select(
            label="Model", groups=self._options(), value=known, searchable=True,
            sizing_mode="stretch_width", css_classes=["aa-model"],
        )  # fmt: skip
        other = pmui.TextInput(
            label="Folder or hub id", placeholder="owner/name", value="" if known != OTHER else choice.name_or_path,
            visible=known == OTHER, sizing_mode="stretch_width", css_classes=["aa-other"], max_length=LONGEST_NAME,
        )  # fmt: skip

        def picked(event: Any) -> None:
            other.visible = event.new == OTHER
            if event.new != OTHER:
                self._choose(event.new)

        def written(event: Any) -> None:
            # The browser's own limit binds nobody who writes to the socket.
            if event.new.strip():
                self._choose(event.new.strip()[:LONGEST_NAME])

        def shown(event: Any) -> None:
            if choice.in_memory and event.new not in self.models:
                self.models[event.new] = Listed(event.new, "memory", "In memory", "Handed over, not loaded by name.")
                picker.groups = self._options()
            picker.value = event.new if event.new in self.models else OTHER
            other.param.update(visible=event.new not in self.models, value=event.new if event.new not in self.models else "")

        picker.param.watch(picked, "value")
        other.param.watch(written, "value")
        choice.param.watch(shown, "name_or_path")
        # Bound after the watchers, because they may add the model that is to be described.
        asked = (choice.param[name] for name in ("name_or_path", "revision", "device", "dtype"))
        about = pn.bind(self._about, picker.param.value, *asked)
        return [picker, other, plain(about, "aa-about", margin=(2, 10, 10, 10))]

    def _choose(self, name: str) -> None:
        """Another model; a list that follows a link says the name again, which asks for nothing new."""
        pipeline = self.workspace.pipeline
        assert pipeline.choice is not None
        if name != pipeline.choice.name_or_path:
            known = self.models.get(name)
            pipeline.choose(name, in_memory=known is not None and known.where == "memory")

    def _options(self) -> dict[str, list[str]]:
        """The models by where they are."""
        groups = {title: [name for name, model in self.models.items() if model.where == where] for where, title in GROUPS.items()}
        return {title: names for title, names in groups.items() if names} | {"By name": [OTHER]}

    def _about(self, picked: str, name: str, revision: str, device: str, dtype: str) -> str:
        """Describe the model chosen: its size and use, and what a link asks of it, which nothing else on the page says."""
        model = self.models.get(name)
        if picked == OTHER and (model is not None or not name):
            # The field is open and empty: what runs is still the model chosen before.
            return " ".join(filter(None, [WRITE_A_NAME, name and f"Until then {name} stays chosen."]))
        asked = {"revision": revision, "on": device, "in": dtype}
        how = ", ".join(f"{word} {value}" for word, value in asked.items() if value)
        said = UNLISTED.format(name=name) if model is None else f"{model.size}. {model.good_for}"
        return f"{said}\nAs the link asks: {how}." if how else said

    # -- texts ---------------------------------------------------------------------------------------------------------

    def _text(self) -> list[Any]:
        return [
            self._box("text", label="Text (Shift+Enter runs it)", rows=4, max_rows=10, auto_grow=True, css_classes=["aa-text"])
        ]

    def _more(self) -> list[Any]:
        """Other texts, folded away; never while something is in them that would be run unseen, nor a list that was given."""
        given = self.workspace.pipeline.input
        assert given is not None
        more = pmui.Accordion(
            (
                "Second text, decoder's text, conversation, length",
                pn.Column(
                    self._box("pair", label="Second text (read after the first)", rows=2, css_classes=["aa-pair"]),
                    self._box("target", label="Decoder's text (empty: what the model writes)", rows=2),
                    pmui.Checkbox.from_param(given.param.chat, label=CONVERSATION, css_classes=["aa-chat"]),
                    plain(LINES, margin=(-8, 10, 4, 42)),
                    pmui.Checkbox.from_param(given.param.truncate, label=CUT),
                    sizing_mode="stretch_width",
                ),
            ),
            (LISTED, self.listed.body()),
            (RECENT, self.recent.body()),
            *self.folds,
            active=[1] if self.workspace.listed.texts.texts else [],
            sizing_mode="stretch_width", title_variant="body2", elevation=0, disable_gutters=True,
        )  # fmt: skip

        def unfold(*_: Any) -> None:
            if (given.pair or given.target or given.truncate or given.chat) and 0 not in more.active:
                more.active = [0, *more.active]

        given.param.watch(unfold, ["pair", "target", "truncate", "chat"])
        unfold()
        return [more]

    def _box(self, name: str, **look: Any) -> Any:
        """A box for one of the texts."""
        given = self.workspace.pipeline.input
        assert given is not None
        box = pmui.TextAreaInput.from_param(given.param[name], max_length=LONGEST_TEXT, sizing_mode="stretch_width", **look)
        take_at_once(box)
        box.param.watch(lambda event: self._start() if event.new else None, "enter_pressed")
        self.boxes[name] = box
        return box

    def _start(self, *_: Any) -> None:
        """Run what is in the boxes; the box that is still written in has not yet handed it over."""
        pipeline = self.workspace.pipeline
        assert pipeline.input is not None
        pipeline.input.param.update(**{name: box.value_input or "" for name, box in self.boxes.items()})
        pipeline.run()

    def _examples(self) -> list[Any]:
        """The examples; the hint of one is shown while its model and texts are what is asked for."""
        choice, given = self.workspace.pipeline.choice, self.workspace.pipeline.input
        assert choice is not None
        assert given is not None
        texts = ["text", "pair", "target"]
        picker = pmui.Select(
            label="Examples", options=["", *self.examples], value=self._example_now(), sizing_mode="stretch_width",
            css_classes=["aa-examples"],
        )  # fmt: skip

        def picked(event: Any) -> None:
            example = self.examples.get(event.new)
            if example is None or event.new == self._example_now():
                return
            if example.model not in self.models:
                # Its text alone, on the model chosen: what it says of heads is not true of that one.
                example = replace(example, model=choice.name_or_path, shows=NOTHING)
            self.show_example(example)

        def follow(*_: Any) -> None:
            picker.value = self._example_now()

        picker.param.watch(picked, "value")
        # Watched, not bound: a Param that a reader sets lets go of what it was bound to.
        choice.param.watch(follow, "name_or_path")
        given.param.watch(follow, texts)
        return [
            picker,
            plain(
                pn.bind(self._look, choice.param.name_or_path, *(given.param[name] for name in texts)), "aa-look", margin=(2, 10)
            ),
        ]

    def _example_now(self, *_: str) -> str:
        """Name of the example whose model and texts are asked for; empty: none."""
        pipeline = self.workspace.pipeline
        assert pipeline.choice is not None
        assert pipeline.input is not None
        asked = pipeline.choice.name_or_path, pipeline.input.text, pipeline.input.pair, pipeline.input.target
        return next((name for name, example in self.examples.items() if example.inputs == asked), "")

    def _look(self, *_: str) -> str:
        example = self.examples.get(self._example_now())
        return "" if example is None else " ".join(filter(None, [example.look, example.about]))

    # -- run -----------------------------------------------------------------------------------------------------------

    def _run(self) -> list[Any]:
        pipeline = self.workspace.pipeline
        busy = bind_rule(pipeline.param.status, BUSY.__contains__)
        run = pmui.Button(
            label="Run", icon=RUN, color="primary", sizing_mode="stretch_width", css_classes=["aa-run"],
            visible=bind_rule(pipeline.param.status, lambda status: status not in BUSY),
        )  # fmt: skip
        cancel = pmui.Button(
            label="Cancel", icon=STOP, color="default", visible=busy, sizing_mode="stretch_width", css_classes=["aa-cancel"]
        )
        run.on_click(self._start)
        cancel.on_click(lambda _: pipeline.cancel())
        bar = pmui.LinearProgress(
            value=bind_rule(pipeline.param.share, lambda share: -1 if share < 0 else round(100 * share)), active=busy,
            variant=bind_rule(pipeline.param.share, lambda share: "indeterminate" if share < 0 else "determinate"),
            visible=busy, sizing_mode="stretch_width",
        )  # fmt: skip
        said = plain(pn.bind(_status, pipeline.param.message, pipeline.param.pending), "aa-status")
        return [run, cancel, bar, said, Notice(problem=bind_rule(pipeline.param.error, on_the_page), css_classes=["aa-error"])]


def _status(message: str, pending: bool) -> str:  # noqa: FBT001  bound to Params
    """What is happening, or that nothing is though something was asked for."""
    return message or (NOT_RUN if pending else "")


def on_the_page(problem: str) -> str:
    """A problem as it is to be solved here: the engine speaks to who writes Python."""
    problem = problem.replace(SET_A_TEMPLATE, f"Untick “{CONVERSATION}”, or choose a model that was trained for chat.")
    return problem.replace(CAN_BE_CUT, f"Shorten it, or tick “{CUT}”.")
