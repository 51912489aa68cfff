"""What an encoder-decoder's decoder reads where the run is changed: the target of the unchanged model, or one written anew."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

import atlas
from atlas.engine.running.interventions import Intervention
from atlas.engine.running.service import Run, Service
from atlas.engine.running.targets import ANEW, KEPT
from atlas.errors import BadIntervention
from tests.engine.families import TARGET, TEXT, loaded

EVERY_CROSS_HEAD = [("cross", layer, head) for layer in range(3) for head in range(4)]


def read(trace: Any) -> list[int]:
    """What the decoder read."""
    return trace.token_tables["target"]["id"].tolist()


def greedy(trace: Any) -> bool:
    """Whether every token is the likeliest one after those before it, in this very run."""
    return trace.outcomes.ids[:-1, 0].tolist() == read(trace)[1:]


@pytest.fixture(scope="module")
def t5() -> Any:
    return loaded("T5")


def test_a_kept_target_is_said_to_be_that_of_the_unchanged_model(t5: Any) -> None:
    clean = t5.trace(TEXT)
    assert greedy(clean)
    assert not clean.provenance["notes"]
    changed = t5.trace(TEXT, ablate=EVERY_CROSS_HEAD)
    assert read(changed) == read(clean)
    assert not greedy(changed), "the change would have written the same, so this proves nothing"
    assert changed.provenance["notes"] == [KEPT]
    batch = list(t5.traces([TEXT, TEXT], interventions=[None, Intervention(ablate=EVERY_CROSS_HEAD)]))
    assert [trace.provenance["notes"] for trace in batch] == [[], [KEPT]]
    # What is given is nobody's choice but the reader's.
    assert not t5.trace(TEXT, target=TARGET, ablate=EVERY_CROSS_HEAD).provenance["notes"]


def test_a_target_written_anew_is_what_the_changed_model_writes(t5: Any) -> None:
    """By hand: a copy whose cross-attention can write nothing."""
    trace = t5.trace(TEXT, ablate=EVERY_CROSS_HEAD, regenerate=True)
    hf = copy.deepcopy(t5.hf)
    with torch.no_grad():
        for block in hf.decoder.block:
            block.layer[1].EncDecAttention.o.weight.zero_()
    ids = torch.tensor(trace.tokens()["id"].to_numpy(copy=True))[None]
    with torch.no_grad():
        written = hf.generate(ids, max_new_tokens=128, do_sample=False, num_beams=1, use_cache=False)[0].tolist()
    assert read(trace) == written[: len(read(trace))]
    assert len(written) - len(read(trace)) <= 1  # but for the end
    assert greedy(trace)
    assert read(trace) != read(t5.trace(TEXT))
    assert trace.provenance["notes"] == [ANEW]


@pytest.mark.parametrize(
    "change",
    [
        {"knock_out": [(("cross", 0, head), 2, key) for head in range(4) for key in range(12)]},
        {"knock_out": [(("decoder", 1, head), 5, key) for head in range(4) for key in range(5)]},
        {"ablate": [("encoder", 0, 1), ("decoder", 2, 2)]},
        {"ablate": {("encoder", 1, 3): "mean"}},
    ],
    ids=["cross edges", "decoder edges", "heads", "encoder mean"],
)
def test_every_step_of_writing_anew_is_under_the_changes(t5: Any, change: dict[str, Any]) -> None:
    trace = t5.trace(TEXT, regenerate=True, **change)
    assert greedy(trace)
    assert trace.provenance["notes"] == [ANEW]


def test_writing_anew_changes_nothing_where_nothing_is_changed(t5: Any) -> None:
    trace = t5.trace(TEXT, regenerate=True)
    assert read(trace) == read(t5.trace(TEXT))
    assert not trace.provenance["notes"]
    loaded("BERT").trace(TEXT, ablate=[(0, 0)], regenerate=True)  # it has no target


def test_a_patch_as_long_as_one_target_is_refused_for_another(t5: Any) -> None:
    clean = t5.trace(TEXT)
    pattern = clean.attention("cross", 1, 1).to_numpy()
    with pytest.raises(BadIntervention, match=r"cross L1 H1 is as long as one target.*Give the target"):
        t5.trace(TEXT, patch={("cross", 1, 1): atlas.Pattern(pattern)}, regenerate=True)
    own = t5.trace(TEXT).attention("encoder", 1, 1).to_numpy()
    assert greedy(t5.trace(TEXT, patch={("encoder", 1, 1): atlas.Pattern(np.roll(own, 1, axis=1))}, regenerate=True))


def test_a_run_of_the_app_can_ask_for_either(t5: Any) -> None:
    class Silent:
        def tell(self, *_: Any) -> None: ...

        def note(self, *_: Any) -> None: ...

    service = Service()
    name = service.give(t5)
    heads = tuple(EVERY_CROSS_HEAD)
    kept, anew = (
        service.run(Run((name, None, None, None), TEXT, ablate=heads, regenerate=regenerate), Silent())
        for regenerate in (False, True)
    )
    assert (kept.provenance["notes"], anew.provenance["notes"]) == ([KEPT], [ANEW])
    assert read(kept) != read(anew)
