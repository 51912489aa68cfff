"""Param (2.4) and Panel (1.9) take long to read a Param, to copy those of an instance, and to look through them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, MutableMapping, MutableSequence, MutableSet
from copy import copy
from functools import wraps
from typing import Any

import param
from panel.custom import ReactiveESM
from panel.reactive import Syncable
from panel.viewable import Child, Children
from param import parameterized

from atlas.patches.private import private, replace_private

MUTABLE = (MutableSequence, MutableSet, MutableMapping)
"""Types of what is copied with a Param, so that a change for one instance changes no other."""

ATOMS = frozenset({bool, int, float, str, type(None), type, tuple})
"""Types that are certainly none of those: asking the type of most slots is enough."""


def patch_parameters() -> None:
    """Patch Param and Panel once for the process."""
    copied = private(parameterized, "_instantiate_param_obj", "parameters")
    if hasattr(copied, "__wrapped__"):
        return
    replace_private(parameterized, "_instantiate_param_obj", _copied_in_one_go(copied), "parameters")
    listed = private(Syncable, "_init_params", "parameters")
    replace_private(Syncable, "_init_params", _listed_once(listed), "parameters")
    replace_private(param.Parameter, "__get__", _read_quickly(param.Parameter.__get__), "parameters")
    replace_private(ReactiveESM, "select", _selected_quickly(ReactiveESM.select), "parameters")


def _copied_in_one_go(work: Callable[..., Any]) -> Callable[..., Any]:
    """A Param of a class as one of its instances gets it. Param copies all slots, and then looks at each of them again.

    A component is asked for all of its forty Params when it is put into a page, so that a page copies two thousand of them.
    """
    own = param.Parameter.__copy__, private(param.Parameter, "_on_set", "parameters")

    @wraps(work)
    def copied(paramobj: Any, owner: Any = None) -> Any:
        kind: Any = type(paramobj)
        if paramobj.name is None or (kind.__copy__, private(kind, "_on_set", "parameters")) != own:
            return work(paramobj, owner)
        made = kind.__new__(kind)
        for slot in private(kind, "_all_slots_", "parameters"):
            value = object.__getattribute__(paramobj, slot)
            if slot == "owner":
                value = owner
            elif slot == "watchers":
                value = {}  # those of the class are called for the class
            elif type(value) not in ATOMS and slot != "default" and isinstance(value, MUTABLE):
                value = copy(value)
            object.__setattr__(made, slot, value)
        return made

    return copied


def _listed_once(work: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    """The values that a component sends. Panel lists the names of all of them again for each of them."""

    @wraps(work)
    def listed(self: Any) -> dict[str, Any]:
        sent = frozenset(private(self, "_synced_params", "parameters"))
        values = ((name, getattr(self, name)) for name in self.param if name in sent)
        return {name: value for name, value in values if value is not None}

    return listed


def _read_quickly(work: Callable[..., Any]) -> Callable[..., Any]:
    """The value of a Param. Param looks at every slot of a Param in Python, three for each value that is read.

    A page reads ninety thousand values.
    """
    slot = object.__getattribute__

    @wraps(work)
    def read(self: Any, obj: Any, objtype: Any = None) -> Any:
        name = slot(self, "name")
        if obj is None or name is None:
            return work(self, obj, objtype)
        try:
            return obj._param__private.values[name]  # noqa: SLF001  (Param's own way)
        except (AttributeError, KeyError):
            return slot(self, "default")

    return read


def _selected_quickly(work: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    """The parts of a component. Panel asks all of its Params whether they hold parts; its class alone decides that."""
    known: weakref.WeakKeyDictionary[type, list[tuple[str, bool]]] = weakref.WeakKeyDictionary()

    def holders(kind: Any) -> list[tuple[str, bool]]:
        """Names of the Params that hold parts, and whether each holds several."""
        if kind not in known:
            params = kind.param.objects(instance=False).items()
            known[kind] = [(name, isinstance(each, Children)) for name, each in params if isinstance(each, (Child, Children))]
        return known[kind]

    @wraps(work)
    def selected(self: Any, selector: Any = None) -> list[Any]:
        if selector is None:
            wanted = True
        else:
            wanted = isinstance(self, selector) if isinstance(selector, type) else callable(selector) and selector(self)
        found = [self] if wanted else []
        for name, several in holders(type(self)):
            value = getattr(self, name, None)
            for each in (value or []) if several else [value]:
                if each is not None:
                    found += each.select(selector)
        return found

    return selected
