"""The card around every view: its question, a line about what is shown, the plot or why there is none, and its buttons."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import panel as pn
import param
from panel.custom import JSComponent
from panel.viewable import Viewable, Viewer

from atlas.components.assets import script, style
from atlas.components.notice import Notice

WAITING = "Working…"
"""Shown while a view is busy and has no message of its own."""


FORMATS = {
    "png": "PNG picture",
    "svg": "SVG picture",
    "csv": "CSV table",
    "parquet": "Parquet table",
    "html": "HTML, interactive",
    "ipynb": "Notebook",
}
"""What a card can be exported as: ending -> what the menu calls it."""

PICTURES = frozenset({"png", "svg"})
"""Made in the browser, of the plots as they are there."""


class InMemory(Protocol):
    """A file to be saved."""

    @property
    def name(self) -> str:
        """The file's name with its ending."""

    @property
    def kind(self) -> str:
        """Its media type."""

    @property
    def data(self) -> bytes:
        """What is in it."""


class Exporter(Protocol):
    """Whoever makes what a card exports."""

    def files(self, ending: str) -> Sequence[InMemory] | None:
        """The files of an ending; None: that failed, and the card says why."""

    def picture(self) -> Mapping[str, str] | None:
        """What a picture is called and stamped with: name, title, software, date, json; None: that failed."""


UNBUILT = 420
"""Pixels kept free for a body that is built when its card comes on screen: without them all cards of a tab would be on screen."""


class CardHead(JSComponent):
    """The texts and buttons at the top of a card; all texts are plain text."""

    title = param.String(default="", doc="Short name of the view, in small letters above its question.")
    question = param.String(default="", doc="The question the view answers; the heading of the card.")
    line = param.String(default="", doc="What is shown now.")
    help = param.String(
        default="",
        doc="Paragraphs separated by empty lines; a paragraph indented by four spaces is a formula. Never a user's text.",
    )
    can_pin = param.Boolean(default=False, doc="Whether there is a button that keeps what the card shows.")
    formats = param.List(default=[], doc="What the card can be saved as: [ending, name in the menu]; empty: there is no button.")
    can_enlarge = param.Boolean(default=True, doc="Whether there is a button that makes the card as large as the page.")
    enlarged = param.Boolean(default=False, doc="Whether the card is as large as the page.")
    room = param.Integer(default=0, doc="Pixels of the window's height, set when the card is enlarged.")
    room_width = param.Integer(default=0, doc="Pixels of the window's width, set when the card is enlarged.")
    seen = param.Boolean(default=True, doc="Whether any part of the card is on screen; the browser sets it.")
    dark = param.Boolean(default=False, doc="Whether the page is dark.")

    # One script, because a component's script cannot import another one of ours.
    _esm = "\n".join(script(name).read_text(encoding="utf-8") for name in ("picture", "card_head"))
    _stylesheets: ClassVar[list[str]] = [style("card_head")]

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"sizing_mode": "stretch_width", "margin": 0, **params})
        self._exporter: Exporter | None = None
        self._pin: Callable[[], object] | None = None

    def on_export(self, exporter: Exporter) -> None:
        """Show a button with a menu that saves the card as a file; the exporter makes it at a click, for this session alone."""
        self._exporter = exporter
        self.formats = [list(each) for each in FORMATS.items()]

    def on_pin(self, pin: Callable[[], object]) -> None:
        """Call `pin` when the reader presses the pin; it says whether what is shown was kept."""
        self._pin = pin

    def _handle_msg(self, data: Any) -> None:
        if data == "pin" and self.can_pin and self._pin is not None:
            self._send_msg({"pinned": bool(self._pin())})
            return
        ending = data.get("export") if isinstance(data, dict) else None
        if self._exporter is None or ending not in FORMATS:
            return
        if ending in PICTURES:
            self._send_msg({"picture": ending, "stamp": self._exporter.picture()})
            return
        files = self._exporter.files(ending) or ()
        self._send_msg({
            "files": [
                {"name": file.name, "kind": file.kind, "data": base64.b64encode(file.data).decode()} for file in files
            ]
        })  # fmt: skip


class Stage(pn.Column):
    """Where a body will stand that is built when its card comes on screen."""

    def __init__(self, waits: bool) -> None:  # noqa: FBT001  a view asks once
        kept = {"min_height": UNBUILT, "css_classes": ["aa-unbuilt"]} if waits else {}
        super().__init__(sizing_mode="stretch_width", margin=0, stylesheets=[style("card")], **kept)

    def take(self) -> None:
        """The body comes now."""
        self.param.update(min_height=None, css_classes=[])


