"""Finds the folder of a model's files by name: embedded, local, or fetched from the hub into its cache.

Only safetensors, settings and tokenizer files are fetched (code only when the caller trusts it). A complete copy on disk is
used whenever the hub fails, with a note that says so. The environment (HF_ENDPOINT, HF_HUB_OFFLINE, HF_HOME) is read at every
call, because huggingface_hub reads it only once, at import, which a notebook cannot change afterwards.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from atlas.engine.loading import catalog, files
from atlas.engine.loading.catalog import Entry
from atlas.engine.loading.hub_errors import GIVE_UP, explain
from atlas.engine.loading.quiet_libraries import quiet_hub
from atlas.engine.loading.rules import ModelRules
from atlas.errors import BrokenFiles, HubUnreachable, ModelNotFound, TooLarge, UnsupportedModel

if TYPE_CHECKING:
    from huggingface_hub import HfApi

ANSWER_SECONDS = 15.0
"""How long the hub may take to answer. huggingface_hub's own default has no limit; its time-out for downloads is 10 s."""

SPARE_BYTES = 256 << 20
"""Disk space left free beside a download, because a full disk makes other programs fail."""

LONGEST_NAME = 4096
"""Longest accepted name. No path is longer on common systems, but a text pasted in place of a name may be."""

CONVERTER = "SFconvertbot"
"""The hub's own account that converts pickles to safetensors and offers them as pull requests. No other account's are used."""

_TRUE = {"1", "ON", "YES", "TRUE"}  # the values that huggingface_hub reads as true
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Progress:
    """The state of a download in bytes; `total` is None while unknown."""

    what: str
    done: int
    total: int | None


Report = Callable[[Progress], None]


@dataclass(frozen=True)
class Source:
    """Where a model's files are, and which version they are.

    `kind` is 'embedded', 'folder' or 'hub'; `revision` is the commit on the hub, else a hash of the contents; `notes` are
    sentences for the reader; `entry` is the catalog entry, if there is one.
    """

    kind: str
    name: str
    revision: str
    path: Path
    notes: tuple[str, ...] = ()
    entry: Entry | None = None


def resolve(
    name_or_path: str | os.PathLike[str],
    revision: str | None = None,
    *,
    trust_remote_code: bool = False,
    progress: Report | None = None,
    models: Path | None = None,
    rules: ModelRules | None = None,
) -> Source:
    """Find a model by embedded name, folder, catalog name or hub id, and fetch the files that are not on disk.

    Parameters
    ----------
    name_or_path
        An embedded model, a folder, a catalog name or alias, or `owner/name` on the hub, tried in this order.
    revision
        Branch, tag or commit on the hub; models on disk have none.
    trust_remote_code
        Fetch the repository's own Python files too. This function runs none of them.
    progress
        Called during a download, from several threads.
    models
        The folder of embedded models; Atlas' own assets by default.
    rules
        What may be loaded, where others than the owner of this machine choose.
    """
    name = readable(name_or_path)
    entry = None if isinstance(name_or_path, Path) else catalog.lookup(name, models)
    if entry is not None and entry.path is not None:
        _no_revision(name, revision)
        return Source("embedded", entry.name, files.content_hash(entry.path), entry.path, entry=entry)
    path = own_folder(name_or_path, name, entry) if rules is None else rules.folder(name)
    if path is not None:
        files.require_folder(path)
        _no_revision(name, revision)
        files.read_config(path)
        return Source("folder", name, files.content_hash(path.resolve()), path.resolve())
    if entry is not None and not entry.traceable:
        msg = f"{entry.name} cannot be traced yet, so it is not downloaded. `atlas models` lists those that can."
        raise UnsupportedModel(msg)
    repo_id = entry.hub_id if entry is not None and entry.hub_id else name
    if rules is not None:
        rules.require_allowed(repo_id)
    found = _from_hub(repo_id, revision, rules, trust=trust_remote_code, progress=progress, models=models)
    return replace(found, name=entry.name if entry else name, entry=entry)


def offline() -> bool:
    """Whether offline mode is set now, or was when huggingface_hub was imported (then huggingface_hub itself refuses)."""
    from huggingface_hub import is_offline_mode

    now = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return now.upper() in _TRUE or is_offline_mode()


