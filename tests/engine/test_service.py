"""The Service under many readers: one load, one run at a time, bounded memory, and nobody suffers for another's leaving."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import atlas
from atlas.engine.running import service as module
from atlas.engine.running.service import IN_MEMORY, KEPT_MODELS, Run, Service, Shelf, size_of
from atlas.errors import ModelNotFound, TextTooLong
from tests.engine.families import TARGET, TEXT, loaded

PATIENCE = 10.0
"""Seconds until a test calls something hung."""


class Left(Exception):
    """Somebody does not wait any more."""


class Reader:
    """Who waits for a run: keeps what it is told, and may leave."""

    def __init__(self):
        self.told = []
        self.left = False
        self.heard = threading.Event()

    def note(self, stage, message, share=-1.0):
        self.told.append((stage, message, share))
        self.heard.set()

    def tell(self, stage, message, share=-1.0):
        self.note(stage, message, share)
        if self.left:
            raise Left

    def hears(self, words):
        deadline = time.monotonic() + PATIENCE
        while not any(words in message for _, message, _ in self.told):
            assert time.monotonic() < deadline, f"nobody said {words!r}: {self.told}"
            time.sleep(0.005)


def trace_of(n=2):
    return atlas.from_attention(np.full((1, 1, n, n), 1 / n, np.float32), [str(i) for i in range(n)])


class FakeModel:
    """Runs texts, one step at a time where the test says so."""

    def __init__(self, name, fail=None):
        self.name, self.hf = name, object()
        self.fail = fail
        self.inside = self.most_inside = self.runs = 0
        self.gate, self.began = threading.Event(), threading.Event()
        self.gate.set()
        self.lock = threading.Lock()
        self.asked = []

    def trace(self, text, pair=None, target=None, *, progress, **more):
        with self.lock:
            self.runs += 1
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
            self.asked.append((text, pair, target, more))
        self.began.set()
        try:
            assert self.gate.wait(PATIENCE)
            progress(1, 2)
            if self.fail is not None:
                raise self.fail
            progress(2, 2)
            return trace_of()
        finally:
            with self.lock:
                self.inside -= 1


class Loader:
    """Makes fake models and counts how often it was asked."""

    def __init__(self):
        self.calls, self.hows, self.models = [], [], {}
        self.gate, self.began = threading.Event(), threading.Event()
        self.gate.set()
        self.fail = None

    def __call__(self, name, *how, **_):
        self.calls.append(name)
        self.hows.append(how)
        self.began.set()
        assert self.gate.wait(PATIENCE)
        if self.fail is not None:
            fail, self.fail = self.fail, None
            raise fail
        self.models[name] = FakeModel(name)
        return self.models[name]


def ask(name, text="text", **more):
    return Run((name, None, None, None), text, **more)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.01)


@pytest.fixture
def loader():
    return Loader()


@pytest.fixture
def service(loader):
    return Service(loader)


@pytest.fixture
def pool(loader):
    with ThreadPoolExecutor(16) as made:
        yield made
        loader.gate.set()
        for model in loader.models.values():
            model.gate.set()


# -- loading -----------------------------------------------------------------------------------------------------------


def test_many_sessions_at_once_are_one_load(service, loader, pool):
    loader.gate.clear()
    readers = [Reader() for _ in range(12)]
    runs = [pool.submit(service.run, ask("m", f"text {i}"), reader) for i, reader in enumerate(readers)]
    for reader in readers:
        reader.hears("Loading m")
    loader.gate.set()
    traces = [run.result(PATIENCE) for run in runs]
    assert loader.calls == ["m"]
    assert len({id(trace) for trace in traces}) == 12


def test_another_revision_device_or_precision_is_another_model(service, loader):
    hows = [(None, None, None), ("v2", None, None), (None, "cpu", None), (None, None, "bfloat16")]
    for how in hows:
        service.model(("m", *how), Reader())
        service.model(("m", *how), Reader())
    assert (loader.calls, loader.hows) == (["m"] * 4, hows)


def test_models_are_kept_up_to_a_number_the_least_recently_used_goes(service, loader):
    names = [f"m{i}" for i in range(KEPT_MODELS)]
    for name in names:
        service.model((name, None, None, None), Reader())
    service.model((names[0], None, None, None), Reader())  # used again: the second is the oldest now
    service.model(("new", None, None, None), Reader())
    service.model((names[0], None, None, None), Reader())
    assert loader.calls == [*names, "new"]
    service.model((names[1], None, None, None), Reader())
    assert loader.calls == [*names, "new", names[1]]


def test_who_leaves_while_a_model_loads_does_not_stop_it_for_the_others(service, loader, pool):
    loader.gate.clear()
    first, second = Reader(), Reader()
    one = pool.submit(service.run, ask("m", "one"), first)
    assert loader.began.wait(PATIENCE)
    two = pool.submit(service.run, ask("m", "two"), second)
    second.hears("Loading m")
    first.left = True  # the very one whose thread does the loading
    loader.gate.set()
    with pytest.raises(Left):
        one.result(PATIENCE)
    assert two.result(PATIENCE) is not None
    assert loader.calls == ["m"]
    assert [text for text, *_ in loader.models["m"].asked] == ["two"]


def test_who_has_left_before_the_turn_came_loads_nothing(service, loader):
    reader = Reader()
    reader.left = True
    with pytest.raises(Left):
        service.run(ask("m"), reader)
    assert loader.calls == []


def test_a_load_that_failed_is_tried_again_by_the_next(service, loader, pool):
    loader.gate.clear()
    loader.fail = ModelNotFound("There is no model 'm'.")
    readers = [Reader(), Reader()]
    runs = [pool.submit(service.run, ask("m", str(i)), reader) for i, reader in enumerate(readers)]
    for reader in readers:
        reader.hears("Loading m")
    loader.gate.set()
    failed = [run for run in runs if isinstance(run.exception(PATIENCE), ModelNotFound)]
    assert failed
    assert service.run(ask("m", "again"), Reader()) is not None


def test_the_progress_of_a_download_is_passed_on(pool):
    class Download:
        what, done, total = "model.safetensors", 25, 100

    def loader(name, revision, device, dtype, *, progress):
        progress(Download)
        Download.total = None
        progress(Download)
        return FakeModel(name)

    reader = Reader()
    Service(loader).run(ask("m"), reader)
    assert ("loading", "Fetching model.safetensors", 0.25) in reader.told
    assert ("loading", "Fetching model.safetensors", -1.0) in reader.told


# -- running -----------------------------------------------------------------------------------------------------------


def test_one_run_at_a_time_for_a_model_and_the_others_are_told_that_they_wait(service, loader, pool):
    service.model(("m", None, None, None), Reader())
    model = loader.models["m"]
    model.gate.clear()
    readers = [Reader() for _ in range(5)]
    first = pool.submit(service.run, ask("m", "0"), readers[0])
    assert model.began.wait(PATIENCE)
    others = [pool.submit(service.run, ask("m", str(i)), reader) for i, reader in enumerate(readers[1:], 1)]
    for reader in readers[1:]:
        reader.hears("Waiting for another run of m")
    assert model.runs == 1
    model.gate.set()
    for run in (first, *others):
        run.result(PATIENCE)
    assert (model.runs, model.most_inside) == (5, 1)
    assert ("tracing", "Running m", 0.5) in readers[0].told
    assert not any("Waiting" in message for _, message, _ in readers[0].told)


def test_two_models_run_beside_each_other(service, loader, pool):
    for name in ("a", "b"):
        service.model((name, None, None, None), Reader())
        loader.models[name].gate.clear()
    runs = [pool.submit(service.run, ask(name), Reader()) for name in ("a", "b")]
    assert loader.models["a"].began.wait(PATIENCE)
    assert loader.models["b"].began.wait(PATIENCE)
    for model in loader.models.values():
        model.gate.set()
    assert all(run.result(PATIENCE) is not None for run in runs)


def test_who_leaves_while_waiting_leaves_at_once_and_the_turn_goes_on(service, loader, pool):
    service.model(("m", None, None, None), Reader())
    model = loader.models["m"]
    model.gate.clear()
    first, second, third = Reader(), Reader(), Reader()
    one = pool.submit(service.run, ask("m", "1"), first)
    assert model.began.wait(PATIENCE)
    two, three = pool.submit(service.run, ask("m", "2"), second), pool.submit(service.run, ask("m", "3"), third)
    second.hears("Waiting")
    third.hears("Waiting")
    second.left = True
    with pytest.raises(Left):
        two.result(PATIENCE)  # while the first still runs
    assert not one.done()
    model.gate.set()
    assert one.result(PATIENCE) is not three.result(PATIENCE)
    assert [text for text, *_ in model.asked] == ["1", "3"]


def test_who_leaves_in_the_middle_of_a_run_frees_the_model(service, loader):
    service.model(("m", None, None, None), Reader())
    reader = Reader()

    def leave(stage, message, share=-1.0):
        reader.note(stage, message, share)
        if share == 0.5:
            raise Left

    reader.tell = leave
    with pytest.raises(Left):
        service.run(ask("m"), reader)
    assert service.run(ask("m"), Reader()) is not None
    assert len(service.shelf.kept) == 1


@pytest.mark.parametrize("error", [TextTooLong("too long"), ZeroDivisionError("by zero")])
def test_an_error_in_one_run_does_not_poison_the_next(service, loader, error):
    service.model(("m", None, None, None), Reader())
    loader.models["m"].fail = error
    with pytest.raises(type(error)):
        service.run(ask("m"), Reader())
    assert service.shelf.kept == {}
    loader.models["m"].fail = None
    assert service.run(ask("m"), Reader()) is not None
    assert loader.calls == ["m"]


def test_all_of_a_run_reaches_the_model(service, loader):
    changes = {"ablate": ("L0 H0",), "knock_out": (("L0 H0", 1, 0),), "regenerate": True}
    changes["spans"] = (("source", 0, 1, "prompt"),)
    service.run(ask("m", "a", pair="b", target="c", truncate=True, **changes), Reader())
    (asked,) = loader.models["m"].asked
    assert asked == ("a", "b", "c", {"truncate": True, "messages": None, "answer": False, **changes})


def test_of_a_conversation_its_messages_reach_the_model_and_their_answer_is_awaited(service, loader):
    service.run(ask("m", "user: a", chat=True), Reader())
    ((text, _, _, given),) = loader.models["m"].asked
    assert (text, given["messages"], given["answer"]) == (None, [{"role": "user", "content": "a"}], True)


# -- traces that are kept ----------------------------------------------------------------------------------------------


def test_the_same_run_again_is_the_same_trace_and_no_run(service, loader):
    first = service.run(ask("m"), Reader())
    reader = Reader()
    assert service.run(ask("m"), reader) is first
    assert reader.told == []
    assert loader.models["m"].runs == 1
    for other in (ask("m", "else"), ask("m", pair="x"), ask("m", truncate=True), ask("m", ablate=("L0 H0",))):
        assert service.run(other, Reader()) is not first


def test_two_who_ask_for_the_same_at_once_are_one_run(service, loader, pool):
    service.model(("m", None, None, None), Reader())
    model = loader.models["m"]
    model.gate.clear()
    one, reader = pool.submit(service.run, ask("m"), Reader()), Reader()
    assert model.began.wait(PATIENCE)
    two = pool.submit(service.run, ask("m"), reader)
    reader.hears("Waiting")
    model.gate.set()
    assert one.result(PATIENCE) is two.result(PATIENCE)
    assert model.runs == 1


def test_traces_are_kept_up_to_a_number_the_least_recently_used_goes():
    shelf = Shelf(most=3)
    traces = [trace_of() for _ in range(4)]
    for i in range(3):
        shelf.put(ask("m", str(i)), traces[i])
    assert shelf.get(ask("m", "0")) is traces[0]
    shelf.put(ask("m", "3"), traces[3])
    assert [shelf.get(ask("m", str(i))) for i in range(4)] == [traces[0], None, traces[2], traces[3]]


def test_traces_are_kept_up_to_a_number_of_bytes():
    traces = [trace_of(10) for _ in range(5)]
    each = size_of(traces[0])
    assert each == 400
    shelf = Shelf(most_bytes=2 * each)
    for i, trace in enumerate(traces):
        shelf.put(ask("m", str(i)), trace)
        assert sum(map(size_of, shelf.kept.values())) <= 2 * each
    assert list(shelf.kept.values()) == traces[3:]


def test_one_that_is_too_large_alone_is_not_kept_and_costs_the_others_nothing():
    shelf = Shelf(most_bytes=500)
    small = trace_of(10)
    shelf.put(ask("m", "small"), small)
    shelf.put(ask("m", "large"), trace_of(20))
    assert list(shelf.kept.values()) == [small]


def test_kept_traces_are_of_a_few_models_only_since_each_holds_on_to_its_own():
    shelf = Shelf(most_models=2)
    for name in ("a", "b", "a", "c"):
        shelf.put(ask(name, f"{name}{len(shelf.kept)}"), trace_of())
    assert {run.model[0] for run in shelf.kept} == {"a", "c"}


def test_what_is_captured_later_counts_as_well():
    trace = loaded("BERT").trace(TEXT, keep="qk", capture=())
    before = size_of(trace)
    layers = trace.attention_of("encoder").layers
    assert before == sum(array.nbytes for layer in layers for array in (layer.query, layer.key, layer.value))
    hidden = trace.vectors("hidden")
    assert size_of(trace) >= before + hidden.nbytes


# -- models in memory --------------------------------------------------------------------------------------------------


def test_a_model_in_memory_runs_every_time_it_is_asked(service):
    model = FakeModel("mine in memory")
    name = service.give(model)
    assert service.run(ask(name), Reader()) is not service.run(ask(name), Reader())
    assert model.runs == 2
    assert service.shelf.kept == {}


def test_two_models_of_one_name_are_told_apart(service):
    one, other = FakeModel("BertModel in memory"), FakeModel("BertModel in memory")
    names = [service.give(one), service.give(other), service.give(one)]
    assert names == ["BertModel in memory", "BertModel in memory (2)", "BertModel in memory"]
    for name, model in zip(names, (one, other, one), strict=True):
        service.run(ask(name, name), Reader())
        assert model.asked[-1][0] == name
    assert (one.runs, other.runs) == (2, 1)


def test_a_tuned_model_does_not_take_the_place_of_the_one_on_the_hub(service, loader):
    # transformers keeps the name a model was once loaded by.
    tuned = FakeModel("bert-base-uncased")
    name = service.give(tuned)
    assert name == f"bert-base-uncased {IN_MEMORY}"
    service.run(ask("bert-base-uncased"), Reader())
    assert (tuned.runs, loader.calls) == (0, ["bert-base-uncased"])
    service.run(ask(name), Reader())
    assert tuned.runs == 1


# -- with a real model -------------------------------------------------------------------------------------------------


def test_a_run_that_was_left_in_the_middle_leaves_the_model_as_it_was():
    service, model = Service(), loaded("T5")
    name = service.give(model)
    run = Run((name, None, None, None), TEXT, target=TARGET)
    expected = model.trace(TEXT, target=TARGET)
    for leave_at in (0.1, 0.5, 0.9):
        reader = Reader()

        def tell(stage, message, share=-1.0, reader=reader, at=leave_at):
            reader.note(stage, message, share)
            if share >= at:
                raise Left

        reader.tell = tell
        with pytest.raises(Left):
            service.run(run, reader)
        shares = [share for stage, _, share in reader.told if stage == "tracing"]
        assert shares == sorted(shares)
        assert shares[-2] < leave_at <= shares[-1]
    found = service.run(run, Reader())
    for kind in expected.kinds:
        np.testing.assert_array_equal(found.attention(kind), expected.attention(kind))


def test_a_text_that_does_not_fit_is_refused_and_the_next_runs():
    service, model = Service(), loaded("BERT")
    name = service.give(model)
    with pytest.raises(TextTooLong):
        service.run(Run((name, None, None, None), TEXT * 9), Reader())
    cut = service.run(Run((name, None, None, None), TEXT * 9, truncate=True), Reader())
    assert cut.attention_of("encoder").n_queries == 64
    head = cut.head_ids[5]
    without = service.run(Run((name, None, None, None), TEXT, ablate=(head,)), Reader())
    assert str(head) in str(without.provenance)
