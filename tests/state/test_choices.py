"""Choices of single views: in the link where they differ from the defaults, whether or not the view has been made."""

from __future__ import annotations

from typing import ClassVar

import param
import pytest

from atlas.state.choices import CHOICES, register_choices
from atlas.state.lens import Lens
from atlas.state.share import decode, encode
from atlas.state.shared import SharedState
from atlas.state.workspace import Workspace
from tests.state.readers import Listener, never, single, workspace


class PlantedChoices(param.Parameterized):
    mass = param.Number(default=0.8, bounds=(0.0, 1.0))
    method = param.Selector(objects=["rollout", "contribution"], default="rollout")


class PlantedLens(Lens):
    key: ClassVar = "planted-choices"
    choices_type: ClassVar = PlantedChoices


@pytest.fixture(autouse=True)
def _registered():
    register_choices("planted-choices", PlantedChoices)
    yield
    CHOICES.pop("planted-choices", None)


def test_a_choice_is_one_redraw_of_its_own_lens():
    room = workspace(single())
    lens = room.lens(PlantedLens)
    heard = Listener(lens, ["revision"])
    lens.choices.mass = 0.5
    assert len(heard.take()) == 1


def test_a_link_holds_what_differs_from_the_defaults_and_brings_it_back():
    room = workspace(single())
    room.lens(PlantedLens).choices.method = "contribution"
    state, said = decode(encode(room).token)
    assert (state.choices, said) == ({"planted-choices": {"method": "contribution"}}, [])
    other = workspace(single())
    SharedState(other).open(encode(room).token)
    assert other.lens(PlantedLens).choices.method == "contribution"


def test_the_link_follows_a_choice():
    room = workspace()
    shared = SharedState(room)
    room.pipeline.show(single())
    before = shared.token
    room.choices_of("planted-choices").mass = 0.25
    assert shared.token != before


def test_a_link_without_choices_puts_them_back_to_their_defaults():
    room = workspace(single())
    plain = encode(room).token
    room.choices_of("planted-choices").mass = 0.25
    SharedState(room).open(plain)
    assert room.choices_of("planted-choices").mass == 0.8


def test_a_strangers_choices_are_clipped_or_left_out_and_said(monkeypatch):
    room = workspace(single())
    room.choices_of("planted-choices").mass = 0.5
    wrong = {"planted-choices": {"mass": 7, "method": "x"}, "no-view": {"a": 1}}
    monkeypatch.setattr("atlas.state.share.choices_of", lambda _: wrong)
    state, said = decode(encode(room).token)
    assert state.choices == {"planted-choices": {"mass": 1.0}}
    assert len(said) == 3
    assert any("no-view" in sentence for sentence in said)


def test_two_lenses_cannot_share_a_key():
    class Other(param.Parameterized):
        mass = param.Number(default=0.0)

    with pytest.raises(ValueError, match="choose another key"):
        register_choices("planted-choices", Other)


def test_two_workspaces_can_share_a_selection_and_a_display():
    first = Workspace(never)
    second = Workspace(never, selection=first.selection, display=first.display)
    first.display.tab = "bias"
    assert second.display.tab == "bias"
    assert second.selection is first.selection
    assert second.choices is not first.choices
