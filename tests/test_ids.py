from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import AtlasError, UnknownName
from atlas.ids import KINDS, HeadId, as_head, as_heads

heads = st.builds(HeadId, st.sampled_from(KINDS), st.integers(0, 200), st.integers(0, 200))


def test_heads_sort_by_kind_as_a_model_computes_them_then_layer_then_head() -> None:
    mixed = [
        HeadId("cross", 0, 0),
        HeadId("decoder", 0, 1),
        HeadId("encoder", 10, 0),
        HeadId("encoder", 2, 11),
        HeadId("decoder", 0, 0),
    ]
    assert [(h.kind, h.layer, h.head) for h in sorted(mixed)] == [
        ("encoder", 2, 11),
        ("encoder", 10, 0),
        ("decoder", 0, 0),
        ("decoder", 0, 1),
        ("cross", 0, 0),
    ]


@given(heads, heads)
def test_order_is_total_and_agrees_with_equality(a: HeadId, b: HeadId) -> None:
    assert (a < b) + (a == b) + (a > b) == 1
    assert (a <= b) == (not b < a)
    assert (a == b) == (hash(a) == hash(b) and repr(a) == repr(b))


@given(heads)
def test_every_way_of_writing_a_head_reads_back(head: HeadId) -> None:
    kind, layer, number = head.kind, head.layer, head.head
    written = [head, head.label(KINDS), f"{kind} {layer}.{number}", f"{kind.upper()}:l{layer}h{number}", (kind, layer, number)]
    assert [as_head(value, KINDS) for value in written] == [head] * len(written)
    alone = [str(head), f"{layer}.{number}", f"L{layer}H{number}", f"  l{layer} h{number} ", (layer, number)]
    assert [as_head(value, (kind,)) for value in alone] == [head] * len(alone)
    assert pickle.loads(pickle.dumps(head)) == head


def test_the_kind_is_written_only_where_it_matters() -> None:
    head = HeadId("cross", 5, 3)
    assert str(head) == "L5 H3"
    assert head.label(("cross",)) == "L5 H3"
    assert head.label(KINDS) == "cross L5 H3"


def test_heads_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        HeadId("encoder", 0, 0).layer = 1  # type: ignore[misc]


def test_a_head_is_not_ordered_against_other_things() -> None:
    with pytest.raises(TypeError):
        _ = HeadId("encoder", 0, 0) < (0, 0)


def test_several_heads_come_sorted_and_once() -> None:
    assert as_heads(["L1 H0", (0, 3), HeadId("encoder", 1, 0)], ("encoder",)) == (
        HeadId("encoder", 0, 3),
        HeadId("encoder", 1, 0),
    )
    assert as_heads([], ("encoder",)) == ()


@pytest.mark.parametrize(
    ("value", "kinds", "complaint"),
    [
        ("the third one", KINDS, "write 'L5 H3'"),
        ("", KINDS, "write 'L5 H3'"),
        ("L5", KINDS, "write 'L5 H3'"),
        ("L-1 H0", KINDS, "write 'L5 H3'"),
        ("L5 H3 H4", KINDS, "write 'L5 H3'"),
        ("L5 H3", KINDS, "any of encoder, decoder, cross"),
        ((5, 3), KINDS, "any of encoder, decoder, cross"),
        ((5,), KINDS, r"\(layer, head\)"),
        ((5, 3, 1, 2), KINDS, r"\(layer, head\)"),
        ((-1, 3), ("encoder",), "counted from 0"),
        (("sideways", 5, 3), KINDS, "it has encoder, decoder, cross"),
        ("sideways 5.3", KINDS, "it has encoder, decoder, cross"),
        ("cross 5.3", ("encoder",), "has no 'cross' attention; it has encoder"),
        (HeadId("decoder", 0, 0), ("encoder",), "has no 'decoder' attention"),
    ],
)
def test_what_names_no_head_says_so(value: object, kinds: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(UnknownName, match=complaint) as caught:
        as_head(value, kinds)
    assert isinstance(caught.value, AtlasError)


@pytest.mark.parametrize(
    ("kind", "layer", "head"), [("encoder", -1, 0), ("encoder", 0, -1), ("sideways", 0, 0), ("Encoder", 0, 0)]
)
def test_a_head_that_cannot_exist_is_not_made(kind: str, layer: int, head: int) -> None:
    with pytest.raises(UnknownName):
        HeadId(kind, layer, head)
