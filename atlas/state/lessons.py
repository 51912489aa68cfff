"""The five guided tours, on the models that come with Atlas. A test walks through all steps and measures what they claim."""

from __future__ import annotations

from functools import partial
from typing import Any

from atlas.ids import HeadId
from atlas.state.tour import Step, Tour
from atlas.tracing.lesson_numbers import (
    count_heads,
    count_tokens,
    heads_above,
    highest,
    likeliest,
    logit,
    masked_share,
    metric,
    probability,
    row_sum,
    strongest,
    token,
    weight,
)

ALL = frozenset[HeadId]()

# -- what is attention -------------------------------------------------------------------------------------------------

BAKER: dict[str, Any] = {"model": "gpt-mini", "text": "The old baker gave Anna some fresh bread."}
BEFORE = HeadId("decoder", 0, 6)
BREAD, FRESH = 7, 6

ATTENTION = Tour(
    "attention",
    "What is attention?",
    "Rows, weights, the mask, and where one weight comes from.",
    (
        Step(
            "explore", "matrix",
            "A row is a token that looks, a column a token that is looked at; the stronger the colour, the more attention. "
            "The weights of a row sum to {sum}. In this head “{bread}” gives {weight} of its attention to “{most}”, the token"
            " before.",
            **BAKER, focus=BEFORE,
            numbers={
                "sum": partial(row_sum, head=BEFORE, query=BREAD), "weight": partial(weight, head=BEFORE, query=BREAD, key=FRESH),
                "bread": partial(token, at=BREAD), "most": partial(strongest, head=BEFORE, query=BREAD),
            },
            claims={"sum": (0.999, 1.001), "weight": (0.9, 1.0), "bread": "bread", "most": "fresh"},
        ),
        Step(
            "explore", "matrix",
            "This model reads from left to right. The hatched cells, {masked} of all, lie in the future of their row: the "
            "mask forbids them, so they are not zero but absent.",
            **BAKER, focus=BEFORE,
            numbers={"masked": partial(masked_share, head=BEFORE)}, claims={"masked": (0.4, 0.5)},
        ),
        Step(
            "explore", "steps",
            "One row, “{bread}”, as it is computed: its query times the keys of all tokens, scaled, masked, and the softmax, "
            "which makes of the scores weights that sum to 1. See how few scores are left after the softmax: “{most}” has "
            "{weight}.",
            **BAKER, focus=BEFORE, queries=frozenset({BREAD}), keys=frozenset({FRESH}),
            numbers={
                "bread": partial(token, at=BREAD), "most": partial(strongest, head=BEFORE, query=BREAD),
                "weight": partial(weight, head=BEFORE, query=BREAD, key=FRESH),
            },
            claims={"most": "fresh", "weight": (0.9, 1.0)},
        ),
        Step(
            "explore", "map",
            "That was one head of {heads}. Here is every one as a small matrix: a row of the Map is a layer. Tap a cell, and "
            "all cards show that head.",
            **BAKER, focus=BEFORE, heads=ALL,
            numbers={"heads": partial(count_heads, kind="decoder")}, claims={"heads": (48, 48)},
        ),
        Step(
            "overview", "predictions",
            "What it is for: from what the heads have gathered, the model expects the next token. After the last one it "
            "expects “{next}”, with a probability of {p}.",
            **BAKER, focus=BEFORE, heads=ALL,
            numbers={"next": likeliest, "p": probability}, claims={"p": (0.05, 1.0)},
        ),
    ),
)  # fmt: skip

# -- heads differ ------------------------------------------------------------------------------------------------------

TWICE: dict[str, Any] = {
    "model": "gpt-mini",
    "text": "The old baker gave Anna some fresh bread, and Anna thanked him. The old baker gave Anna some fresh bread, and Anna "
    "thanked",
}
INDUCTION, EVEN = HeadId("decoder", 1, 4), HeadId("decoder", 0, 0)
SECOND_BAKER, FIRST_GAVE = 16, 3

