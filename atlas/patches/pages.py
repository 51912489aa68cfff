"""Panel (1.9) and Bokeh (3.9) work out for every page, and for every card put into it, what is the same for all of them."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import wraps
from typing import Any

from bokeh.settings import settings
from panel.config import config
from panel.custom import ReactiveESM
from panel.io.resources import Resources
from panel.io.state import state
from panel.links import Callback
from panel.pane.holoviews import HoloViews, generate_panel_bokeh_map
from panel.reactive import ReactiveCustomBase
from panel.util import classproperty
from panel.viewable import Viewable

from atlas.patches.defaults import patch_defaults
from atlas.patches.models import patch_models
from atlas.patches.parameters import patch_parameters
from atlas.patches.private import private, replace_private
from atlas.patches.ranges import patch_ranges

PATHS = ("_esm_path", "_component_resource_path", "_render_esm")
"""Methods that look for the files of a component's class and read them; a page has a hundred components of twenty classes."""

FILES = ("_module_path", "_bundle_path")
"""Properties of a class that are as constant."""

MOST_ADDRESSES = 64
"""Searches kept: of two kinds for a few addresses of a server behind proxies."""


def patch_pages() -> None:
    """Patch the making of pages once for the process."""
    # Bokeh looks at every model for mistakes of its author, and at the signature of every callback. Tests do that.
    settings.perform_document_validation = False
    settings.perform_error_diagnostics = False
    if hasattr(Resources.extra_resources, "__wrapped__"):
        return
    for name in PATHS:
        own = private(ReactiveESM, name, "pages").__func__
        replace_private(ReactiveESM, name, classmethod(once_a_class(own)), "pages")
    for name in FILES:
        private(ReactiveESM, name, "pages")  # raise now if this version lacks it
        replace_private(ReactiveESM, name, classproperty(once_a_class(vars(ReactiveESM)[name].f)), "pages")
    replace_private(Resources, "extra_resources", _once_for_all_pages(Resources.extra_resources), "pages")
    _patch_links()
    patch_defaults()
    patch_models()
    patch_parameters()
    patch_ranges()


def once_a_class(work: Callable[..., Any]) -> Callable[..., Any]:
    """A function of a class, called once for each class; always where the code is loaded anew while the server runs."""
    found: weakref.WeakKeyDictionary[type, dict[Any, Any]] = weakref.WeakKeyDictionary()

    @wraps(work)
    def once(cls: type, *args: Any, **how: Any) -> Any:
        if config.autoreload:
            return work(cls, *args, **how)
        key = (args, tuple(sorted(how.items())), state.rel_path, config.inline)
        own = found.setdefault(cls, {})
        if key not in own:
            if len(own) >= MOST_ADDRESSES:  # a visitor may name any address
                own.clear()
            own[key] = work(cls, *args, **how)
        return own[key]

    return once


def _once_for_all_pages(work: Callable[..., None]) -> Callable[..., None]:
    """Panel's search for the files of all classes there are, done anew only where there are more classes or another address."""
    found: dict[Any, list[str]] = {}

    @wraps(work)
    def added(self: Any, resources: list[str], kind: str) -> None:
        extensions = private(state, "_extensions", "pages")
        loaded = None if extensions is None else tuple(extensions)
        key = kind, self.mode, state.rel_path, state.base_url, config.autoreload, loaded, _classes()
        if key not in found:
            more: list[str] = []
            work(self, more, kind)
            if len(found) >= MOST_ADDRESSES:
                found.clear()
            found[key] = more
        resources.extend(each for each in found[key] if each not in resources)

    return added


def _classes() -> int:
    """How many classes of components there are."""
    count, waiting = 0, [ReactiveCustomBase]
    while waiting:
        below = waiting.pop().__subclasses__()
        count += len(below)
        waiting += below
    return count


def _patch_links() -> None:
    """Look for links in JavaScript only among what was put into a page, unless one leads to what was there before.

    Panel looks at every model of the page as soon as one link is in it, and the button that copies the link is one. With four
    cards on the page a fifth of the time of another went there.
    """
    process = private(Callback, "_process_callbacks", "pages")
    hooks = private(Viewable, "_preprocessing_hooks", "pages")
    while process in hooks:
        hooks.remove(process)

    @wraps(process.__func__)
    def processed(cls: Any, root_view: Any, root_model: Any, changed: Any = None, old_models: Any = None) -> None:
        if changed is not None and changed is not root_view:
            inside = {id(each) for each in changed.select()}
            links = [link for links in cls.registry.values() for link in links if any(id(end) in inside for end in ends(link))]
            if not links:
                return
            drawn = generate_panel_bokeh_map(root_model, changed.select(HoloViews))
            if all(id(end) in inside or end in drawn for link in links for end in ends(link)):
                root_view = changed
        process.__func__(cls, root_view, root_model, changed, old_models)

    replace_private(Callback, "_process_callbacks", classmethod(processed), "pages")
    hooks.append(Callback._process_callbacks)  # noqa: SLF001  (the attribute just replaced)


def ends(link: Callback) -> list[Any]:
    """What a link in JavaScript leads from, and to where it leads anywhere."""
    return [end for end in (link.source, getattr(link, "target", None)) if end is not None]
