"""The tuned lens: what of a file is read, what is refused, and that every row is the state changed by its map."""

from __future__ import annotations

import json

import holoviews as hv
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from atlas.cli.serve import lens_file
from atlas.engine.loading.load import load
from atlas.engine.running.logit_lens import logit_lens
from atlas.engine.running.service import Run, Service
from atlas.errors import AtlasError, BrokenFiles, NotCaptured, UnsafeModel, UnsupportedModel
from atlas.scheduler import Ticket
from atlas.state.logit_lens import TUNED
from atlas.state.workspace import Workspace
from atlas.tasks import TASKS
from atlas.tracing.logit_lens import TUNED_LENS, TUNED_LENS_NAME
from atlas.views.logit_lens import LogitLensView
from tests.engine.families import BY_NAME, TARGET, TEXT, loaded
from tests.state.readers import never, single
from tests.views.test_logit_lens import READ_BY

LAYERS, WIDTH = 3, 32


def maps(prefix="", *, scale=1.0, bias=True, layers=LAYERS, width=WIDTH):
    """Maps that change much."""
    torch.manual_seed(5)
    found = {f"{prefix}{layer}.weight": scale * torch.randn(width, width) for layer in range(layers)}
    return found | ({f"{prefix}{layer}.bias": scale * torch.randn(width) for layer in range(layers)} if bias else {})


def written(path, tensors):
    save_file(tensors, path)
    return path


@pytest.mark.parametrize("name", ["BERT", "Llama", "Gemma2", "T5"])
def test_a_lens_of_zeros_is_the_logit_lens_and_the_last_row_is_the_models_own_prediction(name, tmp_path):
    model = loaded(name)
    trace = model.trace(TEXT, target=TARGET if name == "T5" else None)
    plain = logit_lens(trace)
    same = model.lens(written(tmp_path / "zeros.safetensors", maps(scale=0.0))).read(trace)
    for one, other in zip(plain, same, strict=True):
        np.testing.assert_array_equal(one, other)
    other = model.lens(written(tmp_path / "large.safetensors", maps())).read(trace)
    np.testing.assert_array_equal(other.probabilities[-1], plain.probabilities[-1])
    assert not np.allclose(other.final_probability[:-1], plain.final_probability[:-1], atol=1e-2)


@pytest.mark.parametrize("prefix", ["", "translators.", "layer_translators."])
@pytest.mark.parametrize("name", [name for name in READ_BY if not name.endswith("-mini")])
def test_every_row_is_the_state_and_its_map_read_by_the_models_own_modules(name, prefix, tmp_path):
    model, tensors = loaded(name), maps(prefix, bias=prefix != "translators.")
    trace = model.trace(TEXT)
    found = model.lens(written(tmp_path / "lens.safetensors", tensors)).read(trace, (5, 1, 7))
    hidden = trace.vectors("hidden").to_numpy()[:, [5, 1, 7]]
    for row in range(LAYERS):
        state = torch.tensor(hidden[row])
        bias = tensors.get(f"{prefix}{row}.bias", torch.zeros(WIDTH))
        changed = state + torch.stack([tensors[f"{prefix}{row}.weight"] @ one for one in state]) + bias
        with torch.no_grad():
            chances = READ_BY[name](model.hf, changed[None])[0].double().softmax(-1).numpy()
        np.testing.assert_allclose(found.probabilities[row], np.sort(chances)[:, :-6:-1], atol=1e-4)
        np.testing.assert_allclose(found.final_probability[row], chances[np.arange(3), found.final], atol=1e-4)


def test_what_does_not_fit_the_model_is_refused_with_what_was_expected(tmp_path):
    model, path = loaded("GPT-2"), tmp_path / "lens.safetensors"
    wrong = {
        r"lacks 1 maps: 2\.weight": maps(layers=2),
        r"'0\.bias' in .* has 30 numbers": maps() | {"0.bias": torch.zeros(30)},
        r"'1\.weight' in .* has 32 × 30 numbers": maps() | {"1.weight": torch.zeros(32, 30)},
        r"holds 1 tensors that are no maps of such a lens: 3\.weight": maps() | {"3.weight": torch.zeros(32, 32)},
        r"no maps of such a lens: unembed\.weight": maps() | {"unembed.weight": torch.zeros(9)},
    }
    for reason, tensors in wrong.items():
        with pytest.raises(BrokenFiles, match=f"{reason}.* Expected for .*: 3 maps, '0.weight' to '2.weight' of 32 × 32 numbers"):
            model.lens(written(path, tensors))
    for odd in (torch.full((WIDTH,), torch.nan), torch.zeros(WIDTH, dtype=torch.int64)):
        with pytest.raises(BrokenFiles, match="not finite, or whole numbers"):
            model.lens(written(path, maps() | {"0.bias": odd}))
    assert model.tuned_lens is None
    with pytest.raises(UnsupportedModel, match="has no tuned lens"):
        load((BY_NAME["BERT"].model().bert, BY_NAME["BERT"].tokenizer())).lens(written(path, maps()))


