from __future__ import annotations

import os
import shutil
import signal

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from assets.recipes.training import TIMES, WHOLE, Plan, hours_trained, last_checkpoint, train

STEPS, STOP_AT = 12, 5
PLAN = Plan(steps=STEPS, learning_rate=1e-2, warmup_steps=2, decay_share=0.4, seed=3)

pytestmark = [
    # torch's scheduler and pin-memory notices concern options that the Trainer sets itself
    pytest.mark.filterwarnings("ignore::FutureWarning:torch"),
]


def tiny():
    torch.manual_seed(1)
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=50,
            n_positions=16,
            n_embd=16,
            n_layer=2,
            n_head=2,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=0,
            eos_token_id=0,
        )
    )


def batch(step):
    ids = torch.randint(50, (4, 16), generator=torch.Generator().manual_seed(step))
    return {"input_ids": ids, "labels": ids.clone()}


def run(folder, rule=batch):
    model = tiny()
    outcome = train(model, rule, folder, PLAN, autocast=False, log=print, log_steps=1)
    return model, outcome


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run(tmp_path_factory.mktemp("whole"))


def test_an_uninterrupted_run_finishes_and_learns(whole):
    _, outcome = whole
    assert (outcome.step, outcome.finished, outcome.stopped_by_signal) == (STEPS, True, False)
    assert [step for step, _ in outcome.losses] == list(range(1, STEPS + 1))


def test_the_time_of_all_stretches_is_added_up(tmp_path):
    assert hours_trained(tmp_path) == 0
    run(tmp_path)
    first = hours_trained(tmp_path)
    assert 0 < first < 0.1
    (tmp_path / TIMES).write_text((tmp_path / TIMES).read_text() + '{"step": 12, "seconds": 3600.0}\n')
    assert hours_trained(tmp_path) == pytest.approx(first + 1)


def test_a_terminated_run_goes_on_exactly_where_it_was(whole, tmp_path):
    def stopped(step):
        if step == STOP_AT - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return batch(step)

    before = signal.getsignal(signal.SIGTERM)
    _, first = run(tmp_path, stopped)
    assert signal.getsignal(signal.SIGTERM) == before
    assert first.stopped_by_signal
    assert not first.finished
    assert first.step < STEPS
    assert last_checkpoint(tmp_path, clean=False).name == f"checkpoint-{first.step}"

    model, second = run(tmp_path)
    assert second.finished
    assert second.losses == whole[1].losses
    for one, other in zip(model.parameters(), whole[0].parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_checkpoint_cut_off_while_written_is_passed_over(whole, tmp_path):
    run(tmp_path)
    good = last_checkpoint(tmp_path, clean=False)
    broken = tmp_path / f"checkpoint-{STEPS + 7}"
    shutil.copytree(good, broken)
    (broken / WHOLE).unlink()
    (broken / "model.safetensors").write_bytes(b"cut off")
    assert last_checkpoint(tmp_path, clean=False) == good
    assert broken.exists()
    assert last_checkpoint(tmp_path, clean=True) == good
    assert not broken.exists()


def test_a_finished_run_started_again_stays_finished(whole, tmp_path):
    first, _ = run(tmp_path)
    again, outcome = run(tmp_path)
    assert outcome.finished
    for one, other in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_time_that_is_up_stops_with_a_checkpoint(tmp_path):
    model = tiny()
    outcome = train(model, batch, tmp_path, PLAN, minutes=0.0, autocast=False, log=print)
    assert (outcome.step, outcome.finished, outcome.stopped_by_signal) == (1, False, False)
    assert last_checkpoint(tmp_path, clean=False) is not None
