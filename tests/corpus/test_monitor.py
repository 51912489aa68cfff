"""A monitor: figures of a run over the sampled texts, its user's outputs and errors untouched, its cost bounded."""

from __future__ import annotations

import copy
import os
import threading
import time
import warnings
from typing import Any

import numpy as np
import pytest
import torch

import atlas
from atlas.corpus.monitored import Monitored
from atlas.engine.running.context import current
from atlas.errors import CorpusError, UnknownName
from tests.engine.families import BY_NAME, TARGET, TEXT

WORDS = sorted(set(TEXT.split()))
FREE = 1e9
"""A share that no monitor reaches."""


def texts(n: int, seed: int = 0) -> list[str]:
    made = np.random.default_rng(seed)
    return [" ".join(made.choice(WORDS, made.integers(8, 16))) for _ in range(n)]


def pair_of(name: str) -> tuple[Any, Any]:
    """A model of its own and its tokenizer."""
    if name == "gpt-mini":
        model = atlas.load(name, device="cpu")
        return model.hf, model.tokenizer
    family = BY_NAME[name]
    # In single precision the sixth digit of T5's weights depends on what else the processor is given: its scores are not scaled.
    model = family.model()
    return model.double() if name == "T5" else model, family.tokenizer()


def inputs(pair: tuple[Any, Any], given: str | list[str], **options: Any) -> dict[str, Any]:
    hf, tokenizer = pair
    made = dict(tokenizer(given, return_tensors="pt", **options))
    if hf.config.is_encoder_decoder:
        made["decoder_input_ids"] = torch.tensor([[0, *tokenizer(TARGET)["input_ids"][:-1]]] * len(made["input_ids"]))
    return {name: value for name, value in made.items() if name != "token_type_ids" or hf.config.model_type == "bert"}


def generous(monitor: Any) -> Any:
    """A running monitor that leaves nothing out for its cost."""
    monitor.start().account.share = FREE
    return monitor


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "T5", "gpt-mini"])
def test_figures_are_those_of_a_run_over_the_sampled_texts_and_outputs_are_untouched(name: str, tmp_path: Any) -> None:
    pair, given = pair_of(name), texts(20)
    hooks = len(pair[0]._forward_hooks), len(pair[0]._forward_pre_hooks)
    with torch.no_grad():
        plain = [pair[0](**inputs(pair, text)).logits for text in given]
        monitor = generous(atlas.Monitor(pair, every=2, out=tmp_path / "monitored"))
        seen = [pair[0](**inputs(pair, text)).logits for text in given]
        found = monitor.stop()
    assert all(torch.equal(one, other) for one, other in zip(plain, seen, strict=True))
    assert (len(pair[0]._forward_hooks), len(pair[0]._forward_pre_hooks)) == hooks
    assert (monitor.account.calls, monitor.account.sampled, monitor.problems) == (20, 10, [])
    targets = {"target": TARGET} if name == "T5" else {}
    expected = atlas.corpus.run(
        atlas.load(pair), [{"text": text, **targets} for text in given[1::2]], tmp_path / "run", workers=0
    )
    assert list(found.heads.columns) == list(expected.heads.columns)
    numbers = [table.heads.select_dtypes("number").to_numpy(float) for table in (found, expected)]
    np.testing.assert_allclose(*numbers, rtol=1e-5, atol=1e-6)
    assert not atlas.corpus.drift(expected, atlas.open(tmp_path / "monitored"))


def test_a_padded_batch_counts_as_its_texts_without_padding(tmp_path: Any) -> None:
    pair, given = pair_of("GPT-2"), texts(6)
    with torch.no_grad():
        monitor = generous(atlas.Monitor(pair, every=1, out=tmp_path / "monitored", rows=6))
        for side in ("left", "right"):
            pair[0](**inputs(pair, given, padding=True, padding_side=side))
        found = monitor.stop()
    expected = atlas.corpus.run(atlas.load(pair), given * 2, tmp_path / "run", workers=0)
    np.testing.assert_allclose(found.heads["previous"], expected.heads["previous"], atol=1e-6)
    assert found.heads["n"].eq(12).all()


