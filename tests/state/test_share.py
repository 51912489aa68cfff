"""The state as a link: there and back whatever it holds, and whatever a stranger writes into it."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import threading
import time
import tracemalloc
import zlib
from dataclasses import fields, replace

import numpy as np
import param
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import atlas
from atlas.definitions import DEFINITIONS
from atlas.errors import TextError
from atlas.ids import KINDS, HeadId
from atlas.state.changes import BiasThresholds, Target
from atlas.state.compact import MOST_HEADS, MOST_TOKENS, Unusable, pack, pack_heads, unpack, unpack_heads
from atlas.state.display import METRICS, MORE_THAN_METRICS, Display
from atlas.state.heads import HeadsLens
from atlas.state.inputs import LONGEST_TEXT
from atlas.state.link import FIELDS, State
from atlas.state.map import MapLens
from atlas.state.restore import apply, job_of, put_inputs
from atlas.state.second import unpack_second
from atlas.state.share import DAMAGED, LONGEST, MOST_BYTES, VERSION, decode, encode, state_of
from atlas.state.shared import SharedState
from atlas.state.workspace import Workspace
from atlas.state.written import MOST_IDS, MOST_WRITTEN, STOPS, WritingChoices, Written

RUNNING = "سلام אבג doctor"
STRANGE = [
    "[MASK] is {not} JSON",
    "[CLS]",
    "null",
    "123",
    "1e5",
    "true",
    "'\"`\\ & ?s=v1.x#y %41 + /",
    "😀 👩‍👩‍👧 é",
    "a\x00b\x1f\x7f\r\n\t",
    "wörd" * 2_500,
    RUNNING,
    "\u202eright to left\u202c \u200b\ufeff",
    "<script>alert(1)</script>",
    "half \ud83d of a pair",
    " \n ",
]


# -- States of any kind ------------------------------------------------------------------------------------------------


def choices(holder: type[param.Parameterized]) -> st.SearchStrategy[dict]:
    """Some fields of a holder, none at its default: those are not in a link."""
    return st.fixed_dictionaries(
        {}, optional={name: values(holder.param[name], name) for name in holder.param if name != "name"}
    ).map(lambda made: {name: value for name, value in made.items() if value != holder.param[name].default})


def values(field: param.Parameter, name: str) -> st.SearchStrategy:
    if isinstance(field, param.Selector):
        return st.sampled_from(field.objects)
    if name in MORE_THAN_METRICS:
        return st.sampled_from([*MORE_THAN_METRICS[name], *METRICS])
    if isinstance(field, param.Boolean):
        return st.booleans()
    if isinstance(field, param.Integer):
        return st.integers(field.bounds[0], 5_000)
    if isinstance(field, param.Number):
        return st.floats(*field.bounds)
    return st.text(max_size=20)


heads = st.builds(HeadId, st.sampled_from(KINDS), st.integers(0, 95), st.integers(0, 127))
positions = st.one_of(
    st.frozensets(st.integers(0, 4_095), max_size=60),
    st.frozensets(st.integers(0, MOST_TOKENS - 1), max_size=3),
    st.builds(lambda first, length: frozenset(range(first, first + length)), st.integers(0, 500), st.integers(0, 4_000)),
)
names = st.text(st.characters(codec="utf-8", exclude_categories=("Cc",)), max_size=60)
ids = st.lists(st.integers(0, MOST_IDS - 1), min_size=1, max_size=40).map(tuple)
drawn = st.tuples(
    st.just(("sample", True)),
    *(st.tuples(st.just(name), values(WritingChoices.param[name], name)) for name in ("temperature", "top_p", "seed")),
)
writings = st.builds(
    Written,
    st.none() | st.integers(1, 5_000),
    ids,
    st.integers(1, 200),
    st.just((("sample", False),)) | drawn,
    st.sampled_from(STOPS),
)
spans = st.tuples(
    st.sampled_from(["source", "target"]), st.integers(0, 4_000), st.integers(4_001, 9_000), st.sampled_from(["prompt", "user"])
)
states = st.builds(
    State,
    model=names,
    revision=names,
    device=st.sampled_from(["", "cpu", "cuda:1"]),
    dtype=st.sampled_from(["", "float32", "bfloat16"]),
    in_memory=st.booleans(),
    text=st.text(max_size=200) | st.sampled_from(STRANGE),
    pair=st.text(max_size=20),
    target=st.text(max_size=20),
    truncate=st.booleans(),
    private=st.just(False),
    ablated=st.frozensets(heads, max_size=10),
    cut=st.frozensets(st.tuples(heads, st.integers(0, 4_000), st.integers(0, 4_000)), max_size=5),
    regenerate=st.booleans(),
    focus=st.none() | heads,
    heads=st.frozensets(heads, max_size=150),
    queries=positions,
    keys=positions,
    label=names,
    display=choices(Display),
    thresholds=choices(BiasThresholds),
    explained=choices(Target),
    spans=st.lists(spans, max_size=4).map(tuple),
    written=st.none() | writings,
)


def token_of(content: object, version: str = VERSION) -> str:
    """A token that holds just this."""
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return f"{version}.{base64.urlsafe_b64encode(zlib.compress(raw)).decode().rstrip('=')}"


def content_of(token: str) -> dict:
    body = token.partition(".")[2]
    return json.loads(zlib.decompress(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))))


# -- there and back ----------------------------------------------------------------------------------------------------


@settings(max_examples=150)
@given(states)
def test_any_state_comes_back_as_it_was(state: State) -> None:
    shared = encode(state)
    assert len(shared.token) <= LONGEST
    assert decode(shared.token)[1] == []
    if "texts" in shared.message:
        state = replace(state, private=True, text="", pair="", target="", spans=(), written=None)
    elif "wrote" in shared.message:
        state = replace(state, written=None)
    assert decode(shared.token)[0] == state


@pytest.mark.parametrize("text", STRANGE, ids=ascii)
def test_a_text_of_any_kind_comes_back(text: str) -> None:
    state = State("bert-mini", text=text, pair=text, target=text)
    token = encode(state).token
    assert decode(token) == (state, [])
    assert token.startswith("v1.")
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")


def test_every_field_is_in_the_link() -> None:
    assert list(FIELDS) == [each.name for each in fields(State)]


def test_every_metric_field_of_display_is_checked() -> None:
    """A field that names a metric and is not in the table would take any text at all."""
    free = {name for name, field in Display.param.objects().items() if type(field) is param.String and name != "name"}
    assert free == set(MORE_THAN_METRICS)
    for name, beside in MORE_THAN_METRICS.items():
        assert Display.param[name].default in (*beside, *METRICS)


@given(positions)
def test_positions_are_packed_and_unpacked(chosen: frozenset[int]) -> None:
    assert unpack(pack(chosen)) == chosen


@given(st.frozensets(heads, max_size=300))
def test_heads_are_packed_and_unpacked(chosen: frozenset[HeadId]) -> None:
    assert unpack_heads(pack_heads(chosen)) == chosen


def test_half_of_all_heads_of_a_large_model_fit() -> None:
    chosen = frozenset(random.Random(0).sample([HeadId("decoder", i, j) for i in range(48) for j in range(25)], 600))
    many = frozenset(random.Random(1).sample(range(4_096), 2_048))
    token = encode(State("gpt2-xl", text="The cat sat.", heads=chosen, queries=many)).token
    assert 0 < len(token) < 1_300
    assert decode(token)[0].heads == chosen
    assert decode(token)[0].queries == many


# -- what a link leaves out --------------------------------------------------------------------------------------------


def test_private_leaves_the_texts_out_and_nothing_else() -> None:
    state = State("bert-mini", text="secret", pair="hidden", target="quiet", keys=frozenset({3}), display={"mode": "rollout"})
    state = replace(state, spans=(("source", 0, 3, "prompt"),), written=WRITING)
    token = encode(state, private=True).token
    assert not {"secret", "hidden", "quiet"} & set(json.dumps(content_of(token)).split('"'))
    assert decode(token) == (replace(state, private=True, text="", pair="", target="", spans=(), written=None), [])


def test_a_writing_too_long_for_a_link_is_left_out_alone_and_that_is_said() -> None:
    at_random = random.Random(0)
    for count, of in ((MOST_WRITTEN, MOST_IDS), (MOST_WRITTEN + 1, 3)):
        state = State("gpt2", text="The cat", written=WRITING._replace(ids=tuple(at_random.choices(range(of), k=count))))
        shared = encode(state)
        assert "What the model wrote is too long" in shared.message
        assert decode(shared.token) == (replace(state, written=None), [])
    fits = State("gpt2", text="The cat", written=WRITING._replace(ids=tuple(at_random.choices(range(50_257), k=600))))
    assert decode(encode(fits).token) == (fits, [])


def test_a_text_too_long_for_a_link_is_left_out_and_that_is_said() -> None:
    at_random = random.Random(0)
    text = " ".join(str(at_random.random()) for _ in range(1_000))
    shared = encode(State("bert-mini", text=text, keys=frozenset({3})))
    assert f"servers refuse more than {LONGEST:,}" in shared.message
    assert "leaves the texts out" in shared.message
    found, said = decode(shared.token)
    assert (found.text, found.private, found.keys, said) == ("", True, frozenset({3}), [])


def test_what_would_not_be_unpacked_again_is_not_packed() -> None:
    """A long text of one letter is a short token, but one that `decode` has to take for a bomb."""
    shared = encode(State("bert-mini", text="a" * (MOST_BYTES + 1)))
    assert "leaves the texts out" in shared.message
    assert decode(shared.token) == (State("bert-mini", private=True), [])


def test_a_selection_too_long_for_a_link_is_refused_in_words() -> None:
    at_random = random.Random(0)
    chosen = [frozenset(at_random.sample(range(60_000), 30_000)) for _ in range(2)]
    shared = encode(State("bert-mini", queries=chosen[0], keys=chosen[1]))
    assert shared.token == ""
    assert "Select fewer" in shared.message


def test_a_model_in_memory_is_named_as_such() -> None:
    shared = encode(State("my own", in_memory=True, text="x"))
    assert "'my own' is in memory only" in shared.message
    assert decode(shared.token)[0].in_memory


# -- what a stranger may write -----------------------------------------------------------------------------------------

WRITING = Written(3, (5, 6, 7), 20, (("sample", True), ("temperature", 0.5), ("top_p", 0.9), ("seed", 7)), "end")

SAMPLE = State(
    "bert-mini",
    text="The doctor said [MASK] 😀",
    pair="two",
    focus=HeadId("encoder", 1, 2),
    heads=frozenset(HeadId("encoder", i, j) for i in range(3) for j in range(4)),
    keys=frozenset({1, 5, 6, 7}),
    label="cluster 'x'",
    cut=frozenset({(HeadId("cross", 0, 1), 2, 3)}),
    display={"mode": "rollout", "threshold": 0.25, "order": "entropy"},
    thresholds={"unfairness": 0.75},
    explained={"position": 3},
    spans=(("source", 0, 4, "prompt"),),
    written=WRITING,
)


@pytest.mark.parametrize(
    ("token", "says"),
    [
        ("", DAMAGED),
        ("v1.", DAMAGED),
        ("v1", DAMAGED),
        ("null", DAMAGED),
        ("[MASK]", DAMAGED),
        ("v1.!!!!", DAMAGED),
        ("v1.AAAA", DAMAGED),
        ("v1.é", DAMAGED),
        ("v1.A", DAMAGED),
        ("javascript:alert(1)", DAMAGED),
        (encode(SAMPLE).token[:-9], DAMAGED),
        (encode(SAMPLE).token[:40], DAMAGED),
        (encode(SAMPLE).token + "AAAA", DAMAGED),
        (token_of([1, 2]), DAMAGED),
        (token_of("text"), DAMAGED),
        (token_of(b"{"), DAMAGED),
        (token_of(b"\xff\xfe"), DAMAGED),
        (token_of(b"[" * 100_000), DAMAGED),
        (token_of(b'{"a":' * 50_000), DAMAGED),
        (token_of(b'{"text": ' + b"9" * 5_000 + b"}"), DAMAGED),
        (token_of({}, "v2"), "version v2, and this Atlas reads v1"),
        (token_of({}, "v0"), "version v0"),
        ("v1." + "A" * LONGEST, "more than the 4,000 that Atlas writes"),
        (token_of(b" " * (MOST_BYTES + 1)), "more than 1 MB"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_a_token_that_is_none_says_so_in_one_sentence(token: str, says: str) -> None:
    state, said = decode(token)
    assert state == State()
    assert len(said) == 1
    assert says in said[0]


def test_a_bomb_is_not_unpacked() -> None:
    """Gigabytes in a few kilobytes, in one layer: nothing beyond the ceiling is ever held."""
    maker = zlib.compressobj(9)
    packed = b"".join([maker.compress(b"\0" * 500_000) for _ in range(5)]) + maker.flush()
    token = f"v1.{base64.urlsafe_b64encode(packed).decode().rstrip('=')}"
    assert len(token) < LONGEST
    tracemalloc.start()
    _, said = decode(token)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "more than 1 MB" in said[0]
    assert peak < 2.5 * MOST_BYTES


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("keys", "0-262143," * 1_000 + "0-262143"),
        ("keys", "0-99999999"),
        ("keys", "b" + "f" * 100_000),
        ("heads", {"e": "1:0-262143"}),
        ("heads", {"e": "9999:b" + "f" * 60_000}),
        ("cut", {"e0.0": [[0, 0]] * 20_000}),
        ("label", "x" * 100_000),
        ("spans", [[0, 0, 5, "prompt"]] * 30_000),
        ("written", [None, [1] * 300_000, 20, 0, False, []]),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_a_field_that_would_cost_much_is_left_out_at_once(field: str, value: object) -> None:
    started = time.monotonic()
    state, said = decode(token_of({field: value, "text": "kept"}))
    assert state == State(text="kept")
    assert len(said) == 1
    assert time.monotonic() - started < 2


BAD = {
    "model": [1, None, ["x"], "two\nlines", "nul\0", "x" * 1_001],
    "device": [True, {}],
    "in_memory": ["yes", 1, None],
    "text": [1, None, ["[MASK]"], {}],
    "truncate": ["true", 0],
    "regenerate": ["true", 1],
    "ablated": [["e0.0"], {"q": "4:1"}, {"e": "0:1"}, {"e": "4"}, {"e": 4}, {"e": "4:1-"}, {"e": "-1:1"}],
    "cut": [[], {"e0.0": 1}, {"e0.0": [[1]]}, {"e0.0": [[1, 2, 3]]}, {"e0.0": [[1, -1]]}, {"e0.0": [[1, 2.5]]}, {"a": []},
            {"e0.0": [[True, 1]]}, {"": [[1, 1]]}],
    "focus": ["", "e", "e1", "e1.", "z1.2", "e1.2.3", "e-1.2", "e１.2", 5, None],
    "heads": [[], "4:1", {"": ""}, {"e": "4:5,3"}, {"e": "4:1,1"}, {"e": "4:é"}],
    "queries": [5, [1, 2], "1-", "-1", "3-1", "1,,2", "b", "bxyz", " 1", "1.5", "b1\n"],
    "keys": [{}, "9999999", "1-9999999"],
    "label": [3, "bell\a"],
    "display": [[], "mode", 3],
    "thresholds": [None, 0.5],
    "explained": [""],
    "spans": [{}, "prompt", [1], [[0, 1, 2]], [[2, 0, 1, "a"]], [[0, 2, 2, "a"]], [[0, -1, 2, "a"]], [[0, 0, 1.5, "a"]],
              [[0, 0, 1 << 21, "a"]], [[0, 0, 2, 5]], [[0, 0, 2, "x" * 41]], [[0, 0, 2, "two\nlines"]], [[True, 0, 2, "a"]]],
    "written": [[], {}, [None, [], 20, 0, False, []], [0, [1], 20, 0, False, []], [None, [-1], 20, 0, False, []],
                [None, [1 << 22], 20, 0, False, []], [None, [1.0], 20, 0, False, []], [None, [True], 20, 0, False, []],
                [None, [1], 0, 0, False, []], [None, [1], 201, 0, False, []], [None, [1], 20, 4, False, []],
                [None, [1], 20, 0, 1, []], [None, [1], 20, 0, True, []], [None, [1], 20, 0, True, [0.0, 0.9, 1]],
                [None, [1], 20, 0, True, [1.0, 1.5, 1]], [None, [1], 20, 0, True, [1.0, 0.9, -1]],
                [None, [1], 20, 0, True, [float("nan"), 0.9, 1]], [None, [1], 20, 0, True, ["1", 0.9, 1]]],
}  # fmt: skip


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, bad in BAD.items() for value in bad], ids=repr)
def test_a_bad_field_is_left_out_alone_and_named(field: str, value: object) -> None:
    sample = content_of(encode(SAMPLE).token)
    state, said = decode(token_of(sample | {field: value}))
    assert state == replace(SAMPLE, **{field: getattr(State(), field)})
    assert len(said) == 1
    assert FIELDS[field].what in said[0]


@pytest.mark.parametrize(
    ("given_", "kept", "says"),
    [
        ({"mode": "loud"}, {}, "none of weight, column, rollout, moved"),
        ({"mode": ["rollout"]}, {}, "a list"),
        ({"mode": None, "paint": "sent"}, {"paint": "sent"}, "None"),
        ({"order": "cleverness"}, {}, "'cleverness', which is none of index, cluster"),
        ({"order": "entropy; DROP"}, {}, "none of index"),
        ({"threshold": 7_000_000}, {"threshold": 1e6}, "threshold was 7000000 and is set to 1000000.0"),
        ({"threshold": -1e300}, {"threshold": 0.0}, "is set to 0.0"),
        ({"threshold": 10**400}, {"threshold": 1e6}, "is set to 1000000.0"),
        ({"threshold": float("nan")}, {}, "no number but nan"),
        ({"threshold": float("inf")}, {}, "no number but inf"),
        ({"threshold": "0.5"}, {}, "no number but '0.5'"),
        ({"threshold": True}, {}, "no number but True"),
        ({"name": "Display"}, {}, "'name' is not known"),
        ({"param": 1}, {}, "'param' is not known"),
        ({"__class__": "x"}, {}, "'__class__' is not known"),
        ({"<b>": 1}, {}, "'<b>' is not known"),
    ],
)
def test_a_choice_that_is_not_legal_is_left_out_or_brought_inside(given_: dict, kept: dict, says: str) -> None:
    state, said = decode(token_of({"display": given_}))
    assert state.display == kept
    assert len(said) == 1
    assert says in said[0]
    Display(**state.display)  # whatever is kept, Param takes


def test_of_many_legal_values_some_are_named() -> None:
    _, (said,) = decode(token_of({"display": {"colour": []}}))
    assert said.endswith("and 16 more; it is left out.")
    assert len(said) < 400


def test_whole_numbers_stay_whole() -> None:
    state, said = decode(token_of({"explained": {"position": 2.5}}))
    assert (state.explained, len(said)) == ({}, 1)
    assert decode(token_of({"explained": {"position": -7}}))[0].explained == {"position": -1}


def test_an_unknown_field_is_named_and_the_rest_is_kept() -> None:
    state, said = decode(token_of({"text": "x", "later": 1}))
    assert state == State(text="x")
    assert said == ["The link's field 'later' is not known here and is left out."]


LEAF = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["e", "1-3", "bff", "4:0-2"])
)
ANYTHING = st.recursive(LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3))


def assert_harmless(token: str) -> None:
    """Whatever it says: a State that is legal in every field, and words for all that is not."""
    state, said = decode(token)
    assert all(sentence.endswith(".") and "\n" not in sentence for sentence in said)
    Display(**state.display)
    BiasThresholds(**state.thresholds)
    Target(**state.explained)
    again, complaints = decode(encode(state).token)
    assert complaints == []
    assert again.heads == state.heads
    if said:
        assert all(len(sentence) < 400 for sentence in said)


@settings(max_examples=150)
@given(st.dictionaries(st.sampled_from(list(FIELDS)) | st.text(max_size=6), ANYTHING, max_size=6))
def test_any_content_does_no_harm(content: dict) -> None:
    assert_harmless(token_of(json.dumps(content).encode()))


@settings(max_examples=150)
@given(states, st.data())
def test_a_changed_field_does_no_harm(state: State, data: st.DataObject) -> None:
    content = content_of(encode(state).token)
    field = data.draw(st.sampled_from([*(content or {"text": ""}), "display", "heads"]))
    inner = content.get(field)
    changed = data.draw(ANYTHING)
    if isinstance(inner, dict) and inner and data.draw(st.booleans()):
        changed = inner | {data.draw(st.sampled_from(list(inner))): changed}
    assert_harmless(token_of(content | {field: changed}))


@settings(max_examples=150)
@given(st.text(max_size=60) | st.text("v1.-_ABCabc019=", max_size=80))
@example("v1.eJyrrgUAAXUA-Q")
def test_any_string_does_no_harm(token: str) -> None:
    assert_harmless(token)


@settings(max_examples=150)
@given(states, st.data())
def test_a_mutated_token_says_so_or_is_the_same(state: State, data: st.DataObject) -> None:
    token = encode(state).token
    at = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.sampled_from("vAZaz09-_.=%") | st.characters())
    for mutated in (
        token[:at],
        token[:at] + letter + token[at + 1 :],
        token[:at] + letter + token[at:],
        token[:at] + token[at + 1 :],
    ):
        found, said = decode(mutated)
        # The checksum of zlib finds it; only the unused bits of the last letter may differ without a difference.
        assert (found, bool(said)) == (State(), True) or found == decode(token)[0]


@given(st.text(max_size=30))
def test_what_is_not_packed_is_refused_and_nothing_else_is_raised(written: str) -> None:
    try:
        found = unpack(written)
    except Unusable:
        found = frozenset()
    assert unpack(pack(found)) == found


def test_the_ceilings_are_those_of_the_values() -> None:
    assert unpack(pack({MOST_TOKENS - 1})) == {MOST_TOKENS - 1}
    with pytest.raises(Unusable):
        unpack(str(MOST_TOKENS))
    with pytest.raises(Unusable):
        unpack_heads({"e": f"128:{MOST_HEADS}"})


# -- a workspace -------------------------------------------------------------------------------------------------------

TEXT = "the doctor said that she was tired"


def made(layers: int = 3, n_heads: int = 4, text: str = TEXT) -> atlas.Trace:
    """A trace of a text, of causal attention."""
    tokens = text.split()
    size = len(tokens)
    weights = np.tril(np.random.default_rng(size).random((layers, n_heads, size, size)) + 0.1)
    trace = atlas.from_attention(weights / weights.sum(-1, keepdims=True), tokens, kind="decoder")
    return replace_texts(trace, text)


def replace_texts(trace: atlas.Trace, text: str) -> atlas.Trace:
    object.__setattr__(trace, "texts", replace(trace.texts, text=text))
    return trace


def workspace(shapes: dict[str, tuple[int, int]] | None = None) -> Workspace:
    """A workspace whose runs make attention of the shape the model's name stands for."""

    def work(job, ticket) -> atlas.Trace:
        if not job.text:
            msg = "The text is empty."
            raise TextError(msg)
        return made(*(shapes or {}).get(job.model[0], (3, 4)), job.text)

    return Workspace(work)


