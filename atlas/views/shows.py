"""What a view shows, under a name of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from atlas.state.lens import Lens

if TYPE_CHECKING:
    from atlas.views.base import View

L_co = TypeVar("L_co", bound=Lens, covariant=True)


class Shows(Generic[L_co]):
    """The lens of a view as the type that it has."""

    def __init__(self, kind: type[L_co]) -> None:
        self._kind = kind

    def __get__(self, view: View, _: type[View]) -> L_co:
        assert isinstance(view.lens, self._kind)
        return view.lens
