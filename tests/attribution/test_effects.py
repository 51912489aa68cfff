"""Effects of single heads against one pass a head, by plain runs of the model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers as tr

from atlas.attribution import Target, head_effects
from atlas.engine.gradients import heads as engine_heads
from atlas.engine.gradients.forking import can_fork
from atlas.engine.gradients.subject import Subject
from atlas.engine.loading.load import load
from atlas.engine.running.capture import Rerun
from atlas.engine.running.interventions import Output
from atlas.errors import BadIntervention
from atlas.ids import HeadId
from tests.attribution.own import CLASSIFIERS, model, traced
from tests.engine.families import FAMILIES, TARGET, TEXT, VOCABULARY, gptj, loaded, tokenizer

OTHER = "the nurse said that he was tired because the dog ran after the cat and the cat ran away from the dog"
SHORT = "a cat and a dog"


def logits_of(made, text, target, **changes):
    """All logits at the target of a run of its own."""
    trace = made.trace(text, target=TARGET if "cross" in made.kinds else None, **changes)
    assert isinstance(trace.live, Rerun)
    subject = Subject(trace, target)
    with subject.held(gradients=False):
        return subject.logits()[0].double()


def one_by_one(made, text, target, change):
    """effect, log_probability and kl of every head, by their definitions."""
    resolved = Subject(made.trace(text, target=TARGET if "cross" in made.kinds else None), target).target
    before = logits_of(made, text, target)
    rows = []
    for head in made.trace(text, target=TARGET if "cross" in made.kinds else None).head_ids:
        after = logits_of(made, text, Target(target.position, resolved.outcome_id), **change(head))
        if made.hf.config.problem_type == "multi_label_classification":
            p, q = before.sigmoid(), after.sigmoid()
            kl = float((p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).sum())
        else:
            p, q = before.softmax(-1), after.softmax(-1)
            kl = float((p * (p / q).log()).sum())
        at = resolved.outcome_id
        rows.append([float(before[at] - after[at]), float((p[at] / q[at]).log()), kl])
    return np.array(rows)


@pytest.mark.parametrize("name", [*(family.name for family in FAMILIES), *CLASSIFIERS])
def test_effects_of_all_heads_are_those_of_one_pass_a_head(name, monkeypatch):
    made = model(name) if name in CLASSIFIERS else loaded(name)
    monkeypatch.setattr(engine_heads, "ROWS_AT_ONCE", 5)
    found = head_effects(made, TEXT, Target(-3), decoder=TARGET if "cross" in made.kinds else None)
    expected = one_by_one(made, TEXT, Target(-3), lambda head: {"ablate": [head]})
    assert list(found.columns) == ["kind", "layer", "head", "effect", "log_probability", "kl"]
    np.testing.assert_allclose(found[["effect", "log_probability", "kl"]], expected, atol=5e-3, rtol=1e-3)
    assert found["effect"].abs().max() > 1e-2


def test_models_of_one_stream_split_runs_off_where_they_differ():
    forks = {family.name: can_fork(loaded(family.name)) for family in FAMILIES}
    assert {name for name, can in forks.items() if not can} == {"T5", "BART", "Marian"}


def test_a_forked_batch_does_what_a_padded_batch_does(monkeypatch):
    made, target = model("BERT"), Target(4, "she", "he")
    fast = head_effects(made, TEXT, target)
    monkeypatch.setattr(engine_heads, "can_fork", lambda _: False)
    slow = head_effects(made, TEXT, target)
    np.testing.assert_allclose(fast["effect"], slow["effect"], atol=1e-4)


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "T5"])
def test_mean_and_patch_are_the_engines_own(name):
    made, trace = model(name), traced(name)
    target = {"target": TARGET} if "cross" in made.kinds else {}
    found = head_effects(made, trace, Target(-3), "mean")
    np.testing.assert_allclose(
        found["effect"], one_by_one(made, TEXT, Target(-3), lambda head: {"ablate": {head: "mean"}})[:, 0], atol=1e-3
    )
    theirs = made.trace(OTHER, keep="qk", **target)

    def patched(head):
        return {"patch": {head: Output(theirs.vectors("head_read", head.kind, head.layer, head.head).to_numpy())}}

    expected = one_by_one(made, TEXT, Target(-3), patched)[:, 0]
    for how in ("patch", "resample"):  # texts of one length: resampling takes the same positions
        np.testing.assert_allclose(head_effects(made, trace, Target(-3), how, other=OTHER)["effect"], expected, atol=2e-3)


def test_resampling_from_a_shorter_text_draws_positions_by_its_seed():
    made, trace = model("GPT-2"), traced("GPT-2")
    first, again, other = (head_effects(made, trace, Target(-1), "resample", other=SHORT, seed=s)["effect"] for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other, atol=1e-6)
    with pytest.raises(BadIntervention, match="as many tokens"):
        head_effects(made, trace, how="patch", other=SHORT)
    with pytest.raises(BadIntervention, match="other="):
        head_effects(made, trace, how="resample")
    with pytest.raises(BadIntervention, match="zero, mean"):
        head_effects(made, trace, how="flip")


def test_some_heads_under_the_changes_of_the_trace():
    made = model("GPT-2")
    trace = made.trace(TEXT, ablate=[(0, 1)], knock_out=[((1, 2), 5, 3)])
    found = head_effects(made, trace, Target(-3), heads=["L2 H0", (0, 1), (1, 3)])
    assert [tuple(row) for row in found[["layer", "head"]].to_numpy()] == [(0, 1), (1, 3), (2, 0)]
    assert found["effect"][0] == pytest.approx(0, abs=1e-5)  # it is off already
    outcome = Target(-3, Subject(trace, Target(-3)).target.outcome_id)
    before = logits_of(made, TEXT, outcome, ablate=[(0, 1)], knock_out=[((1, 2), 5, 3)])
    after = logits_of(made, TEXT, outcome, ablate=[(0, 1), (1, 3)], knock_out=[((1, 2), 5, 3)])
    assert found["effect"][1] == pytest.approx(float((before - after)[outcome.outcome]), abs=1e-4)


def test_the_one_head_that_decides_is_found():
    """All heads but one write nothing, so only that one can have an effect."""
    torch.manual_seed(0)
    hf = tr.GPT2LMHeadModel(
        tr.GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=3, n_head=4, n_positions=64, bos_token_id=2, eos_token_id=3)
    ).eval()
    with torch.no_grad():
        for layer, block in enumerate(hf.transformer.h):
            kept = block.attn.c_proj.weight[16:24].clone() * 50
            block.attn.c_proj.weight.zero_()
            if layer == 1:
                block.attn.c_proj.weight[16:24] = kept
    found = head_effects(load((hf, tokenizer(special=False))), TEXT, Target(-2))
    decides = (found["layer"] == 1) & (found["head"] == 2)
    assert found.loc[decides, "kl"].item() > 1e-4
    assert found.loc[~decides, ["effect", "kl"]].abs().to_numpy().max() < 1e-5


def test_progress_and_models_without_the_interface():
    told = []
    head_effects(model("GPT-2"), TEXT, progress=lambda done, of: told.append((done, of)))
    assert told[-1] == (12, 12)
    with pytest.raises(BadIntervention, match="attention interface"):
        head_effects(load((gptj(), tokenizer(special=False))), TEXT)
    assert HeadId("decoder", 0, 0) in traced("GPT-2").head_ids


def test_the_last_feed_forward_block_computes_the_position_of_the_target_alone():
    seen = {}
    for name in ("BERT", "GPT-2", "Llama"):
        made = model(name)
        tap = made.last_feed_forward()
        module = made.hf.get_submodule(tap.module)
        handle = module.register_forward_hook(lambda *given, name=name: seen.setdefault(name, []).append(given[-1].shape[:2]))
        head_effects(made, traced(name), Target(-3))
        handle.remove()
    assert all((13, 1) in {tuple(shape) for shape in shapes} for shapes in seen.values())
    assert model("T5").last_feed_forward() is None
