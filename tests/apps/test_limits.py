"""What the operator of a server allows: by options, by the environment, and where nothing is said."""

from __future__ import annotations

import asyncio
import threading

import pytest

from atlas import serving
from atlas.admission import Limits
from atlas.app import AttentionAtlas
from atlas.cli import build_parser
from atlas.cli.serve_options import for_others
from atlas.engine.running.cost import cost_of_passes, cost_of_text
from atlas.engine.running.service import Service
from atlas.errors import AtlasError, TextTooLong
from atlas.scheduler import Scheduler
from atlas.serving import AT_ONCE, CORPUS_WORKERS, MEMORY, SECONDS, SHARE, corpus_workers_of, limits_of
from atlas.state.opening import Opening, begin
from tests.engine.families import loaded

GB = 10**9

TEXT = "the doctor said that she was tired"


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch):
    for name in (AT_ONCE, MEMORY, SECONDS, SHARE, CORPUS_WORKERS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(serving, "free_bytes", lambda: 8 * GB)


def served(*arguments: str) -> Limits:
    """What `atlas serve` allows with these options."""
    args = build_parser().parse_args(["serve", *arguments])
    return limits_of(args.work_at_once, args.work_memory, args.work_seconds, args.visitor_share, always=for_others(args))


def test_who_opens_the_app_for_themselves_has_no_limits():
    assert served() == Limits()


def test_a_server_for_others_leaves_half_of_itself_to_the_others():
    assert served("--address", "0.0.0.0") == Limits(None, 4 * GB, 600, 0.5)
    assert limits_of() == Limits(None, 4 * GB, 600, 0.5)  # `panel serve` may have visitors


def test_options_come_before_the_environment_and_that_before_what_is_usual(monkeypatch):
    monkeypatch.setenv(AT_ONCE, "3")
    monkeypatch.setenv(MEMORY, "2.5")
    monkeypatch.setenv(SECONDS, "none")
    monkeypatch.setenv(SHARE, "0.25")
    assert served() == Limits(3, int(2.5 * GB), None, 0.25)
    given = served("--work-at-once", "2", "--work-memory", "none", "--work-seconds", "30", "--visitor-share", "1")
    assert given == Limits(2, None, 30, 1)
    assert served("--basic-auth", "users.json", "--work-memory", "1") == Limits(3, GB, None, 0.25)


def test_a_corpus_goes_to_workers_only_where_the_operator_says_so(monkeypatch):
    parse = build_parser().parse_args
    assert corpus_workers_of(parse(["serve"]).corpus_workers) == 0
    monkeypatch.setenv(CORPUS_WORKERS, "2")
    assert corpus_workers_of(parse(["serve"]).corpus_workers) == 2
    assert corpus_workers_of(parse(["serve", "--corpus-workers", "0"]).corpus_workers) == 0
    service = Service()
    service.corpus_workers = corpus_workers_of()
    assert AttentionAtlas(service).workspace.corpora.workers == 2
    monkeypatch.setattr(serving, "has_dask", lambda: False)
    with pytest.raises(AtlasError, match=r"--corpus-workers \(ATLAS_CORPUS_WORKERS\) needs the package distributed"):
        corpus_workers_of()
    monkeypatch.setenv(CORPUS_WORKERS, "-1")
    with pytest.raises(AtlasError, match="ATLAS_CORPUS_WORKERS is '-1', which is no number of processes"):
        corpus_workers_of()


@pytest.mark.parametrize(
    ("name", "written"), [(AT_ONCE, "0"), (AT_ONCE, "many"), (MEMORY, "-1"), (SECONDS, "nan"), (SHARE, "2"), (SHARE, "inf")]
)
def test_a_mistake_of_the_operator_is_said_with_its_name(name, written, monkeypatch):
    monkeypatch.setenv(name, written)
    with pytest.raises(AtlasError, match=f"{name} is '{written}', which is no number of"):
        limits_of()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--work-at-once", "0"],
        ["--work-memory", "0"],
        ["--work-seconds", "x"],
        ["--visitor-share", "1.5"],
        ["--corpus-workers", "-1"],
    ],
)
def test_a_wrong_option_is_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit):
        build_parser().parse_args(["serve", *arguments])
    assert "usage: atlas" in capsys.readouterr().err


def test_the_help_has_every_setting_with_its_variable(capsys):
    with pytest.raises(SystemExit):
        build_parser().parse_args(["serve", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    for option, name in (
        ("--work-at-once", AT_ONCE),
        ("--work-memory", MEMORY),
        ("--work-seconds", SECONDS),
        ("--visitor-share", SHARE),
    ):
        assert option in said
        assert name in said


# -- what is weighed ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "T5"])
def test_a_text_is_weighed_before_its_run_as_the_run_weighs_it(name, monkeypatch):
    from atlas.engine.running import budget
    from atlas.engine.running.capture import DEFAULT_CAPTURE

    model, weighed = loaded(name), []
    estimate, here = budget.estimate, threading.get_ident()

    def noted(*given):
        # A thread that an earlier test left behind may weigh a text of its own meanwhile.
        if threading.get_ident() == here:
            weighed.append(given)
        return estimate(*given)

    monkeypatch.setattr(budget, "estimate", noted)
    target = "the doctor said" if "cross" in model.kinds else None
    cost = cost_of_text(model, TEXT, None, target, truncate=False, groups=DEFAULT_CAPTURE)
    model.trace(TEXT, target=target)
    before, *_, own = weighed
    assert own == before
    assert cost.bytes == sum(estimate(*own).values())
    assert cost.tokens == own[1].n_source + own[1].n_target


def test_a_text_that_will_not_run_weighs_nothing():
    for text in ("", " ", "\ud800", "word " * 5_000):
        assert cost_of_text(loaded("GPT-2"), text, None, None, truncate=False, groups=()).bytes == 0
    with pytest.raises(TextTooLong):
        loaded("GPT-2").trace("word " * 5_000)


def test_more_passes_take_more_memory_up_to_a_batch_and_gradients_more_than_none():
    trace = loaded("GPT-2").trace(TEXT)
    one, ten, endless = (cost_of_passes(trace, passes) for passes in (1, 10, 10**6))
    assert ten.bytes == 10 * one.bytes < endless.bytes == 512 << 20
    assert (one.tokens, ten.tokens) == (7, 70)
    assert cost_of_passes(trace, 1, gradients=True).bytes > one.bytes


# -- on a page ---------------------------------------------------------------------------------------------------------------


def test_a_run_that_is_too_large_for_a_visitor_is_refused_where_the_page_shows_its_errors():
    async def journey(limits: Limits) -> tuple[str, str]:
        app = AttentionAtlas(Service(scheduler=Scheduler(limits=limits)))
        pipeline, ended = app.workspace.pipeline, asyncio.Event()
        pipeline.param.watch(lambda event: ended.set() if event.new in {"ready", "failed"} else None, "status")
        begin(app.shared, Opening("gpt-mini", TEXT))
        await asyncio.wait_for(ended.wait(), 60)
        return pipeline.status, pipeline.error

    status, error = asyncio.run(journey(Limits(memory=100_000, share=0.5)))
    assert status == "failed"
    assert "MB of memory, and the work of one visitor may take 0.05 MB on this server. Shorten the text" in error
    assert asyncio.run(journey(Limits(memory=GB, seconds=600, share=0.5))) == ("ready", "")


def test_both_sides_of_a_comparison_are_one_session():
    room = AttentionAtlas(Service()).workspace
    assert room.second._make().session is room.pipeline.session
