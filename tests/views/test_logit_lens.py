"""The logit lens, against the model's own output and against its own modules; and what a gesture on it does."""

from __future__ import annotations

import functools

import holoviews as hv
import numpy as np
import pytest
import torch
from bokeh.document import Document
from bokeh.events import Tap

import atlas
from atlas.engine.running.logit_lens import logit_lens
from atlas.errors import NotCaptured, TooLarge, UnknownName
from atlas.state import logit_lens as state
from atlas.state.logit_lens import ENTROPY, RANK
from atlas.state.workspace import Workspace
from atlas.tasks import TASKS
from atlas.tracing.logit_lens import stream_side, without_lens
from atlas.views.logit_lens import LogitLensView
from tests.engine.families import TARGET, TEXT, gptj, loaded, tokenizer
from tests.engine.test_predict import model, own_logits, traced
from tests.state.readers import never, single
from tests.views.test_feed_forward import gemma_logits

PREDICTING = ["BERT", "RoBERTa", "ALBERT", "GPT-2", "GPT-NeoX", "Llama", "Gemma2", "T5", "BART", "gpt-mini"]


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


@functools.cache
def lens_of(name):
    return logit_lens(traced(name))


def opened(trace):
    room = Workspace(never, tasks=TASKS)
    room.pipeline.show(trace)
    return room, LogitLensView(room)


@pytest.mark.parametrize("name", PREDICTING)
def test_the_last_row_is_the_models_own_prediction(name):
    found, logits = lens_of(name), own_logits(name).double()
    expected = logits.softmax(-1)
    top = expected.topk(5, dim=-1)
    np.testing.assert_allclose(found.probabilities[-1], top.values, atol=1e-5)
    np.testing.assert_array_equal(found.final, logits.argmax(-1))
    np.testing.assert_allclose(found.final_probability[-1], expected.amax(-1), atol=1e-5)
    assert (found.final_rank[-1] == 1).all()
    np.testing.assert_allclose(found.entropy[-1], torch.special.entr(expected).sum(-1), atol=1e-4)
    table = traced(name).predictions(1)
    assert found.final_names.tolist() == table["token"].tolist()


READ_BY = {
    "BERT": lambda hf, state: hf.cls(state),
    "GPT-2": lambda hf, state: hf.lm_head(hf.transformer.ln_f(state)),
    "Llama": lambda hf, state: hf.lm_head(hf.model.norm(state)),
    "Gemma2": gemma_logits,
    "gpt-mini": lambda hf, state: hf.lm_head(hf.transformer.ln_f(state)),
}


@pytest.mark.parametrize("name", READ_BY)
def test_every_row_is_the_state_of_its_layer_read_by_the_models_own_modules(name):
    found, trace, hf = lens_of(name), traced(name), model(name).hf
    hidden = trace.vectors("hidden").to_numpy()
    assert len(found.ids) == len(hidden) == trace.n_layers() + 1
    for row, state_of in enumerate(hidden):
        with torch.no_grad():
            chances = READ_BY[name](hf, torch.tensor(state_of)[None])[0].double().softmax(-1).numpy()
        here = np.arange(len(chances))
        np.testing.assert_allclose(found.probabilities[row], np.sort(chances)[:, :-6:-1], atol=1e-5)
        np.testing.assert_allclose(found.final_probability[row], chances[here, found.final], atol=1e-5)
        ranks = (chances > chances[here, found.final][:, None]).sum(-1) + 1
        assert (np.abs(found.final_rank[row] - ranks) <= 1).all()  # two nearly equal logits may change places
        safe = np.where(chances > 0, chances, 1.0)
        np.testing.assert_allclose(found.entropy[row], -(chances * np.log(safe)).sum(-1), atol=1e-4)


