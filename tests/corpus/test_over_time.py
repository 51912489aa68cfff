"""Heads over checkpoints: a role appears at the checkpoint from which on a head keeps it, and folders become a series."""

from __future__ import annotations

import numpy as np
import pytest

import atlas
from atlas.cli import main
from atlas.cli.serve import opened_corpora
from atlas.corpus import over_time, run_revisions
from atlas.corpus.revisions import folder_of
from atlas.errors import CorpusError, UnknownName
from atlas.tracing.over_time import RULE, step_of
from tests.corpus import planted
from tests.tracing.corpora import METRICS, corpus, values


def at(step, previous, *, head=4, seed=None, **more):
    """A corpus of a checkpoint whose head has this much of the previous token."""
    numbers = values(40, seed=step if seed is None else seed)
    numbers[:, head, METRICS.index("previous")] = np.clip(previous + numbers[:, head, 0] / 50, 0, 1)
    return corpus(numbers, **({"where": f"/runs/step{step}"} | more))


def test_a_role_appears_where_a_head_keeps_it_and_not_where_it_was_lost_again():
    steps = {0: 0.15, 100: 0.8, 200: 0.2, 300: 0.75, 1000: 0.9}
    found = over_time([at(step, steps[step]) for step in (300, 0, 1000, 200, 100)])
    assert found.names == ("step0", "step100", "step200", "step300", "step1000")
    assert found.counted
    (row,) = found.appears.itertuples()
    assert (row.layer, row.head, row.role, row.first, row.step, row.name) == (1, 1, "previous", 100, 300, "step300")
    assert row.lo < row.value < row.hi
    assert found.sentence.splitlines() == ["Previous token: L1 H1 at step300.", RULE]
    lost = over_time([at(step, amount) for step, amount in ((0, 0.2), (1, 0.8), (2, 0.2))])
    assert lost.appears["step"].isna().all()
    assert lost.appears["first"].tolist() == [1]
    assert "1 role was earned and lost again" in lost.sentence


def test_the_table_has_the_figures_of_every_corpus():
    held = [at(step, 0.3) for step in (0, 50)]
    table = over_time(held).table(["previous", "distance"])
    assert len(table) == 2 * 6 * 2
    for step, each in zip((0, 50), held, strict=True):
        for metric in ("previous", "distance"):
            own = table[(table["step"] == step) & (table["metric"] == metric)]
            expected = each.heads
            for column, end in {"value": "", "lo": "_lo", "hi": "_hi", "uniform": "_uniform", "n": "_n"}.items():
                np.testing.assert_array_equal(own[column], expected[f"{metric}{end}"])
    with pytest.raises(UnknownName, match="there are"):
        over_time(held).table(["prevous"])


def test_steps_are_read_from_names_given_or_places():
    names = ("step1000", "checkpoint-500", "run_epoch3", "heads", "v2024", "step-7-final")
    assert [step_of(name) for name in names] == [1000, 500, 3, None, 2024, 7]
    plain = [at(step, 0.2, where=f"/runs/{name}") for step, name in ((0, "late"), (1, "early"))]
    found = over_time(plain)
    assert found.names == ("late", "early")
    assert not found.counted
    assert over_time(plain, [9, 3]).names == ("early", "late")
    assert not over_time({"a": plain[0], "b": corpus(values(30, seed=9), where="/x/b")}).same_texts
    with pytest.raises(UnknownName, match="takes 2 checkpoints"):
        over_time(plain[:1])
    with pytest.raises(UnknownName, match="give one for each"):
        over_time(plain, [1])
    with pytest.raises(UnknownName, match="different shape"):
        over_time([plain[0], corpus(values(30)[:, :4], kinds=(("decoder", 2, 2),))])


SHARPNESS = {"step0": 0.02, "step100": 1.0}
"""Checkpoint -> how sharply the previous-token head looks."""


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A folder of checkpoints, in which one head is changed step by step."""
    folder = tmp_path_factory.mktemp("training")
    for name, previous in SHARPNESS.items():
        planted.model(previous).save_pretrained(folder / name)
        planted.tokenizer().save_pretrained(folder / name)
    draw = np.random.default_rng(0)
    # No word twice, so that no head but the altered one has anything to do with words.
    (folder / "texts.txt").write_text("\n".join(" ".join(draw.permutation(planted.WORDS[2:])[:12]) for _ in range(12)))
    return folder


def test_the_checkpoint_at_which_a_head_is_there_is_named(checkpoints, tmp_path, capsys):
    out = tmp_path / "heads"
    command = ["corpus", str(checkpoints), str(checkpoints / "texts.txt"), "-o", str(out), "--workers", "0", "-q"]
    assert main([*command, "--revisions", ",".join(SHARPNESS), "--drills"]) == 0
    said = capsys.readouterr().out
    assert "Previous token: L0 H0 at step100." in said
    assert "Previous token (drill): L0 H0 at step100." in said
    assert "Induction (drill): L1 H1 at step100." in said  # it reads what the other writes
    assert said.count("12 texts") == len(SHARPNESS)
    opened = opened_corpora([str(out)])
    assert list(opened) == list(SHARPNESS)  # as training went, not as folders are sorted
    found = over_time(opened)
    assert found.appears.set_index("role").loc["previous", ["layer", "head", "step"]].tolist() == [0, 0, 100]
    assert found.same_texts
    sharp = found.table(["previous"])
    sharp = sharp[(sharp["layer"] == 0) & (sharp["head"] == 0)].set_index("step")["value"]
    model = atlas.load(str(checkpoints / "step0"), device="cpu")
    texts = (checkpoints / "texts.txt").read_text().splitlines()
    assert sharp[0] == pytest.approx(np.mean([model.trace(text, capture=()).heads["previous"][0] for text in texts]), abs=1e-6)


def test_checkpoints_that_are_not_there_are_named(checkpoints, tmp_path):
    with pytest.raises(CorpusError, match="no folder 'step400'"):
        run_revisions(str(checkpoints), ["a text"], tmp_path, ["step0", "step400"], workers=0)
    with pytest.raises(CorpusError, match="named once"):
        run_revisions(str(checkpoints), ["a text"], tmp_path, ["step0", "step0"], workers=0)
    assert folder_of("refs/pr/1") == "refs-pr-1"
    with pytest.raises(CorpusError):
        folder_of("..")