HEADS = Tour(
    "heads",
    "Heads differ",
    "One looks a token back, one finds a repetition, one looks everywhere.",
    (
        Step(
            "explore", "map",
            "The heads are ordered by how much they look at the token before, most of it first. Those heads form a thin "
            "diagonal: {first} gives {previous} of its attention there.",
            **TWICE, focus=BEFORE, heads=ALL, display={"order": "previous"},
            numbers={
                "first": partial(highest, kind="decoder", name="previous"),
                "previous": partial(metric, head=BEFORE, name="previous"),
            },
            claims={"first": "L0 H6", "previous": (0.9, 1.0)},
        ),
        Step(
            "explore", "matrix",
            "L1 H4 is an induction head. The second “{baker}” gives {weight} of its attention to “{gave}”, which followed the"
            " first one: the head looks for what came next the last time.",
            **TWICE, focus=INDUCTION, queries=frozenset({SECOND_BAKER}),
            numbers={
                "baker": partial(token, at=SECOND_BAKER), "gave": partial(strongest, head=INDUCTION, query=SECOND_BAKER),
                "weight": partial(weight, head=INDUCTION, query=SECOND_BAKER, key=FIRST_GAVE),
            },
            claims={"baker": "baker", "gave": "gave", "weight": (0.7, 1.0)},
        ),
        Step(
            "overview", "roles",
            "A role is a number before it is a word: {induction} of this head's attention is induction, and attention that is"
            " spread evenly under the same mask would give {chance}. A head is named after what it does far above that.",
            **TWICE, focus=INDUCTION,
            numbers={
                "induction": partial(metric, head=INDUCTION, name="induction"),
                "chance": partial(metric, head=INDUCTION, name="induction_uniform"),
            },
            claims={"induction": (0.7, 1.0), "chance": (0.0, 0.2)},
        ),
        Step(
            "explore", "table",
            "The same number for every head, largest first: {many} of {heads} heads have more than half of it.",
            **TWICE, focus=INDUCTION, display={"metric": "induction"},
            numbers={
                "many": partial(heads_above, kind="decoder", name="induction", least=0.5),
                "heads": partial(count_heads, kind="decoder"),
            },
            claims={"many": (1, 12), "heads": (48, 48)},
        ),
        Step(
            "explore", "matrix",
            "L0 H0 spreads its attention almost evenly: its normalised entropy is {entropy}, and 1 would be perfectly even. A"
            " head like this gathers an average; nothing can be read from where it looks.",
            **TWICE, focus=EVEN,
            numbers={"entropy": partial(metric, head=EVEN, name="entropy_norm")}, claims={"entropy": (0.97, 1.0)},
        ),
    ),
)  # fmt: skip

# -- attention is not explanation --------------------------------------------------------------------------------------

CAKE: dict[str, Any] = {"model": "mood-mini", "text": "The cake was awful, but Lucy laughed."}
LOUD = HeadId("encoder", 2, 4)
CLS, AWFUL, LAUGHED = 0, 4, 8

