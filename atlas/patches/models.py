"""Bokeh (3.9) looks at every property of every model to make it, to send it, and to find what it refers to.

Most properties are as their class has them, and such a property refers to nothing and is not sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from functools import cache, wraps
from typing import Any, TypeVar

from bokeh.core.has_props import HasProps
from bokeh.core.property.descriptors import PropertyDescriptor
from bokeh.core.property.singletons import Intrinsic, Undefined
from bokeh.core.property.wrappers import PropertyValueContainer
from bokeh.model import Model, util

from atlas.patches.defaults import written_default
from atlas.patches.private import private, replace_private

OTHER, MODEL, PROPERTIES, SEQUENCE, MAPPING, FIELDS = range(6)
"""What a value is to a search for models."""


Found = TypeVar("Found")


def _once(work: Callable[[type[Any]], Found]) -> Callable[[type[Any]], Found]:
    """A function of a class, called once for each class."""
    kept: Any = cache(work)
    return kept


def patch_models() -> None:
    """Patch the models of Bokeh once for the process."""
    if hasattr(util.collect_filtered_models, "__wrapped__"):
        return
    for name in ("_property_values", "_unstable_default_values", "_unstable_themed_values"):
        private(Model(), name, "models")  # raise now if this version lacks them
    replace_private(util, "collect_filtered_models", _found_quickly(util.collect_filtered_models), "models")
    replace_private(HasProps, "__init__", _made_quickly(HasProps.__init__), "models")
    queried = _queried_quickly(HasProps.query_properties_with_values)
    replace_private(HasProps, "query_properties_with_values", queried, "models")


def _found_quickly(work: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    """All models that some values refer to, in the order in which Bokeh finds them.

    A tenth of the time of another page went there: the models of the page are counted whenever a card is put into it.
    """

    @wraps(work)
    def found(discard: Callable[[Any], bool] | None, *values: Any) -> list[Any]:
        known: set[str] = set()
        models: list[Any] = []
        waiting: deque[Any] = deque()

        def meet(model: Any) -> None:
            if model.id not in known and not (callable(discard) and discard(model)):
                waiting.append(model)

        for value in values:
            _visit(value, meet)
        while waiting:
            model = waiting.popleft()
            if model.id not in known:
                known.add(model.id)
                models.append(model)
                for value in referring_values(model):
                    _visit(value, meet)
        return models

    return found


def _visit(value: Any, meet: Callable[[Any], None]) -> None:
    """Call `meet` with every model in a value, and with none that these models refer to."""
    kind = kind_of(type(value))
    if kind == OTHER:
        return
    if kind == MODEL:
        meet(value)
        return
    if kind == MAPPING:
        parts: Iterable[Any] = (part for pair in value.items() for part in pair)
    elif kind == FIELDS:
        parts = (getattr(value, field.name, None) for field in fields(value))
    else:
        parts = value if kind == SEQUENCE else referring_values(value)
    for part in parts:
        _visit(part, meet)


@_once
def kind_of(kind: type) -> int:
    """What values of a type are to a search for models."""
    for base, what in ((Model, MODEL), (HasProps, PROPERTIES), ((list, tuple), SEQUENCE), (dict, MAPPING)):
        if issubclass(kind, base):
            return what
    return FIELDS if is_dataclass(kind) else OTHER


def referring_values(model: Any) -> list[Any]:
    """The values of the properties that can refer to models, without those that are as the class has them and refer to none."""
    state = vars(model)
    values, made, themed = state["_property_values"], state["_unstable_default_values"], model.themed_values() or ()
    names, silent = _referring(type(model))
    found = []
    for name in names:
        if name in values:
            found.append(values[name])
        elif name in themed or (name not in made and name not in silent):
            found.append(getattr(model, name))
        elif name in made:
            found.append(made[name])
    return found


@_once
def _referring(kind: type[HasProps]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Names of properties that can refer to models, and those of them that refer to none unless they are set."""
    names = tuple(kind.properties_with_refs())
    return names, frozenset(name for name in names if _stays_silent(kind, name))


def _stays_silent(kind: type[HasProps], name: str) -> bool:
    descriptor = kind.lookup(name)
    if not isinstance(descriptor, PropertyDescriptor) or _unstable(kind, descriptor):
        return False
    default = descriptor.class_default(kind)
    return default is not Undefined and kind_of(type(default)) == OTHER


def _unstable(kind: type[HasProps], descriptor: PropertyDescriptor[Any]) -> bool:
    """Whether the default of a property is made anew for every model."""
    model: Any = kind  # nothing is asked of it that an instance has of its own
    return descriptor.has_unstable_default(model)


def _made_quickly(work: Callable[..., None]) -> Callable[..., None]:
    """Make a model. Bokeh asks all of its properties whether their defaults are made anew for every model."""

    @wraps(work)
    def made(self: Any, **properties: Any) -> None:
        super(HasProps, self).__init__()
        self._property_values = {}
        self._unstable_default_values = {}
        self._unstable_themed_values = {}
        for name, value in properties.items():
            if value is not Undefined and value is not Intrinsic:
                setattr(self, name, value)
        for descriptor in _made_anew(type(self)):
            if descriptor.name not in properties:
                descriptor._get(self)  # noqa: SLF001  (makes the default; Bokeh's own call)
        self._initialized = True

    return made


@_once
def _made_anew(kind: type[HasProps]) -> tuple[PropertyDescriptor[Any], ...]:
    """The properties of a class whose defaults are made anew for every model."""
    return tuple(each for each in map(kind.lookup, kind.properties(_with_props=True)) if _unstable(kind, each))


def _queried_quickly(work: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """The values of a model that are sent. Bokeh asks for all of its values, and then leaves out those that are not sent."""

    @wraps(work)
    def queried(self: Any, query: Any, *, include_defaults: bool = True, include_undefined: bool = False) -> dict[str, Any]:
        if include_defaults or include_undefined:
            return work(self, query, include_defaults=include_defaults, include_undefined=include_undefined)
        made, themed = self._unstable_default_values, self.themed_values() or ()
        wanted = {*self._property_values, *made, *themed}
        found = {}
        for name in type(self).properties(_with_props=True):
            if name not in wanted and name not in _required(type(self)):
                continue
            descriptor = self.lookup(name)
            if not query(descriptor):
                continue
            value = descriptor.get_value(self)  # says of a required one that it is not set
            if name in wanted and (name in themed or name not in made or not isinstance(value, PropertyValueContainer)):
                found[name] = value
        return found

    return queried


@_once
def _required(kind: type[HasProps]) -> frozenset[str]:
    """The properties of a class that have no default."""
    descriptors = ((name, kind.lookup(name)) for name in kind.properties(_with_props=True))
    return frozenset(
        name for name, each in descriptors if isinstance(each, PropertyDescriptor) and written_default(kind, each) is Undefined
    )
