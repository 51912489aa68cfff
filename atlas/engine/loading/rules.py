"""What visitors of a served app may load: catalog names, allowed hub ids, and folders below the roots that its operator names.

Whoever works on their own machine (a notebook, the command line, `atlas serve` for themselves) has no rules. No refusal says
whether a path exists or what it holds.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PureWindowsPath

from atlas.engine.loading.files import CONFIG
from atlas.errors import NotAllowed, TooLarge

EVERY_HUB_ID = ("*",)

MOST_LISTED = 200
"""Folders below the roots that are offered on the page; a root with more of them can still be chosen from by path."""

DEEPEST = 3
"""Levels below a root at which folders are looked for: `owner/model/version`."""


@dataclass(frozen=True)
class ModelRules:
    """The rules of one server.

    `roots` are folders below which models may be loaded; `hub` are patterns of allowed hub ids (`google-bert/*`; empty: none);
    `quota` are the bytes that the hub's cache may grow to by downloads for visitors, None for no limit.
    """

    roots: tuple[Path, ...] = ()
    hub: tuple[str, ...] = EVERY_HUB_ID
    quota: int | None = None

    def folder(self, name: str) -> Path | None:
        """The folder that a visitor names, by its path or by its path below a root; None for a name that is no path.

        Raises
        ------
        NotAllowed
            For any path that does not lie below a root, in the same words whether it exists or not.
        """
        path = Path(name)
        if "\\" in name or ".." in path.parts or name.startswith("~") or PureWindowsPath(name).is_absolute():
            raise _outside(name)
        if path.is_absolute():
            # Compared as written first, so that no path outside the roots is looked up on the disk.
            if not any(path.is_relative_to(root) for given in self.roots for root in (given.absolute(), given.resolve())):
                raise _outside(name)
            return self._within(path, name)
        found = (root / path for root in self.roots if (root / path / CONFIG).is_file())
        inside = next(found, None)
        if inside is None and name.startswith("."):
            raise _outside(name)
        return None if inside is None else self._within(inside, name)

    def _within(self, path: Path, name: str) -> Path:
        """The real folder of a path, refused where a link leads it, or one of its files, out of the roots."""
        roots = [root.resolve() for root in self.roots]
        try:
            real = path.resolve()
            places = (
                [real, *(child.resolve() for child in real.iterdir())] if _is_below(real, roots) and real.is_dir() else [real]
            )
        except (OSError, RuntimeError) as error:  # a loop of links, a folder that cannot be read
            raise _outside(name) from error
        if not all(_is_below(place, roots) for place in places):
            raise _outside(name)
        return real

    def allows(self, repo_id: str) -> bool:
        """Whether a hub id may be loaded."""
        return any(fnmatchcase(repo_id.casefold(), pattern.casefold()) for pattern in self.hub)

    def require_allowed(self, repo_id: str) -> None:
        """Refuse a hub id that no pattern allows."""
        if not self.allows(repo_id):
            which = f"only {', '.join(self.hub)}" if self.hub else "no models"
            msg = f"{repo_id!r} cannot be loaded here: the operator of this server allows {which} from the hub."
            raise NotAllowed(msg)

    @contextmanager
    def room_in_quota(self, needed: int, cache: Path) -> Iterator[None]:
        """Hold room for a download in the quota while it runs; refuse one that does not fit in it."""
        if self.quota is None:
            yield
            return
        with _guard:
            held = _used(cache) + sum(_reserved)
            if needed and held + needed > self.quota:
                msg = (
                    f"The download takes {needed / 1e9:.2f} GB, and this server keeps at most {self.quota / 1e9:.2f} GB of the "
                    f"hub's models, of which {held / 1e9:.2f} GB are taken. Ask its operator to make room."
                )
                raise TooLarge(msg)
            _reserved.append(needed)
        try:
            yield
        finally:
            with _guard:
                _reserved.remove(needed)

    def listed(self) -> list[str]:
        """The folders below the roots that hold a model, by their path below their root."""
        found: list[str] = []
        for root in self.roots:
            for folder, inner, files in os.walk(root):
                below = Path(folder).relative_to(root)
                if CONFIG in files and below.parts:
                    found.append(below.as_posix())
                inner[:] = [] if len(below.parts) >= DEEPEST else sorted(name for name in inner if not name.startswith("."))
                if len(found) >= MOST_LISTED:
                    return found
        return found


_guard = threading.Lock()
_reserved: list[int] = []
"""Bytes of the downloads under way, so that two at once do not share the same room of a quota."""


def _outside(name: str) -> NotAllowed:
    return NotAllowed(
        f"{name!r} cannot be loaded here. Choose a model of the list, a hub id (owner/name), or a folder that the operator of "
        "this server has named (atlas serve --models)."
    )


def _is_below(path: Path, roots: list[Path]) -> bool:
    return any(path.is_relative_to(root) for root in roots)


def _used(cache: Path) -> int:
    """Bytes of the hub's cache; its snapshots are links to its blobs."""
    total = 0
    for blob in cache.glob("models--*/blobs/*"):
        try:
            total += blob.stat().st_size
        except OSError:  # a part of a download that was renamed meanwhile
            continue
    return total
