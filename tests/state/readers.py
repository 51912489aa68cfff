"""Small traces of every shape, and somebody who counts what a Param object says."""

from __future__ import annotations

import functools

import numpy as np

import atlas
from atlas.state.workspace import Workspace

SOURCE = ["[CLS]", "the", "doctor", "said", "she", "ran", ".", "[SEP]"]
TARGET = ["le", "docteur", "a", "dit", "oui"]

ENCODER, DECODER, CROSS = "encoder", "decoder", "cross"


def rows(shape, seed=0, *, causal=False):
    """Random attention: rows that sum to 1, nothing ahead of its query where causal."""
    weights = np.random.default_rng(seed).random(shape) ** 4 + 1e-4
    if causal:
        weights = weights * np.tri(*shape[2:])
    return (weights / weights.sum(-1, keepdims=True)).astype(np.float32)


@functools.cache
def single(kind=ENCODER, layers=2, heads=3, tokens=tuple(SOURCE), seed=0):
    """A trace of one kind."""
    n = len(tokens)
    return atlas.from_attention(rows((layers, heads, n, n), seed, causal=kind == DECODER), list(tokens), kind=kind)


@functools.cache
def both(encoder=(2, 4), decoder=(3, 2), source=tuple(SOURCE), target=tuple(TARGET), seed=0):
    """A trace of an encoder-decoder: encoder, decoder and cross."""
    n, m = len(source), len(target)
    weights = {
        ENCODER: rows((*encoder, n, n), seed),
        DECODER: rows((*decoder, m, m), seed + 1, causal=True),
        CROSS: rows((*decoder, m, n), seed + 2),
    }
    return atlas.from_attention(weights, {"source": list(source), "target": list(target)})


def never(job, ticket):
    """The work of a workspace that only shows what is there."""
    msg = "no run was asked for"
    raise AssertionError(msg)


def workspace(trace=None):
    """A workspace with a trace on screen."""
    made = Workspace(never)
    if trace is not None:
        made.pipeline.show(trace)
    return made


class Listener:
    """Every call of a watcher over some Params of an object: name -> new value."""

    def __init__(self, told, names=None):
        self.calls = []
        names = list(names or [name for name in told.param if name != "name"])
        told.param.watch(lambda *events: self.calls.append({event.name: event.new for event in events}), names)

    def take(self):
        """The calls since the last time."""
        calls, self.calls = self.calls, []
        return calls