def test_only_safetensors_are_read(tmp_path):
    model = loaded("GPT-2")
    torch.save(maps(), tmp_path / "params.pt")
    for given in (tmp_path, tmp_path / "params.pt"):
        with pytest.raises(UnsafeModel, match=r"is a pickle.*weights_only=True"):
            model.lens(given)
    disguised = tmp_path / "params.safetensors"
    (tmp_path / "params.pt").rename(disguised)
    with pytest.raises(UnsafeModel, match="pickle under a false name"):
        model.lens(disguised)
    with pytest.raises(BrokenFiles, match="There is no file"):
        model.lens(tmp_path / "none.safetensors")
    written(tmp_path / "other.safetensors", maps())
    with pytest.raises(BrokenFiles, match="holds 2 safetensors files"):
        model.lens(tmp_path)


def test_the_configuration_beside_it_is_checked_and_says_for_which_model_it_is(tmp_path):
    model, settings = loaded("GPT-2"), {"base_model_name_or_path": "some/model", "d_model": 32, "num_hidden_layers": 3}
    written(tmp_path / "params.safetensors", maps())
    (tmp_path / "config.json").write_text(json.dumps(settings | {"bias": True, "lens_type": "linear_tuned_lens"}))
    assert model.lens(tmp_path).about == f"{tmp_path.name}, fitted for some/model"
    assert model.lens(tmp_path / "params.safetensors").about == "params, fitted for some/model"
    for change in ({"d_model": 64}, {"num_hidden_layers": 12}, {"lens_type": "mlp"}):
        (tmp_path / "config.json").write_text(json.dumps(settings | change))
        with pytest.raises(BrokenFiles, match=r"this lens is for another model\. Expected"):
            model.lens(tmp_path)


def test_the_page_offers_a_lens_where_one_was_given_and_shows_its_numbers(tmp_path):
    hv.extension("bokeh", logo=False)
    model = loaded("GPT-2")
    room = Workspace(never, tasks=TASKS)
    room.pipeline.show(model.trace(TEXT))
    view = LogitLensView(room)
    assert not view.can_choose()
    with pytest.raises(NotCaptured, match="--lens MODEL=FILE"):
        TASKS[TUNED_LENS](room.trace)
    lens = model.lens(written(tmp_path / "mine.safetensors", maps()))
    room.pipeline.show(model.trace(TEXT))
    assert view.can_choose()
    plain = view.plane.plane().whole
    room.choices_of("lens").lens = TUNED
    np.testing.assert_array_equal(view.plane.plane().whole, lens.read(room.trace).final_probability)
    assert not np.allclose(view.plane.plane().whole[:-1], plain[:-1], atol=1e-2)
    assert view.lens.line.endswith("through the tuned lens mine")
    assert TASKS[TUNED_LENS_NAME](single()) == ""


def test_who_runs_the_app_gives_lenses_by_the_name_of_a_model_and_a_wrong_one_is_a_note(tmp_path):
    name = "gpt-mini"
    path = written(tmp_path / "mine.safetensors", maps())
    assert lens_file(f"{name}={path}") == (name, path)
    for wrong in ("gpt-mini", f"={path}", f"gpt-mini={tmp_path}/none"):
        with pytest.raises(AtlasError, match="--lens takes MODEL=FILE"):
            lens_file(wrong)
    service = Service()
    service.lenses[name] = path
    trace = service.run(Run((name, None, None, None), "Once there was"), Ticket())
    assert any("tuned lens is not offered" in note and "Expected for gpt-mini" in note for note in trace.provenance["notes"])
    size = trace.vectors("hidden").shape
    service = Service()
    service.lenses[name] = written(path, maps(layers=size[0] - 1, width=size[-1]))
    trace = service.run(Run((name, None, None, None), "Once there was"), Ticket())
    assert TASKS[TUNED_LENS_NAME](trace) == "mine"
