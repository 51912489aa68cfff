"""Whether a thread is inside a model already: told by the very frame of its call, and not by a number that another may get."""

from __future__ import annotations

import sys

from atlas.corpus.gate import Gate


def test_a_call_within_a_call_is_nested_and_one_after_an_interrupted_call_is_not():
    gate = Gate()

    def call():
        gate.enter(sys._getframe())
        return gate.nested()

    assert not gate.nested()
    assert call()
    for _ in range(100):  # the frames of later calls take the place of the one that never left
        assert not gate.nested()

    def next_call():
        assert not gate.nested()
        return call()

    assert next_call()
    gate.leave()
    assert not gate.nested()