class Card(Viewer):
    """A view in its card. The texts, `busy` and `dark` take a Param, a bound function or a plain value.

    The body is a plain Column and the immediate parent of the plots, because in a React layout a plot is measured before it has a
    size. While `problem` or `empty` has a text, the body is hidden and the text is shown in its place.
    """

    question = param.String(default="", allow_refs=True, doc="The question the view answers; the heading.")
    title = param.String(default="", allow_refs=True, doc="Short name of the view.")
    line = param.String(default="", allow_refs=True, doc="What is shown now; plain text, so it may quote tokens.")
    help = param.String(default="", allow_refs=True, doc="How to read it, with its formula (see CardHead.help).")
    problem = param.String(default="", allow_refs=True, doc="What happened and what to do; shown instead of the body.")
    empty = param.String(default="", allow_refs=True, doc="What to do to see something; shown instead of the body.")
    note = param.String(default="", allow_refs=True, doc="What was left out, and how to get it; shown above the body.")
    busy = param.Boolean(default=False, allow_refs=True, doc="Whether what is shown is about to change.")
    waiting = param.String(default=WAITING, allow_refs=True, doc="What is said while busy.")
    can_pin = param.Boolean(default=False, allow_refs=True, doc="Whether what is shown can be kept among the findings.")
    can_cancel = param.Boolean(default=False, allow_refs=True, doc="Whether the reader can stop what is awaited.")
    dark = param.Boolean(default=False, allow_refs=True, doc="Whether the page is dark.")
    shown = param.Boolean(default=True, allow_refs=True, doc="Whether the card is on the page at all.")

    def __init__(
        self,
        question: Any,
        *body: Any,
        tools: Iterable[Viewable] = (),
        export: Viewable | None = None,
        can_enlarge: bool = True,
        css_classes: Iterable[str] = (),
        **params: Any,
    ) -> None:
        """Frame a view.

        Parameters
        ----------
        question
            The heading.
        body
            Plots and other content.
        tools
            Controls, in a row under the heading. They stay while there is a problem, because they may solve it.
        export
            One small control beside the buttons of the heading.
        can_enlarge
            Whether the card can be made as large as the page.
        css_classes
            CSS classes by which style sheets and tests find the card.
        params
            The Params above.
        """
        super().__init__(question=question, **params)
        own = self.param
        self.head = CardHead(
            title=own.title, question=own.question, line=own.line, help=own.help, dark=own.dark, can_enlarge=can_enlarge,
            can_pin=own.can_pin,
        )  # fmt: skip
        self.notice = Notice(
            problem=own.problem,
            empty=own.empty,
            note=own.note,
            waiting=pn.bind(_waiting_line, own.busy, own.waiting),
            can_cancel=own.can_cancel,
            dark=own.dark,
        )
        self.body = pn.Column(
            *body,
            margin=0,
            visible=pn.bind(_shows_body, own.problem, own.empty),
            css_classes=pn.bind(_body_classes, own.busy),
            stylesheets=[style("card")],
        )
        controls = list(tools)
        self.tools = pn.FlexBox(*controls, margin=0, align_items="center", gap="4px 4px", visible=bool(controls))
        top = pn.Row(self.head, export, sizing_mode="stretch_width", margin=0) if export is not None else self.head
        self._layout = pn.Column(
            top,
            self.tools,
            self.notice,
            self.body,
            margin=0,
            visible=own.shown,
            css_classes=pn.bind(_card_classes, self.head.param.enlarged, own.dark, tuple(css_classes)),
            stylesheets=[style("card")],
        )

    def __panel__(self) -> Viewable:
        """Return the layout, the same one each time."""
        return self._layout


def _waiting_line(busy: bool, waiting: str) -> str:  # noqa: FBT001  bound to a Param
    return waiting if busy else ""


def _shows_body(problem: str, empty: str) -> bool:
    return not (problem or empty)


def _body_classes(busy: bool) -> list[str]:  # noqa: FBT001  bound to a Param
    return ["aa-body", "aa-waiting"] if busy else ["aa-body"]


def _card_classes(enlarged: bool, dark: bool, names: tuple[str, ...]) -> list[str]:  # noqa: FBT001  bound to Params
    return ["aa-card", *names, *(["aa-enlarged"] if enlarged else []), *(["aa-dark"] if dark else [])]
