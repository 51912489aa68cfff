"""`atlas.load` makes a Model of a name, a folder, a hub id or a model in memory."""

from __future__ import annotations

import os
from typing import Any

import torch

from atlas.engine.loading.construct import construct
from atlas.engine.loading.hub import Report, resolve
from atlas.engine.loading.identity import Identity, check_pair, name_in_memory, task_of
from atlas.engine.loading.rules import ModelRules
from atlas.engine.model import Model
from atlas.errors import UnknownName
from atlas.single_flight import SingleFlight

NOT_LOADABLE = (
    "Give atlas.load a name of `atlas models`, a folder, a hub id such as 'owner/name', or (model, tokenizer) in memory"
)

KEPT_MODELS = 0
"""Loaded models kept here: none, because the holder of a model decides how long it lives. Simultaneous callers share one load."""

_loads = SingleFlight(keep=KEPT_MODELS)


def load(
    model: str | os.PathLike[str] | tuple[Any, Any],
    revision: str | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    *,
    trust_remote_code: bool = False,
    progress: Report | None = None,
    rules: ModelRules | None = None,
) -> Model:
    """Load a model to be traced.

    Parameters
    ----------
    model
        A name of `atlas models`, a folder, a hub id, or `(model, tokenizer)` in memory. A model in memory is borrowed: it is
        restored after every trace, and `release()` removes Atlas' hooks from it.
    revision
        Branch, tag or commit on the hub.
    device, dtype
        The device and precision to compute in. By default a CUDA GPU where there is one, else the CPU, and float32. An Apple GPU
        is used only when named, as 'mps'; its results are first compared with the CPU's.
    trust_remote_code
        Run Python code that comes with the model. Off by default.
    progress
        Called with `atlas.engine.loading.hub.Progress` during downloads.
    rules
        What may be loaded, for a server on which visitors choose the model. By default everything.
    """
    if isinstance(model, tuple):
        return _borrow(model, revision, device, dtype)
    if not isinstance(model, str | os.PathLike):
        msg = f"{NOT_LOADABLE}; not {type(model).__name__}."
        raise UnknownName(msg)
    key = (os.fspath(model), revision, str(device), str(dtype), trust_remote_code, rules)

    def work() -> Model:
        return _load(model, revision, device, dtype, trust_remote_code=trust_remote_code, progress=progress, rules=rules)

    return _loads(key, work)


def _load(
    model: str | os.PathLike[str],
    revision: str | None,
    device: str | torch.device | None,
    dtype: str | torch.dtype | None,
    *,
    trust_remote_code: bool,
    progress: Report | None,
    rules: ModelRules | None,
) -> Model:
    source = resolve(model, revision, trust_remote_code=trust_remote_code, progress=progress, rules=rules)
    made = construct(source, device=device, dtype=dtype, trust_remote_code=trust_remote_code)
    identity = Identity(source.name, source.kind, source.revision)
    return Model(made.hf, made.tokenizer, identity, task=made.task, borrowed=False, notes=made.notes)


def _borrow(
    pair: tuple[Any, ...], revision: str | None, device: str | torch.device | None, dtype: str | torch.dtype | None
) -> Model:
    if revision is not None or device is not None or dtype is not None:
        msg = "A model in memory is traced where and as it is; leave out revision, device and dtype."
        raise UnknownName(msg)
    hf, tokenizer = check_pair(pair)
    return Model(hf, tokenizer, Identity(name_in_memory(hf), "memory"), task=task_of(hf), borrowed=True)
