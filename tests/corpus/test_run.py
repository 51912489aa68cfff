"""A run over a corpus: its figures are those of a plain loop over traces, and being stopped changes nothing."""

from __future__ import annotations

import json
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import atlas
from atlas.cli import main
from atlas.corpus import Columns, Settings
from atlas.errors import BadTraceFile, CorpusError, TextError, UnknownName
from atlas.metrics.roles import ROLES
from atlas.tracing.head_table import measured_heads
from tests.engine.families import TARGET, gptj, loaded, tokenizer

WORDS = [
    "the",
    "doctor",
    "said",
    "that",
    "she",
    "was",
    "tired",
    "because",
    "cat",
    "ran",
    "after",
    "dog",
    "and",
    "away",
    "from",
    "a",
    "hello",
    ",",
    ".",
]
MODELS = ("BERT", "GPT-2", "T5", "GPT-J", "gpt-mini")
SMALL = Settings(shard_size=7, batch_tokens=64, words=True)


def texts(count: int = 20) -> list[dict[str, str]]:
    """Texts of 2 to 14 words, in two groups."""
    rng = np.random.default_rng(0)
    made = [" ".join(rng.choice(WORDS, size=rng.integers(2, 15))) for _ in range(count)]
    return [{"text": text, "source": "long" if len(text) > 40 else "short"} for text in made]


def model_of(name: str) -> Any:
    if name == "GPT-J":
        return atlas.load((gptj(), tokenizer(special=False)))
    if name == "T5":
        # Its scores are not scaled: in single precision the sixth digit of a weight depends on the batch that a text is in.
        return loaded(name, torch.float64)
    return atlas.load(name, device="cpu") if name == "gpt-mini" else loaded(name)


@pytest.fixture(scope="module", params=MODELS)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, list[Any]]:
    """A corpus, and the traces of its texts one by one."""
    model = model_of(request.param)
    out = tmp_path_factory.mktemp("corpus") / "out"
    given = [each | ({"target": TARGET} if "cross" in model.kinds and at % 5 else {}) for at, each in enumerate(texts())]
    corpus = atlas.corpus.run(model, given, out, workers=0, columns=Columns(group="source"), settings=SMALL)
    return corpus, [model.trace(each["text"], target=each.get("target"), capture=()) for each in given]


def long_table(traces: list[Any]) -> pd.DataFrame:
    return pd.concat([measured_heads(trace).assign(text=at) for at, trace in enumerate(traces)], ignore_index=True)


def close(found: Any, expected: Any, within: float = 1e-6) -> None:
    """Shares to 1e-6, entropies and distances to 1e-6 of their size."""
    found, expected = np.asarray(found, dtype=float), np.asarray(expected, dtype=float)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    assert np.nanmax(np.abs(found - expected) / np.maximum(1, np.abs(expected)), initial=0) < within


def test_means_and_counts_equal_a_plain_loop_over_traces(both: tuple[Any, list[Any]]) -> None:
    corpus, traces = both
    every = long_table(traces)
    sources = every["text"].map(lambda at: texts()[at]["source"])
    groups = {"": every, **{name: every[sources == name] for name in ("long", "short")}}
    assert set(corpus.groups) == set(groups)
    for group, part in groups.items():
        found = corpus.heads_of(group)
        by_head = part.groupby(["kind", "layer", "head"], sort=False)
        expected = by_head[list(corpus.metrics)].mean().reset_index()
        assert found[["kind", "layer", "head"]].equals(expected[["kind", "layer", "head"]])
        assert (found["n"] == part["text"].nunique()).all()
        for name in corpus.metrics:
            # The spread is a difference of squares: of two nearly even weights (GPT-J here) single precision keeps five digits.
            close(found[name], expected[name], 1e-5 if name == "uniformity" else 1e-6)
            np.testing.assert_array_equal(found[f"{name}_n"], by_head[name].count())
            known = part[part[name].notna()].groupby(["kind", "layer", "head"], sort=False)[f"{name}_uniform"].mean()
            close(found[f"{name}_uniform"], known.reindex(pd.MultiIndex.from_frame(found[["kind", "layer", "head"]])))
            if f"{name}_rows" in found:
                np.testing.assert_array_equal(found[f"{name}_rows"], by_head[f"{name}_rows"].sum())