async def ran(space: Workspace, text: str = TEXT, model: str = "gpt-mini") -> None:
    space.pipeline.choice.name_or_path = model
    space.pipeline.input.text = text
    space.pipeline.run()
    await settled(space)


async def settled(space: Workspace) -> None:
    """Wait for the run under way."""
    await asyncio.sleep(0)  # it begins when the event loop comes round
    over = asyncio.Event()
    watcher = space.pipeline.param.watch(lambda _: space.pipeline.busy or over.set(), "status")
    if space.pipeline.busy:
        await asyncio.wait_for(over.wait(), 60)
    space.pipeline.param.unwatch(watcher)


def test_the_run_of_a_link_is_known_before_the_link_is_followed():
    state = State(
        model="gpt-mini", revision="main", device="cpu", dtype="float32", text=TEXT, pair="Another.", target="A third.",
        truncate=True, ablated=frozenset({HeadId("decoder", 1, 2)}), cut=frozenset({(HeadId("decoder", 0, 1), 2, 1)}),
        regenerate=True,
    )  # fmt: skip
    for said in (state, State(model="gpt-mini", text=TEXT)):
        space = workspace()
        put_inputs(said, space)
        assert job_of(said) == space.pipeline.job()


def head(layer: int, number: int) -> HeadId:
    return HeadId("decoder", layer, number)


