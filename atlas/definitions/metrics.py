"""The columns of the head table."""

from __future__ import annotations

from atlas.definitions.definition import UNIFORM, Definition
from atlas.definitions.references import CLARK, FIRST_ATLAS, GPT_OSS, OLSSON, VIG, VOITA, WANG, XIAO


def _metric(
    name: str,
    title: str,
    formula: str,
    reading: str,
    reference: str,
    *,
    chance: str = UNIFORM,
    limits: str = "0 to 1",
    costly: bool = False,
    needs: tuple[str, ...] = (),
) -> Definition:
    return Definition(name, "metric", title, formula, reading, chance, limits, reference, costly, needs)


METRICS = (
    _metric(
        "entropy",
        "Entropy",
        "mean over i of −Σⱼ p ln p",
        "High: attention is spread over many keys; 0: each row looks at one key. In nats; grows with the length of the text, "
        "so compare it with its uniform value or take the normalised entropy.",
        CLARK,
        limits="0 to the mean of ln nᵢ",
    ),
    _metric(
        "entropy_norm",
        "Normalised entropy",
        "mean over i of (−Σⱼ p ln p) / ln nᵢ",
        "High: each row is as spread as its mask allows; 0: each row looks at one key. Comparable between lengths and between "
        "causal and bidirectional models, because each row is divided by its own maximum.",
        CLARK,
        chance="1 by construction",
    ),
    _metric(
        "confidence_max",
        "Confidence (largest)",
        "max over i, j of p",
        "High: at least one row is sure of one key. One row decides, and longer texts have more rows: read it with the mean.",
        FIRST_ATLAS,
    ),
    _metric(
        "confidence_mean",
        "Confidence (mean)",
        "mean over i of maxⱼ p",
        "High: rows are usually sure of one key. Heads that park their attention on a sink are confident as well.",
        VOITA,
    ),
    _metric(
        "sparsity",
        "Sparsity",
        "share of the visible cells with p < 1 / nᵢ",
        "High: most keys get less than an even share, a few get the rest.",
        FIRST_ATLAS,
        chance="0: uniform attention is nowhere below itself (differences within rounding do not count)",
    ),
    _metric(
        "uniformity",
        "Spread of the weights",
        "standard deviation of p over the visible cells",
        "High: weights differ a lot, so attention is far from even (the name is the first Atlas's and says the opposite). "
        "Falls with the length of the text. In a causal model uniform attention has some too, as its rows differ in length.",
        FIRST_ATLAS,
        limits="0 to 0.5",
    ),
    _metric(
        "median",
        "Median weight",
        "median of p over the visible cells of the informative rows",
        "High: the typical cell still gets something; near 0: a few cells have it all. Needs all weights sorted, so it is in "
        "the table only where the run kept its weights.",
        FIRST_ATLAS,
        costly=True,
    ),
    _metric(
        "balance",
        "[CLS] or BOS mass",
        "mean over i of the p at the anchor: a special token at position 0, else a special token named cls",
        "High: rows attend to [CLS] or the beginning-of-text token, often as a place to rest. Unknown where a text has neither.",
        CLARK,
        needs=("anchor",),
    ),
    _metric(
        "special",
        "Special-token mass",
        "mean over i of Σ p over [CLS], [SEP], BOS, EOS and the like",
        "High: attention goes to tokens that carry no text; over half of it is usual in the middle layers of BERT ([SEP]).",
        CLARK,
        needs=("special",),
    ),
    _metric(
        "punctuation",
        "Punctuation mass",
        "mean over i of Σ p over tokens made of punctuation or signs (Unicode P*, Sc, Sk, Sm)",
        "High: attention goes to full stops, commas, quotes; usual in BERT's last layers.",
        CLARK,
        needs=("punctuation",),
    ),
    _metric(
        "self",
        "Self",
        "mean over i of pᵢᵢ",
        "High: tokens attend to themselves.",
        CLARK,
        needs=("one_axis",),
    ),
    _metric(
        "previous",
        "Previous token",
        "mean over i of p at j = i − 1",
        "High: a previous-token head; such heads feed induction heads in causal models.",
        f"{CLARK}; {VOITA}",
        needs=("one_axis",),
    ),
    _metric(
        "next",
        "Next token",
        "mean over i of p at j = i + 1",
        "High: a next-token head. Causal models cannot have any.",
        f"{CLARK}; {VOITA}",
        needs=("one_axis", "next_visible"),
    ),
    _metric(
        "distance",
        "Mean distance",
        "mean over i of Σⱼ p |i − j|, in tokens",
        "High: attention reaches far. A causal sink at the first token makes it high without any content being fetched.",
        VIG,
        limits="0 to the largest distance in the text",
        needs=("one_axis",),
    ),
    _metric(
        "long_range",
        "Long-range mass",
        "mean over i of Σ p over |i − j| ≥ 5, rows that may see that far",
        "High: attention goes five tokens or more away. It is a share of the attention, not a mean weight, so it does not "
        "shrink with the length of the text; its uniform value grows with it.",
        FIRST_ATLAS,
        needs=("one_axis", "far_keys"),
    ),
    _metric(
        "induction",
        "Induction",
        "mean over i of Σ p over keys k ≤ i whose predecessor is the token of i, seen before: token(k − 1) = token(i), k − 1 < i",
        "High: where a token occurs again, the head looks at what followed it the last time. Special tokens are neither queries "
        "nor keys. Backwards only, in bidirectional models too. See on how many rows it rests: ordinary text repeats few words, "
        "and a text of random tokens said twice is the classical test.",
        OLSSON,
        needs=("one_axis", "repeats"),
    ),
    _metric(
        "duplicate",
        "Duplicate token",
        "mean over i of Σ p over keys j < i with token(j) = token(i)",
        "High: where a token occurs again, the head looks at its earlier occurrences. Special tokens are neither queries nor "
        "keys, and the first token of a causal text is no key, because it collects idle attention whatever it says.",
        WANG,
        needs=("one_axis", "repeats"),
    ),
    _metric(
        "function_words",
        "Function words",
        "mean over i of Σ p over tokens tagged ADP, AUX, CCONJ, DET, PART, PRON or SCONJ",
        "High: attention goes to words of grammar.",
        VIG,
        needs=("pos",),
    ),
    _metric(
        "content_words",
        "Content words",
        "mean over i of Σ p over tokens tagged NOUN, PROPN, VERB, ADJ, ADV or NUM",
        "High: attention goes to words of meaning. Most words are such: compare with the uniform value.",
        VIG,
        needs=("pos",),
    ),
    _metric(
        "entities",
        "Named entities",
        "mean over i of Σ p over tokens of named entities",
        "High: attention goes to names of people, places, organisations and the like.",
        VIG,
        needs=("entity",),
    ),
    _metric(
        "first_key",
        "First-key mass",
        "mean over i of p at j = 0",
        "High: rows rest their attention on the first token, whatever it says. This is the sink of causal models without a "
        "beginning-of-text token, such as GPT-2.",
        XIAO,
    ),
    _metric(
        "learned_sink",
        "Learned-sink mass",
        "1 − mean over i of Σⱼ p",
        "High: the head gives its attention to no token at all, but to a sink it has learned (gpt-oss). 0 in other models. What "
        "is left for tokens is small then, and so are all masses: they are shares of all of the attention.",
        GPT_OSS,
        chance="0: uniform attention here means over tokens",
    ),
)