EXPLANATION = Tour(
    "explanation",
    "Attention is not explanation",
    "A head that looks hard at a word, and a decision that does not need it.",
    (
        Step(
            "overview", "predictions",
            "A classifier of mood reads a sentence with two halves. It says “{label}”, with a probability of {p}. Which word "
            "made it say so?",
            **CAKE, focus=LOUD, heads=ALL,
            numbers={"label": likeliest, "p": probability, "logit": logit}, claims={"label": "positive", "p": (0.9, 1.0)},
        ),
        Step(
            "explore", "matrix",
            "The class is read from “{cls}”. In L2 H4 that token gives {weight} of its attention to “{most}”. A picture like "
            "this is often shown as the reason of a decision, but this word speaks for the other class.",
            **CAKE, focus=LOUD, queries=frozenset({CLS}),
            numbers={
                "cls": partial(token, at=CLS), "weight": partial(weight, head=LOUD, query=CLS, key=AWFUL),
                "most": partial(strongest, head=LOUD, query=CLS),
            },
            claims={"cls": "[CLS]", "weight": (0.8, 1.0), "most": "awful"},
        ),
        Step(
            "faithfulness", "attribution",
            "Integrated gradients ask the model itself which tokens raise the logit of the class. Compare “{laughed}” with "
            "“{awful}”, and both with rollout beside them, which knows nothing but attention.",
            **CAKE, focus=LOUD,
            numbers={"laughed": partial(token, at=LAUGHED), "awful": partial(token, at=AWFUL)},
            claims={"laughed": "laughed", "awful": "awful"},
        ),
        Step(
            "faithfulness", "head_effects",
            "Every head is switched off by itself, and the class is measured again: colour is what its logit loses. Find L2 "
            "H4 (row 2, column 4): strong attention, and hardly any effect.",
            **CAKE, focus=LOUD, numbers={"heads": partial(count_heads, kind="encoder")}, claims={"heads": (48, 48)},
        ),
        Step(
            "overview", "predictions",
            "Now L2 H4 is off, and the text was run again without it. The model still says “{label}”; the logit is {without},"
            " and it was {logit} with the head. The attention was there, and the decision did not hang on it.",
            **CAKE, focus=LOUD, ablated=frozenset({LOUD}),
            numbers={"label": likeliest, "without": logit}, claims={"label": "positive", "without": (5.0, 6.0)},
        ),
        Step(
            "faithfulness", "verdict",
            "The verdict asks all of this of the selected heads at once: agreement with the gradients, and effect beside that"
            " of random heads. Press its button, and open its rules: they say what was tested and what would have changed the"
            " verdict.",
            **CAKE, focus=LOUD,
        ),
    ),
)  # fmt: skip

# -- where bias sits ---------------------------------------------------------------------------------------------------

LAZY: dict[str, Any] = {"model": "gus-mini", "text": "Young people are lazy, but my neighbour works every day."}
WHOSE = HeadId("encoder", 5, 7)
YOUNG, LAZY_AT = 1, 4

BIAS = Tour(
    "bias",
    "Where bias sits",
    "From flagged words to heads, and from heads to a test.",
    (
        Step(
            "bias", "detection",
            "The text states a stereotype, so that there is one to find. The detector's first label for “{people}” is "
            "{label}, with a probability of {p}. That is its opinion: it has learned which words people marked, not what is "
            "meant.",
            **LAZY, focus=WHOSE, heads=ALL,
            numbers={
                "people": partial(token, at=2), "label": partial(likeliest, position=2), "p": partial(probability, position=2),
            },
            claims={"people": "people", "label": "I-GEN", "p": (0.9, 1.0)},
        ),
        Step(
            "bias", "calibration",
            "Before anything is built on those labels: how often is the detector right? Points below the diagonal say that it"
            " is surer of itself than it should be, and the bars say how sure that finding is.",
            **LAZY, focus=WHOSE, heads=ALL,
        ),
        Step(
            "bias", "attention_bias",
            "Which heads look at the flagged words more than evenly spread attention would? Framed heads are beyond chance "
            "even though {heads} of them were tested. One of few words is easily looked at by accident, so read the "
            "intervals.",
            **LAZY, focus=WHOSE, heads=ALL,
            numbers={"heads": partial(count_heads, kind="encoder")}, claims={"heads": (48, 48)},
        ),
        Step(
            "explore", "matrix",
            "In L5 H7 “{lazy}” gives {weight} of its attention to “{most}”: the word that it is said of. This is where the "
            "two meet inside the model; whether the decision needs it, a picture cannot tell.",
            **LAZY, focus=WHOSE, queries=frozenset({LAZY_AT}),
            numbers={
                "lazy": partial(token, at=LAZY_AT), "weight": partial(weight, head=WHOSE, query=LAZY_AT, key=YOUNG),
                "most": partial(strongest, head=WHOSE, query=LAZY_AT),
            },
            claims={"lazy": "lazy", "weight": (0.9, 1.0), "most": "Young"},
        ),
        Step(
            "bias", "counterfactuals",
            "The same sentence about somebody else: what changes then hangs on who it is about. Changes are held against "
            "those that neutral words of the same kind make, because any exchanged word changes something.",
            **LAZY, focus=WHOSE, heads=ALL,
        ),
        Step(
            "bias", "causal_test",
            "The test at the end: heads that look most at flagged words are switched off together, beside as many random "
            "heads of the same layers. Press its button. Only where the first fall deeper than the second does the decision "
            "hang on them.",
            **LAZY, focus=WHOSE, heads=ALL,
        ),
    ),
)  # fmt: skip