def test_a_workspace_comes_back_in_another() -> None:
    async def journey() -> None:
        mine = workspace()
        shared = SharedState(mine)
        assert shared.token == ""
        await ran(mine)
        mine.selection.select_heads([head(1, 2), head(2, 0)], label="role 'previous token'")
        mine.selection.select_tokens([4], axis="to")
        mine.display.param.update(mode="rollout", threshold=0.25)
        mine.thresholds.unfairness = 0.75
        mine.target.position = 3
        theirs = workspace()
        opened = SharedState(theirs)
        assert opened.open(shared.token)
        assert opened.token == shared.token
        assert theirs.display.mode == "rollout"
        await settled(theirs)
        assert state_of(theirs) == state_of(mine)
        assert theirs.selection.label == "role 'previous token'"
        assert (opened.token, opened.complaint, opened.message) == (shared.token, "", "")

    asyncio.run(journey())


def test_back_to_an_earlier_state_needs_no_run_and_no_echo() -> None:
    async def journey() -> None:
        space = workspace()
        shared = SharedState(space)
        await ran(space)
        first = shared.token
        space.selection.select_heads([head(0, 1)])
        space.display.mode = "column"
        second = shared.token
        assert len({first, second, ""}) == 3
        runs, heard = space.pipeline.asked, []
        shared.param.watch(lambda event: heard.append(event.new), "token")
        shared.token = first  # as the browser's back button does
        assert (space.selection.heads, space.display.mode) == (frozenset(), "weight")
        shared.token = second
        assert (space.selection.heads, space.display.mode) == ({head(0, 1)}, "column")
        assert space.pipeline.asked == runs
        assert heard == [first, second]

    asyncio.run(journey())


