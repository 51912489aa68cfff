"""What the models of Bokeh have where nothing is set, with and without the patch."""

from __future__ import annotations

import pytest
from bokeh.core.has_props import HasProps
from bokeh.core.property.descriptors import PropertyDescriptor, UnsetValueError
from bokeh.model import Model
from bokeh.models import Axis, LinearAxis, Title
from bokeh.themes import Theme

from atlas.patches.defaults import PLAIN, patch_defaults


@pytest.fixture(autouse=True)
def _patched():
    patch_defaults()


def values(model):
    """All that a model has, and nothing where it has no value."""
    found = {}
    for name in model.properties():
        if not isinstance(model.lookup(name), PropertyDescriptor):
            continue  # another name of a property
        try:
            found[name] = getattr(model, name)
        except UnsetValueError:
            continue
    return found


def without_patch(model):
    """The same, each worked out by Bokeh itself."""
    own = PropertyDescriptor._get_default.__wrapped__
    known = {**model._property_values, **model._unstable_default_values, **model._unstable_themed_values}
    return {name: known[name] if name in known else own(model.lookup(name), model) for name in values(model)}


@pytest.mark.filterwarnings("ignore::bokeh.util.warnings.BokehDeprecationWarning")
def test_every_model_of_bokeh_has_the_defaults_it_had_without_the_patch():
    kinds = [kind for name, kind in Model.model_class_reverse_map.items() if kind.__module__.startswith("bokeh.models.")]
    seen = 0
    for kind in kinds:
        try:
            first, second = kind(), kind()
        except (ValueError, TypeError, RuntimeError):
            continue  # it needs something to begin with
        seen += 1
        for model in (first, second):
            found, own = values(model), without_patch(model)
            assert found.keys() == own.keys()
            for name, value in found.items():
                assert value is own[name] or value == own[name] or type(own[name]) not in PLAIN, (kind, name)
    assert seen > 300


def test_what_can_be_changed_is_each_models_own():
    first, second = Title(), Title()
    first.tags.append("mine")
    first.styles["color"] = "red"
    assert (second.tags, second.styles) == ([], {})
    first.text = "A title"
    assert second.text == ""


def test_a_theme_goes_before_a_default_that_is_known():
    axis = LinearAxis()
    usual = axis.axis_label_standoff
    Theme(json={"attrs": {"Axis": {"axis_label_standoff": usual + 7}}}).apply_to_model(axis)
    assert axis.axis_label_standoff == usual + 7
    assert LinearAxis().axis_label_standoff == usual
    axis.unapply_theme()
    assert axis.axis_label_standoff == usual
    assert issubclass(LinearAxis, Axis)


def test_bokeh_itself_merges_the_defaults_of_all_classes_at_every_look(monkeypatch):
    """If it does that no longer, go without the patch."""
    first, second, own, seen = LinearAxis(), LinearAxis(), PropertyDescriptor._get_default.__wrapped__, []
    merged = HasProps._overridden_defaults.__func__
    monkeypatch.setattr(HasProps, "_overridden_defaults", classmethod(lambda cls: seen.append(cls) or merged(cls)))
    for _ in range(3):
        own(LinearAxis.lookup("axis_label_standoff"), first)
    assert seen == [LinearAxis] * 3
    seen.clear()
    for _ in range(3):
        assert first.axis_label_standoff == second.axis_label_standoff
    assert len(seen) <= 1


def test_the_defaults_of_all_classes_are_merged_as_without_the_patch():
    for kind in (LinearAxis, Title):
        assert kind._overridden_defaults() == HasProps._overridden_defaults.__func__.__wrapped__(kind)
