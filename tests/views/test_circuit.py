"""The view of a circuit, without a page: numbers, what is measured, gestures, bounds, and who is offered it."""

from __future__ import annotations

import functools
import gc
from types import SimpleNamespace
from weakref import ref

import holoviews as hv
import numpy as np
import panel as pn
import pytest
from bokeh.core.json_encoder import serialize_json
from bokeh.core.serialization import Serializer
from bokeh.models import MultiLine, Scatter

import atlas
from atlas.attribution import Target, edge_attribution_patching, head_effects
from atlas.attribution.circuits import kept_by_heads
from atlas.attribution.patching import of_as_many_tokens
from atlas.engine.gradients.edges import Edge, path_effects, writers
from atlas.engine.gradients.subject import Subject
from atlas.errors import BadIntervention, TooLarge
from atlas.ids import HeadId
from atlas.plots.circuit import CLEAR, FAINT, Node, circuit_graph, lines, node_marks, placed, tapped
from atlas.plots.circuit import Edge as DrawnEdge
from atlas.state import circuit as state
from atlas.state.workspace import Workspace
from atlas.tasks import TASKS
from atlas.tracing.circuit import CIRCUIT_KEPT, INPUTS, MEASURED, MOST_SHOWN, without_circuit
from atlas.views.circuit import NOTHING, CircuitView
from tests.engine.families import TARGET, loaded
from tests.state.readers import never, single

TEXT = "the doctor saw the green cat and the nurse saw the dog. the doctor saw the green"
OTHER = TEXT.replace("green", "white", 1)

PREVIOUS = HeadId("decoder", 0, 3)
"""A head of gpt-mini that looks at the token before, by its weights."""

GESTURE_BYTES = 300_000


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


@functools.cache
def traced(text=TEXT):
    return atlas.load("gpt-mini").trace(text)


def view_of(trace=None, *, run=True, **choices):
    room = Workspace(never, tasks=TASKS)
    room.pipeline.show(trace if trace is not None else traced())
    view = CircuitView(room)
    view.circuit.choices.param.update(**{"own": OTHER, **choices})
    root = pn.panel(view).get_root()
    if run:
        view._run()
    return room, view, root


@functools.cache
def plain():
    """All edges as the function gives them, the strongest first, with the measured sample."""
    table = edge_attribution_patching(atlas.load("gpt-mini"), traced(), OTHER, check=24)
    return table, table.reindex(table["effect"].abs().sort_values(ascending=False, kind="stable").index)


def test_edges_are_those_of_the_function():
    _, view, _ = view_of(edges=60)
    table, strongest = plain()
    shown = view.export().table
    assert view.problem == ""
    np.testing.assert_allclose(shown["effect"], strongest["effect"][:60], rtol=1e-4)
    names = ["writer", "layer", "head", "to_layer", "to_head", "input"]
    for name in names:
        assert shown[name].astype(str).tolist() == strongest[name][:60].astype(str).tolist()
    total = table["effect"].abs().sum()
    share = 100 * strongest["effect"][:60].abs().sum() / total
    assert f"The strongest 60 of {len(table):,} edges into queries, keys and values have {share:.3g} %" in view.lens.line
    assert f"{len(table) - 60:,} weaker ones are not drawn" in view.lens.line
    there = traced(OTHER).predictions(k=50)
    here = traced().predictions(k=1)
    last = there[there["position"] == there["position"].max()]
    logit = last.loc[last["token"] == " cat", "logit"].iloc[0]
    assert f"{here['logit'].iloc[-1]:.3g} here, {logit:.3g} in “the doctor saw the white" in view.lens.line


