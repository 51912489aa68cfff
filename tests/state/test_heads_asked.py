"""Heads that nobody has divided yet: what their lens shows until clusters and t-SNE positions are there."""

from __future__ import annotations

import threading

import numpy as np
import panel as pn  # noqa: F401  (it runs what is asynchronous, as it does for a page)
import pytest

import atlas
from atlas.metrics.clusters import cluster_heads
from atlas.metrics.layouts import pca, tsne
from atlas.state.heads import HeadsLens
from atlas.tracing import groups
from atlas.tracing.groups import PREPARED_HEADS, UNTOLD, is_prepared
from tests.state.readers import ENCODER, Listener, rows, workspace
from tests.state.test_asking import PATIENCE, select
from tests.waiting import run, until


@pytest.fixture
def trace():
    weights = np.concatenate([np.stack([rows((4, 8, 8), 1), rows((4, 8, 8), 2)]), np.broadcast_to(np.eye(8), (1, 4, 8, 8))])
    return atlas.from_attention(weights.astype(np.float32), list("abcdefgh"))


def measured(trace):
    """The heads as the app works with them: no view shows a median."""
    return trace.heads.assign(median=np.nan)


@pytest.fixture
def slow(monkeypatch):
    """Clusters and t-SNE that wait for the test."""
    gates = {"cluster_heads": threading.Event(), "tsne": threading.Event()}

    def gated(name, real):
        def work(table):
            assert gates[name].wait(PATIENCE)
            return real(table)

        monkeypatch.setattr(groups, name, work)

    for name in gates:
        gated(name, getattr(groups, name))
    yield gates
    for gate in gates.values():
        gate.set()


def test_metrics_are_there_at_once_and_clusters_come_with_one_redraw(trace, slow):
    lens = HeadsLens(workspace(trace))
    heard = Listener(lens, ["revision"])
    plain = measured(trace)

    async def journey():
        table = lens.table()
        np.testing.assert_array_equal(table["entropy"], plain["entropy"])
        assert set(table["cluster"]) == {UNTOLD}
        assert lens.busy
        await until(lambda: lens.waiting == "Dividing 12 heads into clusters")
        assert [group["name"] for group in lens.groups()] == ["Roles", "Layers"]
        assert lens.note() == ""
        lens.points()
        select(lens.workspace, 1, 2)  # other rows of the same heads: still the same division
        lens.table()
        assert heard.take() == [{"revision": 1}]
        slow["cluster_heads"].set()
        await until(lambda: not lens.busy)
        assert heard.take() == [{"revision": 2}]
        expected = cluster_heads(plain)
        assert list(lens.table()["cluster"]) == [str(name) for name in expected.name_of_rows]
        assert [group["name"] for group in lens.groups()] == ["Clusters", "Roles", "Layers"]
        assert lens.note() == expected.note
        assert not lens.busy

    run(journey())


def test_positions_by_tsne_are_unknown_until_they_are_there(trace, slow):
    lens = HeadsLens(workspace(trace))
    lens.workspace.display.layout = "tsne"

    async def journey():
        assert lens.points()[["x", "y"]].isna().all(axis=None)
        slow["cluster_heads"].set()
        await until(lambda: not lens.busy)
        assert lens.points()[["x", "y"]].isna().all(axis=None)  # asks for the positions now
        await until(lambda: lens.waiting == "Placing 12 heads by t-SNE")
        slow["tsne"].set()
        await until(lambda: not lens.busy)
        np.testing.assert_array_equal(lens.points()[["x", "y"]], tsne(measured(trace)))

    run(journey())


def test_who_turns_to_another_layout_waits_for_no_positions(trace, slow):
    lens = HeadsLens(workspace(trace))
    slow["cluster_heads"].set()
    groups.clusters(trace, ENCODER)
    lens.workspace.display.layout = "tsne"

    async def journey():
        lens.points()
        assert lens.busy
        lens.workspace.display.layout = "pca"
        np.testing.assert_array_equal(lens.points()[["x", "y"]], pca(measured(trace)).positions)
        assert not lens.busy

    run(journey())


def test_few_heads_are_divided_before_a_trace_is_shown_and_many_are_not(trace):
    assert not is_prepared(trace)
    groups.prepare(trace)
    assert is_prepared(trace)
    many = atlas.from_attention(rows((PREPARED_HEADS // 4 + 1, 4, 2, 2)), ["a", "b"])
    assert is_prepared(many)
    exactly = atlas.from_attention(rows((PREPARED_HEADS // 4, 4, 2, 2)), ["a", "b"])
    assert not is_prepared(exactly)
