"""Bokeh (3.9) works out the default of a property at every look at it, and a page of 300 models is looked at many times."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import Any

from bokeh.core.has_props import HasProps
from bokeh.core.property.descriptors import PropertyDescriptor
from bokeh.core.property.wrappers import PropertyValueDict, PropertyValueList, PropertyValueSet

from atlas.patches.private import private, replace_private

PLAIN = frozenset({bool, int, float, str, type(None)})
"""Types of defaults that are kept: nobody can change them, so that all models may have the same."""

CONTAINERS = frozenset({PropertyValueDict, PropertyValueList, PropertyValueSet})
"""Types of defaults that every model has of its own, because its values may be changed; most are empty."""

THEMED = "__themed_values__"
"""Name of a model's attribute for what its theme says, if there is one."""


def patch_defaults() -> None:
    """Patch the models of Bokeh once for the process."""
    default = private(PropertyDescriptor, "_get_default", "defaults")
    if hasattr(default, "__wrapped__"):
        return
    replace_private(PropertyDescriptor, "_get_default", _kept(default), "defaults")
    replace_private(PropertyDescriptor, "has_unstable_default", _asked_once(PropertyDescriptor.has_unstable_default), "defaults")
    merged: Any = cache(private(HasProps, "_overridden_defaults", "defaults").__func__)
    replace_private(HasProps, "_overridden_defaults", classmethod(merged), "defaults")
    replace_private(HasProps, "themed_values", _of_instance(HasProps.themed_values), "defaults")


def _kept(work: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The default of a property, kept for each class where it is plain and always the same; a theme's goes before it.

    Bokeh merges the defaults of all base classes, copies one and validates it. A third of the time of another page went there.
    An empty container is made anew for each model, but not searched for and validated again.
    """
    kept: dict[tuple[type, Any], Any] = {}
    empty: dict[tuple[type, Any], type] = {}

    @wraps(work)
    def default(self: Any, model: Any) -> Any:
        state = vars(model)
        if self.name in (state.get(THEMED) or ()):
            return work(self, model)
        own = state["_unstable_default_values"]
        if self.name in own:
            return own[self.name]
        key = type(model), self
        if key in kept:
            return kept[key]
        if key in empty:
            made = own[self.name] = empty[key]()
            made._register_owner(model, self)  # noqa: SLF001  (its owner hears of changes; Bokeh's own call)
            return made
        found = work(self, model)
        if type(found) in PLAIN and not self.has_unstable_default(model):
            kept[key] = found
        elif type(found) in CONTAINERS and not found and not self.is_unstable(written_default(type(model), self)):
            empty[key] = type(found)
        return found

    return default


def written_default(kind: type[HasProps], descriptor: PropertyDescriptor[Any]) -> Any:
    """The default of a property as it stands in the code of a class: a value, or what makes one."""
    own = private(descriptor.property, "_default", "defaults")
    return private(kind, "_overridden_defaults", "defaults")().get(descriptor.name, own)


def _asked_once(work: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    """Whether a property makes its default anew for every model; its class alone decides that."""
    known: dict[tuple[type, Any], bool] = {}

    @wraps(work)
    def unstable(self: Any, model: Any) -> bool:
        key = type(model), self
        if key not in known:
            known[key] = work(self, model)
        return known[key]

    return unstable


def _of_instance(work: Callable[[Any], dict[str, Any] | None]) -> Callable[[Any], dict[str, Any] | None]:
    """The theme of a model. Bokeh asks for the attribute, and most models have none, which Python finds by an error."""

    @wraps(work)
    def themed_values(self: Any) -> dict[str, Any] | None:
        found: dict[str, Any] | None = vars(self).get(THEMED)
        return found

    return themed_values
