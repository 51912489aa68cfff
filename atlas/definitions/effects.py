"""What heads do for a target, and whether attention agrees with it."""

from __future__ import annotations

from atlas.definitions.definition import Definition
from atlas.definitions.references import (
    ADEBAYO,
    CRAWFORD,
    DEYOUNG,
    EDIN,
    GEVA23,
    HAO,
    MENG,
    MICHEL,
    NANDA,
    SYED,
    WIEGREFFE,
    ZHANG,
)

_HEAD_NULL = "of a random head: not worked out; the median and the quartiles of all heads stand beside it"

_RANDOM_ORDERS = "the same of random orders"


EFFECTS = (
    Definition(
        "head_effect",
        "effect",
        "Effect on the target",
        "f(x) − f(x with the output of the head replaced); f: the logit of the outcome, minus that of another if one is chosen",
        "Above 0: the head speaks for the target, which is lower without it; below 0: against it. Other heads may take over the "
        "work of a missing one, so an effect near 0 does not say that a head does nothing. It hangs on what the output is "
        "replaced by: an output of zeros may be unusual for the model, a mean or one from another text less so.",
        _HEAD_NULL,
        "any number",
        MICHEL,
    ),
    Definition(
        "head_effect_log_probability",
        "effect",
        "Effect on the log-probability",
        "ln p(outcome) before − after",
        "As the effect on the target, but other outcomes count: it is above 0 also where the head keeps the others down.",
        _HEAD_NULL,
        "any number",
        MICHEL,
    ),
    Definition(
        "head_effect_kl",
        "effect",
        "Change of the whole output",
        "KL(p ‖ q) = Σ p(o) ln (p(o) / q(o)) over all outcomes o, in nats; p as it is, q with the head replaced. Labels that "
        "are each yes or no are summed",
        "High: without the head the model predicts something else at this position, whatever the outcome. It has no sign.",
        _HEAD_NULL,
        "0 and above",
        "Kullback & Leibler 1951, On Information and Sufficiency",
    ),
    Definition(
        "head_effect_choices",
        "effect",
        "Effects under three choices",
        "the effect with the output set to zero, to its mean over the text, and to its output in each of several other texts: "
        "their mean and its 95 % interval, by bootstrap over the texts; ρ: Spearman's correlation over heads between two choices",
        "Its sign hangs on the choice: two choices say the opposite, each at least 5 % of the largest effect under its choice, "
        "and of other texts with an interval without 0. Its rank does: it is in the first quarter by size under one choice and "
        "further than a quarter of all heads behind under another. Of so few texts the interval is rather too narrow.",
        "one half of the other texts against the other half: what two choices can agree at most",
        "any number",
        MICHEL,
    ),
    Definition(
        "head_effect_gradient",
        "effect",
        "Effect by gradient",
        "Σᵢⱼ Aᵢⱼ · ∂f/∂Aᵢⱼ, which is ∂f/∂ξ for a factor ξ on the output of the head, at ξ = 1; its size is the importance",
        "To the first order what the target loses without the head, for all heads in one backward pass. Where the model "
        "saturates it is near 0 though the head counts; where other heads take over it says nothing of that.",
        _HEAD_NULL,
        "any number",
        MICHEL,
    ),
    Definition(
        "attribution_patching",
        "effect",
        "Effect by attribution patching",
        "Σ (z − z₂) · ∂f/∂z over positions; z: the output of the head in this text, z₂: in the other text. With steps, the mean "
        "gradient over runs between the two texts",
        "To the first order what the target loses if the head puts out what it does in the other text, for all heads from two "
        "forward passes and one backward pass. Where the target is far from linear in what the head puts out it is far from the "
        "measured effect: look at the correlation with the heads that were patched.",
        _HEAD_NULL,
        "any number",
        NANDA,
    ),
    Definition(
        "edge_attribution_patching",
        "effect",
        "Edge effect by attribution patching",
        "Σ (w − w₂) · ∂f/∂x over positions; w: what an earlier head, feed-forward block or the embeddings write, w₂: the same in "
        "the other text; x: the state that a later head reads, for its query, its key or its value alone, before the norm, which "
        "is differentiated",
        "To the first order what the target loses if the later head alone reads what the earlier part writes in the other "
        "text; everything between the two stays as it is. Path patching measures the same, in two runs an edge.",
        "of a random edge: not worked out; edges that were patched stand beside it",
        "any number",
        SYED,
    ),
    Definition(
        "circuit_kept",
        "effect",
        "Kept by the heads of a circuit",
        "(f(only these heads) − f(no head)) / (f(all heads) − f(no head)); f(some heads): the target of this text where all "
        "other heads put out, position by position, what they do in the other text",
        "100 %: these heads alone carry what all heads do for the target between the two texts; it can be above 100 % where "
        "heads that speak against it are left out. Embeddings and feed-forward blocks read this text throughout.",
        "the same with random sets of as many heads, of the same layers where these have enough",
        "any number",
        SYED,
    ),
    Definition(
        "attention_knockout",
        "effect",
        "Change without a look",
        "ln p(outcome), with the scores of the queries for the group's keys set to −∞ before the softmax in k consecutive layers "
        "around a layer, − ln p(outcome); p: of the model's output. At the first and last layers the window is shifted, so that "
        "it always has k layers",
        "Below 0: the prediction reads these tokens in these layers. The weights that are left sum to 1 again, so the other "
        "tokens get more attention; a token that may look at nothing adds nothing. What other tokens have read and pass on is "
        "not cut, and layers outside of the window can stand in, so 0 does not say that the tokens are not needed. A window of "
        "few layers shows where, all layers show whether.",
        "the same with random sets of as many other tokens that can be seen: 95 % of them, and p by Crawford & Howell's t for "
        "one case against few, widened where sets share tokens; q over all groups and windows (Benjamini & Hochberg 1995)",
        "any number, in nats",
        f"{GEVA23}; {CRAWFORD}",
    ),
    Definition(
        "patched_state",
        "effect",
        "Share of a patched state",
        "(f(run | state of the giver at layer, token) − f(run)) / (f(giver) − f(run)); f: the logit of the outcome, minus "
        "that of another if one is chosen. Restored (denoising): the other text is run, this one gives; taken away (noising): "
        "the reverse",
        "1: this one state makes the outcome that of the text it was taken from, so all that the two texts differ in for this "
        "outcome passes here; 0: nothing changes; it can be below 0 and above 1. A state that restores need not be needed, where "
        "others carry the same; one that takes away need not suffice. Shares overlap and do not add up. Where a model looks back "
        "only, states before the first token that differs are the same in both texts: 0.",
        "the same of changes of the same length in random directions",
        "any number",
        ZHANG,
    ),
    Definition(
        "patched_state_chance",
        "effect",
        "Chance of a patched state",
        "1.96 · s · ‖∂f/∂x‖ ‖Δx‖ / (√d · |f(giver) − f(run)|); Δx: the change of the state x, of width d; s: how many of these "
        "spreads random directions really do, root mean square over 5 directions at each of up to 24 cells drawn at random",
        "19 in 20 changes of the same length in random directions do less. A dot stands where the share exceeds the quantile of "
        "Student's t, with as many degrees of freedom as cells drawn less one, corrected for all cells (5 % a plane). Beyond "
        "it the direction matters, and not only how far the state is moved.",
        "it is the chance level",
        "0 and above",
        MENG,
    ),
    Definition(
        "importance",
        "effect",
        "Importance by gradient",
        "|Σᵢⱼ Aᵢⱼ · ∂f/∂Aᵢⱼ|",
        "The size of the effect by gradient: high where the target hangs on the head, whether it speaks for it or against it.",
        _HEAD_NULL,
        "0 and above",
        MICHEL,
    ),
    Definition(
        "importance_integrated",
        "effect",
        "Importance by integrated gradients",
        "|Σᵢⱼ (A − B)ᵢⱼ · ∫₀¹ ∂f/∂Aᵢⱼ (B + t (A − B)) dt|; A: the weights of the head, B: spread evenly over the keys a query "
        "may see (or no weights), in all heads of the layer at once",
        "How much of what the target gains by where this layer looks is due to the head. The signed scores of a layer add up to "
        "f minus f with the weights of the layer replaced; the gap says how nearly. It does not saturate as one gradient does. "
        "A head that looks evenly has none, whatever it moves.",
        _HEAD_NULL,
        "0 and above",
        HAO,
    ),
    Definition(
        "importance_removal",
        "effect",
        "Importance by removal",
        "|f(x) − f(x with the output of the head set to zero)|",
        "The size of the effect on the target, measured in a run for each head. Where heads stand in for each other each alone "
        "seems to be of no importance.",
        _HEAD_NULL,
        "0 and above",
        MICHEL,
    ),
    Definition(
        "pruning",
        "effect",
        "Prediction with few heads",
        "p(outcome) with the m least important heads removed together, for m from none to all",
        "A curve that stays high until few heads are left says that the prediction needs no more than these, in this text. The "
        "order is by importance of each head alone, so heads that stand in for each other may all go early.",
        "the same with heads removed in random orders: their mean and their range",
        "0 to 1",
        MICHEL,
    ),
    Definition(
        "verdict_agreement",
        "agreement",
        "Verdict: agreement",
        "Spearman's correlation over tokens j of (mean over heads and queries i of Aᵢⱼ) and |score of j|, by a gradient method "
        "and by occlusion",
        "As the agreement of one head. The ceiling is the same between two gradient methods, the floor between random sets of as "
        "many heads and the first of them.",
        "±: what one permutation of the scores in twenty exceeds",
        "−1 to 1",
        WIEGREFFE,
    ),
    Definition(
        "verdict_removal",
        "effect",
        "Verdict: removal",
        "f(x) − f(x with all heads of the set replaced together); p = (1 + random sets that change f as much) / "
        "(1 + random sets)",
        "A low p: the prediction needs these heads more than others. No set comes twice, and each has as many heads in every "
        "layer; where there are no more than 199, all of them are taken and p is exact.",
        "as many random heads of the same layers, or of any layer where these have fewer than 19 other sets",
        "any number",
        MICHEL,
    ),
    Definition(
        "weight_randomisation",
        "effect",
        "Agreement with randomised weights",
        "mean over draws of Spearman's ρ(a(f), a(g)); a: scores of the tokens by one method for one outcome, g: the model f with "
        "the entries of each weight tensor of some parts in random places, as are gains and biases of norms",
        "Near chance when all weights are drawn: what the method says of this text hangs on what the model has learnt. High even "
        "then: it tells of the text and the architecture, such as which tokens come early, and can be no evidence of what the "
        "model knows. Entries are only moved, so every tensor keeps its distribution and a difference is due to the order of "
        "the numbers alone. While lower parts are still true, some agreement is to be expected of any method, because the "
        "tokens' vectors pass through the residual stream. Low agreement does not make a method right.",
        "the mean ρ with the true scores shuffled over the tokens, once for all draws (999 times, 95 % of them)",
        "−1 to 1",
        ADEBAYO,
    ),
    Definition(
        "comprehensiveness",
        "effect",
        "Comprehensiveness",
        "mean over k of p(x) − p(x without the first k tokens); p: the probability of the target, k: 1, 5, 10, 20, 50 % of the "
        "tokens, rounded up",
        "High: the prediction is lost without the tokens that the method puts first. It hangs on how tokens are taken out, and "
        "on how much there is to lose, so it does not compare across models or texts.",
        _RANDOM_ORDERS,
        "−1 to 1",
        DEYOUNG,
    ),
    Definition(
        "sufficiency",
        "effect",
        "Sufficiency",
        "mean over k of p(x) − p(the first k tokens alone), with the same k",
        "Low: the tokens that the method puts first are enough for the prediction. Below 0: alone they make it likelier.",
        _RANDOM_ORDERS,
        "−1 to 1",
        DEYOUNG,
    ),
    Definition(
        "naopc",
        "effect",
        "Normalised area",
        "(A − lowest A) / (highest A − lowest A); A: mean over all k of p(x) − p(x without the first k tokens); lowest and "
        "highest over all orders of this text, or over those that a beam search finds",
        "1: no order takes more out; 0: none takes less. It compares across models and texts, as raw scores do not. The best and "
        "the worst order of the view are those of the highest and the lowest A.",
        _RANDOM_ORDERS,
        "0 to 1",
        EDIN,
    ),
    Definition(
        "head_agreement",
        "agreement",
        "Agreement ρ",
        "Spearman's correlation over tokens j of (mean over queries i of Aᵢⱼ) and |score of j|",
        "Above 0: the head attends to tokens that matter by the method; below 0: to the others. p is the share of permutations "
        "of the scores with a ρ as far from 0, q is p corrected for the number of heads (Benjamini & Hochberg 1995). Attention "
        "may agree and not be the reason.",
        "0 of a random head, by permutation",
        "−1 to 1",
        "Jain & Wallace 2019, Attention is not Explanation, who take Kendall's τ",
    ),
)
