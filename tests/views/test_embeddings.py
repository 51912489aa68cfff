"""The embeddings, against the models' own tables, norms and rotations; what gestures on them do."""

from __future__ import annotations

import functools

import holoviews as hv
import numpy as np
import pytest
import torch
import transformers as tr
from sklearn.decomposition import PCA

from atlas.engine.loading.load import load
from atlas.engine.running import nearest_tokens as search
from atlas.engine.running.nearest_tokens import nearest_tokens
from atlas.engine.running.positions import model_positions
from atlas.errors import NotCaptured, TooLarge, UnknownName
from atlas.ids import HeadId
from atlas.plots.vectors import TYPES
from atlas.state.embeddings import BY_TYPE, RAW
from atlas.state.positions import BIAS, VECTORS
from atlas.state.workspace import Workspace
from atlas.tasks import TASKS
from atlas.tracing import embeddings as module
from atlas.tracing.embeddings import ENTERING, NORMED, POSITION, SEGMENT, SUM, TOKEN, embeddings, without_embeddings
from atlas.tracing.positions import HALVES, NEIGHBOURS, by_distance
from atlas.tracing.qkv import token_types
from atlas.views.embeddings import EmbeddingsView, EmbeddingVectorsView
from atlas.views.nearest_tokens import NearestTokensView
from atlas.views.positions import PositionsView
from tests.engine.families import _LLAMA, TEXT, gptj, tokenizer
from tests.engine.test_predict import model, traced
from tests.state.readers import never, single

WIDTH = 32


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


def opened(name, view_type, kind=None):
    room = Workspace(never, tasks=TASKS)
    room.pipeline.show(traced(name))
    if kind:
        room.selection.show_kind(kind)
    return room, view_type(room)


# -- the vectors, by the models' own modules ---------------------------------------------------------------------------


def bert(hf, ids):
    own = hf.bert.embeddings
    parts = {TOKEN: own.word_embeddings(ids), POSITION: own.position_embeddings(torch.arange(len(ids)))}
    parts[SEGMENT] = own.token_type_embeddings(torch.zeros_like(ids))
    total = sum(parts.values())
    return parts | {SUM: total, NORMED: own.LayerNorm(total)}


def electra(hf, ids):
    """A linear map widens what its norm gives."""
    own = hf.electra.embeddings
    parts = {TOKEN: own.word_embeddings(ids), POSITION: own.position_embeddings(torch.arange(len(ids)))}
    parts[SEGMENT] = own.token_type_embeddings(torch.zeros_like(ids))
    total = sum(parts.values())
    return parts | {SUM: total, NORMED: own.LayerNorm(total), ENTERING: hf.electra.embeddings_project(own.LayerNorm(total))}


def gpt(hf, ids):
    token, position = hf.transformer.wte(ids), hf.transformer.wpe(torch.arange(len(ids)))
    return {TOKEN: token, POSITION: position, SUM: token + position}


def bart(side):
    """Its table of positions begins with two rows that stand for nothing."""

    def made(hf, ids):
        own = getattr(hf.model, side)
        token, position = own.embed_tokens(ids), own.embed_positions.weight[2 : 2 + len(ids)]
        return {TOKEN: token, POSITION: position, SUM: token + position, NORMED: own.layernorm_embedding(token + position)}

    return made


OWN = {
    ("BERT", "encoder"): bert,
    ("ELECTRA", "encoder"): electra,
    ("GPT-2", "decoder"): gpt,
    ("gpt-mini", "decoder"): gpt,
    ("Llama", "decoder"): lambda hf, ids: {TOKEN: hf.model.embed_tokens(ids)},
    ("Gemma2", "decoder"): lambda hf, ids: {TOKEN: hf.model.embed_tokens.weight[ids] * WIDTH**0.5},
    ("T5", "encoder"): lambda hf, ids: {TOKEN: hf.shared(ids)},
    ("T5", "decoder"): lambda hf, ids: {TOKEN: hf.shared(ids)},
    ("BART", "encoder"): bart("encoder"),
    ("BART", "decoder"): bart("decoder"),
}


@functools.cache
def own_vectors(name, stream):
    ids = traced(name).token_tables[traced(name).side(stream, "query")]["id"].tolist()
    with torch.no_grad():
        return {part: vectors.numpy() for part, vectors in OWN[name, stream](model(name).hf, torch.tensor(ids)).items()}