def test_quantiles_are_within_their_stated_error(both: tuple[Any, list[Any]]) -> None:
    corpus, traces = both
    by_head = long_table(traces).groupby(["kind", "layer", "head"], sort=False)
    for name in ("previous", "entropy", "distance", "content_words"):
        found = corpus.quantiles(name)
        for (_, own), row in zip(by_head[name], found.itertuples(), strict=True):
            if own.isna().all():
                assert np.isnan(row.q50)
                continue
            exact = np.quantile(own.dropna(), [0.05, 0.25, 0.5, 0.75, 0.95], method="inverted_cdf")
            assert (np.abs(exact - [row.q05, row.q25, row.q50, row.q75, row.q95]) <= row.error + 1e-6).all()


def test_distances_are_the_shares_of_the_rows_that_have_a_choice(both: tuple[Any, list[Any]]) -> None:
    corpus, traces = both
    table = corpus.distances
    assert "cross" not in set(table["kind"])
    for (kind, layer, head), own in table.groupby(["kind", "layer", "head"]):
        if (layer, head) != (1, 1):
            continue
        shares = []
        for trace in traces:
            weights = trace.attention(kind, layer, head).to_numpy()
            rows = (~np.isnan(weights)).sum(1) > 1
            offsets = np.arange(weights.shape[1]) - np.arange(len(weights))[:, None]
            inside = [(offsets >= low) & (offsets <= high) for low, high in own[["low", "high"]].itertuples(index=False)]
            if rows.any():
                shares.append([np.nansum(weights[rows] * cells[rows]) / rows.sum() for cells in inside])
        close(own["mass"], np.mean(shares, axis=0))
        assert own["mass"].sum() == pytest.approx(1, abs=1e-5)
        assert own["mass_uniform"].sum() == pytest.approx(1, abs=1e-9)


def test_token_masses_are_sums_over_all_texts(both: tuple[Any, list[Any]]) -> None:
    corpus, traces = both
    table = corpus.tokens
    kind = traces[0].kinds[-1]
    for side in ("query", "key"):
        own = table[(table["kind"] == kind) & (table["layer"] == 1) & (table["head"] == 1) & (table["side"] == side)]
        assert own["mass"].is_monotonic_decreasing
        mass: dict[int, float] = {}
        for trace in traces:
            weights = trace.attention(kind, 1, 1).to_numpy()
            rows = (~np.isnan(weights)).sum(1) > 1
            tokens, keys = trace.tokens(trace.side(kind, side)), trace.tokens(trace.side(kind, "key"))
            ordinary = ~keys["special"].to_numpy() & (np.arange(len(keys)) > 0)
            per_token = np.nansum(weights[rows], 0) if side == "key" else np.nansum(weights * ordinary, 1) * rows
            for token, value in zip(tokens["id"], per_token, strict=True):
                mass[int(token)] = mass.get(int(token), 0.0) + value
        largest = sorted(mass.values(), reverse=True)[: min(10, len(own))]
        np.testing.assert_allclose(own["mass"].to_numpy()[: len(largest)], largest, rtol=1e-5)


