"""Lines between tokens, without a browser: what is sent, and what a click calls."""

from __future__ import annotations

import base64

import numpy as np

from atlas.components.link_lines import LinkLines, packed


def heard(**params):
    plot, tokens, heads = LinkLines(**params), [], []
    plot.on_token(tokens.append)
    plot.on_head(lambda head, action: heads.append((head, action)))
    return plot, tokens, heads


def test_lines_are_sent_exactly_ten_bytes_each():
    rng = np.random.default_rng(0)
    given = rng.integers(0, 60_000, 500), rng.integers(0, 60_000, 500), rng.integers(0, 400, 500), rng.random(500, np.float32)
    sent = packed(*given)
    read = {name: base64.b64decode(sent[name]) for name in ("left", "right", "head", "weight")}
    assert sent["count"] == 500
    assert sum(map(len, read.values())) == 10 * 500
    for (name, found), values in zip(read.items(), given, strict=True):
        np.testing.assert_array_equal(np.frombuffer(found, "<f4" if name == "weight" else "<u2"), values)


def test_a_click_on_what_no_longer_exists_is_ignored():
    plot, tokens, heads = heard(left=["a", "b"], right=["c"], heads=[{"head": 3}])
    for sent in (
        {"side": "left", "at": 1, "additive": True}, {"side": "right", "at": 1}, {"side": "up", "at": 0},
        {"side": "left", "at": -1}, {"side": "left", "at": "0"}, {"action": "toggle", "head": 3},
        {"action": "toggle", "head": 2}, {"action": "burn", "head": 3}, {"action": "all"}, {},
    ):  # fmt: skip
        plot._handle_msg(sent)
    assert tokens == [{"side": "left", "at": 1, "additive": True}]
    assert heads == [(3, "toggle"), (-1, "all")]