def test_its_share_of_the_time_stays_under_the_budget_and_what_it_leaves_out_is_counted(tmp_path: Any) -> None:
    pair, now = pair_of("GPT-2"), [0.0]
    # Counted, not timed: a pass of the user takes 1, one of the monitor 5.
    hook = pair[0].transformer.wte.register_forward_hook(lambda *_: now.__setitem__(0, now[0] + (1 if current() is None else 5)))
    monitor, given = atlas.Monitor(pair, every=10, out=tmp_path / "out", clock=lambda: now[0]), inputs(pair, TEXT)
    with torch.no_grad(), monitor:
        for _ in range(1_000):
            pair[0](**given)
            assert monitor.account.own_seconds <= 0.02 * monitor.account.model_seconds
    hook.remove()
    account = monitor.account
    assert account.model_seconds == account.calls == 1_000
    assert account.sampled + account.skipped["budget"] == 100
    assert account.sampled == 4  # 1,000 x 0.02 / 5
    assert 0 < account.taken <= 0.02
    assert f"{account.skipped['budget']} budget" in str(account)


def test_generation_is_sampled_at_its_prompt_and_writes_the_same(tmp_path: Any) -> None:
    model = atlas.load("gpt-mini", device="cpu")
    pair = model.hf, model.tokenizer
    given, options = inputs(pair, "The doctor said that she"), {"max_new_tokens": 6, "do_sample": False}
    plain = pair[0].generate(**given, **options)
    monitor = generous(atlas.Monitor(model, every=1, out=tmp_path))
    written = pair[0].generate(**given, **options)
    found = monitor.stop()
    assert torch.equal(plain, written)
    assert (monitor.account.calls, monitor.account.decoding, monitor.account.texts) == (6, 5, 1)
    assert found.provenance["tokens"] == given["input_ids"].shape[1]