@pytest.mark.parametrize(("name", "stream"), OWN)
def test_the_vectors_are_those_of_the_models_own_modules(name, stream):
    found, expected = embeddings(traced(name), stream), own_vectors(name, stream)
    assert list(found) == list(expected)
    for part, vectors in expected.items():
        np.testing.assert_allclose(found[part], vectors, rtol=1e-4, atol=1e-5, err_msg=part)


@pytest.mark.parametrize(("name", "stream"), OWN)
def test_plane_lengths_and_map_are_plain_numbers_of_the_vectors(name, stream):
    room, view = opened(name, EmbeddingsView, stream)
    for part, vectors in own_vectors(name, stream).items():
        room.choices_of("embeddings").part = part
        lengths = np.linalg.norm(vectors, axis=1)
        with np.errstate(invalid="ignore"):  # BART's decoder begins with padding, whose row is all zeros
            wanted = vectors @ vectors.T / np.outer(lengths, lengths)
        np.testing.assert_allclose(view.plane.plane().whole, wanted, atol=1e-5, err_msg=part)
    last = list(own_vectors(name, stream))[-1]
    room.choices_of("embeddings").show = RAW
    np.testing.assert_allclose(view.plane.plane().whole, own_vectors(name, stream)[last], rtol=1e-4, atol=1e-5)
    _, vectors_view = opened(name, EmbeddingVectorsView, stream)
    vectors_view.workspace.choices_of("embedding_vectors").part = last
    table = vectors_view.export().table
    for part, vectors in own_vectors(name, stream).items():
        np.testing.assert_allclose(table["length"][table["vector"] == part], np.linalg.norm(vectors, axis=1), rtol=1e-4)
    pca = PCA(2)
    places = pca.fit_transform(own_vectors(name, stream)[last].astype(np.float64))
    shown = table.loc[table["vector"] == last, ["x", "y"]].to_numpy()
    np.testing.assert_allclose(np.abs(shown), np.abs(places), atol=1e-3 * np.abs(places).max())
    np.testing.assert_allclose(vectors_view.shares(), pca.explained_variance_ratio_, rtol=1e-3)


# -- the vocabulary ----------------------------------------------------------------------------------------------------


TABLES = {
    "BERT": lambda hf: hf.bert.embeddings.word_embeddings.weight,
    "ELECTRA": lambda hf: hf.electra.embeddings.word_embeddings.weight,
    "GPT-2": lambda hf: hf.transformer.wte.weight,
    "gpt-mini": lambda hf: hf.transformer.wte.weight,
    "Llama": lambda hf: hf.model.embed_tokens.weight,
    "Gemma2": lambda hf: hf.model.embed_tokens.weight,
    "T5": lambda hf: hf.shared.weight,
    "BART": lambda hf: hf.model.shared.weight,
}