def test_exemplars_are_the_largest_and_one_of_each_tenth_with_their_strongest_edges(both: tuple[Any, list[Any]]) -> None:
    corpus, traces = both
    every = long_table(traces).set_index(["kind", "layer", "head", "text"]).sort_index()
    table = corpus.exemplars
    given = [each["text"] for each in texts()]
    assert set(table["metric"]) <= set(ROLES)
    assert set(table["decile"]) <= set(range(-1, 10))
    own = table[(table["layer"] == 1) & (table["head"] == 0)]
    for row in own.itertuples():
        values = every.loc[(row.kind, row.layer, row.head)][row.metric].dropna()
        assert values[row.row - 1] == pytest.approx(row.value, abs=2e-6)
        assert given[row.row - 1] == row.text
        if row.decile == -1:
            assert row.value == pytest.approx(values.max(), abs=2e-6)
        else:
            # In a corpus of 20 texts a tenth is two of them; texts of one bin share the middle of their ranks.
            below, upto = (values < row.value - 0.004).mean(), (values <= row.value + 0.004).mean()
            assert below - 0.1 <= row.decile / 10 <= upto
    for label, row in own.groupby("kind").sample(3, random_state=0).iterrows():
        seen = corpus.edges(row)
        trace = traces[row["row"] - 1]
        weights = np.nan_to_num(trace.attention(row["kind"], row["layer"], row["head"]).to_numpy())
        assert seen.query_tokens == tuple(trace.tokens(trace.side(row["kind"], "query"))["token"])
        assert seen.key_tokens == tuple(trace.tokens(trace.side(row["kind"], "key"))["token"])
        for query, part in seen.edges.groupby("query"):
            strongest = np.sort(weights[query])[::-1][:8]
            np.testing.assert_allclose(part["weight"], strongest[strongest > 0], atol=2e-6)
            np.testing.assert_allclose(weights[query, part["key"]], part["weight"], atol=2e-6)
        assert corpus.edges(label).edges.equals(seen.edges)


# -- one folder, many runs ---------------------------------------------------------------------------------------------


def contents(out: Path) -> dict[str, bytes]:
    """The tables that the root names, byte by byte."""
    folder = out / json.loads((out / "zarr.json").read_text())["attributes"]["tables"]
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def shards(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "shards").iterdir())}


def run(out: Path, given: Any = None, **options: Any) -> Any:
    options = {"workers": 0, "settings": SMALL._replace(words=False)} | options
    return atlas.corpus.run("gpt-mini", texts() if given is None else given, out, **options)


def test_a_run_that_was_stopped_is_resumed_and_its_store_is_equal(tmp_path: Path) -> None:
    run(tmp_path / "whole")

    def stop(done: int, total: int) -> None:
        if done >= total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", progress=stop)
    part = atlas.open(tmp_path / "parts")
    assert part.complete.shards == 2 < part.complete.expected == 3
    assert (part.heads["n"] == 14).all()
    assert part.exemplars.empty
    # What a killed writer leaves behind is no shard.
    (tmp_path / "parts" / "shards" / ".measure-0.npz.123").write_bytes(b"half")
    before = shards(tmp_path / "parts")
    whole = run(tmp_path / "parts")
    assert whole.complete.shards == 3
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    assert {name: shards(tmp_path / "parts")[name] for name in before} == before
    assert (part.heads["n"] == 14).all()  # whoever had the older tables open still reads them


def test_tables_have_no_file_for_each_head(tmp_path: Path) -> None:
    found = run(tmp_path / "out")
    files = [path for path in contents(tmp_path / "out") if not path.endswith("zarr.json")]
    per_table = Counter(path.split("/")[1] for path in files)
    # The sketch is read a metric at a time; one without counts, such as that of entities here, needs no file.
    assert 1 < per_table.pop("sketch") <= len(found.metrics)
    assert set(per_table.values()) == {1}


