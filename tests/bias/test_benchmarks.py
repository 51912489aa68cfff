"""Benchmarks on tiny models: likelihoods against plain ones, files and their errors, and a run that is killed and goes on."""

from __future__ import annotations

import functools
import json
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
import transformers as tr

import atlas
from atlas.bias import benchmark, score_crows_pairs, score_stereoset
from atlas.bias.benchmarks import Run, part_of_benchmark
from atlas.bias.files import read_items
from atlas.cli import DONE, FAILED, main
from atlas.engine.running.likelihood import Likelihoods
from atlas.errors import BadData, NotCaptured, TextTooLong, UnknownName
from tests.engine import families
from tests.places import REPO

LABELS = ("stereotype", "anti-stereotype", "unrelated")

model = functools.cache(families.loaded)


def triple(name, context, words, *, category="gender", target="doctor"):
    """An example of StereoSet's file, its sentences in another order than the scores."""
    rows = [
        {"id": f"{name}-{label}", "sentence": context.replace("BLANK", word), "gold_label": label}
        for label, word in zip(LABELS, words, strict=True)
    ]
    return {"id": name, "bias_type": category, "target": target, "context": context, "sentences": rows[::-1]}


WITHIN = [
    triple("a", "the doctor said that BLANK was tired.", ("he", "she", "una")),
    triple("b", "BLANK ran after the dog", ("she", "uns", "cat"), target="dog"),
    triple("c", "the cat and the BLANK", ("doctor", "nurse", "unaing"), category="race", target="cat"),
]
NEXT = [
    {**triple("n", "the cat ran", LABELS), "sentences": [
        {"id": f"n-{label}", "sentence": text, "gold_label": label}
        for label, text in zip(LABELS, ("the dog was tired", "she said hello", "a cat"), strict=True)
    ]}
]  # fmt: skip
STEREOSET = {"version": "made up", "data": {"intrasentence": WITHIN, "intersentence": NEXT}}
PAIRS = [
    {"more": "the doctor said that he was tired", "less": "the doctor said that she was tired", "category": "gender"},
    {"more": "the nurse ran", "less": "the tired doctor ran", "category": "job", "target": "nurse"},
]


@torch.no_grad()
def log_probabilities(name, ids):
    """(place, outcome) by the model as transformers has it."""
    return model(name).hf(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1).numpy()


def ids_of(name, text, **options):
    return model(name).tokenizer(text, **options)["input_ids"]


def test_a_masked_model_is_asked_for_each_piece_of_a_word_at_a_mask_after_the_pieces_before_it():
    found = benchmark(model("BERT"), "stereoset", STEREOSET)
    row = found.examples.set_index("id").loc["c"]
    un, a, ing = ids_of("BERT", "unaing", add_special_tokens=False)
    start, end, mask = 2, 3, 4
    before = ids_of("BERT", "the cat and the", add_special_tokens=False)
    at = 1 + len(before)
    expected = [
        np.exp(log_probabilities("BERT", [start, *before, *pieces, mask, end])[at + len(pieces), piece])
        for pieces, piece in (((), un), ((un,), a), ((un, a), ing))
    ]
    assert row["unrelated_score"] == pytest.approx(np.mean(expected), rel=1e-5)
    one = log_probabilities("BERT", [start, *before, mask, end])[at, ids_of("BERT", "doctor", add_special_tokens=False)[0]]
    assert row["stereotype_score"] == pytest.approx(np.exp(one), rel=1e-5)
    assert row["difference"] == pytest.approx(np.log(row["stereotype_score"] / row["anti_stereotype_score"]))


def causal(name, ids, start):
    """Log-probabilities of a sentence: the first token after the start token alone, the others after the sentence so far."""
    rest = log_probabilities(name, ids)
    first = log_probabilities(name, [start])[0, ids[0]]
    return np.array([first, *(rest[at - 1, ids[at]] for at in range(1, len(ids)))])


