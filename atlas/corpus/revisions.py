"""The same texts on several checkpoints of one model, each into a folder of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from atlas.corpus.running import run
from atlas.errors import CorpusError
from atlas.tracing.corpus import Corpus

if TYPE_CHECKING:
    from os import PathLike


class Revised(NamedTuple):
    """One checkpoint."""

    name: str
    model: str
    """As `atlas.load` takes it."""
    revision: str | None
    """On the hub; None where the checkpoint is a folder."""
    corpus: Corpus


def run_revisions(
    model: str | Path,
    texts: str | Path | Iterable[Any],
    out: str | PathLike[str],
    revisions: Sequence[str],
    **options: Any,
) -> list[Revised]:
    """Measure checkpoints one after another, each into OUT/NAME; stopped and called again it goes on.

    Parameters
    ----------
    model
        A hub id whose `revisions` are branches, tags or commits; or a folder that holds the checkpoints as folders.
    options
        As `atlas.corpus.run` takes them.
    """
    given = texts if isinstance(texts, str | Path) else list(texts)  # an iterator would be used up by the first checkpoint
    folders = [folder_of(name) for name in revisions]
    if len(set(folders)) < len(folders):
        msg = f"Each checkpoint is named once; given were {', '.join(revisions)}."
        raise CorpusError(msg)
    if Path(model).is_dir():
        missing = [name for name in revisions if not Path(model, name).is_dir()]
        if missing:
            msg = f"{model} holds no folder {missing[0]!r}; checkpoints of a model in a folder are the folders in it."
            raise CorpusError(msg)
    made = []
    for name, folder in zip(revisions, folders, strict=True):
        inside = Path(model, name)
        which, revision = (str(inside), None) if inside.is_dir() else (str(model), name)
        where = f"{str(out).rstrip('/')}/{folder}"
        made.append(Revised(folder, which, revision, run(which, given, where, revision=revision, **options)))
    return made


def folder_of(revision: str) -> str:
    """A revision as the name of a folder: a branch may hold slashes."""
    name = revision.strip("/").replace("/", "-")
    if not name.strip("."):
        msg = f"{revision!r} names no checkpoint."
        raise CorpusError(msg)
    return name
