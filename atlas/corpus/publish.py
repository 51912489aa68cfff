"""What the tables of a corpus say of themselves: the model, its texts, how they were measured."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from atlas.engine.loading.identity import library_versions
from atlas.engine.running.likelihood import weights_fingerprint
from atlas.metrics.heads import COUNTED
from atlas.metrics.roles import ROLES
from atlas.metrics.standard import COMPARED

if TYPE_CHECKING:
    import numpy as np

    from atlas.corpus.measure import Loaded
    from atlas.corpus.merge import Merged
    from atlas.corpus.store import Store
    from atlas.engine.model import Model


_KNOWN: WeakKeyDictionary[Any, tuple[int, str]] = WeakKeyDictionary()
"""Model -> version of its weights and their hash: a run in parts asks again and again, and a hash reads all weights."""


def _fingerprint(model: Model) -> str:
    version = model.weights_version()
    known = _KNOWN.get(model)
    if known is None or known[0] != version:
        known = _KNOWN[model] = version, weights_fingerprint(model)
    return known[1]


def identity_of(loaded: Loaded) -> dict[str, Any]:
    """All that figures of a text depend on in a model."""
    model = loaded.model
    return {
        "model": model.name,
        "revision": model.revision or _fingerprint(model),
        "class": type(model.hf).__name__,
        "dtype": str(model.hf.dtype).removeprefix("torch."),
        "device": model.device.type,
    }


def publish(
    store: Store,
    name: str,
    loaded: Loaded,
    identity: Mapping[str, Any],
    merged: Merged,
    tables: Mapping[str, np.ndarray],
    settings: Mapping[str, Any],
    bad: int,
    complete: tuple[int, int],
) -> None:
    """Write the tables under a name that stands for their content; `bad` rows could not be used, `complete` counts shards."""
    about = {
        "metrics": list(COMPARED), "counted": list(COUNTED), "roles": list(ROLES), "kinds": list(loaded.kinds),
        "groups": list(merged.groups), "texts": merged.n_texts.tolist(),
    }  # fmt: skip
    provenance = {
        **identity, "revision": loaded.model.revision, "source": loaded.model.identity.source,
        "task": loaded.model.task, "texts": int(merged.n_texts[0]), "tokens": int(merged.n_tokens), "bad": bad,
        "cut": int(merged.n_cut), "tokens_left_out": int(merged.n_dropped), "settings": dict(settings),
        "versions": library_versions(), "made": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    store.publish(name, tables, about, {"provenance": provenance, "complete": list(complete)})