def test_calls_that_cannot_be_sampled_are_said_and_raise_nothing(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = pair_of("BART")
    monitor = generous(atlas.Monitor(pair, every=1, out=tmp_path / "a"))
    pair[0].generate(input_ids=inputs(pair, TEXT)["input_ids"], max_new_tokens=1, do_sample=False)
    with pytest.warns(UserWarning, match="encoder_outputs") as warned:
        found = monitor.stop()
    assert found is None
    assert len(warned) == len(monitor.problems) == 1
    assert monitor.account.skipped["unfit"] == 1
    pair = pair_of("GPT-2")
    monitor = generous(atlas.Monitor(pair, every=1, out=tmp_path / "b"))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error")  # also the warning must not reach the call
        embedded = pair[0].transformer.wte(inputs(pair, TEXT)["input_ids"])
        pair[0](inputs_embeds=embedded)
        with pytest.raises(ValueError, match="specify"):
            pair[0]()
        monkeypatch.setattr(Monitored, "add", lambda *_: 1 / 0)
        for text in texts(3):
            pair[0](inputs(pair, text)["input_ids"])
    monkeypatch.undo()
    assert monitor.stop() is not None or monitor.account.sampled == 0
    assert "inputs_embeds" in monitor.problems[0]
    assert "ZeroDivisionError" in monitor.problems[1]


def test_calls_of_several_threads_get_their_own_results(tmp_path: Any) -> None:
    pair, given = pair_of("GPT-2"), texts(8)
    with torch.no_grad():
        plain = [pair[0](**inputs(pair, text)).logits for text in given]
    tokenized, wrong = [inputs(pair, text) for text in given], []

    def work(at: int) -> None:
        with torch.no_grad():
            for turn in range(24):
                chosen = (at + turn) % len(given)
                if not torch.equal(pair[0](**tokenized[chosen]).logits, plain[chosen]):
                    wrong.append(chosen)

    monitor = generous(atlas.Monitor(pair, every=5, out=tmp_path))
    threads = [threading.Thread(target=work, args=(at,)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    found = monitor.stop()
    assert not wrong
    assert not monitor.problems
    assert (monitor.account.calls, monitor.account.sampled) == (96, 19)
    assert found.heads["n"].eq(19).all()


def test_training_goes_on_as_without_it(tmp_path: Any) -> None:
    def trained(monitored: bool) -> list[float]:
        torch.manual_seed(0)
        pair = pair_of("GPT-2")
        hf = pair[0].train()
        steps = torch.optim.SGD(hf.parameters(), lr=0.01)
        monitor = generous(atlas.Monitor(pair, every=1, out=tmp_path)) if monitored else None
        torch.manual_seed(1)
        losses = []
        for text in texts(4):
            ids = inputs(pair, text)["input_ids"]
            loss = hf(ids, labels=ids).loss
            loss.backward()
            steps.step()
            losses.append(loss.item())
        assert all(module.training for module in hf.modules())
        if monitor is not None:
            assert monitor.stop().provenance["texts"] == 4
        return losses

    assert trained(monitored=True) == trained(monitored=False)


def test_planted_drift_in_the_monitored_model_is_found_and_named(tmp_path: Any) -> None:
    layer, head = 2, 1
    before = atlas.corpus.run(atlas.load(pair_of("GPT-2")), texts(40, 1), tmp_path / "before", workers=0)
    for altered in (False, True):
        pair = pair_of("GPT-2")
        if altered:
            width = pair[0].config.n_embd // pair[0].config.n_head
            with torch.no_grad():  # without queries it looks at all tokens alike
                attention = pair[0].transformer.h[layer].attn.c_attn
                attention.weight[:, head * width : (head + 1) * width] = 0
                attention.bias[head * width : (head + 1) * width] = 0
        monitor = generous(atlas.Monitor(pair, every=2, out=tmp_path / f"{altered}"))
        with torch.no_grad():
            for text in texts(80, 2):
                pair[0](**inputs(pair, text))
        monitor.stop()
        found = atlas.corpus.drift(before, atlas.open(tmp_path / f"{altered}"))
        assert ["L2 H1" in found.sentence, len(found.heads)] == [altered, int(altered)], found.sentence


def test_monitors_of_one_model_add_up_and_refuse_other_folders(tmp_path: Any) -> None:
    pair = pair_of("GPT-2")
    atlas.corpus.run(atlas.load(pair), texts(2), tmp_path / "run", workers=0)
    out, old = tmp_path / "out", []
    for _ in range(2):
        monitor = generous(atlas.Monitor(pair, every=1, out=out))
        with pytest.raises(CorpusError, match="already"):
            atlas.Monitor(pair, out=out).start()
        with torch.no_grad():
            for text in texts(3):
                pair[0](**inputs(pair, text))
        found = monitor.stop()
        if not old:  # the first process ended two days ago, and one was killed as it wrote
            old = [*out.glob("tables-*"), out / ".tables-half.0"]
            (out / "tables-of-another").mkdir()
            old[-1].mkdir()
            for each in old:
                os.utime(each, (time.time() - 2 * 86_400,) * 2)
    assert len(old) == 2
    assert not any(each.exists() for each in old)
    assert (out / "tables-of-another").exists()  # it may be about to be pointed to
    assert found.provenance["texts"] == 6
    assert len(list((out / "shards").iterdir())) == 2
    with pytest.raises(CorpusError, match=r"corpus\.run"):
        atlas.Monitor(pair, out=tmp_path / "run").start()
    with pytest.raises(CorpusError, match="another model"):
        atlas.Monitor(pair_of("Llama"), out=out).start()
    with pytest.raises(UnknownName, match="in memory"):
        atlas.Monitor("gpt-mini")
    generous(atlas.Monitor(pair, out=tmp_path / "again")).stop()  # the refused ones left nothing behind


def test_an_interrupted_call_and_a_copied_model_leave_the_monitor_as_it_is(tmp_path: Any) -> None:
    pair = pair_of("GPT-2")
    monitor, given = generous(atlas.Monitor(pair, every=1, out=tmp_path)), inputs(pair, TEXT)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with torch.no_grad():
        hook = pair[0].transformer.ln_f.register_forward_pre_hook(interrupt)
        with pytest.raises(KeyboardInterrupt):
            pair[0](**given)
        hook.remove()
        copy.deepcopy(pair[0])(**given)
        for _ in range(2):
            pair[0](**given)
    assert monitor.stop().provenance["texts"] == monitor.account.calls == 2
    assert not monitor.problems