def endpoint() -> str:
    """Return the address of the hub: the current HF_ENDPOINT, else the public address."""
    from huggingface_hub import constants

    address = (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")
    if urlsplit(address).scheme not in ("http", "https") or not urlsplit(address).hostname:
        msg = f"HF_ENDPOINT is {address!r}, which is no web address. Correct or unset it."
        raise HubUnreachable(msg)
    return address


def readable(name_or_path: str | os.PathLike[str]) -> str:
    """A name without white space around it; refuses what cannot be one."""
    name = os.fsdecode(name_or_path)
    if not name.strip():
        msg = "No model was named. Give a name from `atlas models`, a folder, or owner/name on the hub."
        raise ModelNotFound(msg)
    if len(name) > LONGEST_NAME or not name.isprintable():
        msg = f"{name[:40]!r}{'...' if len(name) > 40 else ''} cannot be the name of a model or folder."
        raise ModelNotFound(msg)
    return name.strip()


def own_folder(given: str | os.PathLike[str], name: str, entry: Entry | None) -> Path | None:
    """The folder that a name means to who may load any; None where it is no folder's."""
    path = Path(name).expanduser()
    return path if isinstance(given, os.PathLike) or _is_path(name) or _is_model_folder(path, entry) else None


def _is_path(name: str) -> bool:
    return name.startswith(("/", "./", "../", "~", ".\\")) or name in {".", ".."} or Path(name).is_absolute()


def _is_model_folder(path: Path, entry: Entry | None) -> bool:
    # A folder of notes named `gpt2` must not hide the model gpt2. A folder whose name is no catalog name gets an error about it.
    return (path / files.CONFIG).is_file() or (path.exists() and entry is None)


def _no_revision(name: str, revision: str | None) -> None:
    if revision is not None:
        msg = f"{name} is on this disk and has no revisions; leave out revision={revision!r}."
        raise ModelNotFound(msg)


def _from_hub(
    repo_id: str,
    revision: str | None,
    rules: ModelRules | None,
    *,
    trust: bool,
    progress: Report | None,
    models: Path | None,
) -> Source:
    copy = _copy_on_disk(repo_id, revision)
    if copy is not None and not trust and (_COMMIT.fullmatch(revision or "") or rules is not None):
        # A commit never changes, so the hub need not be asked. Visitors get the copy that is here: the operator updates it.
        return Source("hub", repo_id, copy.name, copy)
    if offline():
        if copy is not None:
            note = f"The hub was not asked for a newer version of {repo_id}: offline mode is set."
            return Source("hub", repo_id, copy.name, copy, (note,))
        msg = f"{repo_id}{_at(revision)} is not completely on disk, and offline mode (HF_HUB_OFFLINE) is set. "
        raise HubUnreachable(msg + f"Unset it to download the model.{_without_network(models)}")
    try:
        return _fetch(repo_id, revision, rules or ModelRules(), trust=trust, progress=progress)
    except GIVE_UP as failure:
        error = explain(failure, repo_id, revision, endpoint(), models)
        if copy is None or (isinstance(error, ModelNotFound) and revision is not None):
            if isinstance(error, HubUnreachable):
                error = HubUnreachable(f"{error}{_without_network(models)}")
            raise error from failure
        return Source("hub", repo_id, copy.name, copy, (f"Using the copy on disk. {error}",))


def _copy_on_disk(repo_id: str, revision: str | None) -> Path | None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        msg = f"{repo_id!r} is no folder and cannot be a model on the hub: names there read owner/name or name."
        raise ModelNotFound(msg + catalog.did_you_mean(catalog.suggestions(repo_id))) from error
    return catalog.cached_snapshot(repo_id, revision)


def _fetch(repo_id: str, revision: str | None, rules: ModelRules, *, trust: bool, progress: Report | None) -> Source:
    from huggingface_hub import snapshot_download

    with quiet_hub():
        plan = planned(repo_id, revision, trust=trust)
        require_room(plan.needed, catalog.cache_folder())
        with rules.room_in_quota(plan.needed, catalog.cache_folder()):
            folder = snapshot_download(
                repo_id,
                revision=plan.revision,
                endpoint=endpoint(),
                cache_dir=catalog.cache_folder(),
                allow_patterns=[glob.escape(name) for name in plan.wanted],
                tqdm_class=_bar(repo_id, plan.needed, progress),
                etag_timeout=ANSWER_SECONDS,
                library_name="attention-atlas",
            )
    return Source("hub", repo_id, Path(folder).name, Path(folder), plan.notes)


class Plan(NamedTuple):
    """What a download will fetch."""

    revision: str | None
    wanted: list[str]
    needed: int
    """Bytes of the files that are not here yet."""
    notes: tuple[str, ...]


def planned(repo_id: str, revision: str | None, *, trust: bool) -> Plan:
    """Ask the hub which files a model has, and which of them are missing here."""
    from huggingface_hub import HfApi

    api = HfApi(endpoint=endpoint(), library_name="attention-atlas")
    info = api.model_info(repo_id, revision=revision, timeout=ANSWER_SECONDS, files_metadata=True)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
    notes: tuple[str, ...] = ()
    if not _weights(sizes):
        revision = _converted(api, repo_id, revision, sizes)
        notes = (f"{repo_id} has pickled weights only; these are the hub's own conversion, {revision}.",)
        info = api.model_info(repo_id, revision=revision, timeout=ANSWER_SECONDS, files_metadata=True)
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
    wanted = _wanted(sizes, trust=trust)
    needed = sum(sizes[name] for name in wanted if not (_snapshot(repo_id, info.sha) / name).exists())
    return Plan(revision, wanted, needed, notes)


def _weights(names: Iterable[str]) -> set[str]:
    """Pick the safetensors files of the weights, without the other formats that many repositories also hold."""
    top = {name for name in names if "/" not in name}
    if files.WEIGHTS in top:
        return {files.WEIGHTS}
    if files.INDEX in top:
        shards = {name for name in top if name.endswith(".safetensors") and not name.startswith(("consolidated", "adapter"))}
        return {files.INDEX, *shards}
    return set()


def _wanted(names: Iterable[str], *, trust: bool) -> list[str]:
    names = set(names)
    small = names & (files.SETTINGS | files.VOCABULARIES | files.PARTS)
    code = {name for name in names if name.endswith(".py")} if trust else set()
    if files.CONFIG not in names:
        msg = "The repository holds no config.json, so it is no transformers model."
        raise BrokenFiles(msg)
    return sorted(_weights(names) | small | code)


def _converted(api: HfApi, repo_id: str, revision: str | None, names: Iterable[str]) -> str:
    """Find the revision in which the hub converted a repository's pickles to safetensors; raise if there is none."""
    if revision in (None, "main"):
        offers = api.get_repo_discussions(repo_id, author=CONVERTER, discussion_type="pull_request", discussion_status="open")
        for offer in offers:
            if offer.author == CONVERTER and "safetensors" in offer.title:
                return f"refs/pr/{offer.num}"
    advice = " Revisions of a repository can differ: try revision='main', or another." if revision else ""
    place = f"{repo_id} on the hub"
    raise files.no_safetensors(place, names, advice)


def require_room(needed: int, folder: Path) -> None:
    """Refuse a download that does not fit on the disk; the message has both sizes."""
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(existing).free
    if needed + SPARE_BYTES > free and needed:
        msg = f"The download takes {needed / 1e9:.2f} GB, and {existing} has {free / 1e9:.2f} GB free (some is kept spare). "
        raise TooLarge(msg + "Make room, or set HF_HOME to a folder on a larger disk.")


def _snapshot(repo_id: str, commit: str | None) -> Path:
    return catalog.cache_folder() / f"models--{repo_id.replace('/', '--')}" / "snapshots" / (commit or "")


def _bar(what: str, total: int, report: Report | None) -> type[Any]:
    """Make a tqdm class that draws nothing and passes the bytes on to `report`."""
    from tqdm.auto import tqdm

    lock = threading.Lock()
    reported = 0

    class Silent(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self._bytes = kwargs.get("unit") == "B"
            super().__init__(*args, **{**kwargs, "disable": True})
            self.n = 0

        def update(self, n: float | None = 1) -> bool | None:
            # Several threads move one bar for bytes received and one for bytes written. The larger of the two is reported.
            nonlocal reported
            with lock:
                self.n += n or 0
                if report is not None and self._bytes and self.n > reported:
                    reported = int(self.n)
                    report(Progress(what, min(reported, total or reported), total or None))
            return None

    return Silent


def _at(revision: str | None) -> str:
    return f" at {revision}" if revision else ""


def _without_network(models: Path | None) -> str:
    names = [entry.name for entry in catalog.entries(models) if catalog.on_disk(entry) is not None]
    return f" On this disk, and usable without a network: {', '.join(names)}." if names else ""
