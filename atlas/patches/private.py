"""Access to private attributes of libraries, with a clear error when one is gone."""

from __future__ import annotations

from importlib import metadata
from typing import Any

from atlas.errors import LibraryChanged


def private(owner: Any, name: str, patch: str) -> Any:
    """A private attribute of a library's object, class or module; `patch` is the module of this folder that needs it."""
    try:
        return getattr(owner, name)
    except AttributeError:
        kind = owner if isinstance(owner, type) or hasattr(owner, "__spec__") else type(owner)
        module = getattr(kind, "__module__", None) or kind.__name__
        package = module.split(".")[0]
        msg = (
            f"{package} {metadata.version(package)} has no {getattr(kind, '__qualname__', kind.__name__)}.{name}, which "
            f"atlas/patches/{patch}.py needs. Install a version that pyproject.toml allows, or adapt the patch."
        )
        raise LibraryChanged(msg) from None


def replace_private(owner: Any, name: str, value: Any, patch: str) -> None:
    """Replace a private attribute; raises LibraryChanged if it does not exist."""
    private(owner, name, patch)
    setattr(owner, name, value)