def test_a_causal_model_is_asked_for_whole_sentences_with_the_unconditional_start_token():
    found = benchmark(model("GPT-2"), "stereoset", json.dumps(STEREOSET).encode())
    for row in found.examples.to_dict("records"):
        for label in ("stereotype", "anti_stereotype", "unrelated"):
            logs = causal("GPT-2", ids_of("GPT-2", row[label]), start=2)
            assert row[f"{label}_score"] == pytest.approx(2 ** np.mean(logs / np.log(2)), rel=1e-5)
    scores = {
        f"{row['id']}-{label}": row[f"{label.replace('-', '_')}_score"]
        for row in found.examples.to_dict("records")
        for label in LABELS
    }
    pd.testing.assert_frame_equal(found.scores[["category", "lms", "ss", "icat", "n", "terms"]], score_stereoset(WITHIN, scores))


def test_a_start_token_that_the_tokenizer_writes_is_read_before_every_token():
    ask = Likelihoods(atlas.load((families.BY_NAME["GPT-2"].model(), families.tokenizer(special=True))))
    text = "the cat ran"
    (found,) = ask.ask([ask.sentence(text)])
    ids = [2, *ids_of("GPT-2", text)]
    logs = [log_probabilities("GPT-2", ids)[at - 1, ids[at]] for at in range(1, len(ids))]
    assert found == pytest.approx(np.exp(np.mean(logs)), rel=1e-5)


def test_of_a_pair_a_masked_model_is_asked_for_the_tokens_that_both_share():
    found = benchmark(model("BERT"), "pairs", PAIRS)
    more, less = (ids_of("BERT", PAIRS[1][side]) for side in ("more", "less"))
    shared = {"the", "ran"}
    for ids, score in ((more, "more_score"), (less, "less_score")):
        names = model("BERT").tokenizer.convert_ids_to_tokens(ids)
        logs = [
            log_probabilities("BERT", [*ids[:at], 4, *ids[at + 1 :]])[at, ids[at]]
            for at, name in enumerate(names) if name in shared
        ]  # fmt: skip
        assert len(logs) == 2
        assert found.examples[score][1] == pytest.approx(np.sum(logs), rel=1e-5)
    rows = [{"bias_type": pair["category"]} for pair in PAIRS]
    pairs = list(zip(found.examples["more_score"], found.examples["less_score"], strict=True))
    pd.testing.assert_frame_equal(found.scores, score_crows_pairs(rows, pairs))
    assert found.targets[["target", "category", "n"]].to_numpy().tolist() == [["nurse", "job", 1]]


def test_of_a_pair_a_causal_model_is_asked_for_all_tokens():
    found = benchmark(model("GPT-2"), "winobias", PAIRS)
    logs = causal("GPT-2", ids_of("GPT-2", PAIRS[0]["less"]), start=2)
    assert found.examples["less_score"][0] == pytest.approx(logs.mean(), rel=1e-5)
    assert any("masked models only" in note for note in found.notes)


@pytest.mark.parametrize("name", ["BERT", "GPT-2"])
def test_next_sentences_are_scored_by_likelihood_where_there_is_no_head_for_them(name):
    found = benchmark(model(name), "stereoset_intersentence", STEREOSET)
    context, own = "the cat ran.", ids_of(name, "she said hello", add_special_tokens=False)
    ids = ids_of(name, f"{context} she said hello")
    start = len(ids_of(name, context, add_special_tokens=False)) + (name == "BERT")
    if name == "BERT":
        logs = [log_probabilities(name, [*ids[:at], 4, *ids[at + 1 :]])[at, ids[at]] for at in range(start, start + len(own))]
    else:
        logs = [log_probabilities(name, ids)[at - 1, ids[at]] for at in range(start, start + len(own))]
    assert found.examples["anti_stereotype_score"][0] == pytest.approx(np.exp(np.mean(logs)), rel=1e-5)
    assert any("no next-sentence head" in note for note in found.notes)


def test_a_head_for_next_sentences_is_used_where_there_is_one():
    torch.manual_seed(0)
    hf, tokenizer = tr.BertForPreTraining(tr.BertConfig(**families._BERT)).eval(), families.tokenizer()
    found = benchmark(atlas.load((hf, tokenizer)), "stereoset_intersentence", STEREOSET)
    made = tokenizer("the cat ran.", "a cat", return_tensors="pt")
    with torch.no_grad():
        expected = hf(**made).seq_relationship_logits.softmax(-1)[0, 0].item()
    assert found.examples["unrelated_score"][0] == pytest.approx(expected, rel=1e-4)
    assert any("next-sentence head that it follows" in note for note in found.notes)