def test_positions_are_read_in_chunks_and_alone_as_in_the_whole(monkeypatch):
    whole = lens_of("GPT-2")
    monkeypatch.setattr("atlas.engine.running.logit_lens.CHUNK_BYTES", 4 * 96 * 3)
    told = []
    parts = logit_lens(traced("GPT-2"), (), lambda done, of: told.append((done, of)))
    np.testing.assert_allclose(parts.probabilities, whole.probabilities, atol=1e-6)
    assert told == [(at, len(told)) for at in range(len(told))]
    assert len(told) == 4 * -(-len(whole.positions) // 3)
    some = logit_lens(traced("GPT-2"), (5, 2))
    np.testing.assert_allclose(some.entropy, whole.entropy[:, [5, 2]], atol=1e-5)
    with pytest.raises(UnknownName, match="no position 99"):
        logit_lens(traced("GPT-2"), (99,))


def test_the_colours_are_the_numbers_and_the_readout_says_them():
    room, view = opened(traced("GPT-2"))
    found, plane = lens_of("GPT-2"), view.plane.plane()
    assert plane.rows == ("embedding", "L0", "L1", "L2")
    np.testing.assert_array_equal(plane.whole, found.final_probability)
    assert view.scale().ceiling == 1.0
    room.choices_of("lens").show = RANK
    np.testing.assert_allclose(view.plane.plane().whole, np.log10(found.final_rank), atol=1e-6)
    room.choices_of("lens").show = ENTROPY
    np.testing.assert_array_equal(view.plane.plane().whole, found.entropy)
    n = len(found.positions)
    view._pointed(2.5 / n, 1.5 / 4)
    said = view.under.object
    assert said.startswith(f"{plane.name('column', 2)}, L0: '{found.names[1, 2, 0]}' ")
    assert f"rank {found.final_rank[1, 2]:,} of 96   entropy {found.entropy[1, 2]:.3g}" in said
    table = view.export().table
    row = table[(table["layer"] == "L0") & (table["position"] == 2)].iloc[0]
    assert (row["token_1"], row["final_token"]) == (found.names[1, 2, 0], found.final_names[2])
    assert row["probability_1"] == found.probabilities[1, 2, 0]


def test_the_likeliest_token_stands_in_its_cell_where_there_is_room():
    _, view = opened(traced("GPT-2"))
    found = lens_of("GPT-2")
    view.size.update(width=1600, height=400)
    written = {(word.row, word.column): word.text for word in view.written()}
    assert len(written) == found.ids[..., 0].size
    for (row, column), text in written.items():
        assert found.names[row, column, 0].startswith(text.removesuffix("…"))
    view.size.update(width=200)
    assert view.written() == []


def test_a_click_explains_the_token_of_the_cell_and_selects_its_position():
    room, view = opened(traced("GPT-2"))
    found, n = lens_of("GPT-2"), len(lens_of("GPT-2").positions)
    figure = hv.render(view._pane().object)
    Document().add_root(figure)
    tap = Tap(figure, x=4.5 / n, y=1.5 / 4)
    figure.document.callbacks.trigger_event(tap)
    assert (room.target.position, room.target.outcome) == (4, found.names[1, 4, 0])
    assert room.selection.queries == {4}
    marked = view.plane.marked()
    assert marked.columns == {4}
    assert marked.cells == {(row, 4) for row in range(4) if found.names[row, 4, 0] == found.names[1, 4, 0]}
    figure.document.callbacks.trigger_event(tap)
    assert (room.target.position, room.target.outcome) == (-1, "")
    assert room.selection.is_empty
    view.plane.select_name("row", 2, "lens")
    assert {(head.layer, head.head) for head in room.selection.heads} == {(1, head) for head in range(4)}


def test_an_encoder_decoder_is_read_along_its_decoder():
    room, view = opened(traced("T5"))
    assert stream_side(traced("T5")) == "target"
    assert len(view.plane.plane().columns) == len(traced("T5").tokens("target"))
    assert "of the decoder" in view.lens.line
    view.plane.select_cell(1, 3, "lens")
    assert room.target.position == 3
    assert room.selection.is_empty  # the encoder is on screen, which has no such position
    room.selection.show_kind("cross")
    view.plane.select_name("column", 2, "lens")
    assert (room.selection.queries, room.selection.keys) == ({2}, set())


def test_a_text_that_is_too_long_is_read_at_the_selected_tokens(monkeypatch):
    room, view = opened(traced("GPT-2"))
    monkeypatch.setattr(state, "LENS_LOGITS", 4 * 96 * 3)
    room.choices_of("lens").show = ENTROPY
    assert view.plane.plane().rows == ()
    assert "Select up to 3 tokens" in view.lens.problem
    room.selection.select_tokens([1, 6])
    np.testing.assert_allclose(view.plane.plane().whole, lens_of("GPT-2").entropy[:, [1, 6]], atol=1e-5)
    assert view.plane.plane().name("column", 1).endswith("(6)")
    monkeypatch.setattr("atlas.engine.running.logit_lens.LENS_LOGITS", 4 * 96 * 3)
    with pytest.raises(TooLarge):
        logit_lens(traced("GPT-2"))


def test_who_has_no_lens_says_why():
    assert "model of this trace is not here" in without_lens(single())
    for name in ("classifier", "token labels"):
        assert "predicts no token" in LogitLensView.fits(traced(name))
    with pytest.raises(NotCaptured, match="predicts no token"):
        logit_lens(traced("classifier"))
    assert LogitLensView.fits(traced("GPT-2")) == ""


def test_a_model_outside_the_attention_interface_has_it_too():
    outside = atlas.load((gptj(), tokenizer(special=False)))
    trace = outside.trace(TEXT)
    assert without_lens(trace) == ""
    table = trace.predictions(1)
    np.testing.assert_allclose(logit_lens(trace).final_probability[-1], table["probability"], atol=1e-5)


def test_a_changed_run_is_read_as_changed():
    trace = loaded("T5").trace(TEXT, target=TARGET, ablate=[("decoder", 0, 1)])
    found = logit_lens(trace)
    np.testing.assert_allclose(found.final_probability[-1], trace.predictions(1)["probability"], atol=1e-5)
    assert not np.allclose(found.final_probability[-1], lens_of("T5").final_probability[-1], atol=1e-4)