def test_measured_effects_are_those_of_path_patching_and_stand_beside_the_estimates():
    _, view, root = view_of()
    subject, there = Subject(traced(), Target()), Subject(traced(OTHER))
    every = {tuple(-1 if part is None else part for part in each): at for at, each in enumerate(writers(8, 5))}
    edges = view.circuit.shown().edges[:MEASURED]
    wanted = [Edge(every[tuple(edge.start)], edge.end.layer, edge.end.head, edge.into) for edge in edges]
    np.testing.assert_allclose([edge.patched for edge in edges], path_effects(subject, there, wanted), atol=1e-3)
    agreement, attrs = view.circuit.shown().found.agreement, plain()[0].attrs
    for name in ("pearson", "spearman", "n"):
        assert agreement[name] == pytest.approx(attrs[name], abs=2e-3)
    checked, random = view.circuit.shown().found.checked.rank(), np.random.default_rng(1)
    null = [abs(np.corrcoef(checked["effect"], random.permutation(checked["patched"]))[0, 1]) for _ in range(4000)]
    assert agreement["spearman_chance"] == pytest.approx(np.quantile(null, 0.95), abs=0.04)
    note = view.circuit.notes()[0]
    assert f"ρ {attrs['spearman']:.2f} (chance ±{agreement['spearman_chance']:.2f}, " in note
    assert f"r {attrs['pearson']:.2f}; " in note
    drawn = sources(root, MultiLine)[0]
    assert f"effect, estimated: {edges[0].effect:.3g}\nmeasured {edges[0].patched:.3g}" == drawn["about"][-1]
    rows = {row["label"]: row for group in view.bars.groups for row in group["rows"]}
    assert rows["L0 H3 → L1 H5"]["note"].startswith("0.")


def test_each_input_has_measured_edges():
    for into in INPUTS:
        _, view, _ = view_of(into=into)
        edges = view.circuit.shown().edges
        assert {edge.into for edge in edges} == {into}
        assert sum(np.isfinite(edge.patched) for edge in edges) >= 4
        assert [group["name"].split()[1] for group in view.bars.groups] == [{"query": "queries:"}.get(into, f"{into}s:")]


def test_estimates_no_better_than_chance_and_those_that_run_against_it_are_said_to_be():
    agreement = {"pearson": 0.99, "spearman": 0.3, "n": 24, "spearman_chance": 0.4}

    def said(rho):
        return state._checked(SimpleNamespace(agreement=agreement | {"spearman": rho}))

    assert "no more than those of shuffled pairs" in said(0.3)
    assert "no more than those of shuffled pairs" in said(-0.3)
    assert "run against what was measured" in said(-0.9)
    assert all("believe measured effects alone" in said(rho) for rho in (0.3, -0.3, -0.9))
    assert "believe measured" not in said(0.6)
    nothing = {"pearson": float("nan"), "spearman": float("nan"), "n": 2}
    assert "too few" in state._checked(SimpleNamespace(agreement=nothing))


def test_a_circuit_stays_where_what_its_heads_keep_is_refused():
    room, view, _ = view_of()

    def refuses(*_, **__):
        msg = "Too much for this server."
        raise TooLarge(msg)

    room.tasks = {**room.tasks, CIRCUIT_KEPT: refuses}
    view.circuit.choices.edges = 30
    assert len(view.circuit.shown().edges) == 30
    assert view.problem == ""
    assert view.results.visible
    assert "keep is not known: Too much for this server." in view.circuit.notes()[1]


def test_the_trace_of_before_is_let_go_of():
    trace = atlas.load("gpt-mini").trace(TEXT)
    room, view, _ = view_of(trace)
    assert view.circuit.shown()
    gone = ref(trace)
    del trace
    # Nobody looks any more: a lens that sleeps hears of other traces when it is woken.
    view.visibility.seen = False
    for text in ("the cat ran", "the dog ran"):
        room.pipeline.show(atlas.load("gpt-mini").trace(text))
    gc.collect()
    assert gone() is None


def test_an_example_keeps_the_special_tokens_that_begin_and_end_a_text():
    trace = atlas.load("bert-mini").trace("the old [MASK] was late again")
    table = trace.tokens()
    for text in ("a", OTHER * 5):
        ids = np.array(of_as_many_tokens(trace, text)["input_ids"])
        assert len(ids) == len(table)
        special = table["special"].to_numpy(dtype=bool)
        np.testing.assert_array_equal(ids[special], table["id"][special])
        assert not set(ids[~special]) & set(ids[special])
    with pytest.raises(BadIntervention, match="no token"):
        of_as_many_tokens(trace, " ")


