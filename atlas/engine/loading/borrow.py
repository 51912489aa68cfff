"""Borrowing a caller's model: it is changed while a run lasts and restored exactly afterwards.

Runs are counted, because two may overlap in two threads: the first run changes the model, the last one restores it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from atlas.engine.loading.quiet_libraries import quiet_transformers
from atlas.engine.running import attention

SETTING = "_attn_implementation_internal"
"""The attribute in which a configuration names its attention function. The public property also writes to all
sub-configurations, so different values there could not be restored through it."""


def configs_of(hf: PreTrainedModel) -> list[PreTrainedConfig]:
    """Every configuration object that names an attention implementation, each once."""
    found: dict[int, PreTrainedConfig] = {}
    waiting = [module.config for module in hf.modules() if isinstance(module, PreTrainedModel)]
    while waiting:
        config = waiting.pop()
        if id(config) in found:
            continue
        found[id(config)] = config
        waiting += [part for name in config.sub_configs if (part := getattr(config, name, None)) is not None]
    return list(found.values())


class Attending:
    """Switches the attention function that a model's configurations name."""

    def __init__(self, hf: PreTrainedModel) -> None:
        self._configs = configs_of(hf)
        self._own = self._current_names()
        attention.register()
        with quiet_transformers():
            hf.set_attn_implementation(attention.NAME)
        self._watched = self._current_names()
        self.possible = self._watched != self._own or attention.NAME in self._own
        self._set_names(self._own)

    def _current_names(self) -> list[Any]:
        return [getattr(config, SETTING) for config in self._configs]

    def _set_names(self, names: list[Any]) -> None:
        for config, name in zip(self._configs, names, strict=True):
            setattr(config, SETTING, name)

    def watch(self) -> None:
        """Let the model run Atlas' attention function."""
        self._set_names(self._watched)

    def own(self) -> None:
        """Let the model run its own attention function."""
        self._set_names(self._own)

    def plain(self) -> None:
        """Let the model run transformers' plain (eager) attention."""
        self._set_names(["eager"] * len(self._configs))

    def settle(self, *, plain: bool) -> None:
        """Make what a run needs the model's own state, for good."""
        if plain:
            self.plain()
        else:
            self.watch()
        self._own = self._current_names()


@dataclass(slots=True)
class _Hold:
    """The number of runs that hold a model now, and the modules that the first run took out of training mode."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    inside: int = 0
    training: list[torch.nn.Module] = field(default_factory=list)


_HOLDS: WeakKeyDictionary[torch.nn.Module, _Hold] = WeakKeyDictionary()
"""One entry for each torch model, because two `Model`s of one torch model would restore it under each other's runs."""

_HOLDS_LOCK = threading.Lock()


class Borrowed:
    """Keeps a model in the state a run needs: evaluation mode, Atlas' attention, and a saved random state if the model draws."""

    def __init__(self, hf: PreTrainedModel, attending: Attending, *, plain: bool, draws: bool = True) -> None:
        self._hf = hf
        self._attending = attending
        self._plain = plain
        self._draws = draws
        with _HOLDS_LOCK:
            self._hold = _HOLDS.setdefault(hf, _Hold())

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the model ready to run while the context is open, and restore it afterwards, also after an error."""
        # Leave a caller's inference mode, because its tensors have no versions and could never be used in training again.
        with torch.inference_mode(mode=False), self._random_state_kept():
            self._enter()
            try:
                yield
            finally:
                self._leave()

    def settle(self) -> None:
        """Make the state a run needs permanent, for a model that Atlas loaded itself."""
        self._attending.settle(plain=self._plain)

    def give_back(self) -> None:
        """Let the model run its own attention again."""
        self._attending.own()

    def _random_state_kept(self) -> AbstractContextManager[None]:
        """Save the random state, only for models that draw in evaluation mode.

        The state belongs to the whole process, so restoring it also rewinds what other threads draw.
        """
        return torch.random.fork_rng(devices=_devices(self._hf)) if self._draws else nullcontext()

    def _enter(self) -> None:
        hold = self._hold
        with hold.lock:
            hold.inside += 1
            if hold.inside > 1:
                return
            # Flags are saved module by module, because a frozen part of a model in training is in evaluation mode already.
            hold.training = [module for module in self._hf.modules() if module.training]
            for module in hold.training:
                module.training = False
            if self._plain:
                self._attending.plain()
            else:
                self._attending.watch()

    def _leave(self) -> None:
        hold = self._hold
        with hold.lock:
            hold.inside -= 1
            if hold.inside:
                return
            self._attending.own()
            for module in hold.training:
                module.training = True
            hold.training = []


def _devices(hf: torch.nn.Module) -> list[int]:
    """The CUDA devices whose random state a run could touch."""
    return sorted({p.device.index or 0 for p in hf.parameters() if p.device.type == "cuda"})
