"""What all views are: a question, what is shown now, a plot, and a place for the reason why there is none."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, ClassVar, TypeVar

import panel as pn
import param

from atlas.components.card import Card
from atlas.state.lens import Lens
from atlas.state.pipeline import BUSY
from atlas.state.workspace import Workspace

Method = TypeVar("Method", bound=Callable[..., Any])

TIGHT = (6, 4, 2, 4)
"""Margin of a control in a card: its label stands above it."""


def held() -> AbstractContextManager[None]:
    """What is changed inside goes to the browser at once, and the page's models are counted once, not at every change."""
    found: AbstractContextManager[None] = pn.io.hold(freeze=True)
    return found


def made_of(values: Any, rule: Callable[[Any], Any]) -> Any:
    """What follows a Param. Bound, not an expression of rx: of one that something else is bound to, the first change is lost."""
    return pn.bind(rule, values)


def gesture(method: Method) -> Method:
    """Everything a gesture changes goes to the browser at once."""

    @functools.wraps(method)
    def inside(*args: Any, **kwargs: Any) -> Any:
        with held():
            return method(*args, **kwargs)

    return inside  # type: ignore[return-value]


class View(pn.viewable.Viewer):
    """One card of the page. A view reads Params and calls Selection methods, nothing else."""

    key: ClassVar[str] = ""
    title: ClassVar[str] = ""
    question: ClassVar[str] = ""
    help: ClassVar[str] = ""

    dark = param.Boolean(default=False, doc="Whether the page is dark.")

    def __init__(self, workspace: Workspace, lens: Lens, **params: Any) -> None:
        super().__init__(**params)
        self.workspace = workspace
        self.lens = lens

    def body(self) -> Any:
        """The plot and what belongs to it."""
        raise NotImplementedError

    def tools(self) -> list[Any]:
        """Small controls beside the title."""
        return []

    def __panel__(self) -> Any:
        lens, pipeline = self.lens, self.workspace.pipeline
        return Card(
            self.question,
            self.body(),
            tools=self.tools(),
            css_classes=[f"aa-card-{self.key}"],
            title=self.title,
            help=self.help,
            line=lens.param.line,
            problem=lens.param.problem,
            empty=lens.param.empty,
            busy=made_of(pipeline.param.status, BUSY.__contains__),
            waiting=pipeline.param.message,
            dark=self.param.dark,
        )