def test_runs_into_one_folder_do_each_other_no_harm(tmp_path: Path) -> None:
    other = [{"text": "a cat ran . " + each["text"]} for each in texts(9)]
    run(tmp_path / "own")
    run(tmp_path / "theirs", other)
    threads = [threading.Thread(target=run, args=(tmp_path / "shared", given)) for given in (None, other, None)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert contents(tmp_path / "shared") in (contents(tmp_path / "own"), contents(tmp_path / "theirs"))
    before = shards(tmp_path / "shared")
    for name, given in (("own", None), ("theirs", other)):
        run(tmp_path / "shared", given)
        assert contents(tmp_path / "shared") == contents(tmp_path / name)
    assert shards(tmp_path / "shared") == before  # nothing was measured again


def test_a_bad_row_is_listed_and_the_rest_survive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "texts.csv"
    long = "cat " * 600
    path.write_text("text,label\nthe cat ran,a\n,b\n" + long + ",a\nthe dog ran,b\n", encoding="utf-8")
    options = ["--workers", "0", "--group", "label", "--refuse-long"]
    assert main(["corpus", "gpt-mini", str(path), "-o", str(tmp_path / "out"), *options]) == 0
    found = atlas.open(tmp_path / "out")
    assert found.bad["row"].tolist() == [2, 3]
    assert found.bad["reason"].tolist()[0] == "is empty"
    assert "too many" in found.bad["reason"].tolist()[1]
    assert found.heads["n"].tolist() == [2] * len(found.heads)
    assert (found.heads_of("a")["n"] == 1).all()
    printed = capsys.readouterr()
    assert "2 texts" in printed.out
    assert "texts.csv, row 3" in printed.err
    assert np.isnan(found.heads_of("a")["previous_lo"]).all()  # of one text there is no interval


def test_a_long_text_is_cut_unless_that_is_refused(tmp_path: Path) -> None:
    found = run(tmp_path / "out", ["cat " * 600, "the cat"])
    assert found.provenance["cut"] == 1
    assert (found.heads["n"] == 2).all()


def test_limit_sample_and_seed_choose_the_texts(tmp_path: Path) -> None:
    first = run(tmp_path / "first", limit=5)
    assert (first.heads["n"] == 5).all()
    one, again, other = (run(tmp_path / name, sample=4, seed=seed) for name, seed in (("1", 1), ("2", 1), ("3", 2)))
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    assert set(one.exemplars["row"]) == set(again.exemplars["row"]) != set(other.exemplars["row"])


# -- what cannot be done -----------------------------------------------------------------------------------------------


def test_what_cannot_be_done_says_what_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TextError, match="no text"):
        run(tmp_path / "none", [""])
    with pytest.raises(CorpusError, match="Save it to a folder"):
        atlas.corpus.run(loaded("BERT"), texts(), tmp_path / "memory", workers=2)
    with pytest.raises(TextError, match="no file or folder 'nobody/nothing'"):
        run(tmp_path / "none", "nobody/nothing")
    monkeypatch.setattr("atlas.corpus.workers.has_dask", lambda: False)
    with pytest.raises(CorpusError, match="workers=0"):
        run(tmp_path / "none", workers=None)
    assert (run(tmp_path / "here").heads["n"] == 20).all()  # without the extra, in this process


def test_a_store_that_is_damaged_or_something_else_is_refused(tmp_path: Path) -> None:
    found = run(tmp_path / "out", limit=3)
    with pytest.raises(UnknownName, match="it has ''"):
        found.heads_of("nobody")
    with pytest.raises(UnknownName, match="entropy"):
        found.quantiles("median")
    root = tmp_path / "out" / "zarr.json"
    about = json.loads(root.read_text())
    for change, words in (
        (("version", 99), "newer"),
        (("tables", "tables-0"), "cannot be read"),
        (("tables", "../out"), "cannot"),
    ):
        root.write_text(json.dumps(about | {"attributes": about["attributes"] | dict([change])}))
        with pytest.raises(BadTraceFile, match=words):
            atlas.open(tmp_path / "out")


def test_a_store_on_an_object_store_is_that_of_a_folder() -> None:
    found = run("memory://corpus/out", limit=8)  # type: ignore[arg-type]
    again = atlas.open("memory://corpus/out")
    assert again.heads.equals(found.heads)
    assert len(again.edges(0).edges)
