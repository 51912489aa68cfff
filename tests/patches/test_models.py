"""What Bokeh makes of models, finds in them and sends of them, with and without the patch."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import pytest
from bokeh.core.has_props import HasProps
from bokeh.core.property.descriptors import UnsetValueError
from bokeh.model import Model, util
from bokeh.models import ColumnDataSource, GlyphRenderer, LinearAxis, Scatter, Title
from bokeh.plotting import figure

from atlas.patches.defaults import patch_defaults
from atlas.patches.models import patch_models


@pytest.fixture(autouse=True)
def _patched():
    patch_defaults()
    patch_models()


def drawn():
    """A plot with all that belongs to it."""
    hv.extension("bokeh", logo=False)
    return hv.renderer("bokeh").get_plot(hv.Points([(1, 2)]) * hv.Labels([(1, 2, "a")]) * hv.Image(np.ones((2, 2)))).state


@pytest.mark.filterwarnings("ignore::bokeh.util.warnings.BokehDeprecationWarning")
def test_every_model_of_bokeh_refers_to_and_sends_what_it_did_without_the_patch():
    seen = 0
    for name, kind in Model.model_class_reverse_map.items():
        if not kind.__module__.startswith("bokeh.models."):
            continue
        try:
            model = kind()
            own = util.collect_filtered_models.__wrapped__(None, model)
            sent = HasProps.query_properties_with_values.__wrapped__(model, lambda each: each.serialized, include_defaults=False)
        except (ValueError, TypeError, RuntimeError):
            continue  # it needs something to begin with
        seen += 1
        assert util.collect_filtered_models(None, model) == own, name
        assert model.properties_with_values(include_defaults=False) == sent, name
    assert seen > 250


def test_models_are_found_in_the_same_order_through_lists_dictionaries_and_fields():
    plot = drawn()
    for values in ([plot], [[plot, {"a": LinearAxis(), "b": [Title()]}, 3, "word", None]]):
        assert util.collect_filtered_models(None, *values) == util.collect_filtered_models.__wrapped__(None, *values)
    only = util.collect_filtered_models(lambda model: isinstance(model, GlyphRenderer), plot)
    assert only == util.collect_filtered_models.__wrapped__(lambda model: isinstance(model, GlyphRenderer), plot)
    assert not any(isinstance(model, GlyphRenderer) for model in only)


def test_a_model_that_is_set_or_taken_away_later_is_found_or_not():
    plot = figure()
    assert isinstance(plot.title, Title)
    title = Title(text="mine")
    plot.title = title
    assert title in plot.references()
    source = ColumnDataSource({"x": [1], "y": [2]})
    renderer = plot.add_glyph(source, Scatter())
    assert {source, renderer} <= plot.references()
    plot.renderers.remove(renderer)
    assert source not in plot.references()


def test_a_plot_sends_what_it_sent_without_the_patch():
    for model in drawn().references():
        own = HasProps.query_properties_with_values.__wrapped__(model, lambda each: each.serialized, include_defaults=False)
        assert model.properties_with_values(include_defaults=False) == own
        assert model.properties_with_values().keys() == model.properties_with_values(include_defaults=True).keys()


def test_a_required_value_that_is_not_set_is_still_an_error():
    kinds = [GlyphRenderer]
    for kind in kinds:
        with pytest.raises(UnsetValueError):
            kind().properties_with_values(include_defaults=False)
        with pytest.raises(UnsetValueError):
            kind().references()


def test_every_model_has_containers_of_its_own():
    first, second = Title(), Title()
    assert first.tags == second.tags == []
    first.tags.append("mine")
    first.js_property_callbacks["change:text"] = []
    assert second.tags == []
    assert dict(second.js_property_callbacks) == {}
    assert Title().tags == []
    assert first.properties_with_values(include_defaults=False)["tags"] == ["mine"], "a change of a container is sent"
