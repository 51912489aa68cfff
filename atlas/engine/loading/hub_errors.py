"""What went wrong between us and the hub, in one sentence each, with what to do about it."""

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

# The base of transport errors too. Its own home is httpx in some versions of huggingface_hub and httpx2 in others.
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # isort: skip

from atlas.engine.loading import catalog
from atlas.errors import AtlasError, BrokenFiles, HubUnreachable, ModelGated, ModelNotFound, TooLarge

GIVE_UP = (HTTPError, OSError, ValueError, AssertionError, KeyError, TypeError)
"""What asking and downloading can raise: transport, disk, and answers that are not those of a hub (no JSON, fields missing)."""

_REFUSED = (401, 403)
_FIRST_SERVER_ERROR = 500
_TOO_MANY = 429


def explain(failure: BaseException, repo_id: str, revision: str | None, endpoint: str, models: Path | None) -> AtlasError:
    """Say in our words what huggingface_hub raised; errors that are ours already pass through."""
    chain = list(_chain(failure))
    known = next((error for error in chain if isinstance(error, (AtlasError, HfHubHTTPError, OfflineModeIsEnabled))), None)
    if isinstance(known, AtlasError):
        return known
    if isinstance(known, HfHubHTTPError):
        return _answered(known, repo_id, revision, endpoint, models)
    if known is not None:
        return HubUnreachable(f"Offline mode (HF_HUB_OFFLINE) is set, so {repo_id} could not be fetched. Unset it.")
    return _transport(chain, repo_id, endpoint)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Walk an exception and what it was raised from: huggingface_hub wraps the reason in a file-not-found of its own."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


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
    """Say what the hub answered instead of the model."""
    status = error.response.status_code
    ours: AtlasError
    if isinstance(error, GatedRepoError):
        ours = _gated(repo_id, endpoint)
    elif isinstance(error, RevisionNotFoundError):
        msg = f"{repo_id} has no revision {revision!r}. See {endpoint}/{repo_id}/commits, or leave the revision out."
        ours = ModelNotFound(msg)
    elif status >= _FIRST_SERVER_ERROR:
        ours = HubUnreachable(f"The hub at {endpoint} is in trouble (it answered {status}). Try again later.")
    elif status == _TOO_MANY:
        ours = HubUnreachable(f"The hub finds too many requests from here ({status}). Wait a few minutes, or `hf auth login`.")
    elif status in _REFUSED and not isinstance(error, RepositoryNotFoundError):
        msg = f"The hub refused access to {repo_id} ({status}): your token is invalid or may not read it. Run `hf auth login`."
        ours = ModelGated(msg)
    else:
        ours = _not_found(repo_id, endpoint, models)
    return ours


def _transport(chain: list[BaseException], repo_id: str, endpoint: str) -> AtlasError:
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
        error = HubUnreachable(f"The proxy in HTTPS_PROXY or HTTP_PROXY does not answer ({reason}). Correct or unset it.")
    elif "Timeout" in names:
        error = HubUnreachable(f"The hub at {endpoint} did not answer in time. Check the network, or try again later.")
    elif any(isinstance(error, HTTPError) for error in chain):
        error = HubUnreachable(f"No connection to {host} ({reason}). Check the network, and HF_ENDPOINT if it is set.")
    elif any(isinstance(error, OSError) for error in chain):
        error = BrokenFiles(f"{repo_id} could not be kept in {catalog.cache_folder()} ({reason}). Correct HF_HOME or the disk.")
    else:
        what = type(chain[0]).__name__
        error = HubUnreachable(f"What answers at {endpoint} is not a model hub ({what}). Correct HF_ENDPOINT, or unset it.")
    return error