def test_back_over_a_run_runs_again_and_then_selects() -> None:
    async def journey() -> None:
        space = workspace({"small": (1, 2)})
        shared = SharedState(space)
        await ran(space)
        space.selection.select_heads([head(2, 3)])
        before = shared.token
        await ran(space, model="small")
        assert space.selection.heads == frozenset()
        shared.open(before)
        assert shared.token == before
        await settled(space)
        assert (space.pipeline.choice.name_or_path, space.selection.heads) == ("gpt-mini", {head(2, 3)})
        assert shared.token == before

    asyncio.run(journey())


def test_what_does_not_exist_is_left_out_and_said() -> None:
    async def journey() -> None:
        space = workspace({"small": (1, 2)})
        shared = SharedState(space)
        state = State(
            "small", text="one two", focus=head(2, 3), heads=frozenset({head(0, 1), head(2, 3)}), keys=frozenset({1, 9})
        )
        shared.open(encode(state).token)
        await settled(space)
        assert (space.selection.heads, space.selection.keys) == ({head(0, 1)}, {1})
        assert "1 of 2 heads of this link do not exist" in shared.complaint
        assert "1 of 2 selected tokens of this link do not exist" in shared.complaint
        assert decode(shared.token)[0].heads == {head(0, 1)}

    asyncio.run(journey())


