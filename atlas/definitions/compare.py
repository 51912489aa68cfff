"""What is said of two traces side by side."""

from __future__ import annotations

from atlas.definitions.definition import Definition
from atlas.definitions.references import CLARK, ENDRES, HUBERT, KORNBLITH, KUHN

COMPARE = (
    Definition(
        "matrix_difference",
        "difference",
        "Difference of attention",
        "B − A of the attention between the same words: summed over the key tokens of a word, averaged over its query tokens; of "
        "several heads, each with the head that stands for it, their mean or the largest",
        "Above 0: side B gives more here; below 0: less. What a side gives to words that have no partner is its last column. "
        "Where either side may not look there is no difference.",
        "0 where both sides do the same",
        "−1 to 1",
        f"attention between words as in {CLARK}",
    ),
    Definition(
        "metric_difference",
        "difference",
        "Difference of a metric",
        "metric of the head of B − metric of the head of A that it is paired with",
        "Above 0: higher on side B. Entropies, and masses on few tokens, depend on the length of the text: hold both sides "
        "against their values for uniform attention where lengths differ.",
        "0 where both heads do the same",
        "that of the metric, with both signs",
        "none: a difference",
    ),
    Definition(
        "pattern_moved",
        "difference",
        "How far attention moved",
        "mean over words i of ½ (Σⱼ |bᵢⱼ − aᵢⱼ| + aᵢ₀ + bᵢ₀), j a word of both sides, 0 what has no partner",
        "0: both heads look at the same words; 1: at none that is the same. It is the share of the attention that would have to "
        "be moved (total variation).",
        "1 − similarity of heads that have nothing to do with each other stands in the line above the plot",
        "0 to 1",
        "total variation distance",
    ),
    Definition(
        "matched_similarity",
        "difference",
        "Similarity of paired heads",
        "1 − √(mean over words i of the Jensen-Shannon divergence of row i of both heads); heads are paired by layer and number "
        "where both sides have as many, else so that the sum of all similarities is largest, each with one partner at most",
        "1: the same pattern on the same words; near chance: the pair is one in name only.",
        "the mean of 200 random pairs of one head of either side",
        "0 to 1",
        f"{ENDRES}; the assignment: {KUHN}",
    ),
    Definition(
        "cka",
        "difference",
        "Linear CKA of two layers",
        "‖Yᵀ X‖² / (‖Xᵀ X‖ ‖Yᵀ Y‖), X, Y: (word, width) states of the same words around their mean; a word of several tokens is "
        "their mean",
        "1: both layers place the words alike, up to rotation and size; 0: not at all. With few words it is high by chance. One "
        "very long state, as of a token that others rest their attention on, decides most of it.",
        "the mean of 99 shuffles of the words of B; p: the share of them that is as high",
        "0 to 1",
        KORNBLITH,
    ),
    Definition(
        "group_agreement",
        "difference",
        "Agreement of groups",
        "(Σ C(n_rc, 2) − e) / ((Σ C(n_r, 2) + Σ C(n_c, 2)) / 2 − e), e = Σ C(n_r, 2) · Σ C(n_c, 2) / C(n, 2); n_rc: heads in "
        "group r on A whose partner is in group c on B",
        "1: both groupings are the same; about 0: no more alike than groups drawn at random. Where groups follow the layers it "
        "is high whatever the heads do: hold it against partners shuffled within their layers. Heads paired by pattern are alike "
        "because they were paired for that.",
        "the mean of 999 shuffles of partners within their layers; p: the share of them that is as high",
        "−0.5 to 1",
        HUBERT,
    ),
    Definition(
        "bias_difference",
        "difference",
        "Difference of attention to flagged words",
        "log2 of the ratio of the head of B − log2 of the ratio of the head of A that it is paired with; ratio: attention to the "
        "flagged words of its own text / what evenly spread attention gives them",
        "+1: twice as much on side B; −1: half. Each side is held against its own words, so a longer text changes nothing. "
        "Ratios under 1/64 count as 1/64.",
        "0 where both heads do the same; on either side p among other words of the text, and q over all heads",
        "that of a logarithm, with both signs",
        "none: a difference",
    ),
    Definition(
        "agreement_difference",
        "difference",
        "Difference of agreement",
        "ρ of the head of B − ρ of the head of A that it is paired with; ρ: Spearman's correlation of the attention that tokens "
        "get from it with their attribution on its own side",
        "Above 0: on side B the head attends more to what the prediction rests on. Each ρ has its own interval; two that chance "
        "explains differ by chance.",
        "0 where both agree alike; on either side q of ρ over all heads, by permutation",
        "−2 to 2",
        "none: a difference",
    ),
    Definition(
        "attribution_difference",
        "difference",
        "Difference of attribution",
        "bᵢ / Σⱼ |bⱼ| − aᵢ / Σⱼ |aⱼ|; a, b: score of a word on either side, the sum over its tokens; j: all words of that side "
        "that count",
        "Above 0: on side B the word speaks more for what is explained, or less against it; of a method without signs, it "
        "matters more. A share says what part of an explanation rests on a word, not how sure the prediction is, and a word "
        "that only one side has takes its share from the others. Special tokens do not count, nor what comes after the "
        "explained place in a model that looks back only.",
        "0 where both sides rest on the same words",
        "−2 to 2",
        "none: a difference",
    ),
    Definition(
        "attribution_rank",
        "difference",
        "Rank correlation of two attributions",
        "Spearman's ρ between the shares of the words that both sides have and that count on both",
        "1: both predictions rest on the words in the same order; near 0: as two that have nothing to do with each other. With "
        "few words it is far from 0 by chance.",
        "0; p: the share of 999 shuffles of the words of B whose ρ is as far from 0",
        "−1 to 1",
        "Spearman 1904, The proof and measurement of association between two things",
    ),
)
