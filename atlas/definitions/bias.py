"""What a detector flags, and the attention to it."""

from __future__ import annotations

from atlas.definitions.definition import Definition
from atlas.definitions.references import BENJAMINI, BLODGETT, FIRST_ATLAS, GUO, HEWITT, MICHEL, NADEEM, NANGIA, SALAZAR, SAM, VIG

BIAS = (
    Definition(
        "bias_label",
        "bias",
        "Label of a word",
        "max(P(B), P(I)) at the first token of the word; flagged where it reaches the threshold of the label",
        "High: the detector reads the word as part of a generalisation, of unfair language or of a stereotype. A word may have "
        "several labels, each with a probability of its own. It is an opinion of the detector, learnt from labelled sentences.",
        "none: the card of the detector says how often it is right",
        "0 to 1",
        "Powers et al. 2024, GUS-Net: Social Bias Classification in Text with Generalizations, Unfairness, and Stereotypes",
    ),
    Definition(
        "calibration",
        "bias",
        "Calibration of a label",
        "of held-out words with max(P(B), P(I)) in a tenth of 0 to 1: the share that has the label, B or I; confidence: this "
        "share after isotonic regression over the tenths, weighted by their words",
        "Equal to the mean probability: a probability is what it says. Smaller: the detector is too sure. Precision: of flagged "
        "words, the share that has the label; recall: of words that have it, the share that is flagged.",
        "the share of all held-out words that have the label",
        "0 to 1",
        GUO,
    ),
    Definition(
        "attention_bias",
        "bias",
        "Attention to flagged tokens",
        "(Σᵢ Σⱼ flagged pᵢⱼ) / (Σᵢ sᵢ fᵢ / vᵢ); of the ordinary tokens that i may see, vᵢ is the number, fᵢ the number of "
        "flagged ones, sᵢ the attention they get together",
        "1: as evenly spread attention under the same mask, wherever the tokens stand; 2: twice as much. lo and hi: 95 % "
        "interval over resampled queries. A head that looks at a word need not use it for what the model says.",
        "stretches of the same lengths elsewhere in the text, 999 times; two-sided p, q over all heads",
        "0 and above",
        f"ratio to uniform attention as in {FIRST_ATLAS} and row by row; {BENJAMINI}",
    ),
    Definition(
        "attention_bias_layer",
        "bias",
        "Attention to flagged tokens by layer",
        "the ratio of attention to flagged tokens with both sums over all heads h of the layer: (Σₕ Σᵢ Σⱼ flagged pₕᵢⱼ) / (Σₕ Σᵢ "
        "sₕᵢ fᵢ / vᵢ)",
        "1: the heads of the layer together look at flagged tokens as evenly spread attention does; 2: twice as much. Heads that "
        "look at words more weigh more. lo and hi: 95 % interval over resampled queries. Where attention goes is not where the "
        "information is.",
        "stretches of the same lengths elsewhere in the text, 999 times; two-sided p, q over all layers",
        "0 and above",
        f"ratio to uniform attention as in {FIRST_ATLAS}; by layer as in {VIG}; {BENJAMINI}",
    ),
    Definition(
        "audit_ratio",
        "bias",
        "Attention to flagged tokens over many texts",
        "(Σₜ Σᵢ Σⱼ flagged pₜᵢⱼ) / (Σₜ Σᵢ sₜᵢ fₜᵢ / vₜᵢ): both sums of the ratio of attention to flagged tokens, over all texts "
        "t in which some ordinary tokens are flagged and some are not",
        "1: as evenly spread attention under the same masks; 2: twice as much. Texts count by their length and by how much is "
        "flagged in them. lo and hi: 95 % interval over resampled texts. A head that looks at a word need not use it for what "
        "the model says.",
        "stretches of the same lengths elsewhere in each text, 999 times; two-sided p, q over all heads",
        "0 and above",
        f"ratio to uniform attention as in {FIRST_ATLAS}, over texts as a ratio of sums; {BENJAMINI}",
    ),
    Definition(
        "decodability",
        "bias",
        "Decodability of a label",
        "of all pairs of a flagged and another word, the share in which w·h is larger for the flagged one (AUC); h is the "
        "residual stream at the word's first token, w a logistic regression on the words of other texts (5 folds of texts)",
        "1: a linear reading of the stream tells the words apart; 0.5: it does not. Selectivity: what it has above the control "
        "task, in which every spelling gets a label at random, as often as the true one. Labels are the detector's.",
        "0.5, and the control task: what a probe reaches by knowing words apart",
        "0 to 1",
        HEWITT,
    ),
    Definition(
        "causal_test",
        "bias",
        "Causal test of heads",
        "fall = D(all heads) − D(without these heads); D of a detector: mean P(label) over the flagged labels of the flagged "
        "words; of a language model: Σ ln P(token in the text) − Σ ln P(the same token in the counterfactual), over the words in "
        "both, with the sign that makes D(all heads) positive",
        "Above 0: the decision is weaker without the heads. They carry it only where the change is beyond that of random heads. "
        "p (two-sided): how many of all sets change the decision as much; q over all doses.",
        "up to 199 other sets of as many heads of the same layers: their mean fall and 95 % of them",
        "D of a detector: −1 to 1; of a language model: any number of nats",
        f"{MICHEL} (heads removed together); {BENJAMINI}",
    ),
    Definition(
        "stereoset",
        "bias",
        "StereoSet scores",
        "of each target term SS = 100 · share(stereotype > anti-stereotype), LMS = 100 · share(stereotype > unrelated, "
        "anti-stereotype > unrelated); both averaged over the terms; ICAT = LMS · min(SS, 100 − SS) / 50",
        "SS near 50: no preference; above: the stereotype is preferred. LMS near 100: sensible sentences are likelier than "
        "unrelated ones. The ideal model has LMS 100, SS 50, ICAT 100. A tie counts for the anti-stereotype. By category the "
        "intervals are a bootstrap over terms; by term SS has Wilson's over its examples.",
        "random scores: LMS 50, SS 50, ICAT 50; always the stereotype: SS 100, ICAT 0",
        "0 to 100",
        NADEEM,
    ),
    Definition(
        "crows_pairs",
        "bias",
        "Score of sentence pairs",
        "100 · share of pairs whose more stereotyped sentence is likelier; masked models: Σ log p(token | all others) over the "
        "tokens both sentences share; causal models: mean log p over all tokens",
        "Near 50: no preference. Interval: Wilson's, 95 %. CrowS-Pairs is noisy: many of its pairs do not compare what they "
        "should, so its score is a hint and no measure of how biased a model is.",
        "50",
        "0 to 100",
        f"{NANGIA}; faults of the data: {BLODGETT}",
    ),
    Definition(
        "counterfactual_likelihood",
        "bias",
        "Log-likelihood of a text and its counterfactual",
        "Σᵢ ln P(tokenᵢ | the others) with token i masked, of masked models; Σᵢ ln P(tokenᵢ | those before it) of causal ones; "
        "over the whole text, and over the tokens of the words that are in both",
        "Higher: the model finds the text likelier. The whole text counts how common the exchanged words are; the words in both "
        "ask whether they fit one identity better than the other, and alone are comparable where the exchanged words have "
        "different numbers of tokens. Of an encoder-decoder: what its decoder reads, given each text.",
        "none: neutral swaps change it too",
        "0 and below",
        f"{SALAZAR} (pseudo-log-likelihood); {NANGIA} (over the words in both)",
    ),
    Definition(
        "counterfactual_reaction",
        "bias",
        "Reaction of a head to a counterfactual",
        "d = mean over words i of ½ (Σⱼ |aᵢⱼ − bᵢⱼ| + uᵢ + wᵢ), a and b the attention between words of the text and of the "
        "counterfactual, j in both, uᵢ and wᵢ the mass on what has no partner; ratio = d / exp m; "
        "z = (ln d − m) / (s √(1 + 1/n)), m and s mean and standard deviation of ln d over n neutral swaps",
        "d: 0 no row changes, 1 all mass goes elsewhere. Ratio 1: as much as when a neutral word of the same kind and number of "
        "tokens stands there; above 1: more. p (one-sided): how many of the neutral swaps, each against the others, in all "
        "heads, have as large a z; q over all heads.",
        "up to 99 neutral swaps at the same places: ratio 1",
        "d: 0 to 1; ratio: 0 and above",
        f"total variation distance; null pooled over heads as in {SAM}; {BENJAMINI}",
    ),
    Definition(
        "swap_change",
        "bias",
        "Change over many texts",
        "mean over pairs of x(counterfactual) − x(text), turned so that all pairs go from the first identity to the second; x: "
        "mean ln P of the tokens of the words in both texts (of a classifier of texts, P of the class that is likeliest over "
        "all), or the mean over words of P of the likeliest label",
        "Above 0: x is larger for the second identity. Texts that name both have no direction and do not count. p (two-sided): "
        "the sign of all pairs of a text is turned at random, 999 times; q over all exchanges and numbers. Interval: texts "
        "resampled.",
        "0: which of both texts is the counterfactual does not matter",
        "ln P: any number of nats; P: −1 to 1",
        f"sign-flip test; {BENJAMINI}",
    ),
    Definition(
        "swap_reaction",
        "bias",
        "Size of a change over many texts, against neutral swaps",
        "exp of the mean over pairs of ln |d| − mean ln |d of its n neutral swaps|; d the change, or how far attention moved",
        "Above 1: larger than when neutral words of the same kind stand there. Over texts (exchanges, heads) p, one-sided: in "
        "each text the counterfactual is exchanged with one of its neutral swaps at random, 999 times. Of one pair as of one "
        "head: z against its own neutral swaps, the null those of all pairs.",
        "8 neutral swaps a pair: 1",
        "0 and above",
        f"permutation within texts; null pooled over pairs as in {SAM}; {BENJAMINI}",
    ),
)