def test_what_is_typed_but_not_run_is_not_shared() -> None:
    async def journey() -> None:
        space = workspace()
        shared = SharedState(space)
        await ran(space)
        space.pipeline.input.text = "something else"
        space.pipeline.choice.name_or_path = "other"
        space.display.mode = "column"
        found = decode(shared.token)[0]
        assert (found.text, found.model, found.display) == (TEXT, "gpt-mini", {"mode": "column"})
        space.pipeline.run()
        await settled(space)
        assert decode(shared.token)[0].text == "something else"

    asyncio.run(journey())


def test_a_failed_run_leaves_the_link_at_what_is_on_screen() -> None:
    async def journey() -> None:
        space = workspace()
        shared = SharedState(space)
        await ran(space)
        before = shared.token
        await ran(space, text="")
        assert space.pipeline.status == "failed"
        assert shared.token == before

    asyncio.run(journey())


def test_a_broken_link_changes_nothing_and_says_why() -> None:
    async def journey() -> None:
        space = workspace()
        shared = SharedState(space)
        await ran(space)
        before, state = shared.token, state_of(space)
        assert not shared.open("v1.garbage")
        assert shared.complaint == DAMAGED
        shared.token = before[:-5]
        assert (shared.token, state_of(space)) == (before, state)
        assert not shared.open("")

    asyncio.run(journey())


