"""How often Bokeh counts the models of a page, with and without the patch."""

from __future__ import annotations

import pytest
from bokeh.document import Document
from bokeh.document.models import DocumentModelManager
from bokeh.models import ColumnDataSource
from bokeh.plotting import figure

from atlas.patches.counting import counted_at_most_once


@pytest.fixture
def page(monkeypatch):
    """A document with a plot, and the number of its models at each count."""
    document, counts = Document(), []
    plot = figure()
    points = plot.scatter("x", "y", source=ColumnDataSource({"x": [1, 2], "y": [1, 2]}))
    document.add_root(plot)
    count = DocumentModelManager.recompute
    monkeypatch.setattr(DocumentModelManager, "recompute", lambda models: count(models) or counts.append(len(models)))
    return document, plot, points, counts


def test_bokeh_counts_though_no_model_came_or_went(page):
    """If it does not any more, go without the patch."""
    document, _, points, counts = page
    with document.models.freeze():
        points.data_source.data = {"x": [3], "y": [3]}
    assert len(counts) == 1


def test_with_the_patch_it_counts_only_where_a_model_came_or_went(page):
    document, plot, points, counts = page
    before = len(document.models)
    with counted_at_most_once(document), document.models.freeze(), counted_at_most_once(document):
        points.data_source.data = {"x": [3], "y": [3]}
    assert counts == []
    with counted_at_most_once(document):
        plot.title.text = "a"
        with counted_at_most_once(document):
            plot.scatter("x", "y", source=points.data_source)
            plot.scatter("x", "y", source=points.data_source)
        assert counts == []
    assert len(counts) == 1
    assert counts[0] == len(document.models) > before
    assert all(renderer.document is document for renderer in plot.renderers)


def test_an_error_inside_leaves_the_document_as_it_was(page):
    document, plot, points, counts = page

    def fail():
        with counted_at_most_once(document):
            plot.scatter("x", "y", source=points.data_source)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert len(counts) == 1
    plot.scatter("x", "y", source=points.data_source)
    assert len(counts) > 1
