"""The examples: what each says there is to see is measured on the model it names."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import atlas
from atlas.engine.running.service import Service
from atlas.jobs import listed_models, worked_out
from atlas.state.display import Display
from atlas.state.library import NOTHING, examples
from atlas.state.opening import Opening, begin, opening, opening_of
from atlas.state.shared import SharedState
from atlas.state.validate import checked
from atlas.state.words import row_names, shown_token
from atlas.state.workspace import Workspace

EXAMPLES = {example.name: example for example in examples()}

DECIDES = 0.5
"""A weight of which there is one at most in a row."""


@functools.cache
def model(name):
    return atlas.load(name)


@functools.cache
def trace(name):
    example = EXAMPLES[name]
    return model(example.model).trace(example.text, pair=example.pair or None, target=example.target or None)


def names(name, side="source"):
    return [shown_token(str(token)) for token in trace(name).tokens(side)["token"]]


def focused(name):
    """(query, key) weights of the head in focus."""
    head = EXAMPLES[name].shows.head
    return trace(name).attention(head.kind, head.layer, head.head).to_numpy()


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_an_example_shows_is_there(name):
    example, shows = EXAMPLES[name], EXAMPLES[name].shows
    assert example.model in {listed.name for listed in listed_models() if listed.where == "here"}
    assert shows.head in trace(name).head_ids
    n_queries, n_keys = focused(name).shape
    assert all(0 <= at < n_queries for at in shows.queries)
    assert all(0 <= at < n_keys for at in shows.keys)
    assert checked(Display, {"order": shows.order or "index"}, "display")[1] == []


def test_the_first_head_is_the_strongest_induction_head_and_the_model_writes_what_it_finds():
    name = "Said twice"
    table, head, words = trace(name).heads, EXAMPLES[name].shows.head, names(name)
    best = table.loc[table["induction"].idxmax()]
    assert (head.layer, head.head) == (best["layer"], best["head"])
    weights, last, baker = focused(name), len(words) - 1, 16
    assert (words[baker], words[baker - 14], words[last]) == ("baker", "baker", "thanked")
    assert words[np.nanargmax(weights[baker])] == "gave"
    assert words[np.nanargmax(weights[last])] == "him"
    assert min(np.nanmax(weights[baker]), np.nanmax(weights[last])) > DECIDES
    assert trace(name).predictions(1)["token"].iloc[-1] == " him"


def test_the_text_of_the_opening_is_read_right_by_the_tagger():
    tokens = trace("Said twice").tokens()
    tags = {shown_token(str(token)): pos for token, pos in zip(tokens["token"], tokens["pos"], strict=True)}
    assert tags["fresh"] == tags["old"] == "ADJ"
    assert tags["bread"] == tags["baker"] == "NOUN"
    assert tags["gave"] == tags["thanked"] == "VERB"


def test_the_head_that_seems_to_know_who_she_is_looks_two_tokens_back_everywhere():
    name = "Who is 'she'?"
    words, weights = names(name), focused(name)
    (she,) = EXAMPLES[name].shows.queries
    assert words[she] == "she"
    assert weights[she, words.index("nurse")] > 0.9
    assert min(weights[at, at - 2] for at in range(2, len(words))) > 0.8
    every = trace(name).attention("encoder").to_numpy()[:, :, she]
    assert (every[..., words.index("doctor")] > every[..., words.index("nurse")]).any()


def test_the_head_of_two_texts_crosses_the_border_and_another_does_not():
    name = "Two texts"
    words, weights = names(name), focused(name)
    assert [words[weights[words.index(word)].argmax()] for word in ("his", "His")] == ["Tom", "Tom"]
    assert min(weights[words.index(word)].max() for word in ("his", "His")) > DECIDES
    segment = trace(name).tokens()["segment"].to_numpy()
    across = (segment[:, None] != segment[None, :]) & (segment[:, None] >= 0) & (segment[None, :] >= 0)
    stays = trace(name).attention("encoder", 1, 1).to_numpy()
    assert (stays * across).sum(-1).max() < 0.001


def test_every_digit_is_written_while_the_head_looks_at_the_word_that_says_it():
    name = "A date in digits"
    found, source = trace(name), names(name)
    assert found.texts.target == "1998-03-03"
    rows = row_names(found, "cross")
    assert rows == ("<pad> ⇒ 1", "1 ⇒ 9", "9 ⇒ 9", "9 ⇒ 8", "8 ⇒ -", "- ⇒ 0", "0 ⇒ 3", "3 ⇒ -", "- ⇒ 0", "0 ⇒ 3", "3 ⇒ </s>")
    said_by = {0: "nineteen", 1: "nineteen", 2: "ninety", 3: "eight", 5: "March", 6: "March", 8: "third", 9: "third"}
    keys = [source.index(word) for word in said_by.values()]
    all_heads = found.attention("cross").to_numpy()[:, :, list(said_by), keys].mean(-1)
    head = EXAMPLES[name].shows.head
    assert all_heads[head.layer, head.head] == pytest.approx(all_heads.max(), abs=1e-3)
    assert focused(name)[list(said_by), keys].min() > 0.99


def test_the_class_is_read_while_looking_at_the_half_that_decides():
    name = "The half that decides"
    words = names(name)
    assert words[focused(name)[0].argmax()] == "laughed"
    assert words[trace(name).attention("encoder", 2, 4).to_numpy()[0].argmax()] == "awful"
    assert trace(name).predictions(1)["label"].iloc[0] == "positive"


def test_what_is_said_looks_at_whom_it_is_said_of():
    name = "Whom it is about"
    words = names(name)
    (lazy,) = EXAMPLES[name].shows.queries
    assert words[lazy] == "lazy"
    assert words[focused(name)[lazy].argmax()] == "Young"
    assert EXAMPLES[name].about


def test_the_purest_head_of_the_list_looks_at_the_token_before():
    table, shows = trace("A list").heads, EXAMPLES["A list"].shows
    best = table.loc[table[shows.order].idxmax()]
    assert (best["layer"], best["head"]) == shows.focus


@pytest.mark.parametrize("name", ["gpt-mini", "bert-mini", "t5-mini", "mood-mini", "gus-mini"])
def test_every_model_shipped_opens_on_the_head_of_its_example(name):
    first = opening(listed_models(), examples(), name)
    assert first == opening_of(next(example for example in examples() if example.model == name))
    service = Service()
    workspace = Workspace(lambda job, ticket: worked_out(service, job, ticket))
    shared = SharedState(workspace)
    begin(shared, first)
    selection, shows = workspace.selection, first.shows
    assert workspace.kind == shows.kind
    assert (selection.focus, selection.heads) == (shows.head, {shows.head})
    assert (selection.queries, selection.keys) == (set(shows.queries), set(shows.keys))
    assert workspace.pipeline.job() == first.job()
    assert not workspace.pipeline.pending


def test_an_opening_asked_for_shows_no_example():
    assert opening(listed_models(), examples(), "gpt-mini", text="Mine.") == Opening("gpt-mini", "Mine.")
    assert opening(listed_models(), examples(), "bert-mini", pair="Mine too.").shows == NOTHING


def test_an_example_leaves_how_the_reader_has_things_drawn():
    service = Service()
    workspace = Workspace(lambda job, ticket: worked_out(service, job, ticket))
    shared = SharedState(workspace)
    workspace.display.param.update(scale="log", order="induction")
    begin(shared, opening_of(EXAMPLES["A list"]))
    assert (workspace.display.scale, workspace.display.order) == ("log", "previous")