def test_a_model_of_another_session_is_not_restored_but_the_rest_is() -> None:
    async def journey() -> None:
        token = encode(
            State("mine", in_memory=True, text="one two", display={"mode": "column"}, heads=frozenset({head(0, 0)}))
        ).token
        space = workspace()
        shared = SharedState(space)
        assert shared.open(token)
        assert "'mine' was in the memory of the session that made this link" in shared.complaint
        assert (space.pipeline.asked, space.pipeline.choice.name_or_path) == (0, "")
        assert (space.pipeline.input.text, space.display.mode) == ("one two", "column")
        here = workspace()
        SharedState(here, where=lambda *_: "memory").open(token)
        await settled(here)
        assert here.selection.heads == {head(0, 0)}

    asyncio.run(journey())


def test_a_recording_on_screen_takes_its_selection_back() -> None:
    async def journey() -> None:
        space = workspace()
        shared = SharedState(space)
        space.pipeline.choice.param.update(name_or_path="a recording", in_memory=True)
        space.pipeline.input.text = TEXT
        space.pipeline.show(made())
        space.selection.select_heads([head(1, 1)])
        before = shared.token
        space.selection.clear()
        shared.open(before)
        assert (space.selection.heads, space.pipeline.asked, shared.complaint) == ({head(1, 1)}, 0, "")

    asyncio.run(journey())


def test_a_model_that_would_have_to_be_fetched_waits_for_the_reader() -> None:
    async def journey() -> None:
        space = workspace()
        shared = SharedState(space, where=lambda *_: "hub")
        token = encode(State("some/model", text="one two", heads=frozenset({head(1, 1)}))).token
        shared.open(token)
        assert space.pipeline.asked == 0
        assert "Run it to fetch the model" in shared.complaint
        space.pipeline.run()
        await settled(space)
        assert space.selection.heads == {head(1, 1)}

    asyncio.run(journey())


def test_a_second_side_that_would_have_to_be_fetched_waits_for_the_reader() -> None:
    async def journey() -> None:
        space = workspace()
        shared = SharedState(space, where=lambda name, _: "hub" if name == "some/model" else "here")
        second = {"used": True, "model": "some/model", "text": "one two"}
        shared.open(encode(State("gpt-mini", text="one two", second=second)).token)
        await settled(space)
        assert space.trace is not None
        assert (space.second.used, space.second.model, space.second.text) == (False, "some/model", "one two")
        assert "Run side B to fetch it" in shared.complaint

    asyncio.run(journey())


def test_a_text_of_the_second_side_is_no_longer_than_any_other() -> None:
    found, said = unpack_second({"used": True, "text": "a" * (LONGEST_TEXT + 1)})
    assert found == {"used": True}
    assert len(said) == 1


def test_a_private_link_waits_for_the_text_and_then_selects() -> None:
    async def journey() -> None:
        mine = workspace()
        shared = SharedState(mine, private=True)
        await ran(mine)
        mine.selection.select_heads([head(1, 1)])
        assert decode(shared.token)[0].text == ""
        shared.private = False
        assert decode(shared.token)[0].text == TEXT
        theirs = workspace()
        opened = SharedState(theirs)
        opened.open(shared.link(private=True).token)
        assert "leaves its text out" in opened.complaint
        await ran(theirs)
        assert theirs.selection.heads == {head(1, 1)}

    asyncio.run(journey())


def test_another_run_than_the_link_asked_for_is_not_given_its_selection() -> None:
    async def journey() -> None:
        space = workspace()
        shared = SharedState(space, where=lambda *_: "hub")
        shared.open(encode(State("some/model", text="one two", heads=frozenset({head(1, 1)}))).token)
        await ran(space)
        assert space.selection.heads == frozenset()
        assert decode(shared.token)[0].model == "gpt-mini"

    asyncio.run(journey())


