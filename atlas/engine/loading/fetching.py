"""Whether loading a model would download it, and how much: what a page asks before it fetches for somebody else's link."""

from __future__ import annotations

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils._validators import validate_repo_id

from atlas.engine.loading import catalog, hub
from atlas.engine.loading.hub_errors import GIVE_UP, explain
from atlas.engine.loading.quiet_libraries import quiet_hub
from atlas.engine.loading.rules import ModelRules
from atlas.errors import AtlasError


def needs_download(name: str, revision: str | None = None, rules: ModelRules | None = None) -> bool:
    """Whether loading would fetch the model from the hub. Does not ask the hub, and is False for what would be refused."""
    try:
        repo_id = _repository(name, rules)
        return repo_id is not None and not hub.offline() and catalog.cached_snapshot(repo_id, revision) is None
    except (AtlasError, HFValidationError):
        return False


def download_size(name: str, revision: str | None = None, rules: ModelRules | None = None) -> int:
    """Bytes that loading would fetch; asks the hub, and raises what `resolve` would raise."""
    repo_id = _repository(name, rules)
    if repo_id is None:
        return 0
    try:
        with quiet_hub():
            return hub.planned(repo_id, revision, trust=False).needed
    except GIVE_UP as failure:
        raise explain(failure, repo_id, revision, hub.endpoint(), None) from failure


def _repository(name: str, rules: ModelRules | None) -> str | None:
    """The hub id that a name stands for; None where it is a model of this machine."""
    name = hub.readable(name)
    entry = catalog.lookup(name)
    if entry is not None and entry.path is not None:
        return None
    folder = hub.own_folder(name, name, entry) if rules is None else rules.folder(name)
    if folder is not None:
        return None
    repo_id = entry.hub_id if entry is not None and entry.hub_id else name
    validate_repo_id(repo_id)
    if rules is not None:
        rules.require_allowed(repo_id)
    return repo_id
