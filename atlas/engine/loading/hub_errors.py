"""Turns errors of the hub into Atlas errors, which name the model, say why it cannot be fetched, and say what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

# The base class of transport errors, imported from here because its own package is httpx or httpx2 by huggingface_hub's version.
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # isort: skip

from atlas.engine.loading import catalog
from atlas.errors import AtlasError, BrokenFiles, HubUnreachable, ModelGated, ModelNotFound, TooLarge

GIVE_UP = (HTTPError, OSError, ValueError, AssertionError, KeyError, TypeError)
"""What a request or download can raise: errors of transport and disk, and answers that no hub gives (no JSON, no such field)."""

_REFUSED = (401, 403)
_FIRST_SERVER_ERROR = 500
_TOO_MANY = 429


def explain(failure: BaseException, repo_id: str, revision: str | None, endpoint: str, models: Path | None) -> AtlasError:
    """Turn an exception of huggingface_hub into an Atlas error; an Atlas error in its chain is returned as it is."""
    chain = list(_chain(failure))
    known = next((error for error in chain if isinstance(error, (AtlasError, HfHubHTTPError, OfflineModeIsEnabled))), None)
    if isinstance(known, AtlasError):
        return known
    if isinstance(known, HfHubHTTPError):
        return _answered(known, repo_id, revision, endpoint, models)
    if known is not None:
        return HubUnreachable(_not_fetched(repo_id, "offline mode (HF_HUB_OFFLINE) is set. Unset it."))
    return _transport(chain, repo_id, endpoint)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and its causes, because huggingface_hub wraps the reason in its own file-not-found error."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _not_fetched(repo_id: str, why: str) -> str:
    """A message that names the model first, because the page may show another model beside it."""
    return f"{repo_id} could not be fetched: {why}"


def _gated(repo_id: str, endpoint: str) -> ModelGated:
    msg = (
        f"{repo_id} is gated: its owners want their licence accepted first. Accept it at {endpoint}/{repo_id} with your "
        "account, then run `hf auth login` (or set HF_TOKEN) and try again."
    )
    return ModelGated(msg)


def _not_found(repo_id: str, endpoint: str, models: Path | None) -> ModelNotFound:
    hint = catalog.did_you_mean(catalog.suggestions(repo_id, models))
    msg = f"There is no model {repo_id!r} at {endpoint}, nor a folder of that name.{hint} A private one needs `hf auth login`."
    return ModelNotFound(msg)


def _answered(error: HfHubHTTPError, repo_id: str, revision: str | None, endpoint: str, models: Path | None) -> AtlasError:
    """The error for an error answer of the hub: no such model or revision, no access, or a fault of the hub."""
    status = error.response.status_code
    ours: AtlasError
    if isinstance(error, GatedRepoError):
        ours = _gated(repo_id, endpoint)
    elif isinstance(error, RevisionNotFoundError):
        msg = f"{repo_id} has no revision {revision!r}. See {endpoint}/{repo_id}/commits, or leave the revision out."
        ours = ModelNotFound(msg)
    elif status >= _FIRST_SERVER_ERROR:
        ours = HubUnreachable(
            _not_fetched(repo_id, f"the hub at {endpoint} is in trouble (it answered {status}). Try again later.")
        )
    elif status == _TOO_MANY:
        why = f"the hub counts too many requests from here ({status}). Wait a few minutes, or run `hf auth login`."
        ours = HubUnreachable(_not_fetched(repo_id, why))
    elif status in _REFUSED and not isinstance(error, RepositoryNotFoundError):
        msg = f"The hub refused access to {repo_id} ({status}): your token is invalid or may not read it. Run `hf auth login`."
        ours = ModelGated(msg)
    else:
        ours = _not_found(repo_id, endpoint, models)
    return ours


def _transport(chain: list[BaseException], repo_id: str, endpoint: str) -> AtlasError:
    """The error where the hub did not answer, or where its answer could not be stored."""
    names = " ".join(type(error).__name__ for error in chain)
    reason = f"{type(chain[-1]).__name__}: {chain[-1]}".rstrip(": ")
    host = urlsplit(endpoint).hostname
    error: AtlasError
    if any(isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT) for error in chain):
        error = TooLarge(f"The disk filled up while {repo_id} was downloaded. Make room, or set HF_HOME to a larger disk.")
    elif "RemoteProtocolError" in names or "ReadError" in names or "Consistency check failed" in str(chain[0]):
        msg = f"The download of {repo_id} broke off ({reason}). Nothing half-done was kept: try again."
        error = BrokenFiles(msg)
    elif "ProxyError" in names:
        why = f"the proxy in HTTPS_PROXY or HTTP_PROXY does not answer ({reason}). Correct or unset it."
        error = HubUnreachable(_not_fetched(repo_id, why))
    elif "Timeout" in names:
        why = f"the hub at {endpoint} did not answer in time. Check the network, or try again later."
        error = HubUnreachable(_not_fetched(repo_id, why))
    elif any(isinstance(error, HTTPError) for error in chain):
        why = f"there is no connection to {host} ({reason}). Check the network, and HF_ENDPOINT if it is set."
        error = HubUnreachable(_not_fetched(repo_id, why))
    elif any(isinstance(error, OSError) for error in chain):
        error = BrokenFiles(f"{repo_id} could not be kept in {catalog.cache_folder()} ({reason}). Correct HF_HOME or the disk.")
    else:
        what = type(chain[0]).__name__
        why = f"what answers at {endpoint} is not a model hub ({what}). Correct HF_ENDPOINT, or unset it."
        error = HubUnreachable(_not_fetched(repo_id, why))
    return error
