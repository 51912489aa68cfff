from __future__ import annotations

from atlas.components.chips import Chips


def echoed(kind):
    """What the messages of a browser that repeats what it was sent leave in a component of `tokens`."""
    component = kind(groups=[{"name": "a", "chips": [{"key": "k", "label": "l", "active": True}]}])
    model = component.get_root()
    component._process_events({"groups": model.data.groups, "inline": True})
    return component.groups, component.inline


def test_what_is_sent_in_another_form_is_not_taken_back_and_other_params_are():
    groups, inline = echoed(Chips)
    assert groups == [{"name": "a", "chips": [{"key": "k", "label": "l", "active": True}]}]
    assert inline is True


def test_panel_takes_back_what_it_sent():
    """If it does not any more, go without OneWay's filter."""
    taken, _ = echoed(type("Believing", (Chips,), {"one_way": frozenset()}))
    assert taken != [{"name": "a", "chips": [{"key": "k", "label": "l", "active": True}]}]