def test_what_the_heads_of_the_circuit_keep_is_measured_beside_random_sets():
    _, view, _ = view_of()
    shown, made, there = view.circuit.shown(), atlas.load("gpt-mini"), traced(OTHER)
    out = {}
    for head in traced().head_ids:
        place = {"layer": head.layer, "head": head.head}
        out[head] = np.nan_to_num(there.attention(**place).values) @ there.vectors("value", **place).values

    def left(heads):
        """The target where only these heads read the text: their outputs in the other text stand in, by a run of the trace."""
        run = made.trace(TEXT, patch={head: value for head, value in out.items() if head not in heads})
        rows = run.predictions(k=50)
        rows = rows[rows["position"] == rows["position"].max()]
        return rows.loc[rows["token"] == " cat", "logit"].iloc[0]

    whole, none, circuit = left(traced().head_ids), left(()), left(shown.heads)
    assert [shown.kept.whole, shown.kept.none, shown.kept.circuit] == pytest.approx([whole, none, circuit], abs=2e-2)
    share = 100 * (circuit - none) / (whole - none)
    assert shown.kept.share(shown.kept.circuit) == pytest.approx(share / 100, abs=1e-2)
    assert len(shown.kept.random) == 20
    note = view.circuit.notes()[1]
    assert "20 random sets of as many heads of the same layers" in note
    view.circuit.choices.edges = 5
    assert len(view.circuit.shown().heads) < len(shown.heads)
    assert view.circuit.notes()[1] != note


def test_all_heads_keep_everything_and_one_head_is_a_head_effect_of_the_others():
    heads = traced().head_ids
    kept = kept_by_heads(traced(), Target(), OTHER, heads[1:], sets=3)
    effect = head_effects(atlas.load("gpt-mini"), traced(), how="patch", other=OTHER, heads=[heads[0]])["effect"].iloc[0]
    assert kept.whole - kept.circuit == pytest.approx(effect, abs=1e-3)


def test_the_previous_token_head_writes_the_keys_of_the_induction_heads():
    _, view, _ = view_of(into="key")
    first = view.circuit.shown().edges[:2]
    heads = traced().heads.set_index(["layer", "head"])
    for edge in first:
        assert heads.loc[(edge.start.layer, edge.start.head), "previous"] > 0.9
        reader = heads.loc[(edge.end.layer, edge.end.head)]
        assert reader["induction"] > 1.5 * reader["induction_uniform"]


# -- gestures --------------------------------------------------------------------------------------------------------------


def test_a_head_an_edge_and_a_row_are_selected_and_edges_of_selected_heads_stand_out():
    room, view, root = view_of()
    drawing, parts = view.graph()
    at = parts.index(state.Part("head", 0, 3))
    view._tapped(drawing.x[at], drawing.y[at])
    assert (room.selection.focus, room.selection.heads) == (PREVIOUS, {PREVIOUS})
    shown = view.circuit.shown()
    touches = [PREVIOUS in {view.circuit.head_of(edge.start), view.circuit.head_of(edge.end)} for edge in shown.edges]
    assert 0 < sum(touches) < len(touches)
    drawn = sources(root, MultiLine)[0]
    order = np.argsort([abs(edge.effect) for edge in shown.edges], kind="stable")
    assert list(drawn["alpha"]) == [CLEAR if touches[each] else FAINT for each in order]
    marks = next(each for each in sources(root, Scatter) if "rim" in each)
    assert [thick > 1 for thick in marks["thick"]] == [part == parts[at] for part in parts]

    edge = next(at for at, each in enumerate(shown.edges) if str(each) == "L0 H3 → L1 H5, key")
    middle = lines(drawing)[edge][4]
    assert tapped(drawing, *middle) == (-1, edge)
    view._tapped(*middle)
    reader = HeadId("decoder", 1, 5)
    assert (room.selection.focus, room.selection.heads) == (reader, {PREVIOUS, reader})
    assert room.selection.label == "L0 H3 → L1 H5, key"
    room.selection.clear("heads")
    assert set(sources(root, MultiLine)[0]["alpha"]) == {CLEAR}
    view._pressed({"key": str(edge), "shift": False, "control": False})
    assert room.selection.heads == {PREVIOUS, reader}
    other = parts.index(state.Part("head", 1, 1))
    view._tapped(drawing.x[other], drawing.y[other], additive=True)
    assert room.selection.heads == {PREVIOUS, reader, HeadId("decoder", 1, 1)}
    before = room.selection.heads
    view._tapped(-0.6, drawing.top + 0.5)
    view._tapped(drawing.x[0], drawing.y[0])  # the embeddings are no head
    assert room.selection.heads == before