@pytest.mark.parametrize(("name", "stream"), [place for place in OWN if place[0] in TABLES])
def test_nearest_tokens_are_those_of_all_cosines_at_once(name, stream, monkeypatch):
    # Seven rows of the table at a time: the nearest ones come from many batches.
    rows = TABLES[name](model(name).hf).detach().numpy().astype(np.float64)
    monkeypatch.setattr(search, "BATCH_BYTES", 4 * rows.shape[1] * max(7, len(rows) // 9))
    ids = traced(name).token_tables[traced(name).side(stream, "query")]["id"].to_numpy()
    with np.errstate(invalid="ignore"):
        table = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    for part in (TOKEN, SUM, NORMED):
        if part not in own_vectors(name, stream):
            continue
        told = []
        found = nearest_tokens(traced(name), stream, part, (1, 4, 2), lambda done, of, told=told: told.append((done, of)))
        assert len(told) > 2
        for row, at in enumerate((1, 4, 2)):
            vector = own_vectors(name, stream)[part][at].astype(np.float64)
            cosines = np.nan_to_num(table @ (vector / np.linalg.norm(vector)), nan=-np.inf)
            assert found.own_cosine[row] == pytest.approx(cosines[ids[at]], abs=1e-5)
            others = np.where(np.arange(len(rows)) == ids[at], -np.inf, cosines)
            np.testing.assert_allclose(found.cosines[row], np.sort(others)[::-1][:8], atol=1e-5)
            np.testing.assert_allclose(others[found.ids[row]], found.cosines[row], atol=1e-5)
            assert abs(found.own_rank[row] - 1 - (others > cosines[ids[at]] + 1e-6).sum()) <= 1
            assert ids[at] not in found.ids[row]


def test_who_asks_for_too_much_of_a_vocabulary_or_for_what_is_not_there_is_told(monkeypatch):
    trace = traced("BERT")
    monkeypatch.setattr(search, "NEAREST_WORK", 96 * 32 * 5)
    assert nearest_tokens(trace, "encoder", TOKEN, range(5)).ids.shape == (5, 8)
    with pytest.raises(TooLarge, match="Select up to 5 tokens"):
        nearest_tokens(trace, "encoder", TOKEN)
    with pytest.raises(UnknownName, match="no position 99"):
        nearest_tokens(trace, "encoder", TOKEN, (99,))
    with pytest.raises(UnknownName, match="there are token"):
        nearest_tokens(traced("Llama"), "decoder", SUM, (1,))
    with pytest.raises(NotCaptured, match="a linear map is between"):
        nearest_tokens(traced("ELECTRA"), "encoder", ENTERING, (1,))
    with pytest.raises(NotCaptured, match="model of this trace"):
        nearest_tokens(single(), "encoder", TOKEN)
    assert "its model is not here" in without_embeddings(single())
    assert EmbeddingsView.fits(single()) == EmbeddingVectorsView.fits(single()) != ""
    assert NearestTokensView.fits(single()) != ""
    assert PositionsView.fits(single()) != ""


def test_the_bars_are_the_nearest_of_the_selected_tokens_and_a_press_selects():
    room, view = opened("GPT-2", NearestTokensView)
    view.body()
    assert len(view.bars.groups) == 12
    assert "12 of 22 tokens, select others" in view.lens.line
    view._pressed({"key": "3", "shift": False, "control": False})
    assert room.selection.queries == room.selection.keys == {3}
    room.choices_of("nearest_tokens").part = SUM
    (group,) = view.bars.groups
    found = nearest_tokens(traced("GPT-2"), "decoder", SUM, (3,))
    assert [row["number"] for row in group["rows"]] == [f"{value:.3f}".replace("-", "−") for value in found.cosines[0]]
    assert group["note"] == f"its own row: {found.own_cosine[0]:.3f}, rank {found.own_rank[0]}".replace("-", "−")
    assert list(view.export().table["cosine"]) == found.cosines[0].tolist()
    room.choices_of("nearest_tokens").part = NORMED
    assert view.bars.groups == []
    assert "no norm follows the embeddings" in view.lens.problem


# -- gestures and ceilings ---------------------------------------------------------------------------------------------


def test_a_cell_a_name_and_a_mark_select_their_tokens_and_the_selected_ones_are_marked():
    room, view = opened("T5", EmbeddingsView, "cross")  # whose queries are tokens of the decoder
    n = len(traced("T5").tokens("target"))
    assert len(view.plane.plane().rows) == n
    view.tap(2.5 / n, 5.5 / n)
    assert (room.selection.queries, room.selection.keys) == ({2, 5}, set())
    assert view.plane.marked().rows == view.plane.marked().columns == {2, 5}
    view._name_clicked("x", 1.5 / n)
    assert room.selection.queries == {1}
    room.choices_of("embeddings").show = RAW
    assert (view.plane.marked().rows, view.plane.marked().columns) == ({1}, set())
    view._name_clicked("x", 0.5 / 32)  # a dimension
    assert room.selection.queries == {1}
    vectors = EmbeddingVectorsView(room)
    vectors._picked([0, 3])
    assert room.selection.queries == {0, 3}
    assert list(vectors.points().chosen) == [0, 3]
    assert room.choices_of("embedding_vectors").colour == BY_TYPE
    types = token_types(traced("T5"), "target")
    assert vectors._map().data["colour"].tolist() == [TYPES[kind].colour for kind in types]
    assert vectors._map().data["name"].tolist() == view.export().table.index.tolist()


def test_long_texts_are_compared_in_a_thread_or_refused_and_absent_vectors_are_named(monkeypatch):
    room, view = opened("BERT", EmbeddingsView)
    monkeypatch.setattr("atlas.state.embeddings.QUICK_WORK", 0)
    np.testing.assert_array_equal(
        view.plane.plane().whole, view.plane.plane().whole.T
    )  # asked for, and there at once in a script
    monkeypatch.setattr(module, "COSINE_CELLS", 100)
    room.choices_of("embeddings").part = SUM
    assert view.plane.plane().rows == ()
    assert "24 tokens are" in view.lens.problem
    room.choices_of("embeddings").show = RAW
    assert view.plane.plane().whole.shape == (24, 32)
    other, llama = opened("Llama", EmbeddingsView)
    other.choices_of("embeddings").part = POSITION
    assert llama.plane.plane().rows == ()
    assert "no position vectors are added" in llama.lens.problem
    assert llama.lens.problem.endswith("There are: token.")


# -- positions ---------------------------------------------------------------------------------------------------------


@functools.cache
def built(name):
    torch.manual_seed(0)
    makers = {
        "SmolLM3": lambda: tr.SmolLM3ForCausalLM(tr.SmolLM3Config(**_LLAMA | {"num_hidden_layers": 4})),
        "Cohere": lambda: tr.CohereForCausalLM(tr.CohereConfig(**_LLAMA)),
        "BLOOM": lambda: tr.BloomForCausalLM(tr.BloomConfig(vocab_size=96, hidden_size=32, n_layer=2, n_head=4)),
        "GPT-J": gptj,
    }
    return load((makers[name]().eval(), tokenizer(special=False)))


@functools.cache
def positions_of(name, stream):
    trace = traced(name) if name in {place[0] for place in OWN} | {"ModernBERT", "GPT-NeoX", "GPT-OSS", "RoBERTa"} else None
    return model_positions(trace or built(name).trace(TEXT), stream)


ROTATING = [("Llama", "decoder", 10000.0, 8), ("Gemma2", "decoder", 10000.0, 8), ("GPT-NeoX", "decoder", 10000.0, 2)]


@pytest.mark.parametrize(("name", "stream", "base", "size"), ROTATING)
def test_rotations_are_powers_of_the_base_and_turn_the_models_own_queries(name, stream, base, size):
    found = positions_of(name, stream)
    assert found.vectors is None
    assert found.notes == ()
    assert len(found.rotations) == traced(name).n_layers(stream)
    for rotation in found.rotations:
        np.testing.assert_allclose(rotation.angles, base ** (-np.arange(0, size, 2) / size), rtol=1e-5)
        assert (rotation.pairing, rotation.first, rotation.width, rotation.scaling) == (HALVES, 0, 8, 1.0)
    _, view = opened(name, PositionsView)
    distance = np.arange(256)
    wanted = np.array([np.cos(angle * distance) for angle in found.rotations[0].angles])
    np.testing.assert_allclose(view.plane.plane().whole, wanted, atol=1e-4)
    np.testing.assert_allclose(view.positions.shown.profile.y, wanted.mean(0), atol=1e-4)
    view.__panel__()
    assert list(view._heights.values()) == [view._height(460), 190]  # the plane fills the window, the mean below it does not
    assert view._height(460) >= 340
    view._pointed(3.5 / 256, 0.1)
    assert "degrees per token 57.3" in view.under.object
    assert "turns 0.477" in view.under.object


def test_the_score_of_two_equal_vectors_falls_with_the_distance_as_the_profile_says():
    """q·k of one vector turned to two places, by transformers' own function, summed over pairs of equal length."""
    rotary, rotation = model("Llama").hf.model.rotary_emb, positions_of("Llama", "decoder").rotations[0]
    cos, sin = rotary(torch.ones(1, 20, 8), torch.arange(20)[None])
    vector = torch.ones(1, 1, 20, 8)
    turned, _ = tr.models.llama.modeling_llama.apply_rotary_pos_emb(vector, vector, cos, sin)
    products = (turned[0, 0, 0] * turned[0, 0]).sum(-1) / 8
    np.testing.assert_allclose(np.cos(rotation.angles[:, None] * np.arange(20)).mean(0), products, atol=1e-5)


def test_layers_that_turn_otherwise_or_not_at_all_are_told_apart():
    """Every fourth layer of SmolLM3 turns nothing; Cohere turns neighbours; ModernBERT's local layers turn by another base."""
    assert [rotation is not None for rotation in positions_of("SmolLM3", "decoder").rotations] == [True, True, True, False]
    assert {rotation.pairing for rotation in positions_of("Cohere", "decoder").rotations} == {NEIGHBOURS}
    whole, *local = positions_of("ModernBERT", "encoder").rotations
    np.testing.assert_allclose(whole.angles, 160000.0 ** (-np.arange(4) / 4), rtol=1e-5)
    for rotation in local:
        np.testing.assert_allclose(rotation.angles, 10000.0 ** (-np.arange(4) / 4), rtol=1e-5)
    # The sinks of GPT-OSS take more of a row the shorter it is, so only its first layer sees equal states.
    unsure = positions_of("GPT-OSS", "decoder")
    assert [bool(rotation.pairing) for rotation in unsure.rotations] == [True, False, False]
    assert "layers 1, 2" in unsure.notes[0]


TABLE = {
    ("BERT", "encoder"): lambda hf: hf.bert.embeddings.position_embeddings.weight,
    ("RoBERTa", "encoder"): lambda hf: hf.roberta.embeddings.position_embeddings.weight[1:],
    ("GPT-2", "decoder"): lambda hf: hf.transformer.wpe.weight,
    ("BART", "decoder"): lambda hf: hf.model.decoder.embed_positions.weight[2:],
}


@pytest.mark.parametrize(("name", "stream"), TABLE)
def test_vectors_of_positions_are_compared_over_the_whole_table_from_the_first_token_on(name, stream):
    table = TABLE[name, stream](model(name).hf).detach().numpy().astype(np.float64)
    found = positions_of(name, stream)
    np.testing.assert_array_equal(found.vectors, table.astype(np.float32))
    assert found.n_vectors == len(table)
    directions = table / np.linalg.norm(table, axis=1, keepdims=True)
    cosines = directions @ directions.T
    room, view = opened(name, PositionsView, stream)
    np.testing.assert_allclose(view.plane.plane().whole, cosines, atol=1e-5)
    mean = [np.mean([cosines[at, at + distance] for at in range(len(table) - distance)]) for distance in range(len(table))]
    np.testing.assert_allclose(view.positions.shown.profile.y, mean, atol=1e-5)
    view.tap(2.5 / len(table), 4.5 / len(table))
    assert room.selection.queries == {2, 4}
    assert view.plane.marked().rows == {2, 4}
    view.tap(0.999, 0.999)  # the text is shorter than the table
    assert room.selection.queries == {2, 4}
    kind, made, revision = view.lens.kind, view.plane.plane(), view.lens.revision
    for layer, head in ((0, 1), (1, 0)):
        room.selection.pick(HeadId(kind, layer, head))
        assert view.plane.plane() is made, "all layers have the same vectors"
    assert view.lens.revision == revision


@pytest.mark.parametrize("stream", ["encoder", "decoder"])
def test_a_bias_by_distance_is_that_of_the_models_own_table_without_the_future(stream):
    room, view = opened("T5", PositionsView, stream)
    own = getattr(model("T5").hf, stream).block[0].layer[0].SelfAttention
    n = traced("T5").attention_of(stream).n_queries
    with torch.no_grad():
        bias = own.compute_bias(n, n)[0].numpy()
    distances = range(1 - n, n if stream == "encoder" else 1)
    wanted = [[bias[head, max(0, -at), max(0, at)] for at in distances] for head in range(4)]
    room.selection.focus_on(HeadId(stream, 1, 2))
    np.testing.assert_allclose(view.plane.plane().whole, wanted, atol=1e-5)
    assert "the same as in layer 0" in view.lens.line
    np.testing.assert_allclose(view.positions.shown.profile.y, np.mean(wanted, 0), atol=1e-5)
    view._name_clicked("y", 3.5 / 4)
    assert room.selection.focus == HeadId(stream, 1, 3)
    assert view.plane.marked().rows == {3}
    np.testing.assert_allclose(view.positions.shown.profile.y, wanted[3], atol=1e-5)
    room.choices_of("positions").show = VECTORS
    assert "has no table of position vectors" in view.lens.problem
    assert "It has a bias by distance alone." in view.lens.problem


def test_a_bias_that_a_model_does_not_give_is_measured_from_its_weights():
    """BLOOM adds slope · distance; the slopes of 4 heads are 2 ** -2, -4, -6, -8."""
    found = positions_of("BLOOM", "decoder")
    assert len(found.biases) == 2
    for bias in found.biases:
        np.testing.assert_array_equal(np.isfinite(bias), np.arange(-63, 64)[None].repeat(4, 0) <= 0)
        wanted = np.outer(2.0 ** -np.arange(2, 9, 2), np.arange(-63, 1))
        np.testing.assert_allclose(bias[:, :64], wanted, atol=1e-3)
    room = Workspace(never, tasks=TASKS)
    room.pipeline.show(built("BLOOM").trace(TEXT))
    view = PositionsView(room)
    np.testing.assert_allclose(view.plane.plane().whole, wanted, atol=1e-3)
    assert view.positions.shown.show == BIAS
    assert "depends on the tokens" in positions_of("GPT-J", "decoder").notes[0]  # it turns, and nobody sees by what


def test_the_mean_by_distance_is_that_of_the_diagonals():
    np.testing.assert_array_equal(by_distance(np.array([[1.0, 2, 3], [0, 4, 6], [0, 0, 9]])), [14 / 3, 4, 3])
