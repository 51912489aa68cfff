"""What a trace says of words, of syntax, and of what is too costly to be a column."""

from __future__ import annotations

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc

from atlas.errors import NotCaptured
from atlas.text.pipelines import Pipeline
from tests.engine.families import TEXT, loaded


def test_medians_are_of_the_visible_weights() -> None:
    trace = loaded("GPT-2").trace(TEXT)
    medians = trace.medians()
    assert medians.dims == ("layer", "head")
    assert np.allclose(medians, np.nanmedian(trace.attention().to_numpy()[..., 1:, :], axis=(2, 3)), atol=1e-6)


def test_words_of_a_trace() -> None:
    """To a split word summed, from it averaged; by hand for one that is split in two."""
    trace = loaded("BERT").trace("the doctors said hello")
    tokens = trace.tokens()
    assert list(tokens["token"]) == ["[CLS]", "the", "doctor", "s", "said", "hello", "[SEP]"]
    weights = trace.attention(layer=1, head=2).to_numpy()
    words = trace.word_attention(layer=1, head=2)
    assert list(words["key_word"].to_numpy()) == ["[CLS]", "the", "doctors", "said", "hello", "[SEP]"]
    merged = np.concatenate([weights[:, :2], weights[:, 2:4].sum(1, keepdims=True), weights[:, 4:]], axis=1)
    merged = np.concatenate([merged[:2], merged[2:4].mean(0, keepdims=True), merged[4:]], axis=0)
    assert np.allclose(words, merged, atol=1e-6)
    assert trace.word_attention(layer=1, head=2, special="drop").shape == (4, 4)


def test_relations_need_a_parse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atlas.trace.EMBEDDED_PIPELINE", "no such pipeline")
    with pytest.raises(NotCaptured, match="spaCy pipeline"):
        loaded("BERT").trace(TEXT).relations()


def test_relations_of_a_parsed_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a parse, each head's accuracy is counted over the arcs of this text; checked by hand for one relation."""
    nlp = spacy.blank("en")

    def parsed(doc: Doc) -> Doc:
        heads = {"the": 1, "cat": 2, "ran": 2, "away": 2}
        deps = {"the": "det", "cat": "nsubj", "ran": "ROOT", "away": "advmod"}
        words = [token.text for token in doc]
        return Doc(nlp.vocab, words=words, spaces=[bool(t.whitespace_) for t in doc], heads=[heads[w] for w in words],
                   deps=[deps[w] for w in words], pos=["DET", "NOUN", "VERB", "ADV"])  # fmt: skip

    spacy.Language.component("parsed_by_hand", func=parsed)
    nlp.add_pipe("parsed_by_hand")
    monkeypatch.setattr("atlas.text.annotate.find_pipeline", lambda **_: Pipeline("by hand", nlp))
    trace = loaded("BERT").trace("the cat ran away")
    table = trace.relations()
    assert {"det", "nsubj", "advmod"} <= set(table["relation"])
    words = trace.word_attention(layer=0, head=0, special="drop", zero_diagonal=True).to_numpy()
    row = table.query("layer == 0 and head == 0 and relation == 'nsubj'")
    forward = row[row["direction"] == "dependent_to_head"].iloc[0]
    assert forward["n"] == 1
    assert forward["accuracy"] == float(words[1].argmax() == 2)