def test_the_heads_of_the_circuit_are_selected_and_cleared():
    room, view, _ = view_of()
    view._select()
    shown = view.circuit.shown()
    assert room.selection.heads == frozenset(shown.heads)
    assert room.selection.label == f"{len(shown.heads)} heads of the circuit (40 edges)"
    ends = {view.circuit.head_of(part) for edge in shown.edges for part in edge[:2]} - {None}
    assert set(shown.heads) == ends
    view._select()
    assert room.selection.heads == frozenset()


# -- what runs, and what does not ------------------------------------------------------------------------------------------


def test_nothing_runs_before_a_press_and_another_text_needs_another():
    room, view, _ = view_of(run=False)
    assert view.circuit.shown() is None
    assert not view.results.visible
    assert "Press Run" in view.lens.line
    assert list(view.export().table.columns) == ["passes"]
    view._run()
    assert view.results.visible
    assert view.run.disabled
    view.circuit.choices.own = "the nurse saw the white cat and the nurse saw the dog. the doctor saw the green"
    assert not view.results.visible
    assert not view.run.disabled
    view.circuit.choices.own = OTHER
    assert view.results.visible
    room.pipeline.show(atlas.load("gpt-mini").trace("the cat ran"))
    assert not view.results.visible


def test_an_example_is_cut_or_repeated_and_a_text_of_another_length_is_refused():
    for text in ("a", OTHER * 5):
        assert len(of_as_many_tokens(traced(), text)["input_ids"]) == 18
    _, view, _ = view_of(own="")
    assert view.problem == ""
    assert "an example cut or repeated to as many tokens" in view.lens.line
    view.circuit.choices.own = "the cat"
    view._run()
    assert "both texts need as many tokens: this text has 18, the other has 2" in view.problem
    view.circuit.choices.own = TEXT
    view._run()
    assert view.problem == state.ALIKE


def test_who_is_not_offered_it_is_told_why():
    assert without_circuit(traced()) == ""
    assert CircuitView.fits(loaded("Llama").trace("the cat ran")) == ""
    assert "does not write straight into the stream" in CircuitView.fits(atlas.load("bert-mini").trace("the cat ran"))
    assert "two streams" in CircuitView.fits(loaded("T5").trace("the cat ran", target=TARGET))
    assert CircuitView.fits(single("decoder"))


def test_the_graph_of_a_large_model_stays_small():
    random = np.random.default_rng(0)
    places = sorted(random.choice(48 * 25, 300, replace=False))
    about = "|effect| of its edges here:\nwrites 1, reads 1"
    nodes = [Node("head", int(at) // 25, int(at) % 25, f"L{at // 25} H{at % 25}", about) for at in places]
    ends = [sorted(random.choice(300, 2, replace=False).tolist()) for _ in range(MOST_SHOWN)]
    words = "L10 H10 → L11 H11, value", "effect, estimated: 0.123\nnot measured"
    effects = random.normal(size=MOST_SHOWN).tolist()
    edges = [DrawnEdge(*each, INPUTS[at % 3], effects[at], *words) for at, each in enumerate(ends)]
    drawing = placed(nodes, edges, 48, 25)
    assert set(drawing.rows.values()) - {"input"} == {f"L{node.layer}" for node in nodes}
    plot = hv.render(circuit_graph(drawing, [True] * len(edges), node_marks([False] * 300, [False] * 300)))
    assert len(serialize_json(Serializer().encode(plot))) < GESTURE_BYTES


def test_a_graph_without_edges_sends_no_empty_numbers_for_colours():
    drawn = hv.render(circuit_graph(NOTHING, [], node_marks([], [])))
    for glyph in (MultiLine, Scatter):
        for columns in sources(drawn, glyph):
            numbers = {name for name, values in columns.items() if getattr(values, "dtype", np.dtype(object)).kind == "f"}
            assert numbers <= {"x", "y", "width", "alpha"}


def sources(root, glyph):
    """Columns of all glyphs of a class."""
    renderers = [each for each in root.references() if isinstance(getattr(each, "glyph", None), glyph)]
    return [each.data_source.data for each in renderers]
