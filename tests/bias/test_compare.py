"""A text beside its counterfactual: every number against a plain recomputation, and a null that is right."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from scipy import stats

import atlas
from atlas.attribution.statistics import false_discovery
from atlas.bias import compare_counterfactual, counterfactuals, detect
from atlas.bias.compare import SAME_TOKENS
from atlas.bias.neutral import LEAST, neutral_swaps
from atlas.bias.reactions import STILL, beyond_neutral, heads_moved
from atlas.errors import TooLarge
from atlas.text.segment import word_spans
from atlas.tracing.counterfactual import detections, passes
from tests.engine.families import TARGET, TEXT, loaded

SHORT = "The woman said that she was tired."


@pytest.fixture(autouse=True)
def _few_neutral_swaps(monkeypatch):
    monkeypatch.setattr("atlas.bias.compare.NEUTRAL_SWAPS", 12)


FAMILIES = ["BERT", "GPT-2", "Llama", "T5"]


@functools.cache
def model(name):
    return loaded(name) if name in FAMILIES else atlas.load(name)


@functools.cache
def traced(name, text=TEXT):
    own = model(name)
    return own.trace(text, target=TARGET) if "cross" in own.kinds else own.trace(text)


@functools.cache
def compared(name, text=SHORT):
    (first, *_) = counterfactuals(text)
    return first, compare_counterfactual(traced(name, text), first)


# -- attention -----------------------------------------------------------------------------------------------------------


def plain_distance(old, new, found, kind, layer, head):
    """Distance and masses without a partner, word by word."""
    rows, columns = (words(old, new, found, old.side(kind, axis)) for axis in ("query", "key"))
    matrices = [trace.attention(kind, layer, head).to_numpy() for trace in (old, new)]

    def weight(side, queries, keys):
        cells = [[matrices[side][i, j] for j in keys] for i in queries]
        return float(np.mean([sum(value for value in row if np.isfinite(value)) for row in cells]))

    distances, lost = [], [[], []]
    for query in rows:
        if query["special"]:
            continue
        at = query["tokens"]
        difference = sum(abs(weight(0, at[0], key["tokens"][0]) - weight(1, at[1], key["tokens"][1])) for key in columns)
        masses = []
        for side, trace in enumerate((old, new)):
            known = {j for key in columns for j in key["tokens"][side]}
            others = [j for j in range(len(trace.token_tables[trace.side(kind, "key")])) if j not in known]
            masses.append(weight(side, at[side], others) if others else 0.0)
            lost[side].append(masses[-1])
        distances.append((difference + sum(masses)) / 2)
    return np.mean(distances), np.mean(lost[0]), np.mean(lost[1])


def words(old, new, found, side):
    """Pairs of words with their tokens in both texts; special tokens and what a decoder reads are pairs of their own."""
    tables = [trace.token_tables[side] for trace in (old, new)]
    if side == "target":
        return [{"tokens": ([at], [at]), "special": flag} for at, flag in enumerate(tables[0]["special"])]
    made = []
    for pair in found.aligned:
        tokens = tuple(
            [at for at, row in enumerate(table.itertuples()) if not row.special and row.start < span[1] and row.end > span[0]]
            for table, span in zip(tables, pair, strict=True)
        )
        made.append({"tokens": tokens, "special": False})
    special = [np.flatnonzero(table["special"]).tolist() for table in tables]
    return made + [{"tokens": ([one], [two]), "special": True} for one, two in zip(*special, strict=True)]


@pytest.mark.parametrize("swap", ["doctor -> nurse; she -> he", "tired ->", "cat -> tired cat"])
@pytest.mark.parametrize("name", FAMILIES)
def test_how_far_a_head_moves_is_what_its_words_give(name, swap):
    (found,) = counterfactuals(TEXT, swap)
    old = traced(name)
    target = TARGET if "cross" in old.kinds else None
    new = model(name).trace(found.text, target=target)
    (moved,) = heads_moved(old, [(new, found)])
    for at, head in enumerate(old.head_ids):
        if head.layer < 2 and head.head < 2:
            expected = plain_distance(old, new, found, head.kind, head.layer, head.head)
            np.testing.assert_allclose((moved.distance[at], moved.unpaired[at], moved.unpaired_new[at]), expected, atol=1e-5)
    if "->" in swap and swap != "doctor -> nurse; she -> he":
        side = moved.unpaired if swap == "tired ->" else moved.unpaired_new
        other = moved.unpaired_new if swap == "tired ->" else moved.unpaired
        of_source = [old.side(head.kind, "key") == "source" for head in old.head_ids]
        assert side[of_source].max() > 0.01
        assert other.max() < 1e-5


def test_a_text_is_at_no_distance_from_itself_and_a_causal_head_moves_after_the_change_alone():
    (found,) = counterfactuals(TEXT, "cat -> nurse")
    trace = traced("GPT-2")
    same = found._replace(text=TEXT, aligned=tuple((span, span) for span in word_spans(TEXT)), changed=())
    (still,) = heads_moved(trace, [(trace, same)])
    assert np.abs(still.distance).max() < 1e-6


# -- the null ------------------------------------------------------------------------------------------------------------


def test_neutral_swaps_are_of_the_same_kind_and_length_at_the_same_places_and_name_no_identity():
    (found,) = [each for each in counterfactuals("An old woman saw her.") if each.category == "gender"]
    made = neutral_swaps("An old woman saw her.", found, lambda text: len(text.split()), most=40)
    assert len({each.text for each in made.found}) == 40
    for each in made.found:
        parts = each.text.split()
        assert parts[0] in ("A", "An")
        assert parts[1] == "old"
        assert parts[3] == "saw"
        assert not {parts[2], parts[4].strip(".")} & {"man", "woman", "him", "her"}
    assert made.note == ""
    (removed,) = counterfactuals("An old woman saw her.", "old ->")
    assert neutral_swaps("An old woman saw her.", removed, len, 40).note == "There are no neutral words for “old”."


def test_ratio_z_and_p_are_what_the_definition_says():
    random = np.random.default_rng(0)
    neutral, observed = random.lognormal(size=(12, 5)), random.lognormal(size=5) * 2
    table = beyond_neutral(observed, neutral)
    logs = np.log(neutral)

    def standard(value, others):
        return (value - np.mean(others)) / (np.std(others, ddof=1) * np.sqrt(1 + 1 / len(others)))

    null = [standard(logs[at, head], np.delete(logs[:, head], at)) for head in range(5) for at in range(12)]
    for head in range(5):
        z = standard(np.log(observed[head]), logs[:, head])
        assert table["z"][head] == pytest.approx(z)
        assert table["p"][head] == pytest.approx((1 + sum(other >= z for other in null)) / 61)
        assert table["ratio"][head] == pytest.approx(observed[head] / np.exp(logs[:, head].mean()))
    np.testing.assert_allclose(table["q"], false_discovery(table["p"]))


def test_p_values_of_one_more_neutral_swap_are_uniform_whatever_the_scale_of_a_head_and_the_swaps_have_in_common():
    random = np.random.default_rng(1)
    scale, p = random.lognormal(sigma=2, size=24), []
    for _ in range(150):
        common = random.normal(size=(60, 1)) * 0.4  # a word that moves all heads much
        draws = np.exp(common + random.normal(size=(60, 24)) * 0.5) * scale
        p.append(beyond_neutral(draws[0], draws[1:])["p"].to_numpy())
    for head in (0, 7, 23):
        assert stats.kstest(np.array(p)[:, head], "uniform").pvalue > 0.001
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.02)


def test_a_head_that_reacts_to_the_identity_is_found_and_the_others_are_not():
    random = np.random.default_rng(2)
    neutral = random.lognormal(sigma=0.5, size=(99, 24))
    observed = np.ones(24)
    observed[5] = 8.0
    table = beyond_neutral(observed, neutral)
    assert np.flatnonzero(table["q"] <= 0.05).tolist() == [5]
    still = beyond_neutral(np.where(np.arange(24) == 3, 0.0, observed), np.where(np.arange(24) == 3, 0.0, neutral))
    assert still.loc[3, ["ratio", "z", "p", "q"]].isna().all()
    assert beyond_neutral(np.full(24, STILL / 2), neutral)["p"].eq(1).all()
    assert beyond_neutral(observed, neutral[: LEAST - 1])["p"].isna().all()


@pytest.mark.parametrize("name", ["bert-mini", "gpt-mini"])
def test_the_reactions_of_a_comparison_are_those_of_its_texts(name):
    (found, made), trace = compared(name), traced(name, SHORT)
    table, own = made.reactions.table, model(name)
    target = trace.texts.target
    assert [(row.kind, row.layer, row.head) for row in table.itertuples()] == [
        (head.kind, head.layer, head.head) for head in trace.head_ids
    ]
    (moved,) = heads_moved(trace, [(own.trace(found.text, target=target), found)])
    np.testing.assert_allclose(table["moved"], moved.distance, atol=1e-5)
    assert len(made.reactions.neutral) == table["n"][0] >= LEAST
    lengths = {len(own.encode(text).tokens) for text in (found.text, *made.reactions.neutral)}
    assert made.reactions.note or len(lengths) == 1
    at = int(table["moved"].idxmax())
    most = trace.head_ids[at]
    logs = []
    for text in made.reactions.neutral:
        other = own.trace(text, target=target)
        same = found._replace(text=text, aligned=tuple(zip(word_spans(SHORT), word_spans(text), strict=True)))
        logs.append(np.log(plain_distance(trace, other, same, most.kind, most.layer, most.head)[0]))
    assert table["neutral"][at] == pytest.approx(np.exp(np.mean(logs)), rel=1e-3)


# -- likelihood and predictions ------------------------------------------------------------------------------------------


def own_logs(own, text):
    """The log-probability of every token of a text in its place, each by a run of its own, from the model itself."""
    ids = own.tokenizer(text, return_tensors="pt")["input_ids"]
    special = own.tokenizer(text, return_special_tokens_mask=True)["special_tokens_mask"]
    found = {}
    with torch.no_grad():
        for at in range(ids.shape[1]):
            if own.task == "masked-lm" and not special[at]:
                masked = ids.clone()
                masked[0, at] = own.tokenizer.mask_token_id
                found[at] = float(own.hf(masked).logits[0, at].log_softmax(-1)[ids[0, at]])
            elif own.task == "causal-lm" and at:
                found[at] = float(own.hf(ids[:, :at]).logits[0, -1].log_softmax(-1)[ids[0, at]])
    return found


def test_texts_that_are_the_same_tokens_to_a_model_are_said_to_be():
    trace = atlas.load("t5-mini").trace("Grandfather came on the third of May")
    (first, *_) = counterfactuals(trace.texts.text)
    found = compare_counterfactual(trace, first)
    assert found.reactions.note.startswith(SAME_TOKENS)
    assert (found.reactions.table["moved"] == 0).all()
    assert SAME_TOKENS not in compared("BERT")[1].reactions.note


@pytest.mark.parametrize("name", ["bert-mini", "gpt-mini", "BERT", "GPT-2"])
def test_likelihoods_are_the_models_own_over_all_tokens_and_over_those_in_both_texts(name):
    text = TEXT if name in FAMILIES else SHORT
    (found,) = counterfactuals(text, "she -> he")
    made = compare_counterfactual(traced(name, text), found)
    old, new = (own_logs(model(name), each) for each in (text, found.text))
    whole, both = made.likelihood
    assert (whole.old, whole.new) == pytest.approx((sum(old.values()), sum(new.values())), abs=1e-3)
    table = traced(name, text).token_tables["source"]
    place = text.index(" she") + 1
    at = int(np.flatnonzero(((table["start"] <= place) & (table["end"] > place)).fillna(value=False))[0])
    assert (both.old, both.new) == pytest.approx((sum(old.values()) - old[at], sum(new.values()) - new[at]), abs=1e-3)


def test_the_likelihood_of_an_encoder_decoder_is_that_of_what_its_decoder_reads():
    (found,) = counterfactuals(TEXT, "doctor -> nurse; she -> he")
    made, own = compare_counterfactual(traced("T5"), found), model("T5")
    (target,) = made.likelihood
    for text, value in ((TEXT, target.old), (found.text, target.new)):
        encoded = own.tokenizer(text, return_tensors="pt")
        decoder = torch.as_tensor(traced("T5").token_tables["target"]["id"].to_numpy()[None].copy())
        with torch.no_grad():
            logits = own.hf(input_ids=encoded["input_ids"], decoder_input_ids=decoder).logits[0, :-1]
        assert value == pytest.approx(float(logits.log_softmax(-1).gather(1, decoder[0, 1:, None]).sum()), abs=1e-3)


def test_predictions_are_those_of_both_texts_at_the_same_place():
    found, made = compared("gpt-mini")
    assert made.place == "after “.”"
    for text, side in ((SHORT, "old"), (found.text, "new")):
        table = traced("gpt-mini", text).predictions(3)
        last = table[table["position"] == table["position"].max()]
        by_name = {each.name: getattr(each, side) for each in made.predictions}
        for row in last.itertuples():
            assert by_name[row.token] == pytest.approx(row.probability, abs=1e-5)
    (found, mood), own = compared("mood-mini"), model("mood-mini")
    for text, side in ((SHORT, "old"), (found.text, "new")):
        expected = dict(own.trace(text).predictions(3)[["label", "probability"]].to_numpy())
        assert {each.name: getattr(each, side) for each in mood.predictions} == pytest.approx(expected, abs=1e-5)
    assert mood.likelihood == ()
    assert mood.likelihood_note == "mood-mini is no language model, so it has no likelihood of a text."


def test_a_chosen_position_is_compared_and_a_masked_model_is_asked_with_its_token_masked():
    (found, *_) = counterfactuals(SHORT)
    trace = traced("bert-mini", SHORT)
    at = int(np.flatnonzero(trace.token_tables["source"]["token"] == "tired")[0])
    made = compare_counterfactual(trace, found, at)
    assert made.place == "in place of “tired”"
    own = model("bert-mini")
    for text, side in ((SHORT, "old"), (found.text, "new")):
        ids = own.tokenizer(text, return_tensors="pt")["input_ids"]
        ids[0, at] = own.tokenizer.mask_token_id
        with torch.no_grad():
            shares = own.hf(ids).logits[0, at].softmax(-1)
        likeliest = own.outcome_names(shares.topk(1).indices.numpy())[0]
        by_name = {each.name: getattr(each, side) for each in made.predictions}
        assert by_name[str(likeliest)] == pytest.approx(float(shares.max()), abs=1e-5)


# -- detections ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gpt-mini", "gus-mini"])
def test_what_is_flagged_is_what_the_detector_says_of_both_texts(name):
    found, made = compared(name)
    limits = {"GEN": 0.3, "UNFAIR": 0.1, "STEREO": 0.2}
    flags = detections(found, made.labels, limits)
    tables = [detect("gus-mini", text, limits).words for text in (SHORT, found.text)]
    for each in flags.flagged:
        counts = [int((table[each.name] >= limits[each.name]).sum()) for table in tables]
        assert (each.old, each.new) == tuple(counts)
    assert sum(each.old + each.new for each in flags.flagged) > 0
    first = next(each for each in flags.words if "→" in each.name)
    assert first.name == "woman → man" if "woman" in first.name.lower() else "→" in first.name
    row = [table.set_index("word")[first.note] for table in tables]
    old, new = first.name.split(" → ")
    assert (first.old, first.new) == pytest.approx((row[0][old], row[1][new]), abs=1e-5)


def test_what_would_take_too_long_is_refused_before_it_begins(monkeypatch):
    (found, *_) = counterfactuals(SHORT)
    long = traced("gpt-mini", " ".join([SHORT] * 60))
    assert passes(long) == 102
    assert passes(traced("bert-mini", SHORT)) == 102 + 2 * len(traced("bert-mini", SHORT).token_tables["source"])
    monkeypatch.setattr("atlas.bias.compare.MOST_TOKENS_RUN", 500)
    with pytest.raises(TooLarge, match="Shorten the text"):
        compare_counterfactual(traced("gpt-mini", SHORT), found)