# -- reading an encoder-decoder ----------------------------------------------------------------------------------------

DATE: dict[str, Any] = {"model": "t5-mini", "text": "the third of March, nineteen ninety-eight"}
READS, WRITES, LOOKS = HeadId("encoder", 0, 1), HeadId("decoder", 0, 2), HeadId("cross", 2, 1)
THIRD_DIGIT, EIGHT = 3, 8

ENCODER_DECODER = Tour(
    "encoder-decoder",
    "Reading an encoder-decoder",
    "Two texts, three kinds of attention: encoder, decoder and cross.",
    (
        Step(
            "deep", "pipeline",
            "This model has two halves: the encoder reads the {source} tokens of the text, the decoder writes {target} tokens"
            " of its own. The switch above the tabs goes between their three kinds of attention.",
            **DATE, focus=READS, heads=ALL,
            numbers={"source": count_tokens, "target": partial(count_tokens, side="target")},
            claims={"source": (10, 10), "target": (11, 11)},
        ),
        Step(
            "explore", "matrix",
            "Encoder: the text looks at itself, in both directions. Of this matrix {masked} is masked: the whole text is "
            "there before anything is written.",
            **DATE, focus=READS,
            numbers={"masked": partial(masked_share, head=READS)}, claims={"masked": (0.0, 0.0)},
        ),
        Step(
            "explore", "matrix",
            "Decoder: what is written looks back at what was written before. Now {masked} of the cells are in the future and "
            "hatched. In this head {previous} of the attention goes to the token before.",
            **DATE, focus=WRITES,
            numbers={"masked": partial(masked_share, head=WRITES), "previous": partial(metric, head=WRITES, name="previous")},
            claims={"masked": (0.4, 0.5), "previous": (0.5, 0.7)},
        ),
        Step(
            "explore", "matrix",
            "Cross attention: rows are tokens of the decoder, columns are tokens of the text. In the row of the selected "
            "“{row}” the model writes “{next}”, and it gives {weight} of its attention to “{most}”.",
            **DATE, focus=LOOKS, queries=frozenset({THIRD_DIGIT}),
            numbers={
                "row": partial(token, at=THIRD_DIGIT, side="target"), "next": partial(likeliest, position=THIRD_DIGIT),
                "weight": partial(weight, head=LOOKS, query=THIRD_DIGIT, key=EIGHT),
                "most": partial(strongest, head=LOOKS, query=THIRD_DIGIT),
            },
            claims={"row": "9", "next": "8", "weight": (0.9, 1.0), "most": "eight"},
        ),
        Step(
            "explore", "lines",
            "The same head as lines from the date in digits to the date in words. Every digit is written while the head looks"
            " at the word that says it; that the order changes on the way costs the model nothing.",
            **DATE, focus=LOOKS,
        ),
        Step(
            "overview", "predictions",
            "Decide for yourself whether to believe it: select other rows in the text above, and see what is expected there "
            "and which words the cross heads look at. For “{row}” the model is {p} sure of “{next}”.",
            **DATE, focus=LOOKS, queries=frozenset({THIRD_DIGIT}),
            numbers={
                "row": partial(token, at=THIRD_DIGIT, side="target"), "next": partial(likeliest, position=THIRD_DIGIT),
                "p": partial(probability, position=THIRD_DIGIT),
            },
            claims={"next": "8", "p": (0.9, 1.0)},
        ),
    ),
)  # fmt: skip

TOURS: tuple[Tour, ...] = (ATTENTION, HEADS, EXPLANATION, BIAS, ENCODER_DECODER)
"""All tours, in the order of the menu."""