def test_switched_off_heads_change_the_scores_and_are_part_of_what_the_results_are_of():
    whole = benchmark(model("BERT"), "pairs", PAIRS)
    cut = benchmark(model("BERT"), "pairs", PAIRS, ablate=["0.1", (1, 2)])
    assert not np.allclose(whole.examples["more_score"], cut.examples["more_score"])
    assert cut.provenance["ablated"] == ["L0 H1", "L1 H2"]


def many(count=100):
    """Pairs of different lengths."""
    words = families.TEXT.split()
    return [
        {"more": " ".join(["he", *words[: at % 15]]), "less": " ".join(["she", *words[: at % 15]]), "category": f"kind {at % 3}"}
        for at in range(count)
    ]


KILLED = """
import os, signal, sys
from atlas.bias import benchmark
from tests.bias.test_benchmarks import many
from tests.engine.families import loaded

def progress(done, of):
    if done >= 64:
        os.kill(os.getpid(), signal.SIGKILL)

benchmark(loaded("GPT-2"), "pairs", many(), sys.argv[1], progress=progress)
"""


def test_a_killed_run_goes_on_where_it_stopped_and_ends_with_the_same_numbers(tmp_path):
    ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=REPO, check=False, capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    (path,) = tmp_path.iterdir()
    kept = path.read_bytes()
    assert len(kept.splitlines()) == 1 + 64  # what the run is of, and two batches
    path.write_bytes(kept + b'{"id": "97", "sco')  # killed while it wrote
    steps = []
    resumed = benchmark(model("GPT-2"), "pairs", many(), tmp_path, progress=lambda done, of: steps.append((done, of)))
    assert steps[0] == (64, 100)
    assert path.read_bytes().startswith(kept)
    once = benchmark(model("GPT-2"), "pairs", many())
    pd.testing.assert_frame_equal(resumed.examples, once.examples, check_exact=True)
    pd.testing.assert_frame_equal(resumed.scores, once.scores, check_exact=True)
    steps.clear()
    benchmark(model("GPT-2"), "pairs", many(), tmp_path, resume=False, progress=lambda *done: steps.append(done[0]))
    assert steps == [0, 32, 64, 96, 100]


def test_results_of_other_data_models_or_settings_are_not_taken_for_these(tmp_path):
    benchmark(model("GPT-2"), "pairs", many(4), tmp_path)
    benchmark(model("BERT"), "pairs", many(4), tmp_path)
    benchmark(model("GPT-2"), "pairs", many(5), tmp_path)
    benchmark(model("GPT-2"), "pairs", many(5), tmp_path, limit=3)
    benchmark(model("GPT-2"), "pairs", many(4), tmp_path, ablate=["0.0"])
    benchmark(model("GPT-2"), "winobias", many(4), tmp_path)
    assert len(list(tmp_path.iterdir())) == 6


def test_a_limit_draws_examples_at_random_the_same_every_time():
    first, second = (benchmark(model("GPT-2"), "pairs", many(), limit=10) for _ in range(2))
    assert len(first.examples) == first.of == 10
    assert list(first.examples["id"]) == list(second.examples["id"]) != [str(at) for at in range(10)]
    assert any("10 of 100 examples" in note for note in first.notes)


def test_a_part_stops_after_its_time_and_the_next_goes_on(monkeypatch):
    trace = model("GPT-2").trace("the cat", ablate=["0.1"])
    done = {}
    monkeypatch.setattr("atlas.bias.benchmarks.EXAMPLES_AT_ONCE", 8)
    data = json.dumps(many(20)).encode()
    first = part_of_benchmark(trace, "pairs", data, None, done, 0.0)
    assert (len(first.examples), first.of, first.complete) == (8, 20, False)
    while not (last := part_of_benchmark(trace, "pairs", data, None, done, 0.0)).complete:
        pass
    whole = benchmark(model("GPT-2"), "pairs", many(20), ablate=["0.1"])
    pd.testing.assert_frame_equal(last.examples, whole.examples)


