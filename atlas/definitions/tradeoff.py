"""What heads do for bias and for performance on a benchmark."""

from __future__ import annotations

from atlas.definitions.definition import Definition
from atlas.definitions.references import BENJAMINI, MICHEL, NADEEM, NANGIA, PARETO

TRADEOFF = (
    Definition(
        "head_tradeoff",
        "bias",
        "What a head does for bias and performance",
        "bias removed = |S − 50| − |S₋ₕ − 50|; change of performance = P₋ₕ − P; S the stereotype score (SS, or the score of "
        "sentence pairs) and P performance (LMS, or the mean log-likelihood of the sentences of pairs) with all heads, S₋ₕ and "
        "P₋ₕ without head h, on the same examples. By log-likelihoods S is the mean of ln(stereotype / anti-stereotype), with 0 "
        "for 50, and P the mean of ½ ln(stereotype · anti-stereotype) − ln(unrelated), averaged as SS is; of pairs the mean "
        "difference of the log-likelihoods",
        "Bias removed above 0: without the head the score is closer to 50. Change of performance below 0: the model is worse "
        "without it. lo and hi: 95 % of a bootstrap over target terms (StereoSet) or pairs, which draws the same ones with and "
        "without the head. p of the score: in how many random exchanges of the labels 'stereotype' and 'anti-stereotype' the "
        "score changes as much; p of performance: in how many random exchanges of the runs with and without the head, term by "
        "term; 9,999 of each or more, q over all heads. A head that does nothing alone may do much together with others.",
        "which of two sentences is the stereotype is drawn at random: 95 % of all heads, and what the best of all heads exceeds "
        "one time in twenty",
        "score: −50 to 50; LMS: −100 to 100; log-likelihood: any number",
        f"{MICHEL} (one head removed); {NADEEM}; {NANGIA}; {BENJAMINI}",
    ),
    Definition(
        "pareto_front",
        "bias",
        "Pareto front of heads",
        "head h is on it where it differs from the model with all heads, at (0, 0), and neither that nor another head is at "
        "least as good in both bias removed and change of performance and better in one",
        "On the front: whoever wants less bias at as little loss of performance has no better single head. The share says in how "
        "many bootstrap samples of the examples the head is on the front: near 1 it does not hang on which examples were asked.",
        "none: where heads do nothing but noise some are on the front too, so look whether they are above the chance of bias "
        "removed",
        "share: 0 to 1",
        PARETO,
    ),
    Definition(
        "held_out_heads",
        "bias",
        "Heads on examples that did not choose them",
        "change of S, of |S − 50| and of P without all of the heads together, on examples of target terms (of pairs without a "
        "target: pairs) none of which were used to measure single heads",
        "What is chosen as the best of many heads is partly luck, and luck does not come again on other examples. The interval "
        "(95 %, bootstrap over terms or pairs) says whether there is a change, the random heads whether it needs these heads.",
        "39 random sets of as many heads of the same layers: their mean and 95 %; p: the share of all sets, these heads "
        "included, that remove as much bias (lose as much performance; change the score as much)",
        "as the scores",
        f"{MICHEL} (heads removed together)",
    ),
    Definition(
        "bias_composite",
        "bias",
        "Composite of a head",
        "(wₐ · A + wₚ · P + w_f · F) / (wₐ + wₚ + w_f); A, P and F the share of heads below this one, ties counted half: A in "
        "the ratio of attention to flagged words of the text on screen, P in the change of performance without the head, F in "
        "bias removed; w the weights that are set",
        "High: the head looks at flagged words, the model does without it, and bias goes with it. It ranks heads by what you "
        "weigh and is no evidence. A part that is unknown, or has no weight, is left out for all heads.",
        "0.5",
        "0 to 1",
        "a weighted mean of ranks, which puts unlike quantities on one scale",
    ),
)
