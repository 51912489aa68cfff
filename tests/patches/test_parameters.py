"""What a component gets of the Params of its class, and sends of them, with and without the patch."""

from __future__ import annotations

import panel as pn
import panel_material_ui as pmui
import param
import pytest
from panel.custom import ReactiveESM
from panel.reactive import Syncable
from param import parameterized

from atlas.components.chips import Chips
from atlas.components.places import Places
from atlas.patches.parameters import MUTABLE, patch_parameters


@pytest.fixture(autouse=True)
def _patched():
    patch_parameters()


class Kinds(param.Parameterized):
    """A Param of many kinds."""

    number = param.Number(1.0, bounds=(0, 3))
    choice = param.Selector(objects={"one": 1, "two": 2})
    several = param.ListSelector(objects=["a", "b"])
    words = param.List([1, 2], item_type=int)
    table = param.Dict({"a": 1})
    path = param.Path("/tmp")
    child = param.ClassSelector(class_=param.Parameterized)


@pytest.mark.parametrize("kind", [Kinds, Chips, Places, pmui.Select, pmui.Button, pn.Column, pn.widgets.IntSlider])
def test_an_instance_gets_the_param_it_got_without_the_patch(kind):
    owner = kind()
    for each in kind.param.objects(instance=False).values():
        made, own = (
            parameterized._instantiate_param_obj(each, owner),
            parameterized._instantiate_param_obj.__wrapped__(each, owner),
        )
        assert type(made) is type(own)
        for slot in type(each)._all_slots_:
            value = object.__getattribute__(made, slot)
            assert value is object.__getattribute__(own, slot) or value == object.__getattribute__(own, slot), (each.name, slot)
            if isinstance(value, MUTABLE) and slot != "default":
                assert value is not object.__getattribute__(each, slot), "a change for one instance must change no other"
        assert made.owner is owner
        assert made.watchers == {}


def test_a_param_that_one_instance_changes_stays_for_the_others():
    one, other = Kinds(), Kinds()
    one.param.choice.objects = ["three"]
    one.param.number.bounds = (0, 9)
    assert list(other.param.choice.objects) == list(Kinds.param.choice.objects) == [1, 2]
    assert other.param.number.bounds == (0, 3)
    seen = []
    one.param.watch(seen.append, "number")
    one.number = 8
    other.number = 2
    assert [event.new for event in seen] == [8]


@pytest.mark.parametrize(
    "shown", [Chips(visible=False), pmui.Select(options=["a", "b"]), pn.Column(pn.Row()), pn.widgets.IntSlider(label="Level")]
)
def test_a_component_sends_the_params_it_sent_without_the_patch(shown):
    own = Syncable._init_params.__wrapped__(shown)
    assert list(shown._init_params()) == list(own)
    assert shown._init_params() == own


def test_a_param_has_the_value_it_had_without_the_patch():
    own, one = param.Parameter.__get__.__wrapped__, Kinds(number=2.5, words=[3])
    for name, each in Kinds.param.objects(instance=False).items():
        assert getattr(one, name) == own(each, one, Kinds)
        assert getattr(Kinds, name) == own(each, None, Kinds)
    assert (one.number, Kinds().number, Kinds.number) == (2.5, 1.0, 1.0)
    with pytest.raises(ValueError, match="name"):
        param.Parameter(default=1).__get__(one, Kinds)


@pytest.mark.parametrize("selector", [None, pn.widgets.Widget, pmui.Button, lambda part: isinstance(part, pn.pane.Markdown)])
def test_a_component_has_the_parts_it_had_without_the_patch(selector):
    inside = pmui.Button(label="b")
    shown = pmui.Card(pn.pane.Markdown("a"), pmui.Row(inside), pn.Column(pn.widgets.IntSlider()), header=pmui.Button(label="c"))
    own = ReactiveESM.select.__wrapped__
    assert ReactiveESM.select(shown, selector) == own(shown, selector)
    assert inside in shown.select(pmui.Button)
    for part in shown.select(ReactiveESM):
        assert ReactiveESM.select(part, selector) == own(part, selector)