def test_views_are_told_once_of_a_trace_and_its_selection() -> None:
    async def journey() -> None:
        from atlas.state.lens import Lens

        class Both(Lens):
            reads = {"selection": ("heads", "keys"), "display": ("mode",)}  # noqa: RUF012

        space = workspace()
        shared = SharedState(space)
        lens, seen = Both(space), []
        lens.param.watch(lambda _: seen.append(space.selection.heads), "revision")
        shared.open(encode(State("gpt-mini", text=TEXT, heads=frozenset({head(1, 1)}), keys=frozenset({2}))).token)
        await settled(space)
        assert seen == [{head(1, 1)}]
        late = SharedState(space)  # made after a view: that one has to be told of the selection
        late.open(encode(State("gpt-mini", text="one two", heads=frozenset({head(0, 1)}))).token)
        await settled(space)
        assert seen[-1] == {head(0, 1)}

    asyncio.run(journey())


def test_two_workspaces_do_not_hear_each_other() -> None:
    async def journey() -> None:
        spaces = [workspace(), workspace()]
        shared = [SharedState(space) for space in spaces]
        for space in spaces:
            await ran(space)
        before = shared[1].token
        spaces[0].selection.select_heads([head(1, 1)])
        spaces[0].display.mode = "column"
        assert shared[1].token == before != shared[0].token

    asyncio.run(journey())


def test_a_script_restores_a_link_in_one_call() -> None:
    space = workspace()
    state = State("gpt-mini", text=TEXT, heads=frozenset({head(1, 1), head(9, 9)}), display={"mode": "column"})
    said = apply(encode(state).token, space)
    assert space.selection.heads == {head(1, 1)}
    assert len(said) == 1
    assert apply("v1.", space) == [DAMAGED]


