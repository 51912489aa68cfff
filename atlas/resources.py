"""Where the files that are not code live: embedded models, example texts, theme, JS and CSS.

They stand in `assets/` at the top of a checkout and in `atlas/_assets` of an installed wheel (the build maps one to the other).
Everything asks here; nobody else may know.
"""

from __future__ import annotations

from pathlib import Path

from atlas.errors import BrokenFiles

_PACKAGE = Path(__file__).resolve().parent
_PLACES = (_PACKAGE / "_assets", _PACKAGE.parent / "assets")
"""The wheel's place first: beside an installed package, a folder called `assets` would be somebody else's."""


def assets() -> Path:
    """Return the folder of all assets."""
    for place in _PLACES:
        if place.is_dir():
            return place
    msg = f"The files that belong to atlas are in neither {_PLACES[0]} nor {_PLACES[1]}. Install attention-atlas again."
    raise BrokenFiles(msg)


def asset(*parts: str) -> Path:
    """Return one asset, a file or a folder, by its path below `assets/`."""
    root = assets()
    path = root.joinpath(*parts)
    if not path.resolve().is_relative_to(root.resolve()):
        # A model name or an example's name may come from a URL.
        msg = f"{'/'.join(parts)!r} leads out of the assets folder."
        raise BrokenFiles(msg)
    if not path.exists():
        known = ", ".join(sorted(child.name for child in path.parent.iterdir())) if path.parent.is_dir() else "nothing"
        msg = f"There is no asset {'/'.join(parts)!r}; beside it there is {known}."
        raise BrokenFiles(msg)
    return path