def test_the_shared_files_are_read_whole(shared_data):
    within = read_items("stereoset", shared_data("stereoset", "dev.json"))
    assert len(within) == 2106
    raw = json.loads(shared_data("stereoset", "dev.json").read_text(encoding="utf-8"))["data"]["intrasentence"]
    words = {sentence["id"]: sentence["word"] for each in raw for sentence in each["sentences"]}
    by_label = [{s["gold_label"]: words[s["id"]] for s in each["sentences"]} for each in raw]
    same = [[own.lower() == found[label].lower() for own, label in zip(item.words, LABELS, strict=True)]
            for item, found in zip(within, by_label, strict=True)]  # fmt: skip
    assert np.mean(same) > 0.95  # the file's own words keep punctuation, which the authors' code strips
    assert len(read_items("stereoset_intersentence", shared_data("stereoset", "dev.json"))) == 2123
    crows = read_items("crows_pairs", shared_data("crows_pairs", "crows_pairs_anonymized.csv"))
    assert len(crows) == 1508
    assert len({item.category for item in crows}) == 9
    wino = read_items("winobias", shared_data("winobias", "type_1.csv"))
    assert wino[0].sentences == (
        "The developer argued with the designer because he did not like the design.",
        "The developer argued with the designer because she did not like the design.",
    )


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("stereoset", b"[1, 2", "is no JSON"),
        ("stereoset", b"\xff\xfe", "is not UTF-8"),
        ("stereoset", b"{}", "no list data\\['intrasentence'\\]"),
        ("stereoset", b"[]", "no example"),
        ("stereoset", [triple("a", "no place here", LABELS)], "no word of"),
        ("stereoset", [{**WITHIN[0], "sentences": WITHIN[0]["sentences"][:2]}], "three sentences"),
        ("stereoset", [{**WITHIN[0], "target": 3}], "no text 'target'"),
        ("stereoset", [WITHIN[0], WITHIN[0]], "two examples have the id 'a'|Two examples"),
        ("stereoset", ["text"], "no text 'context'"),
        ("pairs", b'{"more": "a", "less": "b"}\n{"more": "a"', "line 2"),
        ("pairs", [{"more": "a"}], "no text 'less'"),
        ("pairs", b"[3]", "no text 'more'"),
        ("pairs", b"true", "holds bool where a list of examples belongs"),
        ("stereoset", b"5", "holds int where a list of examples belongs"),
        ("stereoset", [{**WITHIN[0], "sentences": [{"gold_label": []}]}], "three sentences"),
        ("pairs", b'{"data": []}', "not a list of pairs"),
        ("crows_pairs", b"a,b\n1,2\n", "no column 'sent_more'"),
        ("winobias", b"template,stereo,anti_stereo,type\nno place,he,she,type_1\n", "no text 'more'"),
        ("crows_pairs", "/nowhere/at all.csv", "cannot be read"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(name, data, says):
    with pytest.raises(BadData, match=says):
        read_items(name, data)


def test_models_and_sentences_that_have_no_likelihood_say_so():
    with pytest.raises(NotCaptured, match="no causal and no masked"):
        benchmark(model("T5"), "pairs", PAIRS)
    with pytest.raises(UnknownName, match="there are stereoset"):
        benchmark(model("BERT"), "glue", PAIRS)
    with pytest.raises(TextTooLong, match="too many"):
        benchmark(model("GPT-2"), "pairs", [{"more": "the " * 80, "less": "a"}])
    with pytest.raises(BadData, match="limit=0"):
        Run(model("BERT"), "pairs", read_items("pairs", PAIRS), limit=0)


def test_the_command_prints_the_table_and_writes_all_examples(tmp_path, capsys):
    data = tmp_path / "pairs.jsonl"
    data.write_text("\n".join(map(json.dumps, PAIRS)), encoding="utf-8")
    out = tmp_path / "results"
    assert main(["bias", "gpt-mini", "--benchmark", "pairs", "--data", str(data), "-o", str(out), "--ablate", "3.5"]) == DONE
    printed = capsys.readouterr()
    assert "overall" in printed.out
    assert "masked models only" in printed.err
    table = pd.read_csv(out / "pairs-examples.csv")
    expected = benchmark(atlas.load("gpt-mini"), "pairs", PAIRS, ablate=["3.5"])
    assert table["more_score"].tolist() == pytest.approx(expected.examples["more_score"].tolist())
    assert main(["bias", "gpt-mini", "--benchmark", "stereoset", "--data", str(data)]) == FAILED
    assert "no text 'context'" in capsys.readouterr().err
