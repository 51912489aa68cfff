"""A model that belongs to somebody: changed for as long as a run lasts, then exactly as it was.

Runs are counted, because two may overlap in two threads: the first changes the model, the last puts it back.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from atlas.engine import attention
from atlas.engine.quiet import quiet_transformers

SETTING = "_attn_implementation_internal"
"""Where a configuration names its attention function. Its public face writes to every sub-configuration as well, so what differed
between them could not be put back through it."""


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
    """Which attention function a model's configurations name, and how to change it for a while."""

    def __init__(self, hf: PreTrainedModel) -> None:
        self._configs = configs_of(hf)
        self._own = self._named()
        attention.register()
        with quiet_transformers():
            hf.set_attn_implementation(attention.NAME)
        self._watched = self._named()
        self.possible = self._watched != self._own or attention.NAME in self._own
        self._name(self._own)

    def _named(self) -> list[Any]:
        return [getattr(config, SETTING) for config in self._configs]

    def _name(self, names: list[Any]) -> None:
        for config, name in zip(self._configs, names, strict=True):
            setattr(config, SETTING, name)

    def watch(self) -> None:
        """Let the model run the watched function."""
        self._name(self._watched)

    def own(self) -> None:
        """Let the model run what it ran before."""
        self._name(self._own)

    def plain(self) -> None:
        """Let the model run transformers' plain (eager) attention."""
        self._name(["eager"] * len(self._configs))

    def settle(self, *, plain: bool) -> None:
        """Make what a run needs the model's own state, for good."""
        if plain:
            self.plain()
        else:
            self.watch()
        self._own = self._named()


class Borrowed:
    """Holds a model in the state a run needs: evaluating, watched, its random state kept."""

    def __init__(self, hf: PreTrainedModel, attending: Attending, *, plain: bool) -> None:
        self._hf = hf
        self._attending = attending
        self._plain = plain
        self._lock = threading.Lock()
        self._inside = 0
        self._training: list[torch.nn.Module] = []

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside, the model is ready to be run; afterwards it is as it was, whatever happened."""
        with torch.random.fork_rng(devices=_devices(self._hf)):
            self._enter()
            try:
                yield
            finally:
                self._leave()

    def _enter(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside > 1:
                return
            # Flags are kept module by module: a frozen part of a model in training is in evaluation mode already.
            self._training = [module for module in self._hf.modules() if module.training]
            for module in self._training:
                module.training = False
            if self._plain:
                self._attending.plain()
            else:
                self._attending.watch()

    def _leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside:
                return
            self._attending.own()
            for module in self._training:
                module.training = True
            self._training = []


def _devices(hf: torch.nn.Module) -> list[int]:
    """The CUDA devices whose random state a run could touch."""
    return sorted({p.device.index or 0 for p in hf.parameters() if p.device.type == "cuda"})