def test_keeping_a_link_up_to_date_is_cheap() -> None:
    """Every step of a slider writes one: with a text of 10,000 letters it has to stay far below what a redraw takes."""

    text = " ".join(str(number) for number in range(2_200))
    space = workspace()
    shared = SharedState(space)
    space.pipeline.input.text = text
    space.pipeline.show(made(1, 1, text))
    assert "leaves the texts out" in shared.message
    took = []
    for step in range(1, 60):
        started = time.perf_counter()
        space.display.threshold = step / 100
        took.append(time.perf_counter() - started)
    assert sorted(took)[len(took) // 2] < 0.02


# -- links and runs that cross -----------------------------------------------------------------------------------------


class LazyArrays:
    """A workspace whose runs of one model wait until the test lets them on."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.gate, self.began, self.ended = threading.Event(), threading.Event(), threading.Event()

        def work(job, ticket) -> atlas.Trace:
            if job.model[0] != model:
                return made(text=job.text)
            self.began.set()
            assert self.gate.wait(10), "nobody opened the gate"
            self.ended.set()
            return made(text=job.text)

        self.space = Workspace(work)

    async def begin(self, text: str) -> None:
        """Ask for a run that then stands at the gate."""
        self.space.pipeline.choice.name_or_path = self.model
        self.space.pipeline.input.text = text
        self.space.pipeline.run()
        assert await asyncio.to_thread(self.began.wait, 10)

    async def end(self) -> None:
        """Let it on, and give what it brings time enough to be shown, if it were."""
        self.gate.set()
        assert await asyncio.to_thread(self.ended.wait, 10)
        await asyncio.sleep(0.2)


def test_a_run_under_way_does_not_take_the_page_from_who_went_back_to_what_is_on_screen() -> None:
    async def journey() -> None:
        late = LazyArrays("slow")
        space, shared = late.space, SharedState(late.space)
        await ran(space)
        space.selection.select_heads([head(1, 1)])
        there, trace = shared.token, space.trace
        await late.begin("one two three")
        assert shared.open(there)
        assert (space.pipeline.status, space.pipeline.message, shared.token) == ("ready", "", there)
        await late.end()
        assert (space.trace, space.pipeline.status, space.pipeline.begun) == (trace, "ready", 2)
        assert (shared.token, space.selection.heads) == (there, {head(1, 1)})
        assert (space.pipeline.input.text, space.pipeline.choice.name_or_path) == (TEXT, "gpt-mini")
        space.selection.select_heads([head(2, 0)])  # and what is done from here on is done to what is on screen
        found = decode(shared.token)[0]
        assert (found.model, found.text, found.heads) == ("gpt-mini", TEXT, {head(2, 0)})

    asyncio.run(journey())


@pytest.mark.parametrize("lacking", ["text", "model", "memory"])
def test_a_link_that_runs_nothing_ends_the_run_under_way_too(lacking: str) -> None:
    link = {
        "text": encode(State("gpt-mini", text="secret"), private=True),
        "model": encode(State(text="one two", display={"mode": "column"})),
        "memory": encode(State("mine", in_memory=True, text="one two")),
    }[lacking]

    async def journey() -> None:
        late = LazyArrays("slow")
        space, shared = late.space, SharedState(late.space)
        await ran(space)
        trace = space.trace
        await late.begin("")
        shared.open(link.token)
        await late.end()
        assert (space.trace, space.pipeline.status) == (trace, "ready")
        assert shared.complaint

    asyncio.run(journey())


def test_who_opens_a_private_link_gives_away_no_text_either() -> None:
    async def journey() -> None:
        space = workspace()
        shared = SharedState(space)
        assert shared.open(encode(State("gpt-mini", text=TEXT, keys=frozenset({2})), private=True).token)
        assert shared.private
        await ran(space, "what she typed")
        assert space.selection.keys == {2}
        found = decode(shared.token)[0]
        assert (found.private, found.text, found.keys) == (True, "", {2})
        shared.private = False  # unless she says so herself
        assert decode(shared.token)[0].text == "what she typed"

    asyncio.run(journey())


def test_a_link_with_its_text_leaves_the_switch_where_the_reader_put_it() -> None:
    async def journey() -> None:
        for private in (False, True):
            space = workspace()
            shared = SharedState(space, private=private)
            shared.open(encode(State("gpt-mini", text=TEXT)).token)
            await settled(space)
            assert shared.private == private
            assert decode(shared.token)[0].text == ("" if private else TEXT)

    asyncio.run(journey())


def test_who_goes_on_with_what_is_on_screen_while_a_link_waits_has_a_link_to_that() -> None:
    async def journey() -> None:
        space = workspace()
        shared = SharedState(space, where=lambda name, _: "hub" if name == "some/model" else "here")
        await ran(space)
        shared.open(encode(State("some/model", text="one two", heads=frozenset({head(0, 1)}))).token)
        assert decode(shared.token)[0].model == "some/model"  # where the link leads, until the reader turns away
        space.display.mode = "column"
        assert decode(shared.token)[0].model == "some/model"
        space.selection.select_heads([head(1, 1)])
        found = decode(shared.token)[0]
        assert (found.model, found.text, found.heads) == ("gpt-mini", TEXT, {head(1, 1)})
        assert found.display == {"mode": "column"}
        # Run after all, the link is what it was.
        space.pipeline.run()
        await settled(space)
        found = decode(shared.token)[0]
        assert (found.model, found.text, found.heads) == ("some/model", "one two", {head(0, 1)})

    asyncio.run(journey())


def test_a_second_link_that_waits_is_a_link_to_where_it_leads_again() -> None:
    async def journey() -> None:
        space = workspace()
        shared = SharedState(space, where=lambda name, _: "here" if name == "gpt-mini" else "hub")
        await ran(space)
        shared.open(encode(State("some/model", text="one two")).token)
        space.selection.select_heads([head(1, 1)])
        shared.open(encode(State("another/model", text="one two")).token)
        assert decode(shared.token)[0].model == "another/model"

    asyncio.run(journey())


# -- the metrics a link may name ---------------------------------------------------------------------------------------

METRIC_FIELDS = ("x", "y", "colour", "size", "metric")


@pytest.mark.parametrize("field", METRIC_FIELDS)
def test_the_weight_on_selected_keys_comes_back_wherever_the_page_offers_it(field: str) -> None:
    state = State("bert-mini", text="x", keys=frozenset({1}), display={field: "selected"})
    assert decode(encode(state).token) == (state, [])


def test_the_map_is_not_ordered_by_what_changes_with_every_click() -> None:
    state, said = decode(token_of({"display": {"order": "selected"}}))
    assert (state.display, len(said)) == ({}, 1)


@pytest.mark.parametrize("field", [*METRIC_FIELDS, "order"])
def test_a_metric_that_is_costly_is_refused(field: str) -> None:
    assert DEFINITIONS["median"].costly
    state, said = decode(token_of({"display": {field: "median"}}))
    assert state.display == {}
    assert len(said) == 1
    assert f"{field!r} is 'median', which is none of" in said[0]


def test_every_metric_the_page_offers_is_taken_from_a_link() -> None:
    offered = {field: [*HeadsLens.metrics().values()] for field in METRIC_FIELDS} | {"order": [*MapLens.metrics()]}
    assert "selected" in offered["x"]
    for field, every in offered.items():
        for metric in every:
            if metric != Display.param[field].default:  # what is at its default is in no link
                state = State("bert-mini", text="x", display={field: metric})
                assert decode(encode(state).token) == (state, [])


# -- what a link may not start -----------------------------------------------------------------------------------------


def test_the_reader_is_told_how_large_a_links_model_is_before_it_is_fetched() -> None:
    async def journey() -> None:
        asked = []

        def size_of(model: str, revision: str) -> str:
            asked.append((model, revision, threading.current_thread() is threading.main_thread()))
            return "The download takes 0.44 GB."

        space = workspace()
        shared = SharedState(space, where=lambda *_: "hub", size_of=size_of)
        shared.open(encode(State("some/model", revision="v2", text="one two")).token)
        assert shared.complaint.endswith("not on this machine. Run it to fetch the model.")
        told = asyncio.Event()
        shared.param.watch(lambda _: told.set(), "complaint")
        await asyncio.wait_for(told.wait(), 30)
        assert shared.complaint.endswith("not on this machine. The download takes 0.44 GB. Run it to fetch the model.")
        assert asked == [("some/model", "v2", False)]  # the page does not wait for the hub
        assert space.pipeline.asked == 0

    asyncio.run(journey())


def test_a_private_link_says_both_what_is_missing_and_what_is_fetched() -> None:
    async def journey() -> None:
        shared = SharedState(workspace(), where=lambda *_: "hub")
        shared.open(encode(State("some/model", private=True)).token)
        assert "leaves its text out" in shared.complaint
        assert "Run it to fetch the model." in shared.complaint

    asyncio.run(journey())


def test_a_links_text_is_no_longer_than_a_box_takes() -> None:
    longest = "x" * LONGEST_TEXT
    for field in ("text", "pair", "target"):
        assert getattr(decode(encode(State("m", **{field: longest})).token)[0], field) == longest
        found, said = decode(encode(State("m", **{field: longest + "x"})).token)
        assert getattr(found, field) == ""
        assert "has 200,001 letters, more than 200,000; it is left out." in said[0]
